"""DuckDB engine: tables larger than memory on one machine."""

from collections.abc import Generator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

import duckdb
import narwhals.stable.v2 as nw

from invlearn.data.engines.engine import Engine, Rows, first_line
from invlearn.runtime import atomic
from invlearn.runtime.errors import InvlearnError

MOST_MIB = 1 << 40
"""Largest memory limit that DuckDB accepts, in MiB."""


class DuckDB(Engine):
    """DuckDB engine; each materialized table is written to a file."""

    name = "duckdb"

    def __init__(self, place: Path, connection: duckdb.DuckDBPyConnection) -> None:
        """Store tables in the folder `place`, and run queries on `connection`."""
        super().__init__(place)
        self._connection = connection

    def scan(self, path: Path) -> Rows:
        """Open a file; wildcard characters in its name are escaped."""
        return nw.from_native(self._connection.read_parquet(escape(str(path))))

    def sink(self, rows: Rows, path: Path) -> None:
        """Write a Parquet file."""
        try:
            nw.to_native(rows).write_parquet(str(path), compression="lz4")
        except duckdb.OutOfMemoryException as error:
            raise InvlearnError(
                f"DuckDB needs more memory ({first_line(error)}); raise --memory, or give "
                "--scratch a folder with more space"
            ) from error
        except duckdb.IOException as error:
            raise atomic.cannot_write(path, OSError(first_line(error))) from error


@contextmanager
def connected(place: Path, memory_mib: int | None) -> Generator[DuckDB, None, None]:
    """Yield a DuckDB engine with its own in-memory database.

    Args:
        place: Folder for its tables and for data that does not fit into memory.
        memory_mib: Memory limit in MiB; by default 80 % of the machine's memory.
    """
    with duckdb.connect() as connection:
        connection.execute("SET temp_directory = ?", [str(place / "spilled")])
        connection.execute("SET preserve_insertion_order = false")
        if memory_mib is not None:
            connection.execute("SET memory_limit = ?", [f"{min(memory_mib, MOST_MIB)}MiB"])
        yield DuckDB(place, connection)
