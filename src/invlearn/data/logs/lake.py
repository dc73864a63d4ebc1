"""Tables that are more than a folder of files: Delta, Iceberg, and object stores."""

import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from polars import exceptions

from invlearn.data.engines.engine import first_line
from invlearn.runtime.environment import require_extra
from invlearn.runtime.errors import DataError

_SCHEMES = (
    *("s3://", "s3a://", "gs://", "gcs://", "az://", "azure://", "abfs://", "abfss://"),
    *("adl://", "hf://", "http://", "https://"),
)


def is_remote(source: str) -> bool:
    """Return whether a source is an address in an object store or on the web."""
    return source.startswith(_SCHEMES)


def remote_table(source: str, format: str) -> pl.LazyFrame:  # noqa: A002
    """Open an address of Parquet or CSV files in an object store.

    Credentials are those of the environment, as Polars finds them.

    Raises:
        DataError: The format cannot be read from there.
    """
    name = source.lower()
    if format == "csv" or (format == "auto" and name.endswith((".csv", ".csv.gz"))):
        raise DataError(
            f"{source} is CSV, and text is read from a disk only, since its lines are checked "
            "first; copy it to a folder here, or write it as Parquet"
        )
    if format not in ("auto", "parquet"):
        raise DataError(f"{source} cannot be read as {format}; copy it to a folder here")
    return pl.scan_parquet(source)


@contextmanager
def reading_remote(source: str) -> Generator[None, None, None]:
    """Convert errors about an address to a `DataError` of one sentence.

    Raises:
        DataError: Nothing can be read from there.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of Polars, about a region it looks for
            yield
    except (exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{source} cannot be read; check the address, the network, and the credentials in the "
            f"environment ({first_line(error)})"
        ) from error


def lake_table(path: Path) -> pl.LazyFrame | None:
    """Open a Delta or Iceberg table at its newest version; return None if a path is neither.

    Raises:
        ConfigError: The package that reads it is not installed.
    """
    if (path / "_delta_log").is_dir():
        require_extra("lake", ["deltalake"], "reading a Delta table")
        return pl.scan_delta(str(path))
    if versions := [*(path / "metadata").glob("*.metadata.json")]:
        require_extra("lake", ["pyiceberg"], "reading an Iceberg table")
        os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")  # or Polars warns of its own
        newest = max(versions, key=lambda file: (file.stat().st_mtime_ns, file.name))
        return pl.scan_iceberg(str(newest))
    return None
