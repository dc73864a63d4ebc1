"""Open a log of impressions, from files or memory, as one lazy table."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import narwhals.stable.v2 as nw
import polars as pl

from invlearn.data.logs.formats import FORMATS, Format, place_in_files, read_files, reading
from invlearn.runtime.errors import DataError, unknown

ROW = "__row__"
"""Name of the row number column: from 0, in storage order."""

_GLOB = frozenset("*?[")
_BY_SUFFIX = {name: form for name, form in FORMATS.items() if not form.columns}
_SUFFIXES = [pattern for form in _BY_SUFFIX.values() for pattern in form.patterns]


@dataclass(frozen=True, slots=True)
class Log:
    """A log, opened lazily."""

    rows: nw.LazyFrame[Any]
    """The log's own columns and `ROW`."""
    name: str
    """Name of the log in messages and in the dataset card; file names, never full paths."""
    sha256: str
    """Checksum of the log's content."""
    files: tuple[Path, ...] = ()
    """Its files, in the order of the rows; empty for a table."""
    format: Format | None = None
    """Format of the files; None for a table."""

    def place(self, row: int) -> str:
        """Describe the location of a row: its file, and its row number there.

        Args:
            row: Value of `ROW`.
        """
        name = self.name
        if self.format and len(self.files) > 1:
            file, row = place_in_files(row, self.files, self.format)
            name = str(file)
        return f"{name}, row {row + 1:,} (data rows counted from 1)"


def open_log(source: Any, *, format: str = "auto") -> Log:  # noqa: A002  the word users know
    """Open a log of impressions.

    Files are scanned lazily with Polars, sorted by name; text files are read once here, to infer
    types and find broken lines. In text, ids such as `007` stay strings.

    Args:
        source: A file, a folder of files (not of folders), a glob such as `logs/2024-*.parquet`,
            a list of these, or a table in memory: pandas, Polars (a lazy one is collected) or
            Arrow. A folder given as `kuairec` is read for its `big_matrix.csv` only.
        format: A name of `invlearn.data.logs.formats.FORMATS`; `"auto"` uses the file suffix.
            Ignored for a table.

    Returns:
        The log, with its original column names. `ml-1m` and `ml-100k` have the columns user,
        item, rating, timestamp; `coat` has user, item (row and column of the matrix, from 0),
        rating, split (the file's stem: train or test).

    Raises:
        DataError: No file is found, or the files are empty, damaged, mixed or of another format.
        ConfigError: The format is unknown.

    Example:
        >>> log = open_log(pl.DataFrame({"user": ["a", "b"], "item": [7, 7], "liked": [1, None]}))
        >>> log.rows.collect()["__row__"].to_list()
        [0, 1]
    """
    if format != "auto" and format not in FORMATS:
        raise unknown("log format", format, ["auto", *FORMATS])
    if not isinstance(source, str | Path | list | tuple):
        return _open_table(source)
    files = _find_files(source, FORMATS.get(format))
    form = FORMATS[_format_of(files) if format == "auto" else format]
    rows = read_files(files, form)
    name = files[0].name if len(files) == 1 else f"{files[0].name} .. {files[-1].name}"
    return Log(_numbered(rows, name), name, _sha256(files), tuple(files), form)


def _open_table(table: Any) -> Log:
    try:
        frame: Any = nw.from_native(table)
        with reading("the table"):
            frame = frame.collect("polars") if isinstance(frame, nw.LazyFrame) else frame
        rows: pl.DataFrame = frame.to_polars()
    except (TypeError, ValueError, ImportError) as error:
        raise DataError(
            f"a {type(table).__name__} is no log ({error}); give a path, or a pandas, Polars or "
            "Arrow table"
        ) from error
    if rows.height == 0:
        raise DataError("the table has no rows; give a log with at least one")
    digest = hashlib.sha256()

    def write(content: bytes) -> int:
        digest.update(content)
        return len(content)

    # Parquet, unlike the Arrow IPC format, writes the same bytes for the same values
    file = cast(IO[bytes], SimpleNamespace(write=write, flush=lambda: None))
    rows.rechunk().write_parquet(file, compression="uncompressed", statistics=False)
    return Log(_numbered(rows.lazy(), "the table"), "table in memory", digest.hexdigest())


def _numbered(rows: pl.LazyFrame, name: str) -> nw.LazyFrame[Any]:
    if ROW in rows.collect_schema().names():
        raise DataError(f"{name} has a column {ROW}, a name kept for row numbers; rename it")
    return nw.from_native(rows.with_row_index(ROW).with_columns(pl.col(ROW).cast(pl.Int64)))


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with reading(file.name), file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


# Finding files


def _find_files(source: str | Path | Sequence[str | Path], form: Format | None) -> list[Path]:
    if not isinstance(source, str | Path):
        if not source:
            raise DataError("no file was named; name at least one")
        return sorted({file for path in source for file in _find_files(path, form)})
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        patterns = form.patterns if form else _SUFFIXES
        if files := [file for file in _visible(path.iterdir()) if _named(file, patterns)]:
            return files
        raise DataError(
            f"{path} holds no log; looked for {', '.join(patterns)}; "
            "name the folder that holds the files themselves"
        )
    if _GLOB & set(str(path)):
        return _matching(path)
    raise DataError(f"{path} does not exist{_nearest(path)}; name a file, a folder or a glob")


def _matching(path: Path) -> list[Path]:
    root = Path(path.anchor)
    try:
        files = _visible(root.glob(str(path.relative_to(root))))
    except ValueError as error:
        raise DataError(f"{path} is no glob ({error}); write one such as logs/*.csv") from error
    if not files:
        raise DataError(f"no file matches {path}; quote a glob and check its folder")
    return files


def _visible(paths: Iterable[Path]) -> list[Path]:
    """Return the files in `paths`, sorted, without hidden files and markers such as `_SUCCESS`."""
    return sorted(path for path in paths if path.is_file() and path.name[0] not in "._")


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f", nor does its folder {folder}"
    near = get_close_matches(path.name, [other.name for other in folder.iterdir()], n=1, cutoff=0.5)
    return f"; did you mean {folder / near[0]}?" if near else ""


# Detecting the format


def _named(file: Path, patterns: Sequence[str]) -> bool:
    return any(map(Path(file.name.lower()).match, patterns))


def _format_of(files: Sequence[Path]) -> str:
    """Return the name of the format with the files' suffix."""
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
                f"{file.name} is {names[0]} and {files[0].name} is {first}; "
                "name only the files that belong together"
            )
    return first
