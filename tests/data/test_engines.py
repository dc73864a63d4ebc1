"""The same log gives the same bytes whichever engine prepares it."""

import errno
import os
import re
import resource
import shutil
import socket
import stat
import tempfile
from contextlib import contextmanager, nullcontext
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from console import IDS, RULE, call, done
from invlearn.data.engines import duckdb_engine, engines, spark_engine
from invlearn.data.engines.engines import EngineSettings, starting
from invlearn.data.logs.logs import ROW, Log
from invlearn.data.prepare import quantile
from invlearn.data.prepare.grammar import parse_rules
from invlearn.data.prepare.prepare import prepare, prepared
from invlearn.data.prepare.quantile import value_at
from invlearn.data.prepare.settings import PrepareSettings
from invlearn.data.prepare.splits import Split
from invlearn.data.prepare.table import ITEM, LABEL, PART, TIME, USER, working
from invlearn.runtime import environment
from invlearn.runtime.errors import ConfigError, DataError, InvlearnError, InvlearnWarning

SPLITS = ("random", "per-user", "temporal", "column")
POLICIES = ("last", "first", "any-positive", "majority")
N_ROWS = 1200

need_spark = pytest.mark.skipif(
    not (find_spec("pyspark") and shutil.which("java")), reason="pyspark or java is not installed"
)


TIMES = [
    *("2024-03-01T00:00Z", "2024-03-01 23:59:00.5+09:00", "2024-03-01 05:00:00-0330"),
    *("2024-13-01 00:00Z", "\u0662\u0660\u0662\u0664-03-01"),
]
"""As text; the last two are none, but look like some."""


def drawn(seed=0):
    """Columns with every difficulty of a log; each column of its own randomness."""
    draw = np.random.default_rng(seed)

    def some(values):
        return [values[place] for place in draw.integers(0, len(values), N_ROWS)]

    return draw, some


def log_of_text():
    """Names of users and columns that engines confuse; values that few think of."""
    _, some = drawn()
    return pl.DataFrame(
        {
            "User": some(["a", "A", "b", "é", "e\u0301", "ä", "Z", "名前", "🎬", "∅", " a", "a\0"]),
            "user": some([0.0, -0.0, 0.1, 0.3, 1.0, 1.5, 2.0]),
            "Dur ms": some([1, 2, 5]),
            "item": some(list(range(-20, 20))),
            "is.hate": some([None, None, False, True]),
            "like`": some([None, None, None, 0, 2]),
            "given": some([None, None, None, 0, 1]),
            "score": some([-1.5, -0.5, 0.5, 1.5, 2.5]),
            "when": some(list(range(9))),
            "part": some(["train", "Train", "TRAIN", "0", "valid", "test"]),
        }
    ).with_columns(pl.col("is.hate").cast(pl.Boolean), pl.col("user").cast(pl.Float32))


def log_of_types():
    """Types that some engine does not have, and rows that cannot be."""
    _, some = drawn(1)
    bad = [float("nan"), float("inf"), float("-inf"), -1.0, None]
    return pl.DataFrame(
        {
            "user": pl.Series(some([0, 7, 2**63 - 1, 2**63, 2**64 - 1]), dtype=pl.UInt64),
            "item": pl.Series(some([*map(str, range(60)), None])).cast(pl.Categorical),
            "watch": pl.Series(some([0.0, 1.0, 3.0] * 9 + bad)),
            "length": pl.Series(some([1, 2, 250] * 9 + [0, None]), dtype=pl.UInt8),
            "price": pl.Series(some(["0.10", "0.30", "12345678901234.55"])).cast(pl.Decimal(20, 2)),
            "zoned": pl.Series(some([datetime(2024, 3, day) for day in range(1, 9)]))
            .dt.cast_time_unit("ns")
            .dt.replace_time_zone("Asia/Tokyo"),
            "huge": pl.Series(some(list(range(2**64 - 9, 2**64))), dtype=pl.UInt64),
            "text": some([f"2024-03-0{day}T12:00:00Z" for day in range(1, 9)] + TIMES),
            "real": some([-1e300, 0.0, 1e-300, 2.5, float("nan")]),
            "part": pl.Series(some([0, 0, 0, 1, 2, 3]), dtype=pl.Int8),
        }
    )


