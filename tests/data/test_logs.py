"""Logs come in whole and unchanged from every format, and bad ones get one sentence."""

import gzip
import os
import warnings
from pathlib import Path

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invlearn.data.logs.formats import reading
from invlearn.data.logs.logs import ROW, open_log
from invlearn.data.parts import sha256
from invlearn.runtime.errors import ConfigError, DataError

DATA = Path(os.environ.get("INVLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))
FRAME = pl.DataFrame({"user": ["a", "b", "c"], "item": [3, 1, 2], "watched": [0.5, None, 2.0]})


def read(source, **options) -> pl.DataFrame:
    """All rows, after checking that they are lazy and numbered."""
    rows = open_log(source, **options).rows
    assert isinstance(rows, nw.LazyFrame)
    frame = rows.collect("polars").to_polars()
    assert frame[ROW].dtype == pl.Int64
    assert frame[ROW].to_list() == list(range(frame.height))
    return frame.drop(ROW)


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(source, **options) -> str:
    """The one sentence that a bad source gets."""
    with pytest.raises(DataError) as caught:
        read(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Every format


def test_parquet_and_csv_give_what_was_written(tmp_path):
    FRAME.write_parquet(tmp_path / "log.parquet")
    FRAME.write_csv(tmp_path / "log.csv")
    FRAME.write_csv(tmp_path / "log.tsv", separator="\t")
    write(tmp_path / "log.csv.gz", gzip.compress(FRAME.write_csv().encode()))
    for name in ("log.parquet", "log.csv", "log.tsv", "log.csv.gz"):
        assert read(tmp_path / name).equals(FRAME), name
        assert read(str(tmp_path / name)).equals(FRAME), name
        assert open_log(tmp_path / name).name == name
        assert open_log(tmp_path / name).sha256 == sha256(tmp_path / name)


def test_upper_case_suffix(tmp_path):
    FRAME.write_csv(tmp_path / "LOG.CSV")
    assert read(tmp_path / "LOG.CSV").equals(FRAME)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_folder_glob_and_list_read_files_in_order_of_their_names(tmp_path, suffix):
    folder = tmp_path / "log"
    folder.mkdir()
    for name in ("b", "c", "a"):
        part = pl.DataFrame({"user": [f"{name}1", f"{name}2"], "item": [1, 2]})
        getattr(part, f"write_{suffix}")(folder / f"{name}.{suffix}")
    write(folder / "_SUCCESS", "")
    write(folder / "README.md", "not a log")
    wanted = ["a1", "a2", "b1", "b2", "c1", "c2"]
    for source in (
        folder,
        str(folder / f"*.{suffix}"),
        tmp_path / "l*" / f"?.{suffix}",
        [folder / f"c.{suffix}", folder / f"a.{suffix}", folder / f"b.{suffix}"],
    ):
        assert read(source)["user"].to_list() == wanted
    assert open_log(folder).name == f"a.{suffix} .. c.{suffix}"


def test_columns_in_another_order_and_wider_types_are_joined_by_name(tmp_path):
    pl.DataFrame({"user": [1], "item": [2]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"item": [2.5], "user": [3]}).write_parquet(tmp_path / "2.parquet")
    assert read(tmp_path).rows() == [(1, 2.0), (3, 2.5)]
    write(tmp_path / "text" / "1.csv", "user,item\n1,2\n")
    write(tmp_path / "text" / "2.csv", "item,user\n2.5,x\n")
    assert read(tmp_path / "text").rows() == [("1", 2.0), ("x", 2.5)]


def test_movielens_1m(tmp_path):
    file = write(tmp_path / "ratings.dat", "1::1193::5::978300760\n6040::7::3.5::978302109\n")
    wanted = [(1, 1193, 5.0, 978300760), (6040, 7, 3.5, 978302109)]
    assert read(file).columns == ["user", "item", "rating", "timestamp"]
    assert read(file).rows() == read(tmp_path, format="ml-1m").rows() == wanted


def test_movielens_100k(tmp_path):
    file = write(tmp_path / "u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    wanted = [(196, 242, 3, 881250949), (186, 302, 3, 891717742)]
    assert read(file).rows() == read(tmp_path, format="ml-100k").rows() == wanted


def test_recbole_types_are_those_of_the_header(tmp_path):
    text = "user_id:token\titem_id:token\trating:float\ttags:token_seq\n1\t07\t4\ta b\n"
    frame = read(write(tmp_path / "ml.inter", text))
    assert frame.columns == ["user_id", "item_id", "rating", "tags"]
    assert frame.dtypes == [pl.String, pl.String, pl.Float64, pl.String]
    assert frame.rows() == [("1", "07", 4.0, "a b")]


def test_kuairec_and_kuairand(tmp_path):
    head = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
    row = "0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.273396\n"
    write(tmp_path / "rec" / "big_matrix.csv", head + row)
    write(tmp_path / "rec" / "user_features.csv", "user_id,age\n0,3\n")
    rec = read(tmp_path / "rec", format="kuairec")
    assert rec["watch_ratio"].to_list() == [1.273396]
    assert rec["time"].dtype == pl.String
    head = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,play_time_ms,duration_ms\n"
    for name in ("log_standard_1.csv", "log_random_1.csv"):
        write(tmp_path / "rand" / name, head + "0,1,20220408,1900,1649415600000,1,0,5000,9000\n")
    write(tmp_path / "rand" / "video_features.csv", "video_id\n1\n")
    rand = read(tmp_path / "rand", format="kuairand")
    assert rand["time_ms"].to_list() == [1649415600000] * 2


def test_coat_matrices_become_rows_with_a_split(tmp_path):
    train, test = np.array([[0, 3], [5, 0]]), np.array([[1, 0], [0, 0]])
    np.savetxt(tmp_path / "train.ascii", train, fmt="%d")
    np.savetxt(tmp_path / "test.ascii", test, fmt="%d")
    write(tmp_path / "propensities.ascii", "0.1 0.2\n")
    frame = read(tmp_path, format="coat")
    assert frame.columns == ["user", "item", "rating", "split"]
    assert frame.rows() == [(0, 0, 1, "test"), (0, 1, 3, "train"), (1, 0, 5, "train")]
    assert read(tmp_path).equals(frame)


@pytest.mark.parametrize("make", [pl.DataFrame, lambda f: f.lazy(), pl.DataFrame.to_arrow])
def test_tables_in_memory(make):
    assert read(make(FRAME)).equals(FRAME)


def test_pandas_table_loses_only_its_index():
    table = pd.DataFrame({"user": ["a", "b"], "item": [1, 2]}, index=[9, 4])
    assert read(table).rows() == [("a", 1), ("b", 2)]


def test_checksum_of_a_table_tells_its_content_and_not_its_chunks():
    whole = open_log(FRAME).sha256
    assert open_log(pl.concat([FRAME[:1], FRAME[1:]], rechunk=False)).sha256 == whole
    assert open_log(FRAME[::-1]).sha256 != whole
    assert open_log(FRAME.rename({"item": "video"})).sha256 != whole


def test_checksum_of_files_follows_their_order(tmp_path):
    write(tmp_path / "1.csv", "a\n1\n")
    write(tmp_path / "2.csv", "a\n2\n")
    together = open_log(tmp_path).sha256
    (tmp_path / "1.csv").rename(tmp_path / "3.csv")
    assert open_log(tmp_path).sha256 != together


# Types of text


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["1", "-2", "30"], pl.Int64),
        (["007", "7"], pl.String),
        (["-01", "7"], pl.String),
        (["+1", "7"], pl.String),
        (["0", "0.5", "-0.25"], pl.Float64),
        (["1e3", "nan", "1"], pl.Float64),
        (["12345678901234567890", "1"], pl.String),  # above 64 bits: a float would round it
        (["9223372036854775807", "1"], pl.Int64),
        (["12345678901234567", "0.5"], pl.String),  # above 53 bits, and no integer column
        (["true", "False"], pl.Boolean),
        (["1", "x"], pl.String),
        (["", ""], pl.String),
        (["1", ""], pl.Int64),
    ],
)
def test_text_gets_a_type_only_if_nothing_is_lost(tmp_path, values, dtype):
    file = write(tmp_path / "log.csv", "".join(f"{v},k\n" for v in ["column", *values]))
    column = read(file)["column"]
    assert column.dtype == dtype
    if dtype in (pl.String, pl.Int64):
        assert column.cast(pl.String).fill_null("").to_list() == values


def test_a_type_holds_for_all_rows_however_late_they_come(tmp_path):
    ids = [str(i) for i in range(5000)] + ["x"]
    file = write(tmp_path / "log.csv", "user\n" + "\n".join(ids) + "\n")
    assert read(file)["user"].to_list() == ids


IDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
ROWS = st.lists(
    st.tuples(IDS, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)),
    min_size=1,
    max_size=20,
)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS)
@pytest.mark.parametrize("kind", ["parquet", "csv", "inter"])
def test_any_log_comes_back(tmp_path, kind, rows):
    # a mark keeps ids from looking like numbers, whose type would differ from the model
    schema = {"user": pl.String, "item": pl.Int64, "watched": pl.Float64}
    rows = [("u" + user, item, watched) for user, item, watched in rows]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    file = tmp_path / f"log.{kind}"
    if kind == "inter":
        names = {"user": "user:token", "item": "item:token", "watched": "watched:float"}
        frame.rename(names).write_csv(file, separator="\t", quote_style="never")
        frame = frame.with_columns(pl.col("item").cast(pl.String))
    else:
        getattr(frame, f"write_{kind}")(file)
    if kind != "parquet":  # spaces around a value do not belong to it
        frame = frame.with_columns(pl.col("user").str.strip_chars())
    found = read(file)
    assert found.select("user", "item").equals(frame.select("user", "item"))
    assert found["watched"].equals(frame["watched"])


