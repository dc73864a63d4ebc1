"""Parquet files, written so that a full disk is an ordinary error."""

from pathlib import Path

import polars as pl

from invlearn import atomic


def write_parquet(frame: pl.DataFrame, file: Path) -> None:
    """Write a table, into a file or folder under its temporary name.

    Raises:
        InvlearnError: The disk is full or cannot be written.
    """
    try:
        frame.write_parquet(file)
    except (OSError, pl.exceptions.ComputeError) as error:  # Polars wraps what the system says
        reason = str(error).rpartition("IO error: ")[2]
        raise atomic.cannot_write(file, OSError(reason)) from error
