"""Find the files of a log, and tell their format."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from invlearn.data.logs.formats import FORMATS, Format
from invlearn.runtime.errors import DataError

_GLOB = frozenset("*?[")
_BY_SUFFIX = {name: form for name, form in FORMATS.items() if not form.columns}
_SUFFIXES = [pattern for form in _BY_SUFFIX.values() for pattern in form.patterns]


class Found(NamedTuple):
    """A file of a log."""

    path: Path
    partition: tuple[tuple[str, str], ...] = ()
    """Names and values of the folders `name=value` that it lies in, as Hive and Spark write."""


def find_files(source: str | Path | Sequence[str | Path], form: Format | None) -> list[Found]:
    """Return the files of a source, sorted by path.

    Args:
        source: A file, a folder, a glob, or a list of these.
        form: The format, if it is given.

    Raises:
        DataError: There is no such file, or a folder holds none.
    """
    if not isinstance(source, str | Path):
        if not source:
            raise DataError("no file was named; name at least one")
        return sorted({file for path in source for file in find_files(path, form)})
    path = Path(source)
    if path.is_file():
        return [Found(path)]
    if path.is_dir():
        patterns = form.patterns if form else _SUFFIXES
        files = [file for file in _of_folder(path, path) if _named(file.path, patterns)]
        if form and (main := [file for file in files if file.path.name == form.main]):
            return main
        if files:
            return files
        raise DataError(
            f"{path} holds no log; looked for {', '.join(patterns)}; "
            "name the folder that holds the files themselves"
        )
    if _GLOB & set(str(path)):
        return _matching(path)
    raise DataError(f"{path} does not exist{_nearest(path)}; name a file, a folder or a glob")


def format_of(files: Sequence[Path]) -> str:
    """Return the name of the format with the files' suffix.

    Raises:
        DataError: The suffix is unknown, or differs between the files.
    """
    first = ""
    for file in files:
        names = [name for name, form in _BY_SUFFIX.items() if _named(file, form.patterns)]
        if not names:
            raise DataError(
                f"the format of {file} cannot be told from its name; "
                f"name one of {', '.join(FORMATS)}"
            )
        first = first or names[0]
        if names[0] != first:
            raise DataError(
                f"{file} is {names[0]} and {files[0]} is {first}; "
                "name only the files that belong together"
            )
    return first


def _of_folder(folder: Path, root: Path) -> list[Found]:
    """Return the files of a folder, and of its folders `name=value`."""
    files = [_found(file, root) for file in _visible(folder.iterdir())]
    for inner in folder.iterdir():
        if inner.is_dir() and "=" in inner.name and inner.name[0] not in "._":
            files += _of_folder(inner, root)
    return sorted(files)


def _found(file: Path, root: Path) -> Found:
    folders = [part.partition("=") for part in file.relative_to(root).parts[:-1]]
    return Found(file, tuple((name, unquote(value)) for name, is_, value in folders if is_))


def _matching(path: Path) -> list[Found]:
    root = Path(path.anchor)
    fixed = next(n for n, part in enumerate(path.parts) if _GLOB & set(part))
    try:
        files = _visible(root.glob(str(path.relative_to(root))))
    except ValueError as error:
        raise DataError(f"{path} is no glob ({error}); write one such as logs/*.csv") from error
    if not files:
        raise DataError(f"no file matches {path}; quote a glob and check its folder")
    return [_found(file, Path(*path.parts[:fixed])) for file in files]


def _visible(paths: Iterable[Path]) -> list[Path]:
    """Return the files in `paths`, sorted, without hidden files and markers such as `_SUCCESS`."""
    return sorted(path for path in paths if path.is_file() and path.name[0] not in "._")


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f", nor does its folder {folder}"
    near = get_close_matches(path.name, [other.name for other in folder.iterdir()], n=1, cutoff=0.5)
    return f"; did you mean {folder / near[0]}?" if near else ""


def _named(file: Path, patterns: Sequence[str]) -> bool:
    return any(map(Path(file.name.lower()).match, patterns))
