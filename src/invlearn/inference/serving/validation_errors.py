"""What is wrong with a request, in one sentence."""

from collections.abc import Mapping, Sequence
from json import dumps
from typing import Any

from invlearn.inference.serving.schemas import MAX_ID_CHARACTERS
from invlearn.runtime.text import clipped, counted

Error = Mapping[str, Any]
"""What pydantic says of one place: `type`, `loc`, `msg`, `input`, and `ctx` where there is one."""
WANTED = {
    "missing": "is needed",
    "extra_forbidden": "is no field of this request; /docs has them all",
    "list_type": "must be a list",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
}
"""By type of error; the rest of a sentence that begins with the place."""
AN_ID = f"must be an id: a whole number, or text of at most {MAX_ID_CHARACTERS} characters"
A_PAIR = "must be a list of two, a user and an item"
NOT_FOR = ("missing", "extra_forbidden")
"""Errors at which there is no value to show, or none that matters."""


def misfit(errors: Sequence[Error]) -> str:
    """Say what is wrong at the first place where something is.

    Args:
        errors: Of a request that did not fit, as pydantic tells them.

    Example:
        >>> misfit([{"type": "int_type", "loc": ("body", "k"), "msg": "", "input": "ten"}])
        'k must be a whole number; found "ten"'
        >>> branches = [("users", 0, "int"), ("users", 0, "str")]
        >>> misfit([{"type": "", "loc": ("body", *b), "msg": "", "input": 1.5} for b in branches])
        'users.0 must be an id: a whole number, or text of at most 256 characters; found 1.5'
    """
    first = errors[0]
    kind, place, value = first["type"], list(first["loc"][1:]), first.get("input")
    if isinstance(value, bytes):
        return "the body is not marked as JSON; send content-type: application/json"
    if not place:
        return "the body must be a JSON object; /docs shows one for each request"
    if kind != "extra_forbidden" and isinstance(place[-1], str) and len(place) > 2:
        return f"{_place(place[:-1])} {AN_ID}; found {_shown(value)}"
    if _is_of_pair(first, place):
        return f"{_place(place[:2])} {A_PAIR}"
    if kind in ("too_long", "too_short"):
        return f"{_place(place)} {_length(kind, first['ctx'])}"
    wanted = WANTED[kind].format(**first.get("ctx", {})) if kind in WANTED else first["msg"]
    found = "" if kind in NOT_FOR else f"; found {_shown(value)}"
    return f"{_place(place)} {wanted}{found}"


def _place(parts: Sequence[object]) -> str:
    return ".".join(map(str, parts))


def _is_of_pair(error: Error, place: Sequence[object]) -> bool:
    """Whether something is no list of two; pydantic tells places in it that are not there."""
    is_tuple = error.get("ctx", {}).get("field_type") == "Tuple" or error["type"] == "tuple_type"
    return is_tuple or (error["type"] == "missing" and isinstance(place[-1], int))


def _length(kind: str, told: Mapping[str, Any]) -> str:
    if kind == "too_long":
        entries = counted(told["max_length"], "entry", "entries")
        return f"may have at most {entries}; found {told['actual_length']:,}, so ask for less"
    return f"needs at least {counted(told['min_length'], 'entry', 'entries')}; found none"


def _shown(value: object) -> str:
    """A value as JSON has it, if it is a short one."""
    if isinstance(value, list | tuple):
        return "a list"
    return "an object" if isinstance(value, dict) else clipped(dumps(value))
