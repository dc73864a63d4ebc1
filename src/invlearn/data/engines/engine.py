"""What preparation asks of a table engine, and the engine that keeps everything in memory.

Preparation is written once, as Narwhals expressions on lazy tables. An engine carries them out: it
says where a table goes that is computed once and read again, and how Polars, which reads the log
and writes the dataset, hands tables over and gets them back.
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
"""A table of Polars in memory."""


class Engine(ABC):
    """Carries out what was planned for tables."""

    name: ClassVar[str]
    in_pieces: ClassVar[bool]
    """Whether memory is bounded by working on a piece of the rows at a time; other engines see to
    that by themselves."""

    @abstractmethod
    def materialize(self, rows: Rows) -> Rows:
        """Carry out all that was planned for a table, once; what follows starts from the result."""

    @abstractmethod
    def collect(self, rows: Rows) -> Frame:
        """Bring a table that fits into memory to Polars."""

    @abstractmethod
    def from_polars(self, frame: Frame) -> Rows:
        """Make a table of Polars that is in memory one of this engine's."""

    @abstractmethod
    def import_lazy(self, rows: Rows) -> Rows:
        """Make a lazy table of Polars one of this engine's, settled, a batch of it at a time."""

    @abstractmethod
    def to_polars(self, rows: Rows) -> Rows:
        """Make a table of this engine a settled lazy one of Polars."""


class InMemory(Engine):
    """Polars, with all tables in memory: for logs that are small or were made small."""

    name = "polars"
    in_pieces = True

    def materialize(self, rows: Rows) -> Rows:
        """Keep the table in memory."""
        return self.collect(rows).lazy()

    def collect(self, rows: Rows) -> Frame:
        """Work batch by batch."""
        return rows.collect(engine="streaming")

    def from_polars(self, frame: Frame) -> Rows:
        """Change nothing."""
        return frame.lazy()

    def import_lazy(self, rows: Rows) -> Rows:
        """Settle it."""
        return self.materialize(rows)

    def to_polars(self, rows: Rows) -> Rows:
        """Settle it."""
        return self.materialize(rows)


IN_MEMORY = InMemory()
"""Where nothing else is asked for."""


class OnFiles(Engine):
    """An engine whose settled tables are Parquet files, which Polars can read and write, too."""

    in_pieces = False

    def __init__(self, place: Path) -> None:
        """Keep tables in the folder `place`, which is there and empty."""
        self._place = place
        self._numbers = count()

    @abstractmethod
    def scan(self, path: Path) -> Rows:
        """Open what `sink` or Polars wrote."""

    @abstractmethod
    def sink(self, rows: Rows, path: Path) -> None:
        """Carry out what was planned for a table, into a file or a folder of files.

        Raises:
            InvlearnError: There is not enough memory or disk.
        """

    def materialize(self, rows: Rows) -> Rows:
        """Write the table and open it again."""
        path = self._new_path()
        self.sink(rows, path)
        return self.scan(path)

    def collect(self, rows: Rows) -> Frame:
        """Write the table, and read it with Polars."""
        return IN_MEMORY.collect(self.to_polars(rows))

    def from_polars(self, frame: Frame) -> Rows:
        """Write the table with Polars, and open it."""
        return self.import_lazy(frame.lazy())

    def import_lazy(self, rows: Rows) -> Rows:
        """Write the table with Polars, and open it."""
        path = self._new_path()
        sink_parquet(nw.to_native(rows), path)
        return self.scan(path)

    def to_polars(self, rows: Rows) -> Rows:
        """Write the table, and open it with Polars."""
        path = self._new_path()
        self.sink(rows, path)
        return opened(path)

    def _new_path(self) -> Path:
        return self._place / f"{next(self._numbers)}.parquet"


def opened(path: Path) -> Rows:
    """Open a Parquet file, or all those of a folder, with Polars; names are taken as they are."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else path
    return nw.from_native(pl.scan_parquet(files, glob=False))
