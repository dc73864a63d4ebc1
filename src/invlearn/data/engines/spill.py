"""Polars with its tables on disk, so that a log need not fit into memory."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import narwhals.stable.v2 as nw

from invlearn.data.engines.engine import IN_MEMORY, Engine, Frame, OnFiles, Rows, opened
from invlearn.data.engines.parquet import sink_parquet


class Spilling(OnFiles):
    """Polars; each table that is settled is written to a file, batch by batch."""

    name = "polars"
    in_pieces = True

    def scan(self, path: Path) -> Rows:
        """Open a file."""
        return opened(path)

    def sink(self, rows: Rows, path: Path) -> None:
        """Write a file."""
        sink_parquet(nw.to_native(rows), path)

    def collect(self, rows: Rows) -> Frame:
        """Go round the disk."""
        return IN_MEMORY.collect(rows)

    def from_polars(self, frame: Frame) -> Rows:
        """Change nothing."""
        return frame.lazy()

    def to_polars(self, rows: Rows) -> Rows:
        """Change nothing: what is to be given is settled already."""
        return rows


@contextmanager
def spilling(folder: Path) -> Generator[Engine, None, None]:
    """Yield Polars with its tables on disk.

    Args:
        folder: Where the files are put; they, and the tables, are gone when the block ends.

    Raises:
        InvlearnError: The disk is full or cannot be written.
    """
    with TemporaryDirectory(dir=folder, prefix="tables-") as place:
        yield Spilling(Path(place))
