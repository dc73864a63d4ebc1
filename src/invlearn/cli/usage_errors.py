"""What is wrong with a command line, in the words of the other errors."""

from difflib import get_close_matches
from inspect import Parameter
from typing import Any, get_args

from cyclopts import CycloptsError
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from pydantic import ValidationError

from invlearn.config.schema import RunConfig
from invlearn.config.validation_errors import describe_validation_error
from invlearn.runtime.errors import unknown

KINDS = {int: "a whole number", float: "a number", bool: "no value"}
"""What an option takes, by type."""


def misuse(error: CycloptsError) -> str:
    """Say in one sentence what is wrong, and what would be right.

    Args:
        error: What the parser found.
    """
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ValidationError):
        return describe_validation_error(RunConfig, cause, is_command=True)
    return f"{_sentence(error)}; see {_command(error)} --help"


def _sentence(error: CycloptsError) -> str:
    match error:
        case UnknownCommandError() | UnusedCliTokensError():
            return _too_many(error)
        case UnknownOptionError():
            return _unknown_option(error)
        case MissingArgumentError():
            return _missing(error)
        case RepeatArgumentError():
            return f"{error.token.keyword} is given more than once; give it once"
        case CoercionError() if error.token is not None:
            return _wrong_value(error, _name(error), error.token.value)
        case _:
            return str(error).rstrip(".")


def _command(error: CycloptsError) -> str:
    return " ".join(["invlearn", *(error.command_chain or ())])


def _name(error: CycloptsError) -> str:
    """An option as it was given, an argument as the help calls it."""
    token, argument = getattr(error, "token", None), error.argument
    if token is not None and token.keyword:
        return str(token.keyword)
    if argument is None:
        return "an argument"
    is_option = argument.field_info.kind is Parameter.KEYWORD_ONLY
    return argument.name if is_option else argument.name.lstrip("-").upper()


def _too_many(error: CycloptsError) -> str:
    """A word that is neither a command nor awaited by one."""
    word = (error.unused_tokens or [""])[0]
    commands = [name for name in error.app or () if not name.startswith("-")]
    if commands:
        return str(unknown("command", word, commands))
    return f"'{word}' is one argument too many for {_command(error)}; leave it out"


def _unknown_option(error: UnknownOptionError) -> str:
    given = str(error.token.keyword or error.token.value)
    known = [n for one in error.argument_collection for n in one.names if n.startswith("--")]
    near = get_close_matches(given, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{_command(error)} has no option {given}{hint}"


def _missing(error: MissingArgumentError) -> str:
    """An argument that was left out, or an option without its value."""
    told = _help(error)
    what = f" ({told.strip().rstrip('.')})" if told else ""
    if error.keyword:
        return f"{error.keyword} needs a value{what}"
    return f"{_command(error)} needs {_name(error)}{what}"


def _help(error: CycloptsError) -> str:
    """The first clause of what the command's help says of an argument."""
    if error.app is None or error.argument is None:
        return ""
    for one in error.app.assemble_argument_collection(parse_docstring=True):
        if one.name == error.argument.name:
            return (one.parameter.help or "").partition(";")[0].partition(". ")[0]
    return ""


def _wrong_value(error: CoercionError, name: str, value: str) -> str:
    kind: Any = error.target_type
    if choices := [choice for choice in get_args(kind) if isinstance(choice, str)]:
        return str(unknown(name, value, choices))
    if kind in KINDS:
        return f"{name} takes {KINDS[kind]}; found '{value}'"
    return str(error).rstrip(".")