# Bad input


def test_missing_file_names_the_nearest(tmp_path):
    FRAME.write_parquet(tmp_path / "impressions.parquet")
    message = refused(tmp_path / "impresions.parquet")
    assert "does not exist" in message
    assert f"did you mean {tmp_path / 'impressions.parquet'}?" in message
    assert "nor does its folder" in refused(tmp_path / "nowhere" / "log.csv")


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.inter", "u.data", "train.ascii"])
def test_empty_file(tmp_path, name):
    assert f"{name} is empty" in refused(write(tmp_path / name, ""))


def test_no_rows(tmp_path):
    FRAME[:0].write_parquet(tmp_path / "log.parquet")
    FRAME[:0].write_csv(tmp_path / "log.csv")
    for source in (tmp_path / "log.parquet", tmp_path / "log.csv", FRAME[:0]):
        assert "has no rows" in refused(source)


def test_folder_or_glob_or_list_without_files(tmp_path):
    write(tmp_path / "notes.txt", "x")
    assert "holds no log" in refused(tmp_path)
    assert "looked for log_*.csv" in refused(tmp_path, format="kuairand")
    assert "no file matches" in refused(tmp_path / "*.parquet")
    assert "no file was named" in refused([])
    assert "is no glob" in refused(tmp_path / "a**b.csv")


