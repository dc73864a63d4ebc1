"""Log formats: file name patterns, and how the files are read as one table."""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from narwhals.exceptions import NarwhalsError
from polars import exceptions

from invlearn.data.engines.engine import first_line
from invlearn.data.logs.text import NO_VALUE, Role, Text, constant
from invlearn.data.logs.types import one_type_each
from invlearn.runtime.errors import DataError

_KUAIREC = ("user_id", "video_id", "play_duration", "video_duration", "timestamp", "watch_ratio")
_KUAIRAND = ("user_id", "video_id", "time_ms", "is_click", "play_time_ms", "duration_ms")


MAX_COLUMNS = 10_000
"""Maximum number of columns of a log."""


@dataclass(frozen=True, slots=True)
class Format:
    """One log file format."""

    patterns: tuple[str, ...]
    """File name patterns to look for in a folder."""
    scan: Text | Callable[[Path], pl.LazyFrame]
    """Dialect of a text file, or the function that opens a file lazily."""
    columns: tuple[str, ...] = ()
    """Required columns of the format."""
    main: str = ""
    """Pattern of the files that are meant if a folder has others as well."""

    def names(self, file: Path) -> list[str]:
        """Return the column names of a file."""
        if isinstance(self.scan, Text):
            named = [name for name in self.scan.names if name] or self.scan.header(file)
            return [self.scan.plain(name) for name in named]
        return self.scan(file).collect_schema().names()

    def open(self, file: Path) -> pl.LazyFrame:
        """Open a file lazily; the columns of text are strings."""
        return self.scan.checked(file) if isinstance(self.scan, Text) else self.scan(file)


@contextmanager
def reading(name: str) -> Generator[None, None, None]:
    """Convert table engine errors about a damaged log to a `DataError` of one sentence.

    Damage inside a Parquet file is detected only when its rows are collected.

    Args:
        name: The file or the log that is read inside the block.

    Raises:
        DataError: The file is damaged, cut off, or not of the expected format.
    """
    try:
        yield
    except (exceptions.PolarsError, exceptions.PanicException, NarwhalsError, OSError) as error:
        raise DataError(
            f"{name} cannot be read ({first_line(error)}); it is damaged, cut off or of another "
            "format, so write it again or name its format"
        ) from error


def read_files(
    files: Sequence[Path],
    form: Format,
    roles: Mapping[str, Role],
    partitions: Sequence[Mapping[str, str]],
    *,
    every: bool,
) -> tuple[pl.LazyFrame, list[str]]:
    """Return the rows of some files as one table, with column types that fit all of them.

    Text files are read once here, to infer types and find errors; Parquet only up to its footer.

    Args:
        files: The files.
        form: Their format.
        roles: Roles of columns. Names that the files do not have are left to the caller.
        partitions: For each file, the values of columns that are in its path only.
        every: Whether to read columns without a role as well.

    Returns:
        The rows, and the names of all columns.

    Raises:
        DataError: A file is empty or damaged, has other columns than the first or lacks a
            required column of its format; a column has types that differ in meaning; or there are
            no rows at all.
    """
    inside = [_names(file, form) for file in files]
    constants = [
        {name: value for name, value in partition.items() if name not in head}
        for partition, head in zip(partitions, inside, strict=True)
    ]
    heads = [[*head, *more] for head, more in zip(inside, constants, strict=True)]
    names = heads[0]
    used = [name for name in dict.fromkeys(names) if every or name in roles] or names
    for file, found in zip(files, heads, strict=True):
        lacks = [name for name in used if name not in found]
        more = [name for name in found if name not in names and (every or name in roles)]
        wrong = {"lacks": lacks, "has": more}
        if why := [f"{verb} {', '.join(sorted(some))}" for verb, some in wrong.items() if some]:
            raise DataError(
                f"{file} {' and '.join(why)}, unlike {files[0]} of the same log; "
                "name only the files that belong together"
            )
    if missing := [name for name in form.columns if name not in names]:
        raise DataError(
            f"{files[0]} has no column {', '.join(missing)}, which its format asks for; "
            f"found {', '.join(names)}; choose another format"
        )
    with reading(str(files[0]) if len(files) == 1 else f"{files[0]} or another of its files"):
        if isinstance(form.scan, Text):
            wanted: dict[str, Role] = {name: roles.get(name, "value") for name in used}
            return form.scan.rows(files, wanted, constants), names
        ids = [name for name, role in roles.items() if role in ("id", "text id")]
        frames = [
            form.scan(file).with_columns(_constants(more, constants))
            for file, more in zip(files, constants, strict=True)
        ]
        rows = pl.concat(one_type_each(frames, files, used, ids))
        if rows.select(pl.len()).collect(engine="streaming").item() == 0:
            raise DataError(f"{files[0]} has no rows; give a log with at least one")
        return rows, names


