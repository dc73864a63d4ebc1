"""What a log says is what the dataset holds, or the log is refused: nothing is different unsaid."""

import csv
import http.server
import itertools
import math
import random
import re
import threading
import warnings
from datetime import UTC, datetime, timedelta, timezone

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest

from invlearn.data.dataset import Dataset
from invlearn.data.logs.lake import is_remote
from invlearn.data.logs.logs import open_log
from invlearn.data.logs.text import MISSING
from invlearn.data.prepare.prepare import prepare
from invlearn.runtime.errors import DataError, InvlearnWarning

ROLES = {"user": "id", "item": "id", "r": "number"}


def read(source, **options):
    return open_log(source, **options).rows.drop("__row__").collect().to_native()


def read_or_refused(source, **options):
    """The table and no message, or no table and the message of the error."""
    try:
        return read(source, **options), ""
    except DataError as error:
        return None, str(error)


def refusal(source, **options):
    with pytest.raises(DataError) as caught:
        open_log(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def prepared(log, out, **options):
    """A log of 60 users and 20 items with the given columns, prepared."""
    return prepare(log, out, **{"rule": "r > 0.7, < 0.3"} | options)


def pairs(**columns):
    """All pairs of 40 users and 20 items, with values in [0, 1)."""
    rows = [*itertools.product(range(40), range(20))]
    table = pl.DataFrame(rows, schema=["user", "item"], orient="row")
    r = ((pl.col("user") * 7 + pl.col("item") * 13) % 101) / 101
    return table.with_columns(r=r).with_columns(**columns)


# Files of one log

TYPES = {
    "i8": pl.Series([7, 8], dtype=pl.Int8),
    "i64": pl.Series([7, 2**53 + 1]),
    "u32": pl.Series([7, 8], dtype=pl.UInt32),
    "u64": pl.Series([7, 8], dtype=pl.UInt64),
    "u64 large": pl.Series([7, 2**64 - 1], dtype=pl.UInt64),
    "f64": pl.Series([7.0, 8.0]),
    "f32": pl.Series([7.0, 8.5], dtype=pl.Float32),
    "bool": pl.Series([True, False]),
    "text": pl.Series(["7", "8"]),
    "category": pl.Series(["7", "8"], dtype=pl.Categorical),
    "none": pl.Series([None, None], dtype=pl.Null),
    "naive": pl.Series([datetime(2024, 5, 1)] * 2),
    "milliseconds": pl.Series([datetime(2024, 5, 1)] * 2, dtype=pl.Datetime("ms")),
    "utc": pl.Series([datetime(2024, 5, 1)] * 2, dtype=pl.Datetime("us", "UTC")),
    "tokyo": pl.Series([datetime(2024, 5, 1)] * 2, dtype=pl.Datetime("us", "Asia/Tokyo")),
    "date": pl.Series([datetime(2024, 5, 1).date()] * 2),
}


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(TYPES, 2)])
@pytest.mark.parametrize("role", ["id", "number"])
def test_types_of_two_files_are_reconciled_exactly_or_refused_with_both_paths(
    tmp_path, one, other, role
):
    files = [tmp_path / name / "part-0.parquet" for name in ("a", "b")]
    for file, kind in zip(files, (one, other), strict=True):
        file.parent.mkdir()
        pl.DataFrame({"user": TYPES[kind], "unused": pl.Series(["x", kind])}).write_parquet(file)
    written = [*TYPES[one].to_list(), *TYPES[other].to_list()]
    table, message = read_or_refused(files, roles={"user": role}, every=False)
    if table is None:
        assert "column 'user'" in message
        assert all(str(file) in message for file in files)
        kinds = {type(value) for value in written if value is not None}
        exact = kinds <= {int} and max(filter(None, written)) < 2**63
        assert not exact, "integers that fit into 64 bits can be reconciled"
        return
    assert table["user"].to_list() == written  # Python compares numbers and instants by value
    texts = {isinstance(value, str) for value in written if value is not None}
    assert len(texts) == 1
    if role == "id":
        assert {type(value) for value in written} - {type(None)} != {int, float}


