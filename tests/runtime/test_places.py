"""Folders whose names hold what elsewhere stands for other names."""

import polars as pl
import pytest

from console import IDS, RULE, done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A log, a dataset with features, and a run, all in a folder with a name like a pattern."""
    place = tmp_path_factory.mktemp("places") / "a[1]*?"
    place.mkdir()
    done("simulate", place / "log", "--users", 100, "--items", 60, "--rows", 2000)
    users = pl.read_parquet(sorted((place / "log").glob("*.parquet"))[0], glob=False)["user_id"]
    pl.DataFrame({"user_id": users.unique().sort()}).with_columns(
        pl.int_range(pl.len()).alias("age")
    ).write_parquet(place / "people.parquet")
    given = ("--user-features", place / "people.parquet", "--valid-fraction", 0.3)
    done("prepare", place / "log", "--rule", RULE, *IDS, *given, "--out", place / "data")
    done("train", place / "data", "--backbone", "mf", "--epochs", 1, "--out", place / "run")
    return place


def test_pairs_are_annotated(place):
    done("annotate", place / "run", "--out", place / "all.parquet")
    table = pl.read_parquet(place / "all.parquet", glob=False)
    pairs = table.head(5).select(user_id="user", video_id="item")
    pairs.write_parquet(place / "five.parquet")
    done(
        *("annotate", place / "run", "--pairs", place / "five.parquet"),
        *("--out", place / "some.parquet"),
    )
    assert len(pl.read_parquet(place / "some.parquet", glob=False)) == 5


@pytest.mark.parametrize("name", ["ids.parquet", "ids.csv", "ids.txt"])
def test_lists_are_written(place, name):
    ids = pl.read_parquet(place / "run" / "users.parquet", glob=False).head(3)
    if name.endswith(".parquet"):
        ids.write_parquet(place / name)
    else:
        ids.write_csv(place / name, include_header=name.endswith(".csv"))
    out = place / f"lists-of-{name}.csv"
    done("recommend", place / "run", "--users", place / name, "--k", 2, "--out", out)
    assert len(out.read_text().splitlines()) == 1 + 3 * 2


def test_rows_of_another_log_are_found(place):
    log = ("--log", place / "log", "--seen", "drop")
    assert "auc" in done("evaluate", place / "run", *log)
