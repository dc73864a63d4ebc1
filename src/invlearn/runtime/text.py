"""Format counts and texts for messages."""


def counted(n: int, one: str, many: str = "") -> str:
    """Return a number with its noun in singular or plural.

    Args:
        n: The number.
        one: The singular noun, with any words that change with the number.
        many: The plural; defaults to `one` with an `s`.

    Example:
        >>> counted(1, "user"), counted(1200, "row"), counted(2, "user is", "users are")
        ('1 user', '1,200 rows', '2 users are')
    """
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"


def clipped(text: str, most: int = 40) -> str:
    """Return a text, shortened to at most `most` characters.

    Example:
        >>> clipped("a short one"), clipped("x" * 99, 9)
        ('a short one', 'xxxxxx...')
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."