def test_a_column_that_is_not_used_may_differ_and_one_that_is_may_not_be_missing(tmp_path):
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pairs(more=pl.lit(1)).write_parquet(a)
    pairs(other=pl.lit("x")).write_parquet(b)
    assert len(read([a, b], roles=ROLES, every=False)) == 1600
    pairs().drop("r").write_parquet(b)
    message = refusal([a, b], roles=ROLES, every=False)
    assert f"{b} lacks r" in message
    assert str(a) in message


# Text that is taken for order or identity


@pytest.mark.parametrize("zoned", [False, True])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_times_in_text_are_instants_as_pandas_reads_them(tmp_path, zoned, suffix):
    rng = random.Random(7)
    texts = []
    for _ in range(800):
        moment = datetime(2023, 11, 15, tzinfo=UTC) + timedelta(seconds=rng.randrange(9**7))
        zone = timezone(timedelta(minutes=rng.choice([0, 60, 330, -210, 540])))
        moment = moment.astimezone(zone) if zoned else moment.replace(tzinfo=None)
        text = moment.isoformat(sep=rng.choice("T "), timespec=rng.choice(["seconds", "auto"]))
        fraction = rng.choice(["", ".5", ".123456", ".123456789"])
        cut = 19
        text = text[:cut] + fraction + text[cut:]
        texts.append(text.replace("+00:00", rng.choice(["Z", "+00:00", "+0000"])))
    log = pairs(when=pl.Series(texts))
    getattr(log, f"write_{suffix}")(file := tmp_path / f"log.{suffix}")
    prepared(file, tmp_path / "data", time="when", split="temporal")
    data = Dataset.open(tmp_path / "data")
    moments = (
        pd.to_datetime(pd.Series(texts), utc=True, format="ISO8601").to_numpy().reshape(40, 20)
    )
    last = moments[data.train.users, data.train.items].max()
    first = moments[data.test.users, data.test.items].min()
    assert last <= first


@pytest.mark.parametrize(
    "forms",
    [
        *itertools.combinations(
            ["2023-11-15", "2023-11-15T09:00:00", "2023-11-15 10:00Z", "2023-11-15 10:00+08:00"], 2
        )
    ],
)
def test_two_forms_of_times_whose_order_is_not_sure_are_refused(tmp_path, forms):
    log = pairs(when=pl.Series([*forms] * 400))
    both_zoned = all(form[-1] == "Z" or "+" in form for form in forms)
    if both_zoned:
        prepared(log, tmp_path / "data", time="when", split="temporal")
        return
    with pytest.raises(DataError, match=r"column 'when' holds a .* row 1 .* row 2 "):
        prepared(log, tmp_path / "data", time="when", split="temporal")


def test_spaces_around_fields_belong_to_no_id(tmp_path):
    text = pairs().write_csv().replace(",", ", ")
    (tmp_path / "log.csv").write_text(text)
    pairs().write_csv(tmp_path / "plain.csv")
    assert read(tmp_path / "log.csv").equals(read(tmp_path / "plain.csv"))


