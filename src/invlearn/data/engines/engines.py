"""Which engine carries out a preparation, with how much memory, and where its tables are.

* `polars` (the default) reads, counts and compares a piece of the rows at a time.
* `duckdb` works on whole tables, and moves to disk what its memory limit does not hold.
* `spark` does so on this machine, or on the cluster behind a Spark Connect address.

On all of them Polars reads the log and writes the dataset, in this process.
"""

import secrets
import shutil
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Literal, get_args

from invlearn.data.engines.engine import Engine
from invlearn.data.engines.spill import Spilling
from invlearn.runtime import atomic
from invlearn.runtime.environment import require_extra
from invlearn.runtime.errors import ConfigError, InvlearnWarning, unknown
from invlearn.runtime.memory import bytes_of

EngineName = Literal["polars", "duckdb", "spark"]

LEAST_MIB = 256


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Where a preparation runs; no part of what comes out."""

    name: str = "polars"
    memory: str | None = None
    """Such as `4GiB`: of DuckDB, or of Spark on this machine."""
    spark: str | None = None
    """Address of a Spark Connect server; else Spark runs on this machine."""
    scratch: str | Path | None = None
    """Folder for the tables between the steps, else they are beside the dataset; and for what Spark
    on this machine puts aside, else that is in the system's temporary folder."""

    def __post_init__(self) -> None:
        if self.name not in get_args(EngineName):
            raise unknown("engine", self.name, get_args(EngineName))
        if self.spark is not None and self.name != "spark":
            raise ConfigError(f"a Spark address goes with --engine spark; found {self.name}")
        if self.spark is not None and not self.spark.startswith("sc://"):
            raise ConfigError(
                f"'{self.spark}' is no Spark Connect address; write one such as sc://host:15002"
            )
        if self.memory is not None and self.name == "polars":
            raise ConfigError(
                "polars takes no memory limit, since it works a piece at a time; use "
                "--engine duckdb with --memory"
            )
        if self.memory is not None and self.spark is not None:
            raise ConfigError("a Spark server has its own memory limit; leave out --memory")
        _ = self.memory_mib

    @property
    def memory_mib(self) -> int | None:
        """The memory limit in units of 2^20 bytes.

        Example:
            >>> EngineSettings("duckdb", "4GiB").memory_mib
            4096
        """
        if self.memory is None:
            return None
        mib = int(bytes_of(self.memory) / 2**20)
        if mib < LEAST_MIB:
            raise ConfigError(f"a memory limit of {self.memory} is below {LEAST_MIB} MiB; raise it")
        return mib


@contextmanager
def starting(settings: EngineSettings, beside: Path) -> Generator[Engine, None, None]:
    """Yield a running engine; it and its tables are gone when the block ends.

    Args:
        settings: Which engine.
        beside: Folder for its tables, where the settings name none.

    Raises:
        ConfigError: What the engine needs is not installed, or it does not start.
        InvlearnError: The place for its tables cannot be written.
    """
    folder = Path(settings.scratch) if settings.scratch else beside
    place = folder / f"tables-{secrets.token_hex(8)}"
    try:
        # The tables are nobody else's business, but a cluster works under a user of its own: there
        # the rights are those that the folder, its group and the umask give.
        place.mkdir(0o777 if settings.spark else 0o700)
    except OSError as error:
        raise atomic.cannot_write(folder, error) from error
    try:
        with _engine(settings, place) as engine:
            yield engine
    finally:
        _clear(place)


def _clear(place: Path) -> None:
    """Remove the tables; if some cannot be, say so, since the dataset is none the worse for it."""
    try:
        shutil.rmtree(place)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        warnings.warn(
            f"cannot remove all tables between the steps, in {place}: {error.strerror}; remove "
            "them yourself",
            InvlearnWarning,
            stacklevel=1,
        )


@contextmanager
def _engine(settings: EngineSettings, place: Path) -> Generator[Engine, None, None]:
    match settings.name:
        case "duckdb":
            require_extra("duckdb", ["duckdb"], "preparing with DuckDB")
            from invlearn.data.engines.duckdb_engine import connected

            with connected(place.resolve(), settings.memory_mib) as engine:
                yield engine
        case "spark":
            require_extra("spark", ["pyspark"], "preparing with Spark")
            from invlearn.data.engines.spark_engine import session

            local = Path(settings.scratch or gettempdir()).resolve()
            with session(place.resolve(), local, settings.memory_mib, settings.spark) as engine:
                yield engine
        case _:
            yield Spilling(place)
