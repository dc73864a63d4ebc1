"""Exceptions and warnings for users.

A message is one sentence: what is wrong, where, what was found, and what to do. The command line
prints it and exits with code 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class InvlearnError(Exception):
    """Base class of errors that the user can fix; never a defect of the library."""


class ConfigError(InvlearnError):
    """An option, rule or name is unknown or invalid."""


class DataError(InvlearnError):
    """A log or dataset folder is missing, damaged or has invalid content."""


class RunError(InvlearnError):
    """A run folder is missing, damaged, or does not match its dataset."""


class DivergedError(RunError):
    """Training produced a loss or a gradient that is not finite."""


class Stopped(InvlearnError):  # noqa: N818  no error: somebody asked for it
    """Work was stopped on request; its state is saved and it can be resumed."""


class InvlearnWarning(UserWarning):
    """Something that the user should know and that is not an error."""


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return an error for an unknown name, with the nearest match and all known names.

    Args:
        kind: Kind of the name, such as `"strategy"`.
        name: The given name.
        known: All valid names.

    Example:
        >>> print(unknown("strategy", "igg", ["none", "ns", "ig"]))
        unknown strategy 'igg'; did you mean 'ig'? Known: ig, none, ns
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? Known" if near else "known"
    return ConfigError(f"unknown {kind} '{name}'; {hint}: {', '.join(names)}")
