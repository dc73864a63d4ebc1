"""Every exception that a user can meet.

A message is one sentence: what is wrong, where, what was found, and what to do. The command line
prints it and leaves with exit code 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class InvlearnError(Exception):
    """Anything wrong that the user can fix; never a defect of the library."""


class ConfigError(InvlearnError):
    """An option, a rule or a name that does not exist or does not fit."""


class DataError(InvlearnError):
    """A log or a dataset folder that is missing, damaged or of the wrong content."""


class RunError(InvlearnError):
    """A run folder that is missing, damaged, or does not fit its dataset."""


class DivergedError(RunError):
    """Training produced a loss or a gradient that is not finite."""


class Stopped(InvlearnError):  # noqa: N818  no error: somebody asked for it
    """Work was asked to stop; it saved what it had and can go on later."""


class InvlearnWarning(UserWarning):
    """Something that the user should know and that stops nothing."""


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Error for a name nobody knows, with the nearest known ones.

    Args:
        kind: What the name was meant to be, such as `"strategy"`.
        name: What was given.
        known: Every name that would have been right.

    Example:
        >>> print(unknown("strategy", "igg", ["none", "ns", "ig"]))
        unknown strategy 'igg'; did you mean 'ig'? Known: ig, none, ns
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? Known" if near else "known"
    return ConfigError(f"unknown {kind} '{name}'; {hint}: {', '.join(names)}")
