"""Tables that are settled on disk, so that a log need not fit into memory."""

from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import narwhals.stable.v2 as nw
import polars as pl

from invlearn.data.parquet import sink_parquet
from invlearn.data.table import Rows, Settle


@contextmanager
def spilling(folder: Path) -> Generator[Settle, None, None]:
    """Yield a way to settle Polars tables: each is written to a file, batch by batch.

    Args:
        folder: Where the files are put; they, and the tables, are gone when the block ends.

    Raises:
        InvlearnError: The disk is full or cannot be written.
    """
    numbers = count()
    with TemporaryDirectory(dir=folder, prefix="tables-") as place:

        def settle(rows: Rows) -> Rows:
            file = Path(place, f"{next(numbers)}.parquet")
            sink_parquet(nw.to_native(rows), file)
            return nw.from_native(pl.scan_parquet(file, glob=False))

        yield settle
