"""How sentences count things, and show those that they met."""


def counted(n: int, one: str, many: str = "") -> str:
    """A number before what it counts, in the right form.

    Args:
        n: The number.
        one: The word for one thing, with whatever else changes with the number.
        many: The same for several; `one` with an `s` if left out.

    Example:
        >>> counted(1, "user"), counted(1200, "row"), counted(2, "user is", "users are")
        ('1 user', '1,200 rows', '2 users are')
    """
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"


def clipped(text: str, most: int = 40) -> str:
    """A text of unknown length, short enough to be shown.

    Example:
        >>> clipped("a short one"), clipped("x" * 99, 9)
        ('a short one', 'xxxxxx...')
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."