TEXT = {
    "user": "User",
    "time": "when",
    "rule": [
        "events(`is.hate`=0, `like```=1)",
        "label(given)",
        "signed(score) >= 2, < -1",
        "percentile(user by `Dur ms`, bins=2) >= 0.8, < 0.3",
        "user / `Dur ms` > 0.3, <= 0.1",
    ],
}
TYPES = {"rule": "watch / length >= 0.5, < 0.01", "bad_rows": "drop"}
CORES = dict(zip(POLICIES, (0, 0, 0, 12), strict=True))
CASES = {
    f"{split}, {policy}": (
        log_of_text,
        TEXT | {"split": split, "repeats": policy, "core": CORES[policy]},
    )
    for split in SPLITS
    for policy in POLICIES
} | {
    "ids of 64 bits": (log_of_types, TYPES | {"split": "column"}),
    "times with a zone": (log_of_types, TYPES | {"time": "zoned", "split": "temporal"}),
    "exact prices": (
        log_of_types,
        TYPES | {"rule": "price > 0.1", "time": "price", "repeats": "first"},
    ),
    "prices as times": (log_of_types, TYPES | {"time": "price", "split": "temporal"}),
    "huge times": (log_of_types, TYPES | {"time": "huge", "split": "temporal"}),
    "times as text": (log_of_types, TYPES | {"time": "text", "split": "temporal"}),
    "real times": (log_of_types, TYPES | {"time": "real", "split": "temporal"}),
}
SPARK_CASES = ("random, majority", "column, any-positive", "prices as times")
CONNECT_CASE = "per-user, first"
"""With it every split and every policy, once: Spark is slow with little."""


def made(case, place, engine, **given):
    """Bytes of the folder that an engine makes of a log, by file."""
    log, options = CASES[case]
    by_column = {"split_column": "part"} if options.get("split") == "column" else {}
    prepare(log(), place / engine, engine=engine, **options, **by_column, **given)
    files = {file.name: file.read_bytes() for file in sorted((place / engine).iterdir())}
    shutil.rmtree(place / engine)
    return files


CROSSED = [
    f"{split}, {policy}"
    for split in SPLITS
    for policy in POLICIES
    if SPLITS.index(split) != POLICIES.index(policy)
]
"""Cases of a split and a policy that the other cases have as well, each with another."""


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.slow] if case in CROSSED else []) for case in CASES],
)
def test_duckdb_makes_the_bytes_of_polars(case, tmp_path, monkeypatch):
    monkeypatch.setattr(quantile, "ENOUGH_ROWS", 50)
    expected = made(case, tmp_path, "polars")
    assert made(case, tmp_path, "duckdb") == expected
    assert len(expected) == 14
    assert list(tmp_path.iterdir()) == []


def free_port():
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    """Spark, started once, with a Spark Connect server in it; yields the address of that.

    It is told as an administrator would that there is little to do: no time for compiling well what
    runs once, and no tables in 200 parts.
    """
    place, port = tmp_path_factory.mktemp("spark"), free_port()
    (place / "spark-defaults.conf").write_text(
        "spark.plugins org.apache.spark.sql.connect.SparkConnectPlugin\n"
        "spark.connect.grpc.binding.address 127.0.0.1\n"
        f"spark.connect.grpc.binding.port {port}\n"
        "spark.driver.defaultJavaOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC\n"
        "spark.sql.shuffle.partitions 2\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(place))
        with spark_engine.session(place, place, 1024):
            yield f"sc://127.0.0.1:{port}"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=10)


@need_spark
@pytest.mark.slow  # the server's test below makes them as well, of another case
def test_spark_makes_the_bytes_of_polars(spark, tmp_path):
    for case in SPARK_CASES:
        assert made(case, tmp_path, "spark") == made(case, tmp_path, "polars"), case
        assert list(tmp_path.iterdir()) == []


