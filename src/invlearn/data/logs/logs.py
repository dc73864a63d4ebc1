"""Open a log of impressions, from files or memory, as one lazy table."""

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import narwhals.stable.v2 as nw
import polars as pl

from invlearn.data.logs.find import find_files, format_of
from invlearn.data.logs.formats import FORMATS, Format, place_in_files, read_files, reading
from invlearn.data.logs.lake import is_remote, lake_table, reading_remote, remote_table
from invlearn.data.logs.text import Role
from invlearn.runtime.errors import DataError, unknown

ROW = "__row__"
"""Name of the row number column: from 0, in storage order."""


@dataclass(frozen=True, slots=True)
class Log:
    """A log, opened lazily."""

    rows: nw.LazyFrame[Any]
    """The columns that were asked for, and `ROW`."""
    name: str
    """Name of the log in messages and in the dataset card; file names, never full paths."""
    sha256: str
    """Checksum of the log's content."""
    columns: tuple[str, ...] = ()
    """All its columns; empty if `rows` has all of them."""
    files: tuple[Path, ...] = ()
    """Its files, in the order of the rows; empty for a table."""
    format: Format | None = None
    """Format of the files; None for a table."""

    @property
    def names(self) -> list[str]:
        """Names of all its columns."""
        read = self.rows.collect_schema().names()
        return [*self.columns] or [name for name in read if name != ROW]

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


def open_log(
    source: Any,
    *,
    format: str = "auto",  # noqa: A002  the word users know
    roles: Mapping[str, Role] | None = None,
    every: bool = True,
) -> Log:
    """Open a log of impressions.

    Files are scanned lazily with Polars, sorted by path; text files are read once here, to infer
    types and find broken lines. In text, ids such as `007` stay strings.

    Args:
        source: A file, a folder of files or of folders `name=value` (as Hive and Spark write
            them), a Delta or Iceberg table, a glob such as `logs/2024-*.parquet`, a list of these,
            an address in an object store (`s3://`, `gs://`, `az://`, `hf://`), or a table in
            memory: pandas, Polars (a lazy one is collected) or Arrow. A folder given as `kuairec`
            is read for its `big_matrix.csv` only.
        format: A name of `invlearn.data.logs.formats.FORMATS`; `"auto"` uses the file suffix.
            Ignored for a table.
        roles: Roles of columns, by name. Names that the log does not have are left to the caller
            (see `Log.names`).
        every: Whether to read columns without a role as well; otherwise they are not looked at.

    Returns:
        The log, with its original column names. `ml-1m` and `ml-100k` have the columns user,
        item, rating, timestamp; `coat` has user, item (row and column of the matrix, from 0),
        rating, split (the file's stem: train or test).

    Raises:
        DataError: No file is found, or the files are empty, damaged, mixed or of another format,
            or a column has types that differ in meaning.
        ConfigError: The format is unknown.

    Example:
        >>> log = open_log(pl.DataFrame({"user": ["a", "b"], "item": [7, 7], "liked": [1, None]}))
        >>> log.rows.collect()["__row__"].to_list()
        [0, 1]
    """
    if format != "auto" and format not in FORMATS:
        raise unknown("log format", format, ["auto", *FORMATS])
    wanted = None if every else {*(roles or {})}
    if not isinstance(source, str | Path | list | tuple):
        return _open_table(source, wanted)
    if isinstance(source, str) and is_remote(source):
        with reading_remote(source):
            return _of_rows(remote_table(source, format), source, wanted)
    if isinstance(source, str | Path) and (rows := lake_table(Path(source))) is not None:
        with reading(str(source)):
            return _of_rows(rows, Path(source).name, wanted)
    found = find_files(source, FORMATS.get(format))
    files = [file.path for file in found]
    form = FORMATS[format_of(files) if format == "auto" else format]
    partitions = [dict(file.partition) for file in found]
    rows, names = read_files(files, form, roles or {}, partitions, every=every)
    name = files[0].name if len(files) == 1 else f"{files[0].name} .. {files[-1].name}"
    return Log(_numbered(rows, name), name, _sha256(files), tuple(names), tuple(files), form)


def _open_table(table: Any, wanted: Set[str] | None) -> Log:
    try:
        frame: Any = nw.from_native(table)
        names = list(frame.collect_schema())
        if wanted is not None:
            frame = frame.select([name for name in names if name in wanted] or names)
        with reading("the table"):
            frame = frame.collect("polars") if isinstance(frame, nw.LazyFrame) else frame
        rows: pl.DataFrame = frame.to_polars()
    except (TypeError, ValueError, ImportError) as error:
        raise DataError(_why_no_table(table, error)) from error
    if rows.height == 0:
        raise DataError("the table has no rows; give a log with at least one")
    return Log(_numbered(rows.lazy(), "the table"), "table in memory", _digest(rows), tuple(names))


def _why_no_table(table: Any, error: Exception) -> str:
    """Say which column of a table cannot be read, and in which row its type changes."""
    for name in getattr(table, "columns", ()):
        try:
            nw.from_native(table).select(name).to_polars()
        except (TypeError, ValueError, ImportError):
            kinds = [type(value) for value in table[name]]
            row = next((n for n, kind in enumerate(kinds) if kind is not kinds[0]), 0)
            return (
                f"column '{name}' of the table holds values of several types, {kinds[0].__name__} "
                f"in row 1 and {kinds[row].__name__} in row {row + 1:,} (counted from 1); convert "
                "it to one type"
            )
    return (
        f"a {type(table).__name__} is no log ({error}); give a path, or a pandas, Polars or Arrow "
        "table"
    )


def _of_rows(rows: pl.LazyFrame, name: str, wanted: Set[str] | None) -> Log:
    """Return the log of a table that Polars reads from elsewhere, read once for its checksum."""
    names = rows.collect_schema().names()
    if wanted is not None:
        rows = rows.select([name for name in names if name in wanted] or names)
    frame = rows.collect(engine="streaming")
    if frame.height == 0:
        raise DataError(f"{name} has no rows; give a log with at least one")
    return Log(_numbered(frame.lazy(), name), name, _digest(frame), tuple(names))


def _digest(rows: pl.DataFrame) -> str:
    """Return a checksum of a table's content."""
    digest = hashlib.sha256()

    def write(content: bytes) -> int:
        digest.update(content)
        return len(content)

    # Parquet, unlike the Arrow IPC format, writes the same bytes for the same values
    file = cast(IO[bytes], SimpleNamespace(write=write, flush=lambda: None))
    rows.rechunk().write_parquet(file, compression="uncompressed", statistics=False)
    return digest.hexdigest()


def _numbered(rows: pl.LazyFrame, name: str) -> nw.LazyFrame[Any]:
    if ROW in rows.collect_schema().names():
        raise DataError(f"{name} has a column {ROW}, a name kept for row numbers; rename it")
    return nw.from_native(rows.with_row_index(ROW).with_columns(pl.col(ROW).cast(pl.Int64)))


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with reading(str(file)), file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
