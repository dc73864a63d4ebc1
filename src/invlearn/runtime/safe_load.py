"""Safe loading of untrusted JSON, YAML and NumPy files.

Nothing is unpickled, YAML tags create no objects, and files that are larger or more deeply nested
than necessary are refused. Invalid content raises a `ValueError`; the caller adds the file name and
the remedy.
"""

import json
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_YAML_BYTES = 100_000
MAX_JSON_BYTES = 64 << 20
MAX_VALUES = 100_000
"""Maximum number of values in a YAML file, with aliases expanded."""
MAX_DEPTH = 32
"""Maximum nesting depth of lists and mappings."""
TOO_DEEP = f"more than {MAX_DEPTH} levels of lists or mappings"


def from_yaml(text: str) -> Any:
    """Return the values of a YAML document.

    Raises:
        ValueError: It is not YAML, is too long or too deeply nested, is too large with its
            aliases expanded, or has a repeated key.

    Example:
        >>> from_yaml("a: [1, 2]")
        {'a': [1, 2]}
    """
    if len(text) > MAX_YAML_BYTES:
        raise ValueError(f"it is longer than {MAX_YAML_BYTES:,} characters")
    try:
        values = _Loader(text).get_single_data()
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except Exception as error:  # invalid dates and numbers raise various exceptions
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    _check_size(values)
    return values


def yaml_of(file: Path) -> Any:
    """Return the values of a YAML file; at most `MAX_YAML_BYTES + 1` characters are read.

    Raises:
        OSError: The file cannot be read.
        ValueError: See `from_yaml`.
    """
    with file.open(encoding="utf-8") as stream:
        return from_yaml(stream.read(MAX_YAML_BYTES + 1))


class _Loader(yaml.SafeLoader):
    """Loader of plain values that refuses repeated keys; PyYAML itself keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the dictionary of a mapping node."""
        found: set[Hashable] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if isinstance(name, Hashable) and name in found:
                raise ValueError(f"{name} is repeated, line {key.start_mark.line + 1}")
            found |= {name} if isinstance(name, Hashable) else set()
        return super().construct_mapping(node, deep)


def from_json(text: str | bytes) -> Any:
    """Return the values of a JSON text.

    Raises:
        ValueError: It is not JSON, or is too long or too deeply nested.
    """
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"it is longer than {MAX_JSON_BYTES:,} characters")
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    _check_size(values, most=None)
    return values


def json_of(file: Path) -> Any:
    """Return the values of a JSON file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not JSON, or is too long or too deeply nested.
    """
    if file.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"it is longer than {MAX_JSON_BYTES:,} bytes")
    return from_json(file.read_text(encoding="utf-8"))


def column_of(file: Path, *, mapped: bool = False) -> "npt.NDArray[Any]":
    """Return the array of a `.npy` file.

    Args:
        file: The file.
        mapped: Memory-map the file instead of reading it.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a `.npy` file, or contains objects.
    """
    import numpy as np

    try:
        return np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged header, parsed as Python, can raise anything
        raise ValueError(str(error) or type(error).__name__) from error


def misplaced(folder: Path) -> str | None:
    """Return the first unsafe entry of a folder, as the start of a message, or None.

    Unsafe are symbolic links that lead out of the folder, and pipes, sockets and devices, which may
    never reach their end. The folder itself may be a link.
    """
    home = _resolved(folder)
    if home is None:
        return None
    for place, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = Path(place, name)
            shown = folder / path.relative_to(home)
            end = _resolved(path) if path.is_symlink() else path
            if end is None or not end.is_relative_to(home):
                return f"{shown} is a link that leads out of {folder}"
            if name in files and end.exists() and not end.is_file():
                return f"{shown} is a pipe, a socket or a device"
    return None


def _resolved(path: Path) -> Path | None:
    """Return the resolved path; None if it is invalid or its links form a cycle."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return None


def _check_size(values: Any, *, most: int | None = MAX_VALUES) -> None:
    """Raise on too deep nesting and on more than `most` values; a recursive value is both."""
    todo, count = [(values, 0)], 0
    while todo:
        value, depth = todo.pop()
        count += 1
        if most is not None and count > most:
            raise ValueError(f"it has more than {most:,} values, with aliases expanded")
        if depth >= MAX_DEPTH and isinstance(value, Mapping | list | tuple | set):
            raise ValueError(TOO_DEEP)
        if isinstance(value, Mapping):
            todo += [(inner, depth + 1) for pair in value.items() for inner in pair]
        elif isinstance(value, list | tuple | set):
            todo += [(inner, depth + 1) for inner in value]
