"""Find classes by name, `module:Class` or plug-in, and check their options."""

import inspect
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, create_model
from torch import nn

from invlearn.backbones import BACKBONES
from invlearn.backbones.backbone import ReadsFeatures
from invlearn.config.schema import Settings, validated
from invlearn.runtime.errors import ConfigError, unknown
from invlearn.strategies import STRATEGIES, Strategy

Class = TypeVar("Class")

_given: dict[str, type] = {}
"""Classes given from Python, by their path in a run's settings, so that this process also finds
classes that cannot be imported."""


def backbone_class(name: str) -> type[nn.Module]:
    """Find a backbone by name, entry point (group `invlearn.backbones`) or `module:Class`.

    Raises:
        ConfigError: There is no such backbone, or it is not an `nn.Module`.
    """
    return _find("backbone", name, BACKBONES, nn.Module)


def strategy_class(name: str) -> type[Strategy]:
    """Find a strategy by name, entry point (group `invlearn.strategies`) or `module:Class`.

    Raises:
        ConfigError: There is no such strategy, or it is not a `Strategy`.
    """
    return _find("strategy", name, STRATEGIES, Strategy)


def path_of(cls: type, known: Mapping[str, type], *, remember: bool = True) -> str:
    """Return the name of a class: short if built in, else `module:Class`.

    Args:
        cls: A backbone or a strategy.
        known: The built-in classes by name.
        remember: Register the class under its path in this process.
    """
    for name, other in known.items():
        if other is cls:
            return name
    path = f"{cls.__module__}:{cls.__qualname__}"
    if remember:
        _given[path] = cls
    return path


def is_known(path: str) -> bool:
    """Return whether the class of a path was given from Python in this process."""
    return path in _given


def options_of(cls: type) -> dict[str, tuple[Any, Any]]:
    """Return the options of a class by name, as type and default.

    Arguments set by the dataset are excluded. A default of `...` means required.
    """
    hints = get_type_hints(cls.__init__, include_extras=True)
    decided = {"n_users", "n_items"} | ({"features"} if issubclass(cls, ReadsFeatures) else set())
    return {
        name: (hints.get(name, Any), ... if p.default is p.empty else p.default)
        for name, p in inspect.signature(cls).parameters.items()
        if name not in decided and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


def complete_options(cls: type, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the checked options of a class, with defaults filled in.

    Args:
        cls: A backbone or a strategy.
        options: Values by name; strings are converted to the declared type.
        where: Prefix for error messages, `model` or `method`.

    Raises:
        ConfigError: An option is unknown, missing or of the wrong type.

    Example:
        >>> complete_options(BACKBONES["gmf"], {"dim": "64"}, "model")
        {'dim': 64}
    """
    named = {str(name).replace("-", "_"): value for name, value in options.items()}
    checked = validated(_model_of(cls, where), {where: named})
    return dict(getattr(checked, where))


@cache
def _model_of(cls: type, where: str) -> type[Settings]:
    """Return what checks a class's options; making it takes many times longer than a check."""
    fields: dict[str, Any] = options_of(cls)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    model = create_model("Options", __config__=config, **fields)
    return create_model("Outer", __base__=Settings, **{where: (model, ...)})  # type: ignore[call-overload]


def summary_of(cls: type) -> str:
    """Return the first paragraph of a class's docstring in one line."""
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


def _find(kind: str, name: str, known: Mapping[str, type[Class]], wanted: type) -> type[Class]:
    if name in known:
        return known[name]
    if ":" in name:
        found: Any = _given.get(name) or _import(kind, name)
    else:
        group = {"backbone": "invlearn.backbones", "strategy": "invlearn.strategies"}[kind]
        plugins = {e.name: e.value for e in entry_points(group=group)}
        if name not in plugins:
            raise unknown(kind, name, [*known, *plugins])
        found = _import(kind, plugins[name])
    if not (isinstance(found, type) and issubclass(found, wanted)):
        raise ConfigError(
            f"{kind} '{name}' is {found!r}; it must be a subclass of {wanted.__qualname__}"
        )
    return found


def _import(kind: str, name: str) -> object:
    """Return the class of a path `module:Class`."""
    module_name, _, class_name = name.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigError(f"{kind} '{name}' cannot be imported; write it as module:Class")
    try:
        with _importable_working_folder():
            return attrgetter(class_name)(import_module(module_name))
    except ImportError as error:
        raise ConfigError(
            f"{kind} '{name}': {error}; is the module in the working folder or on PYTHONPATH?"
        ) from error
    except AttributeError as error:
        raise ConfigError(
            f"{kind} '{name}': {error}; name a class that can be imported from {module_name}"
        ) from error


@contextmanager
def _importable_working_folder() -> Generator[None, None, None]:
    """Add the working folder to the end of `sys.path` for one import.

    It is on the path only then: libraries try to import optional packages, and a data folder's file
    of the same name would be executed.
    """
    try:
        folder = str(Path.cwd())
    except FileNotFoundError:  # it was deleted
        folder = None
    if folder is None or folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
