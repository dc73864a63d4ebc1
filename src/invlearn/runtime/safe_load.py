"""Plain values out of files that anybody may have written: JSON, YAML and NumPy columns.

Nothing is unpickled, no tag of YAML makes an object, and what would take more room or depth than
such files ever need is refused. Whatever is wrong is a `ValueError`, for the caller to say of which
file and what to do.
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
"""Values in a YAML file, counted as often as aliases repeat them."""
MAX_DEPTH = 32
"""Lists and mappings within one another."""


def from_yaml(text: str) -> Any:
    """Values of a YAML document.

    Raises:
        ValueError: It is no YAML, too long, too deep or too often repeated by its aliases, or has
            a key twice.

    Example:
        >>> from_yaml("a: [1, 2]")
        {'a': [1, 2]}
    """
    if len(text) > MAX_YAML_BYTES:
        raise ValueError(f"it is longer than {MAX_YAML_BYTES:,} characters")
    try:
        values = _Loader(text).get_single_data()
    except RecursionError:
        raise ValueError(_too_deep()) from None
    except Exception as error:  # dates and numbers that are none fail in as many ways
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    _check_size(values)
    return values


def yaml_of(file: Path) -> Any:
    """Values of a YAML file, of which no more is read than may be.

    Raises:
        OSError: It cannot be read.
        ValueError: As from `from_yaml`.
    """
    with file.open(encoding="utf-8") as stream:
        return from_yaml(stream.read(MAX_YAML_BYTES + 1))


class _Loader(yaml.SafeLoader):
    """Makes plain values only; PyYAML itself would take the last of several equal keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping of YAML."""
        found: set[Hashable] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if isinstance(name, Hashable) and name in found:
                raise ValueError(
                    f"{name} stands twice in one place, line {key.start_mark.line + 1}"
                )
            found |= {name} if isinstance(name, Hashable) else set()
        return super().construct_mapping(node, deep)


def from_json(text: str | bytes) -> Any:
    """Values of a JSON text.

    Raises:
        ValueError: It is no JSON, or too long or too deep.
    """
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"it is longer than {MAX_JSON_BYTES:,} characters")
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _check_size(values, most=None)
    return values


def json_of(file: Path) -> Any:
    """Values of a JSON file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no JSON, or too long or too deep.
    """
    if file.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"it is longer than {MAX_JSON_BYTES:,} bytes")
    return from_json(file.read_text(encoding="utf-8"))


def column_of(file: Path, *, mapped: bool = False) -> "npt.NDArray[Any]":
    """The array of a `.npy` file.

    Args:
        file: The file.
        mapped: Map it into memory in place of reading it.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such file, or holds objects.
    """
    import numpy as np

    try:
        return np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a broken head is parsed as Python, and fails in as many ways
        raise ValueError(str(error) or type(error).__name__) from error


def misplaced(folder: Path) -> str | None:
    """What within a folder must not be read, as a sentence begins, or none.

    That is a symbolic link that leads out of it, which is not followed, and a pipe, a socket or a
    device, which might never end. The folder itself may be reached by a link.
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
    """Where a path leads; none if that is nowhere: a name that cannot be, or links in a circle."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return None


def _check_size(values: Any, *, most: int | None = MAX_VALUES) -> None:
    """Refuse what is too deep, and more values than `most`; a tree within itself is both."""
    todo, count = [(values, 0)], 0
    while todo:
        value, depth = todo.pop()
        count += 1
        if most is not None and count > most:
            raise ValueError(f"it holds more than {most:,} values, its aliases written out")
        if depth >= MAX_DEPTH and isinstance(value, Mapping | list | tuple | set):
            raise ValueError(_too_deep())
        if isinstance(value, Mapping):
            todo += [(inner, depth + 1) for pair in value.items() for inner in pair]
        elif isinstance(value, list | tuple | set):
            todo += [(inner, depth + 1) for inner in value]


def _too_deep() -> str:
    return f"more than {MAX_DEPTH} lists or mappings are within one another"