@need_spark
def test_a_spark_connect_server_makes_the_bytes_of_polars(spark, tmp_path):
    scratch, rights = tmp_path / "scratch", set()
    scratch.mkdir()

    def watch(*_, **__):
        rights.update(stat.filemode(place.stat().st_mode) for place in scratch.iterdir())

    with umask(0o002):
        given = {"spark": spark, "scratch": scratch, "progress": watch}
        found = made(CONNECT_CASE, tmp_path, "spark", **given)
    assert found == made(CONNECT_CASE, tmp_path, "polars")
    assert rights == {"drwxrwxr-x"}  # a cluster works under a user of its own
    assert list(scratch.iterdir()) == []
    with spark_engine.session(tmp_path, tmp_path):  # Spark on this machine is not gone for it
        pass


def test_every_case_takes_all_the_ways(tmp_path):
    """The logs do hold what they are there for."""
    audit = prepare(log_of_text(), tmp_path / "a", **TEXT, core=12)
    stages = {stage.name: stage for stage in audit.stages}
    assert audit.conflicts > 50
    assert stages["core"].after.rows < stages["one row a pair"].after.rows
    assert stages["label"].after.unlabelled > 20
    options = TYPES | {"time": "text", "split": "temporal", "valid_fraction": 0.4}
    audit = prepare(log_of_types(), tmp_path / "b", **options)
    reasons = next(stage.dropped for stage in audit.stages if stage.name == "bad rows")
    assert [reason.split()[0] for reason in reasons] == ["item", "text", "watch", "length"]
    assert min(reasons.values()) > 20


@pytest.mark.parametrize(
    ("engine", "suffix"),
    [("duckdb", "csv"), ("duckdb", "parquet"), pytest.param("spark", "csv", marks=need_spark)],
)
def test_files_are_read_as_they_are_by_polars(engine, suffix, tmp_path, request):
    if engine == "spark":
        request.getfixturevalue("spark")
    log = log_of_text().filter(pl.col("User") != "a\0")
    log = log.with_columns(item=pl.format("00{}", pl.col("item").abs())).rename({"User": "U"})
    folder = tmp_path / "a [b] {c} d%20é *"
    write = pl.DataFrame.write_csv if suffix == "csv" else pl.DataFrame.write_parquet
    (folder / "log").mkdir(parents=True)
    write(log.head(700), folder / "log" / f"one.{suffix}")
    write(log.tail(500), folder / "log" / f"two.{suffix}")
    found = []
    for name in ("polars", engine):
        prepare(folder / "log", folder / name, rule="signed(score) > 0", user="U", engine=name)
        found.append({file.name: file.read_bytes() for file in (folder / name).iterdir()})
    assert found[0] == found[1]


rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "B", "é", "名前", "🎬", "∅"]),
        st.sampled_from([-(2**63), -1, 0, 7, 2**63 - 1]),
        st.sampled_from([0.0, -0.0, 1.5, 3.0]),
        st.integers(0, 3),
    ),
    min_size=4,
    max_size=40,
)


@given(rows, st.sampled_from(SPLITS[:3]), st.sampled_from(POLICIES), st.integers(0, 2))
@settings(max_examples=8)
def test_duckdb_finds_what_polars_finds(log, how, policy, core):
    frame = pl.DataFrame(log, ["user", "item", "watch", "when"], orient="row")
    assume({0, 1} <= {1 if watch > 2 else 0 if watch < 1 else None for watch in frame["watch"]})
    choice = PrepareSettings(
        rules=parse_rules("watch > 2, < 1"),
        time="when",
        split=Split(how, 0.3, 0.3),
        repeats=policy,
        core=core,
    )
    opened = Log(nw.from_native(frame.lazy().with_row_index(ROW)), "log", "0" * 64)
    found = []
    for name in ("polars", "duckdb"):
        with (
            tempfile.TemporaryDirectory() as place,
            starting(EngineSettings(name), Path(place)) as engine,
        ):
            try:
                result = prepared(opened, choice, engine=engine)
            except DataError as error:
                found.append(str(error))
                continue
            rows = nw.to_native(engine.to_polars(result.rows)).collect().sort(USER, ITEM)
            found.append((rows.select(USER, ITEM, LABEL, PART).rows(), result.stages))
    assert found[0] == found[1]


# The value at a place