@pytest.mark.parametrize("word", [*MISSING, "none", "NAN", " ", "(null)"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_words_for_missing_are_no_user(tmp_path, word, suffix):
    users = [f"u{user}" for user in range(40) for _ in range(20)]
    users[70:90] = [word] * 20
    log = pairs(user=pl.Series(users))
    getattr(log, f"write_{suffix}")(file := tmp_path / f"log.{suffix}")
    if suffix == "parquet" and word == " ":
        return
    with pytest.raises(DataError, match=r"row 71 .*column 'user': found .*20 bad rows"):
        prepared(file, tmp_path / "data")
    prepared(file, tmp_path / "data", bad_rows="drop")
    assert word not in Dataset.open(tmp_path / "data").ids("user").to_list()


# Arithmetic


@pytest.mark.parametrize("operators", [(">=", "<="), (">", "<")])
@pytest.mark.parametrize("divided", [False, True])
def test_single_precision_compares_as_in_pandas_polars_and_duckdb(tmp_path, operators, divided):
    values = np.array([0.1, 0.3, 0.7, 0.7000001, 0.09999999] * 160, np.float32)
    log = pairs(r=pl.Series(values), base=pl.Series(values * np.float32(3)))
    up, down = operators
    rule = f"base / r {up} 3, {down} 0.1" if divided else f"r {up} 0.7, {down} 0.1"
    frame = log.to_pandas()
    value, bound = (frame["base"] / frame["r"], 3) if divided else (frame["r"], 0.7)
    positive = (value >= bound) if up == ">=" else (value > bound)
    negative = (value <= 0.1) if down == "<=" else (value < 0.1)
    counts = (int(positive.sum()), int(negative.sum()))
    shown, other = ("base / r", "3") if divided else ("r", "0.7")
    assert log.sql(f"SELECT count(*) FROM self WHERE {shown} {up} {other}").item() == counts[0]
    sql = f"SELECT count(*) FROM log WHERE {shown} {up} {other}"
    assert duckdb.sql(sql).fetchall() == [(counts[0],)]
    if not all(counts):
        return
    log.write_parquet(tmp_path / "log.parquet")
    audit = prepared(tmp_path / "log.parquet", tmp_path / "data", rule=rule)
    label = next(stage.after for stage in audit.stages if stage.name == "label")
    assert (label.positive, label.negative) == counts


# Lines


@pytest.mark.parametrize("n_fields", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("at", [0, 400, 799])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_line_of_another_length_is_named(tmp_path, n_fields, at, end, quoted):
    lines = pairs(like=pl.lit(1)).write_csv().splitlines()
    if quoted:
        lines[5] = '"0","4",0.5,1'
    lines.insert(1 + at, ",".join("7" * n_fields))
    (tmp_path / "log.csv").write_bytes((end.join(lines) + end).encode())
    if n_fields == 0:  # a blank line is no row
        assert len(read(tmp_path / "log.csv")) == 800
        return
    for options in ({}, {"roles": {"user": "id"}, "every": False}):
        message = refusal(tmp_path / "log.csv", **options)
        assert f"log.csv line {at + 2} has {n_fields} field" in message
    (tmp_path / "log.csv").write_text("\n".join(lines[: at + 2]))  # cut off there
    assert f"line {at + 2} has" in refusal(tmp_path / "log.csv")


def test_a_field_that_swallows_lines_is_told_with_its_line(tmp_path):
    lines = pairs().write_csv().splitlines()
    lines[10], lines[60] = '3,"4,.5', '5,"6,.5'
    (tmp_path / "log.csv").write_text("\n".join(lines))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table, message = read_or_refused(tmp_path / "log.csv")
    if table is None:
        assert "log.csv line 11" in message
        return
    assert any("log.csv line 11: a field in quotes" in str(one.message) for one in caught)


def test_text_with_quotes_is_read_as_pythons_csv_reads_it(tmp_path):
    rng = random.Random(3)
    for case in range(150):
        words = ["a", 'a"b"c', '"a,b"', '"a""b"', '"x\ny"', "", '""', "é", '"', 'a"', '"a"b']
        rows = [[f"u{n}", rng.choice(words[:8] if case % 3 else words)] for n in range(6)]
        text = "user,title\n" + "".join(",".join(row) + "\n" for row in rows)
        file = tmp_path / f"{case}.csv"
        file.write_text(text)
        with warnings.catch_warnings(action="ignore"):
            table, message = read_or_refused(file)
        if table is None:
            assert f"{case}.csv line" in message, message
            continue
        with file.open(newline="") as stream:
            expected = [tuple(row) for row in csv.reader(stream)][1:]
        assert table.with_columns(pl.all().fill_null("")).rows() == expected


# Repeats and order


def test_an_event_that_was_logged_often_moves_no_percentile(tmp_path):
    log = pairs(when=pl.int_range(pl.len()), length=pl.lit(1))
    often = pl.concat([log, *[log[17:18]] * 2224, log[90:95]])
    options = {"rule": "percentile(r by length) > 0.7, < 0.3", "time": "when"}
    audits = [prepared(t, tmp_path / name, **options) for t, name in ((log, "a"), (often, "b"))]
    assert audits[0].final == audits[1].final
    files = ("train", "valid", "test", "unlabelled", "users", "items")
    for name in files:
        for file in (tmp_path / "a").glob(f"{name}*"):
            assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert audits[1].stages[2].dropped == {
        "the same user, item, time and values as another row": 2229
    }


def test_rows_of_unknown_users_and_items_are_counted_as_pandas_counts_them(tmp_path):
    log = pairs(
        part=pl.when(pl.col("user") + pl.col("item") < 45)
        .then(pl.lit("train"))
        .otherwise(pl.lit("test"))
    )
    log = log.with_columns(
        part=pl.when((pl.col("user") * pl.col("item")) % 11 == 1)
        .then(pl.lit("valid"))
        .otherwise(pl.col("part"))
    )
    crossed = log.filter(pl.col("part") == "train")[:30].with_columns(part=pl.lit("test"))
    options = {"split": "column", "split_column": "part", "rule": "r > 0.5"}
    audit = prepared(pl.concat([log, crossed]), tmp_path / "data", **options)
    assert audit.crossed == 30
    frame = pl.concat([log, crossed]).to_pandas().drop_duplicates(["user", "item"], keep="last")
    train = frame[frame["part"] == "train"]
    for name in ("valid", "test"):
        rows = frame[frame["part"] == name]
        new = ~rows["user"].isin(train["user"]), ~rows["item"].isin(train["item"])
        facts = audit.parts[name]
        assert facts.cold_rows == int((new[0] | new[1]).sum())
        assert facts.cold_users == rows["user"][new[0]].nunique()
        assert facts.cold_items == rows["item"][new[1]].nunique()


# Checks of all columns


@pytest.mark.parametrize("value", [-1, -0.5, float("inf")])
def test_an_event_with_a_negative_value_is_no_event(tmp_path, value):
    log = pairs(hate=pl.lit(0.0), like=pl.when(pl.col("item") == 3).then(value).otherwise(1.0))
    with pytest.raises(DataError, match=r"row 4 .*column 'like': found .*write null or 0"):
        prepared(log, tmp_path / "data", rule="events(hate=0, like=1)")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("column", ["user", "age"])
def test_a_stray_word_among_numbers_is_refused(tmp_path, suffix, column):
    text = pl.col(column).cast(pl.String)
    word = pl.when(pl.int_range(pl.len()) == 23).then(pl.lit("unknown")).otherwise(text)
    word = word.alias(column)
    log, features = pairs(), pl.DataFrame({"user": range(40), "age": range(20, 60)})
    if column == "user":
        log = log.with_columns(word)
    else:
        features = features.with_columns(word)
    getattr(log, f"write_{suffix}")(file := tmp_path / f"log.{suffix}")
    getattr(features, f"write_{suffix}")(ages := tmp_path / f"ages.{suffix}")
    options = {} if column == "user" else {"user_features": ages}
    with pytest.raises(DataError, match=rf"column '{column}'.*row 24|row 24 .*column '{column}'"):
        prepared(file, tmp_path / "data", **options)
    meant = {"text_ids": True} if column == "user" else {"categorical": ["age"]}
    prepared(file, tmp_path / "data", **options, **meant)


def test_a_feature_with_many_words_among_numbers_is_a_category(tmp_path):
    tags = ["12" if video % 4 else f"{video},43" for video in range(20)]
    features = pl.DataFrame({"item": range(20), "tag": tags})
    prepared(pairs(), tmp_path / "data", item_features=features)
    assert list(Dataset.open(tmp_path / "data").feature_card.item.categorical) == ["tag"]


@pytest.mark.parametrize("ids", [["7.0", "8"], ["7.0", "8.0"], ["1.2E+06", "8"]])
def test_ids_that_passed_through_floats_are_refused(tmp_path, ids):
    users = [ids[user % 2] if user < 2 else str(user) for user in range(40) for _ in range(20)]
    (tmp_path / "log.csv").write_text(pairs(user=pl.Series(users)).write_csv())
    with pytest.raises(DataError, match=r"row 1 .*column 'user': found .*a float"):
        prepared(tmp_path / "log.csv", tmp_path / "data")


def test_ids_that_look_like_floats_in_scientific_notation_stay_text(tmp_path):
    users = [f"{user}E5" for user in range(10, 50) for _ in range(20)]
    (tmp_path / "log.csv").write_text(pairs(user=pl.Series(users)).write_csv())
    prepared(tmp_path / "log.csv", tmp_path / "data")
    assert Dataset.open(tmp_path / "data").ids("user").to_list() == sorted({*users})


# Messages


def test_the_downloaded_folder_of_movielens_is_its_ratings(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::2::5::97\n1::3::1::98\n")
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n")
    (tmp_path / "movies.dat").write_bytes("1::Café (1995)::Animation\n".encode("latin-1"))
    assert len(read(tmp_path, format="ml-1m")) == 2
    assert "users.dat line 1 does not hold user, item, rating, timestamp" in refusal(
        tmp_path / "users.dat"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("clicks,clicks_duplicated_flag\n1,2\n", 1),
        ("a,b\n1,2\n\n", 1),
        ("a,b\n1,nan\n2,3\n", 2),
        ("a,b\r\n1,2\r\n", 1),
        ("\ufeffa,b\n1,2\n", 1),
    ],
)
def test_text_that_is_fine_is_read(tmp_path, text, found):
    (tmp_path / "log.csv").write_bytes(text.encode())
    table = read(tmp_path / "log.csv")
    assert len(table) == found
    assert all(dtype == pl.Int64 for dtype in table.dtypes)


def test_a_number_with_a_leading_zero_is_one_where_a_number_is_needed(tmp_path):
    values = ["5", "1", "05000"] + ["2", "4"] * 400
    log = pairs(rating=pl.Series(values[:800]))
    (tmp_path / "log.csv").write_text(log.write_csv())
    prepared(tmp_path / "log.csv", tmp_path / "data", rule="rating > 3, < 2.5")
    log.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"row 3 .* with '05000'"):
        prepared(tmp_path / "log.parquet", tmp_path / "b", rule="rating > 3")


@pytest.mark.parametrize("content", ["café", "\udcff"])
def test_another_encoding_is_named_with_its_line(tmp_path, content):
    lines = ["a,b", *["1,2"] * 50, f"{content},3"]
    encoded = "\n".join(lines).encode("latin-1", "surrogateescape")
    (tmp_path / "log.csv").write_bytes(encoded)
    assert "log.csv line 52 is not UTF-8" in refusal(tmp_path / "log.csv")


def test_a_column_of_several_types_is_named_if_it_is_used(tmp_path):
    table = pairs().to_pandas()
    table["mixed"] = [1, "a"] * 400
    prepared(table, tmp_path / "data")
    table["user"] = table["user"].astype(object)
    table.loc[70, "user"] = "x"
    with pytest.raises(DataError, match=r"column 'user' .* int in row 1 and str in row 71"):
        prepared(table, tmp_path / "other")


# Tables that are folders


def test_a_folder_of_hive_is_read_as_pyarrow_reads_it(tmp_path):
    log = pairs(day=pl.lit("2024-05-0") + (pl.col("item") % 3 + 1).cast(pl.String))
    log = log.with_columns(hour=pl.col("user") % 2)
    for (day, hour), part in log.partition_by("day", "hour", as_dict=True).items():
        folder = tmp_path / f"day={day}" / f"hour={hour}"
        folder.mkdir(parents=True)
        part.drop("day", "hour").write_parquet(folder / "part-0.parquet")
        (folder / "_SUCCESS").touch()
    found = read(tmp_path)
    schema = pa.schema([("day", pa.string()), ("hour", pa.int64())])
    partitioning = pa.dataset.partitioning(schema, flavor="hive")
    wanted = pl.from_arrow(pa.dataset.dataset(tmp_path, partitioning=partitioning).to_table())
    order = ["user", "item"]
    assert found.sort(order).equals(wanted.select(found.columns).sort(order))
    prepared(tmp_path, tmp_path.parent / "data", time="day", split="temporal")


def test_a_delta_table_is_read_at_its_newest_version(tmp_path):
    pytest.importorskip("deltalake", reason="the extra lake is not installed")
    pairs().write_delta(str(tmp_path / "t"))
    pairs()[:600].write_delta(str(tmp_path / "t"), mode="overwrite")
    assert read(tmp_path / "t").sort("user", "item").equals(pairs()[:600])


def test_a_delta_table_is_refused_without_the_package_that_reads_it(tmp_path, monkeypatch):
    (tmp_path / "t" / "_delta_log").mkdir(parents=True)
    pairs().write_parquet(tmp_path / "t" / "part-0.parquet")
    monkeypatch.setattr("invlearn.runtime.environment.find_spec", lambda _: None)
    with pytest.raises(Exception, match=r"reading a Delta table needs .*lake"):
        open_log(tmp_path / "t")


@pytest.mark.parametrize("scheme", ["s3", "gs", "az", "hf", "abfss"])
def test_an_address_goes_to_the_reader_of_object_stores(scheme):
    source = f"{scheme}://bucket/log.csv"
    assert is_remote(source)
    assert "copy it to a folder here" in refusal(source)


class Store(http.server.BaseHTTPRequestHandler):
    """One file, as an object store gives it: whole or a range of its bytes."""

    content = b""

    def do_HEAD(self):
        self.answer(self.content, 200)

    def do_GET(self):
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            return self.answer(self.content, 200)
        n = len(self.content)
        first = int(wanted[1]) if wanted[1] else max(0, n - int(wanted[2]))
        last = min(int(wanted[2]), n - 1) if wanted[1] and wanted[2] else n - 1
        return self.answer(self.content[first : last + 1], 206, f"bytes {first}-{last}/{n}")

    def answer(self, content, code, span=""):
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def test_a_log_at_an_address_is_read_like_a_file(tmp_path):
    pairs(more=pl.lit("x")).write_parquet(tmp_path / "log.parquet")
    Store.content = (tmp_path / "log.parquet").read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        source = f"http://127.0.0.1:{server.server_port}/log.parquet"
        assert read(source, roles=ROLES, every=False).equals(pairs())
        prepared(source, tmp_path / "data")
        Store.content = b"no Parquet at all"
        assert f"{source} cannot be read; check the address" in refusal(source)
    finally:
        server.shutdown()
        server.server_close()


def test_sampled_pairs_that_are_held_out_are_warned_of(tmp_path):
    from invlearn.data.sampling.sampler import Sampler, UnlabelledSource
    from invlearn.data.types import Feed

    prepared(pairs(), tmp_path / "all")
    prepared(pairs().sample(200, seed=1), tmp_path / "some")
    for name, is_warned in (("all", True), ("some", False)):
        data = Dataset.open(tmp_path / name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Sampler(data, Feed(unlabelled=True), UnlabelledSource(0.0), batch_size=8, seed=0)
        said = [one for one in caught if issubclass(one.category, InvlearnWarning)]
        assert bool(said) == is_warned
        if is_warned:
            share = float(str(said[0].message).partition("%")[0])
            assert share > 50
            assert math.isfinite(share)


@pytest.mark.parametrize("sign", [";", "|", "\t"])
def test_another_separator_is_told(tmp_path, sign):
    (tmp_path / "log.csv").write_text(pairs().write_csv().replace(",", sign))
    message = refusal(tmp_path / "log.csv", roles=ROLES, every=False)
    assert f"if its separator is {sign!r}, convert it" in message


def test_a_log_without_any_used_column_has_rows_all_the_same(tmp_path):
    table = pairs().rename({"user": "a", "item": "b", "r": "c"})
    table.write_csv(tmp_path / "log.csv")
    for source in (table, tmp_path / "log.csv"):
        with pytest.raises(DataError, match="has no column 'user'; its columns: a, b, c"):
            prepared(source, tmp_path / "data")


def test_a_date_with_a_zone_is_no_time(tmp_path):
    log = pairs(when=pl.Series(["2023-11-15Z", *["2023-11-15"] * 799]))
    with pytest.raises(
        DataError, match=r"row 1 .*column 'when': found '2023-11-15Z', wanted a time"
    ):
        prepared(log, tmp_path / "data", time="when")
