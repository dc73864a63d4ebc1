"""Interface of a table engine, and the Polars engine.

Preparation is written once, as Narwhals expressions on lazy tables. An engine executes them: it
decides where intermediate tables are stored, and how tables are exchanged with Polars, which reads
the log and writes the dataset.
"""

from abc import ABC, abstractmethod
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import narwhals.stable.v2 as nw
import polars as pl

from invlearn.data.engines.parquet import sink_parquet

Rows = nw.LazyFrame[Any]
"""A lazy table of any engine."""

Frame = nw.DataFrame[Any]
"""A Polars table in memory."""


class Engine(ABC):
    """Executes lazy table expressions; materialized tables are Parquet files."""

    name: ClassVar[str]
    in_pieces: ClassVar[bool] = False
    """Whether the caller must process the rows in chunks to bound memory; other engines bound
    memory by themselves."""

    def __init__(self, place: Path | None) -> None:
        """Store tables in the folder `place`, which must exist and be empty."""
        self._place = place
        self._numbers = count()

    @abstractmethod
    def scan(self, path: Path) -> Rows:
        """Open a table written by `sink` or by Polars."""

    @abstractmethod
    def sink(self, rows: Rows, path: Path) -> None:
        """Compute a lazy table into a file or a folder of files.

        Raises:
            InvlearnError: There is not enough memory or disk space.
        """

    def materialize(self, rows: Rows) -> Rows:
        """Compute a lazy table once, and return a lazy table that reads the result."""
        return self.scan(self._written(rows))

    def collect(self, rows: Rows) -> Frame:
        """Return a table that fits into memory as a Polars table."""
        return IN_MEMORY.collect(self.to_polars(rows))

    def from_polars(self, frame: Frame) -> Rows:
        """Convert an in-memory Polars table to a table of this engine."""
        return self.import_lazy(frame.lazy())

    def import_lazy(self, rows: Rows) -> Rows:
        """Convert a lazy Polars table to a materialized table of this engine, batch by batch."""
        path = self._new_path()
        sink_parquet(nw.to_native(rows), path)
        return self.scan(path)

    def to_polars(self, rows: Rows) -> Rows:
        """Convert a table of this engine to a materialized lazy Polars table."""
        return opened(self._written(rows))

    def _written(self, rows: Rows) -> Path:
        path = self._new_path()
        self.sink(rows, path)
        return path

    def _new_path(self) -> Path:
        return Path(self._place or "", f"{next(self._numbers)}.parquet")


class Polars(Engine):
    """Polars engine; its tables are files, written batch by batch, or in memory without a place."""

    name = "polars"
    in_pieces = True

    def scan(self, path: Path) -> Rows:
        """Open a Parquet file."""
        return opened(path)

    def sink(self, rows: Rows, path: Path) -> None:
        """Write a Parquet file."""
        sink_parquet(nw.to_native(rows), path)

    def materialize(self, rows: Rows) -> Rows:
        """Write the table and open it, or keep it in memory."""
        return super().materialize(rows) if self._place else self.collect(rows).lazy()

    def collect(self, rows: Rows) -> Frame:
        """Collect the table with the streaming engine, without a file."""
        return rows.collect(engine="streaming")

    def from_polars(self, frame: Frame) -> Rows:
        """Return the table unchanged, as a lazy table."""
        return frame.lazy()

    def import_lazy(self, rows: Rows) -> Rows:
        """Materialize the table."""
        return self.materialize(rows)

    def to_polars(self, rows: Rows) -> Rows:
        """Return the table unchanged; it is already materialized."""
        return rows


IN_MEMORY = Polars(None)
"""The default engine, for small logs."""


def opened(path: Path) -> Rows:
    """Open a Parquet file, or all those of a folder, with Polars; names are not glob patterns."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else path
    return nw.from_native(pl.scan_parquet(files, glob=False))


def n_rows_in(path: Path) -> int:
    """Return the number of rows in a Parquet file, or in all those of a folder."""
    if path.is_dir() and not any(path.glob("*.parquet")):
        return 0
    return int(nw.to_native(opened(path)).select(pl.len()).collect().item())


def first_line(error: Exception) -> str:
    """Return the first line of an error message."""
    return str(error).strip().partition("\n")[0]