kinds = st.sampled_from([pl.Int64, pl.Float64, pl.String, pl.Decimal(20, 2)])


@pytest.mark.parametrize("name", ["polars", "duckdb"])
@given(st.lists(st.integers(-3, 30), min_size=1, max_size=60), st.data(), kinds)
@settings(max_examples=20)
def test_the_value_at_a_place_is_that_of_a_sorted_list(name, numbers, data, kind):
    place = data.draw(st.integers(0, len(numbers) - 1))
    values = pl.Series(numbers).cast(pl.String if kind == pl.String else kind)
    codes = {USER: list(range(len(numbers))), ITEM: 5}
    frame = pl.DataFrame({TIME: values, **codes}, schema_overrides={USER: pl.Int32, ITEM: pl.Int32})
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(quantile, "ENOUGH_ROWS", 4)
        patch.setattr(quantile, "SAMPLE_ROWS", 5)
        patch.setattr(quantile, "N_PIVOTS", 2)
        with starting(EngineSettings(name), Path(folder)) as engine:
            table = engine.import_lazy(nw.from_native(frame.lazy()))
            value, n_below = value_at(table, TIME, place, engine)
    expected = values.sort()[place]
    assert (value, n_below) == (expected, (values < expected).sum())


# Names and settings


def test_working_names_are_never_confused():
    names = ["user", "User", "a b", "a.b", "`", "é", "__user__", "x_", "_x", "", "0"]
    found = [working(name).lower() for name in names]
    assert len(set(found)) == len(names)
    assert all(re.fullmatch(r"[a-z_][a-z0-9_]*", name) for name in found)
    assert not {USER, ITEM, TIME, LABEL} & set(found)


