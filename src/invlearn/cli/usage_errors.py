"""Parser errors of the command line as sentences."""

from inspect import Parameter
from typing import get_args

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

TYPES = {int: "a whole number", float: "a number", bool: "no value"}
"""What an option takes, by type."""


def describe_usage_error(error: CycloptsError) -> str:
    """Describe a wrong command line in one sentence, and name the help to read.

    Args:
        error: The parser's error.
    """
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ValidationError):
        return describe_validation_error(RunConfig, cause, is_command=True)
    return f"{_sentence(error)}; see {_command(error)} --help"


def _sentence(error: CycloptsError) -> str:
    match error:
        case UnknownCommandError() | UnusedCliTokensError():
            return _extra_argument(error)
        case UnknownOptionError():
            name = error.token.keyword or error.token.value
            suggestion = str(error).partition(" Did you mean ")[2]
            hint = f"; did you mean {suggestion}" if suggestion else ""
            return f"{_command(error)} has no option {name}{hint}"
        case MissingArgumentError():
            help_text = f" ({text})" if (text := _help(error)) else ""
            if error.keyword:
                return f"{error.keyword} needs a value{help_text}"
            return f"{_command(error)} needs {_name(error)}{help_text}"
        case RepeatArgumentError():
            return f"{error.token.keyword} is given more than once; give it once"
        case CoercionError() if error.token is not None:
            return _wrong_value(error, error.token.keyword or _name(error), error.token.value)
        case _:
            return str(error).rstrip(".")


def _command(error: CycloptsError) -> str:
    return " ".join(["invlearn", *(error.command_chain or ())])


def _name(error: CycloptsError) -> str:
    """Name an argument as the help does."""
    if error.argument is None:
        return "an argument"
    is_option = error.argument.field_info.kind is Parameter.KEYWORD_ONLY
    return error.argument.name if is_option else error.argument.name.lstrip("-").upper()


def _extra_argument(error: CycloptsError) -> str:
    word = (error.unused_tokens or [""])[0]
    if commands := [name for name in error.app or () if not name.startswith("-")]:
        return str(unknown("command", word, commands))
    return f"unexpected argument '{word}' for {_command(error)}; remove it"


def _help(error: CycloptsError) -> str:
    """Return the first clause of an argument's help."""
    if error.app is None or error.argument is None:
        return ""
    arguments = error.app.assemble_argument_collection(parse_docstring=True)
    text = next((a.parameter.help for a in arguments if a.name == error.argument.name), "")
    return (text or "").partition(";")[0].partition(". ")[0].strip().rstrip(".")


def _wrong_value(error: CoercionError, name: str, value: str) -> str:
    if choices := [choice for choice in get_args(error.target_type) if isinstance(choice, str)]:
        return str(unknown(name, value, choices))
    if error.target_type in TYPES:
        return f"{name} takes {TYPES[error.target_type]}; found '{value}'"
    return str(error).rstrip(".")