def test_damaged_parquet(tmp_path):
    content = (pl.DataFrame({"user": range(20_000)})).write_parquet(tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    assert "cut.parquet cannot be read" in refused(
        write(tmp_path / "cut.parquet", content[: len(content) // 2])
    )
    assert "text.parquet cannot be read" in refused(write(tmp_path / "text.parquet", "a,b\n1,2\n"))


def test_damage_inside_parquet_shows_where_rows_are_read(tmp_path):
    file = tmp_path / "log.parquet"
    pl.DataFrame({"user": range(10_000)}).write_parquet(file)
    content = bytearray(file.read_bytes())
    content[100:400] = b"\xff" * 300
    rows = open_log(write(file, bytes(content))).rows
    with pytest.raises(DataError, match=r"log\.parquet cannot be read"), reading("log.parquet"):
        rows.collect()
    assert "the table cannot be read" in refused(pl.scan_parquet(file))


def test_broken_line_is_named(tmp_path):
    lines = ["user,item"] + ["1,2"] * 300
    lines[250] = '"1,5",3,4'
    message = refused(write(tmp_path / "log.csv", "\n".join(lines)))
    assert "log.csv line 251 has 3 fields where the first line has 2" in message
    write(tmp_path / "many" / "1.csv", "a\n1\n")
    write(tmp_path / "many" / "2.csv", "a\n1\n1,2\n")
    assert "2.csv line 3 has 2 fields" in refused(tmp_path / "many")
    dat = write(tmp_path / "ratings.dat", "1::2::3::4\n1::2::3::4::5\n")
    assert "ratings.dat line 2 does not hold user, item" in refused(dat)


def test_truncated_gzip(tmp_path):
    content = gzip.compress(("a,b\n" + "1,2\n" * 10_000).encode())
    file = write(tmp_path / "log.csv.gz", content[: len(content) // 2])
    assert "log.csv.gz cannot be read" in refused(file)


def test_other_encoding(tmp_path):
    assert "is not UTF-8" in refused(write(tmp_path / "log.csv", "user\ncafé\n".encode("latin-1")))


def test_files_of_one_log_must_agree(tmp_path):
    write(tmp_path / "1.csv", "user,item\n1,2\n")
    write(tmp_path / "2.csv", "user,video\n1,2\n")
    one, two, three = tmp_path / "1.csv", tmp_path / "2.csv", tmp_path / "3.parquet"
    assert f"{two} lacks item and has video, unlike {one}" in refused(tmp_path)
    FRAME.write_parquet(three)
    assert f"{three} is parquet and {one} is csv" in refused(tmp_path)


def test_format_whose_fields_are_missing(tmp_path):
    file = write(tmp_path / "log.csv", "user_id,video_id\n1,2\n")
    assert "no column play_duration, video_duration" in refused(file, format="kuairec")
    dat = write(tmp_path / "ratings.dat", "1::2::3::4\n1,2,3,4\n")
    assert "ratings.dat line 2 does not hold user, item, rating" in refused(dat)
    dat = write(tmp_path / "ratings.dat", "1::2::3::4\n1::2:x:3::4\n")
    assert "ratings.dat line 2 does not hold user, item, rating" in refused(dat)


def test_value_that_belies_the_header(tmp_path):
    file = write(tmp_path / "x.inter", "u:token\tr:float\n1\t2\n1\tgood\n")
    assert "x.inter row 2, column r:float: found 'good'" in refused(file)


def test_rows_of_several_files_are_named_within_theirs(tmp_path):
    text = 'user,"it\nem"\n1,2\n\n"3\n3",4\n5,6\n\n'
    for name in ("a", "b", "c"):
        write(tmp_path / "text" / f"{name}.csv", text)
        FRAME.write_parquet(tmp_path / f"{name}.parquet")
    for folder, suffix in ((tmp_path / "text", "csv"), (tmp_path, "parquet")):
        with warnings.catch_warnings(action="ignore"):  # of fields of several lines
            log = open_log(folder)
        n = log.rows.select(nw.len()).collect().item() // 3
        for row in range(3 * n):
            file = folder / f"{'abc'[row // n]}.{suffix}"
            with warnings.catch_warnings(action="ignore"):
                place = log.place(row)
            assert place == f"{file}, row {row % n + 1} (data rows counted from 1)"
    assert open_log(tmp_path / "b.parquet").place(2).startswith("b.parquet, row 3 ")
    assert open_log(FRAME).place(2).startswith("table in memory, row 3 ")


def test_faults_of_text_in_several_files_are_named_within_theirs(tmp_path):
    write(tmp_path / "1.inter", "u:token\tr:float\n1\t2\n")
    write(tmp_path / "2.inter", "r:float\tu:token\n2\t1\ngood\t1\n")
    assert "2.inter row 2, column r:float: found 'good'" in refused(tmp_path)
    write(tmp_path / "dat" / "1.dat", "1::2::3::4\n")
    write(tmp_path / "dat" / "2.dat", "1::2::3::4\n1::2::3::4\n1,2,3,4\n")
    assert "2.dat line 3 does not hold user" in refused(tmp_path / "dat")


def test_matrix_that_is_none(tmp_path):
    assert "no matrix" in refused(write(tmp_path / "train.ascii", "1 0\n1 x\n"))
    assert "no matrix" in refused(write(tmp_path / "train.ascii", "1 0\n1\n"))


def test_unknown_formats_and_sources(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'ml-100k'"):
        open_log(tmp_path, format="ml100k")
    assert "cannot be told from its name" in refused(write(tmp_path / "log.xyz", "a\n1\n"))
    assert read(tmp_path / "log.xyz", format="csv").rows() == [(1,)]
    assert "a int is no log" in refused(3)
    message = refused(pd.DataFrame({"mixed": [1, "a"]}))
    assert (
        "column 'mixed' of the table holds values of several types, int in row 1 and str" in message
    )
    assert "name kept for row numbers" in refused(pl.DataFrame({ROW: [1]}))
    assert "is no log" in refused(pa.array([1]))


# Real data


@pytest.mark.parametrize(
    ("file", "n_rows"),
    [("ml-100k/ratings.parquet", 100_000), ("kuairand/raw_rows.parquet", 41_828)],
)
def test_real_logs(file, n_rows):
    if not (DATA / file).is_file():
        pytest.skip(f"{DATA / file} is not there; see the catalogue for where to get it")
    log = open_log(DATA / file)
    assert log.rows.select(nw.len()).collect().item() == n_rows
    assert log.sha256 == sha256(DATA / file)


def test_real_folder_of_two_logs_is_refused():
    if not (DATA / "kuairand").is_dir():
        pytest.skip(f"{DATA / 'kuairand'} is not there; see the catalogue for where to get it")
    assert "raw_rows.parquet lacks item, split, user" in refused(DATA / "kuairand")