@pytest.mark.parametrize(
    ("memory", "mib"), [("4GiB", 4096), ("1.5 gib", 1536), ("512MB", 488), ("1TiB", 2**20)]
)
def test_amounts_of_memory(memory, mib):
    assert EngineSettings("duckdb", memory).memory_mib == mib


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "duck"}, "unknown engine 'duck'; did you mean 'duckdb'"),
        (
            {"name": "duckdb", "memory": "4"},
            "'4' is not an amount of memory; write, for example, 4GiB",
        ),
        ({"name": "duckdb", "memory": "-1GiB"}, "not an amount of memory"),
        ({"name": "duckdb", "memory": "3MiB"}, "below 256 MiB"),
        ({"memory": "4GiB"}, "polars takes no memory limit"),
        ({"spark": "sc://host"}, "goes with --engine spark; found polars"),
        ({"name": "spark", "spark": "host:15002"}, "no Spark Connect address"),
        ({"name": "spark", "spark": "sc://host", "memory": "4GiB"}, "has its own memory limit"),
    ],
)
def test_settings_that_cannot_be(given, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        EngineSettings(**given)


@pytest.mark.parametrize("engine", ["duckdb", "spark"])
def test_what_is_not_installed_is_named(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"pip install 'invlearn\[{engine}\]'"):
        prepare(log_of_text(), tmp_path / "out", **TEXT, engine=engine)
    assert list(tmp_path.iterdir()) == []


@need_spark
def test_spark_without_java_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(spark_engine, "which", lambda _: None)
    with pytest.raises(ConfigError, match="needs Java 17 or later"):
        prepare(log_of_text(), tmp_path / "out", **TEXT, engine="spark")


@need_spark
def test_an_address_where_nobody_answers_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # but does not listen
        address = f"sc://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"no Spark Connect server answers at {address}"):
            prepare(log_of_text(), tmp_path / "out", **TEXT, engine="spark", spark=address)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_ids_of_128_bits_are_refused(tmp_path, engine):
    log = log_of_types().with_columns(pl.col("user").cast(pl.Int128) * 2**20)
    with pytest.raises(DataError, match=r"column 'user' of .* is of type Int128, wanted"):
        prepare(log, tmp_path / "out", **TYPES, engine=engine)


# Failures


def test_bad_rows_are_told_in_the_same_words(tmp_path):
    found = []
    for engine in ("polars", "duckdb"):
        with pytest.raises(DataError) as told:
            prepare(log_of_types(), tmp_path / engine, rule=TYPES["rule"], engine=engine)
        found.append(str(told.value))
    assert found[0] == found[1]
    assert "fix the log or drop such rows" in found[0]


def test_too_little_memory_is_told(tmp_path):
    rows = pl.LazyFrame({"a": pl.int_range(3_000_000, eager=True)}).with_columns(b=pl.col("a") + 1)
    with duckdb_engine.connected(tmp_path, 8) as engine:
        table = engine.import_lazy(nw.from_native(rows))
        with pytest.raises(InvlearnError, match=r"DuckDB needs more memory .*raise --memory"):
            engine.materialize(table.join(table, on="a", how="left").sort("b"))


def test_a_full_disk_is_told(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with starting(EngineSettings("duckdb"), tmp_path) as engine:
        table = engine.from_polars(
            nw.from_native(pl.DataFrame({"a": range(100_000)}), eager_only=True)
        )
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            with pytest.raises(InvlearnError, match=r"cannot write .*free some space"):
                engine.materialize(table)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def umask(bits):
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("settings", "rights"),
    [
        (EngineSettings("polars"), "drwx------"),
        (EngineSettings("spark"), "drwx------"),
        (EngineSettings("spark", spark="sc://host"), "drwxrwx---"),
    ],
)
def test_tables_are_for_whom_they_must_be(settings, rights, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "_engine", lambda _, place: nullcontext(place))
    with umask(0o007), starting(settings, tmp_path) as place:
        assert stat.filemode(place.stat().st_mode) == rights
        assert place.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_tables_that_cannot_be_removed_are_told(tmp_path, monkeypatch):
    """As those in folders that a cluster's own user made."""

    def kept(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    said = rf"cannot remove all tables.*{re.escape(str(tmp_path))}.*Permission denied"
    with (
        monkeypatch.context() as patch,
        pytest.warns(InvlearnWarning, match=said),
        starting(EngineSettings("polars"), tmp_path),
    ):
        patch.setattr(os, "rmdir", kept)
    assert len(list(tmp_path.iterdir())) == 1


def test_scratch_is_used_and_left_clean(tmp_path):
    (tmp_path / "scratch").mkdir()
    seen = []

    def watch(*_, **__):
        seen.extend(tmp_path.glob("scratch/*/*.parquet"))

    options = TEXT | {"engine": "duckdb", "scratch": tmp_path / "scratch", "progress": watch}
    prepare(log_of_text(), tmp_path / "out", **options)
    assert seen
    assert list((tmp_path / "scratch").iterdir()) == []
    options["scratch"] = tmp_path / "nowhere"
    with pytest.raises(InvlearnError, match=r"cannot write .*nowhere"):
        prepare(log_of_text(), tmp_path / "b", **options)


def test_the_command_line_names_an_engine(feed, tmp_path):
    out = tmp_path / "data"
    options = ("--engine", "duckdb", "--memory", "1GiB", "--scratch", tmp_path)
    done("prepare", feed.log, "--rule", RULE, *IDS, "--out", out, *options)
    assert (out / "data.json").read_bytes() == (feed.dataset / "data.json").read_bytes()
    code, _, told = call("prepare", feed.log, "--rule", RULE, "--out", out, "--memory", "1GiB")
    assert code == 2
    assert "polars takes no memory limit" in told


def test_more_memory_than_there_is_numbers_for_is_no_error(tmp_path):
    with duckdb_engine.connected(tmp_path, 1 << 60):
        pass


@need_spark
def test_a_disk_that_spark_does_not_share_is_noticed(spark, tmp_path, monkeypatch):
    """As if one executor had written its part of the rows to a disk of its own."""
    from pyspark.sql import DataFrameWriter

    write = DataFrameWriter.parquet

    def lossy(self, path):
        write(self, path)
        Path(min(Path(path.removeprefix("file://")).glob("part-*.parquet"))).unlink()

    monkeypatch.setattr(DataFrameWriter, "parquet", lossy)
    with pytest.raises(InvlearnError, match=r"written to .* finds .* there; name a folder"):
        prepare(log_of_text(), tmp_path / "out", **TEXT, engine="spark")
    assert list(tmp_path.iterdir()) == []
