"""Pydantic's validation errors as sentences: for settings, options, files and HTTP requests."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from invlearn.runtime.text import clipped

NEEDED = {
    "tuple_type": "a list is needed",
    "list_type": "a list is needed",
    "dict_type": "options by name are needed",
    "model_type": "options by name are needed",
    "model_attributes_type": "options by name are needed",
    "int_type": "a whole number is needed",
    "int_from_float": "a whole number is needed",
    "int_parsing": "a whole number is needed",
    "float_type": "a number is needed",
    "float_parsing": "a number is needed",
    "too_short": "at least one is needed",
    "greater_than": "a number above {gt} is needed",
    "greater_than_equal": "a number of at least {ge} is needed",
    "less_than": "a number below {lt} is needed",
    "less_than_equal": "a number of at most {le} is needed",
    "finite_number": "a finite number is needed",
    "bool_parsing": "true or false is needed",
    "bool_type": "true or false is needed",
    "string_type": "a text is needed",
    "literal_error": "{expected} is needed",
    "invalid_key": "names of options are text",
    "missing": "a value is needed",
}
"""What is needed, by pydantic's error type."""
WITHOUT_VALUE = ("missing", "too_long")
"""Error types whose sentence does not show the value."""
MAX_SHOWN = 200
"""Characters of a wrong value that a message shows."""


def describe_validation_error(
    model: type[BaseModel] | None, error: ValidationError, *, is_command: bool = False
) -> str:
    """Describe everything that is wrong with the values of a model, in one line.

    Args:
        model: The model that was validated.
        error: Pydantic's error.
        is_command: Whether to write names as command-line options.
    """
    return "; ".join(describe(one, model, is_command=is_command) for one in error.errors())


def describe(
    error: Any,
    model: type[BaseModel] | None = None,
    *,
    is_command: bool = False,
    show: Callable[[Any], str] = repr,
) -> str:
    """Describe one wrong value: where it is, what is needed, what was found.

    Args:
        error: One entry of `ValidationError.errors()`.
        model: The model that was validated; its fields are suggested for an unknown name.
        is_command: Whether to write names as command-line options.
        show: How to write the wrong value.

    Example:
        >>> wrong = {"type": "int_type", "loc": ("k",), "msg": "", "input": "ten"}
        >>> describe(wrong), describe(wrong, is_command=True)
        ("k: a whole number is needed; got 'ten'", "--k: a whole number is needed; got 'ten'")
    """
    path = [str(key) for key in error["loc"]]
    where = f"--{'.'.join(path).replace('_', '-')}" if is_command else ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown option{_hint(model, path)}"
    needed = _needed(error)
    if not path:  # the error is about several settings
        return needed
    if error["type"] in WITHOUT_VALUE:
        return f"{where}: {needed}"
    return f"{where}: {needed}; got {clipped(show(error['input']), MAX_SHOWN)}"


def _needed(error: Any) -> str:
    context = error.get("ctx", {})
    if error["type"] == "too_long":
        return f"at most {context['max_length']:,} are allowed; got {context['actual_length']:,}"
    if error["type"] not in NEEDED:
        return str(error["msg"]).removeprefix("Value error, ")
    bounds = {k: f"{v:g}" if isinstance(v, float) else v for k, v in context.items()}
    return NEEDED[error["type"]].format(**bounds)


def _hint(model: type[BaseModel] | None, path: list[str]) -> str:
    """Suggest the nearest known name, and list all of them."""
    known = _fields_at(model, path[:-1])
    if known is None:
        return ""
    near = get_close_matches(path[-1], known, n=1, cutoff=0.5)
    suggestion = f"; did you mean '{near[0]}'?" if near else ""
    return f"{suggestion}; known: {', '.join(sorted(known)) or 'none'}"


def _fields_at(model: type[BaseModel] | None, path: list[str]) -> list[str] | None:
    """Field names of the model at `path` below `model`; none if there is no model at `path`."""
    kind: Any = model
    for key in path:
        if _is_model(kind):
            kind = kind.model_fields[key].annotation
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:  # a union: the path names the member
            kind = next((m for m in _models_in(kind) if m.__name__.lower() == key), None)
    return [*kind.model_fields, *getattr(kind, "also", ())] if _is_model(kind) else None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _models_in(kind: Any) -> list[Any]:
    """Models that a type is made of."""
    return [kind] if _is_model(kind) else [m for inner in get_args(kind) for m in _models_in(inner)]
