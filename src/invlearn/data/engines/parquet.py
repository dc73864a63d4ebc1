"""Write Parquet files, and report a full disk as an `InvlearnError`."""

from pathlib import Path
from typing import Literal

import polars as pl

from invlearn.runtime import atomic
from invlearn.runtime.errors import InvlearnError


def write_parquet(frame: pl.DataFrame, file: Path) -> None:
    """Write a table to a file or folder under its temporary name.

    Raises:
        InvlearnError: The disk is full or not writable.
    """
    try:
        frame.write_parquet(file)
    except (OSError, pl.exceptions.ComputeError) as error:
        raise _cannot_write(file, error) from error


def sink_parquet(
    rows: pl.LazyFrame, file: Path, *, compression: Literal["lz4", "zstd"] = "lz4"
) -> None:
    """Compute a lazy table batch by batch into a file.

    Args:
        rows: The table.
        file: A file under its temporary name.
        compression: `lz4` is fast, for a file that is read again soon; `zstd` is small.

    Raises:
        InvlearnError: The disk is full or not writable.
        OSError: The rows cannot be read; or a `polars.exceptions.ComputeError`.
    """
    try:
        rows.sink_parquet(file, compression=compression)
    except pl.exceptions.ComputeError as error:
        if "(os error " in str(error):
            raise _cannot_write(file, error) from error
        raise


def _cannot_write(file: Path, error: Exception) -> InvlearnError:
    """Return the error for a failed write; Polars wraps the system's error message."""
    return atomic.cannot_write(file, OSError(str(error).rpartition("IO error: ")[2]))
