"""Log formats: file name patterns, and how the files are read as one table."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from narwhals.exceptions import NarwhalsError
from polars import exceptions

from invlearn.data.engines.engine import first_line
from invlearn.data.logs.text import Text
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
    scan: Callable[[Path], pl.LazyFrame]
    """Opens one file lazily."""
    columns: tuple[str, ...] = ()
    """Required columns of the format."""


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


def read_files(files: Sequence[Path], form: Format) -> pl.LazyFrame:
    """Return the concatenated rows of some files, with column types that fit all of them.

    Text files are read once here, to infer types and find errors; Parquet only up to its footer.

    Raises:
        DataError: A file is empty or damaged, has other columns than the first or lacks a
            required column of its format; or there are no rows at all.
    """
    frames = [_open_file(file, form) for file in files]
    names = frames[0].collect_schema().names()
    for file, frame in zip(files, frames, strict=True):
        found = frame.collect_schema().names()
        wrong = {"lacks": set(names) - set(found), "has": set(found) - set(names)}
        if why := [f"{verb} {', '.join(sorted(some))}" for verb, some in wrong.items() if some]:
            raise DataError(
                f"{file.name} {' and '.join(why)}, unlike {files[0].name} of the same log; "
                "name only the files that belong together"
            )
    if missing := [name for name in form.columns if name not in names]:
        raise DataError(
            f"{files[0]} has no column {', '.join(missing)}, which its format asks for; "
            f"found {', '.join(names)}; choose another format"
        )
    rows = pl.concat([frame.select(names) for frame in frames], how="vertical_relaxed")
    with reading(files[0].name if len(files) == 1 else f"{files[0].name} or another of its files"):
        if isinstance(form.scan, Text):
            return form.scan.typed(rows, files)
        if rows.select(pl.len()).collect(engine="streaming").item() == 0:
            raise DataError(f"{files[0].name} has no rows; give a log with at least one")
        return rows


def place_in_files(row: int, files: Sequence[Path], form: Format) -> tuple[Path, int]:
    """Return the file that contains a row of `read_files`, and its row number there, from 0.

    The rows of all preceding files are counted again, so use this for messages only.
    """
    for file in files[:-1]:
        with reading(str(file)):
            n_rows = int(_open_file(file, form).select(pl.len()).collect(engine="streaming").item())
        if row < n_rows:
            return file, row
        row -= n_rows
    return files[-1], row


def _open_file(file: Path, form: Format) -> pl.LazyFrame:
    with reading(str(file)):
        if file.stat().st_size == 0:
            raise DataError(f"{file} is empty; write it again or leave it out")
        frame = form.scan(file)
        n_columns = len(frame.collect_schema())
        if n_columns > MAX_COLUMNS:
            raise DataError(
                f"{file} has {n_columns:,} columns, and {MAX_COLUMNS:,} are read at most; keep "
                "those that matter, or name the format that it is of"
            )
        return frame


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
        ("*.dat",), Text(":", ("user", "", "item", "", "rating", "", "timestamp"), quoted=False)
    ),
    "ml-100k": Format(
        ("*.data",), Text("\t", ("user", "item", "rating", "timestamp"), quoted=False)
    ),
    "coat": Format(("train.ascii", "test.ascii"), _scan_matrix),
    "kuairec": Format(("big_matrix.csv",), Text(), _KUAIREC),
    "kuairand": Format(("log_*.csv",), Text(), _KUAIRAND),
}
"""All formats by name; the file suffix identifies all but the last two, which are plain CSV."""