def place_in_files(row: int, files: Sequence[Path], form: Format) -> tuple[Path, int]:
    """Return the file that contains a row of `read_files`, and its row number there, from 0.

    The rows of all preceding files are counted again, so use this for messages only.
    """
    for file in files[:-1]:
        with reading(str(file)):
            rows = form.open(file).select(pl.len())
            n_rows = int(rows.collect(engine="streaming").item())
        if row < n_rows:
            return file, row
        row -= n_rows
    return files[-1], row


def _constants(values: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> list[pl.Expr]:
    """Return the columns of a file's path: integers if all files have integers, else text."""
    columns: list[pl.Expr] = []
    for name, value in values.items():
        found = {other.get(name, "") for other in others} - {NO_VALUE}
        whole = all(re.fullmatch(r"-?[1-9][0-9]{0,17}|0", one) for one in found)
        column = constant(name, value)
        columns.append(column.cast(pl.Int64) if whole else column)
    return columns


def _names(file: Path, form: Format) -> list[str]:
    with reading(str(file)):
        if file.stat().st_size == 0:
            raise DataError(f"{file} is empty; write it again or leave it out")
        names = form.names(file)
        if len(names) > MAX_COLUMNS:
            raise DataError(
                f"{file} has {len(names):,} columns, and {MAX_COLUMNS:,} are read at most; keep "
                "those that matter, or name the format that it is of"
            )
        return names


def _scan_matrix(file: Path) -> pl.LazyFrame:
    """Read a dense users x items rating matrix, 0 = missing; the file's stem is the split."""
    try:
        ratings = np.loadtxt(file, dtype=np.int64, ndmin=2)
    except ValueError as error:
        raise DataError(f"{file} is no matrix of integers ({error}); unpack it again") from error
    users, items = np.nonzero(ratings)
    columns = {"user": users, "item": items, "rating": ratings[users, items]}
    return pl.DataFrame(columns).lazy().with_columns(pl.lit(file.stem).alias("split"))


FORMATS: dict[str, Format] = {
    "parquet": Format(("*.parquet", "*.pq"), partial(pl.scan_parquet, glob=False)),
    "csv": Format(("*.csv", "*.csv.gz"), Text()),
    "tsv": Format(("*.tsv", "*.tsv.gz"), Text("\t")),
    "inter": Format(("*.inter",), Text("\t", quoted=False, declared=True)),
    # fields are separated by `::`, read as single colons with an empty field in between
    "ml-1m": Format(
        ("*.dat",),
        Text(":", ("user", "", "item", "", "rating", "", "timestamp"), quoted=False),
        main="ratings.dat",
    ),
    "ml-100k": Format(
        ("*.data",), Text("\t", ("user", "item", "rating", "timestamp"), quoted=False)
    ),
    "coat": Format(("train.ascii", "test.ascii"), _scan_matrix),
    "kuairec": Format(("big_matrix.csv",), Text(), _KUAIREC),
    "kuairand": Format(("log_*.csv",), Text(), _KUAIRAND),
}
"""All formats by name; the file suffix identifies all but the last two, which are plain CSV."""
