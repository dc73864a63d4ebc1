"""Polars engine with tables on disk, for logs larger than memory."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import narwhals.stable.v2 as nw

from invlearn.data.engines.engine import IN_MEMORY, Engine, Frame, OnFiles, Rows, opened
from invlearn.data.engines.parquet import sink_parquet


class Spilling(OnFiles):
    """Polars engine; each materialized table is written to a file, batch by batch."""

    name = "polars"
    in_pieces = True

    def scan(self, path: Path) -> Rows:
        """Open a Parquet file."""
        return opened(path)

    def sink(self, rows: Rows, path: Path) -> None:
        """Write a Parquet file."""
        sink_parquet(nw.to_native(rows), path)

    def collect(self, rows: Rows) -> Frame:
        """Collect the table directly, without a file."""
        return IN_MEMORY.collect(rows)

    def from_polars(self, frame: Frame) -> Rows:
        """Return the table unchanged, as a lazy table."""
        return frame.lazy()

    def to_polars(self, rows: Rows) -> Rows:
        """Return the table unchanged; it is already materialized."""
        return rows


@contextmanager
def spilling(folder: Path) -> Generator[Engine, None, None]:
    """Yield a Polars engine with its tables on disk.

    Args:
        folder: Parent folder of the table files, which are deleted on exit.

    Raises:
        InvlearnError: The disk is full or not writable.
    """
    with TemporaryDirectory(dir=folder, prefix="tables-") as place:
        yield Spilling(Path(place))
