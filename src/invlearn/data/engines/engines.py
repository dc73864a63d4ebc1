"""Choice and start of the engine that runs a preparation.

* `polars` (the default) processes one chunk of rows at a time.
* `duckdb` processes whole tables, and spills to disk above its memory limit.
* `spark` does the same on this machine, or on the cluster behind a Spark Connect address.

With every engine, Polars reads the log and writes the dataset in this process.
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

from invlearn.data.engines.engine import Engine, Polars
from invlearn.runtime import atomic
from invlearn.runtime.environment import require_extra
from invlearn.runtime.errors import ConfigError, InvlearnWarning, unknown
from invlearn.runtime.memory import bytes_of

EngineName = Literal["polars", "duckdb", "spark"]

LEAST_MIB = 256


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Engine, memory and folders of a preparation; they do not affect the dataset."""

    name: str = "polars"
    memory: str | None = None
    """Memory limit of DuckDB or of local Spark, for example `4GiB`."""
    spark: str | None = None
    """Address of a Spark Connect server; by default, Spark runs on this machine."""
    scratch: str | Path | None = None
    """Folder for intermediate tables (default: next to the dataset) and for the spill files of
    local Spark (default: the system's temporary folder)."""

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
        """The memory limit in MiB (2^20 bytes).

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
def starting(settings: EngineSettings, default: Path) -> Generator[Engine, None, None]:
    """Yield a running engine; stop it and delete its tables on exit.

    Args:
        settings: Engine settings.
        default: Folder for its tables, if the settings name none.

    Raises:
        ConfigError: A package the engine needs is not installed, or it does not start.
        InvlearnError: The folder for its tables is not writable.
    """
    folder = Path(settings.scratch) if settings.scratch else default
    place = folder / f"tables-{secrets.token_hex(8)}"
    try:
        # Tables are private to this user, except with a cluster, which runs as another user: then
        # permissions follow from the folder, its group and the umask.
        place.mkdir(0o777 if settings.spark else 0o700)
    except OSError as error:
        raise atomic.cannot_write(folder, error) from error
    try:
        with _engine(settings, place) as engine:
            yield engine
    finally:
        try:
            shutil.rmtree(place)
        except OSError as error:  # only a warning, since the dataset itself is complete
            shutil.rmtree(place, ignore_errors=True)
            message = f"cannot remove all tables in {place}: {error.strerror}"
            warnings.warn(f"{message}; remove them yourself", InvlearnWarning, stacklevel=1)


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
            yield Polars(place)
