"""Spark engine: on this machine, or on the cluster behind a Spark Connect address."""

# Spark is an optional extra and may be missing where types are checked.
# pyright: reportMissingImports=false

import os
import socket
import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import which
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import urlsplit

import narwhals.stable.v2 as nw

from invlearn.data.engines.engine import Engine, Rows, first_line, n_rows_in
from invlearn.data.engines.parquet import sink_parquet
from invlearn.runtime.errors import ConfigError, InvlearnError
from invlearn.runtime.text import counted

MEMORY_MIB = 4096
"""Default memory of local Spark, in MiB."""

PORT = 15002
"""Default port of a Spark Connect server."""

_MODE = "SPARK_CONNECT_MODE_ENABLED"
"""Environment variable that pyspark sets after connecting to a server."""

_SETTINGS = {
    "spark.sql.caseSensitive": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.compression.codec": "snappy",
}
_QUIET = """rootLogger.level = error
rootLogger.appenderRef.stderr.ref = console
logger.gateway.name = org.apache.spark.api.python.PythonGatewayServer
logger.gateway.level = error
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %m%n
"""
"""Log configuration of Spark: errors only, on stderr."""


class Spark(Engine):
    """Spark engine; each materialized table is written to a folder of files."""

    name = "spark"

    def __init__(self, place: Path, spark: Any) -> None:
        """Store tables in the folder `place`, which all of Spark's machines must see."""
        super().__init__(place)
        self._spark = spark

    def scan(self, path: Path) -> Rows:
        """Open a file or a folder; wildcard characters in its name are escaped."""
        with _in_words():
            return nw.from_native(self._spark.read.parquet(_escaped(path)))

    def materialize(self, rows: Rows) -> Rows:
        """Write a folder of files and open it with the known schema."""
        path = self._written(rows)
        with _in_words():
            known = self._spark.read.schema(nw.to_native(rows).schema)
            return nw.from_native(known.parquet(_escaped(path)))

    def sink(self, rows: Rows, path: Path) -> None:
        """Write a folder of files, and check that this process and Spark see all of its rows."""
        from pyspark.sql import Observation
        from pyspark.sql.functions import count, lit

        written = Observation()
        with _in_words():
            table = nw.to_native(rows).observe(written, count(lit(1)).alias("rows"))
            table.write.parquet(f"file://{path}")
            self._check_rows(path, int(written.get["rows"]))

    def import_lazy(self, rows: Rows) -> Rows:
        """Convert a lazy Polars table, and check that Spark sees all of its rows."""
        path = self._new_path()
        sink_parquet(nw.to_native(rows), path)
        with _in_words():
            self._check_rows(path, n_rows_in(path))
        return self.scan(path)

    def _check_rows(self, path: Path, n_rows: int) -> None:
        """Raise if Spark or this process sees another number of rows than were written.

        On a disk that not all machines share, each would see the files of its own.
        """

        def rows_for_spark(path: Path) -> int:
            return int(self._spark.read.parquet(_escaped(path)).count())

        for who, seen in (("this machine", n_rows_in), ("Spark", rows_for_spark)):
            if (n_seen := seen(path)) != n_rows:
                raise InvlearnError(
                    f"{counted(n_rows, 'row was', 'rows were')} written to {path.parent}, and "
                    f"{who} finds {n_seen:,} there; name a folder that all of Spark's machines and "
                    "this one share with --scratch"
                )


@contextmanager
def session(
    place: Path, local: Path, memory_mib: int | None = None, address: str | None = None
) -> Generator[Spark, None, None]:
    """Yield a Spark engine with its own session.

    Args:
        place: Folder for its tables; with a cluster, all its machines and this one must see it.
        local: Folder for spill files of local Spark. Only the first value in a process takes
            effect.
        memory_mib: Memory of local Spark in MiB; only the first value takes effect.
        address: Address of a Spark Connect server.

    Raises:
        ConfigError: Spark does not start, or no server answers at the address.
    """
    with warnings.catch_warnings(), ExitStack() as at_exit:
        if _MODE not in os.environ:  # otherwise local Spark could not start after a connection
            at_exit.callback(os.environ.pop, _MODE, None)
        warnings.simplefilter("ignore", FutureWarning)  # from pyspark, about newer packages
        try:
            spark, is_own = _connected(address) if address else _started(local, memory_mib)
            for name, value in _SETTINGS.items():
                spark.conf.set(name, value)
        except _errors() as error:
            raise ConfigError(f"Spark does not start: {first_line(error)}") from error
        if is_own:
            at_exit.callback(spark.stop)
        yield Spark(place, spark)


def _connected(address: str) -> tuple[Any, bool]:
    """Return a session of a Spark Connect server; probe the port first to fail fast."""
    from pyspark.sql import SparkSession

    try:
        place = urlsplit(address)
        socket.create_connection((place.hostname, place.port or PORT), timeout=10).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Spark Connect server answers at {address} ({error}); start one, or fix --spark"
        ) from error
    return SparkSession.builder.remote(address).create(), True


def _started(local: Path, memory_mib: int | None) -> tuple[Any, bool]:
    """Return a new local Spark session, and whether this engine must stop Spark."""
    from pyspark.sql import SparkSession

    if which("java") is None:
        raise ConfigError(
            "Spark needs Java 17 or later, and there is no `java` here; install it, such as by "
            "`apt-get install default-jre-headless`"
        )
    running = SparkSession.getActiveSession()
    if running is not None:
        return running.newSession(), False
    with NamedTemporaryFile("w", suffix=".properties") as quiet:
        quiet.write(_QUIET)
        quiet.flush()
        settings: dict[str, Any] = {
            "spark.driver.memory": f"{memory_mib or MEMORY_MIB}m",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile=file:{quiet.name}",
            "spark.local.dir": str(local),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
        }
        builder = SparkSession.builder.master("local[*]").appName("invlearn")
        return builder.config(map=settings).getOrCreate(), True


@contextmanager
def _in_words() -> Generator[None, None, None]:
    """Convert Spark errors to an `InvlearnError` of one sentence."""
    try:
        yield
    except _errors() as error:
        raise InvlearnError(
            f"Spark failed: {first_line(error)}; look whether its memory and the space for its "
            "tables suffice (--memory, --scratch)"
        ) from error


def _errors() -> tuple[type[Exception], ...]:
    """Return the exception types that local and remote Spark raise."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return PySparkException, Py4JError


def _escaped(path: Path) -> str:
    """Return the URL of a local path, with Spark's wildcard characters escaped."""
    return "file://" + "".join(f"\\{sign}" if sign in "*?[]{}\\" else sign for sign in str(path))
