"""How sentences count things."""


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
