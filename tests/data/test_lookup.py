"""Logs in original ids, measured by runs that know these ids."""

import json

import numpy as np
import polars as pl
import pytest

import invlearn
from console import IDS, RULE, call, done
from invlearn.config.schema import OtherLog
from invlearn.data.prepare.lookup import find_rows
from invlearn.runtime.errors import ConfigError, DataError


@pytest.fixture
def data(feed):
    return invlearn.Dataset.open(feed.dataset)


@pytest.fixture
def ids(feed):
    users, items = (pl.read_parquet(feed.none / f"{n}.parquet")["id"] for n in ("users", "items"))
    return users, items


@pytest.fixture
def own_rows(data, ids):
    """The dataset's own test part, as a log in original ids."""
    users, items = ids
    return pl.DataFrame(
        {
            "user_id": users.gather(data.test.users),
            "video_id": items.gather(data.test.items),
            "liked": data.test.labels,
        }
    )


def measured(*arguments, tmp_path):
    out = tmp_path / "found.json"
    done("evaluate", *arguments, "--out", out, "--overwrite")
    return json.loads(out.read_text())


def test_the_test_part_as_a_log_gives_the_metrics_of_the_test_part(feed, own_rows, tmp_path):
    for name in ("rows.csv", "rows.parquet"):
        rows = own_rows.sample(fraction=1, shuffle=True, seed=1)
        (rows.write_csv if name.endswith("csv") else rows.write_parquet)(tmp_path / name)
        found = measured(
            feed.none, "--log", tmp_path / name, "--rule", "label(liked)", *IDS, tmp_path=tmp_path
        )
        own = measured(feed.none, tmp_path=tmp_path)
        assert found["runs"]["none"].pop("part") == name
        assert own["runs"]["none"].pop("part") == "test"
        assert found == own


def test_rows_are_found_in_any_order_and_ids_may_be_text_or_numbers(data, own_rows):
    log = OtherLog(log=own_rows.with_columns(pl.col("video_id").cast(pl.String)).reverse())
    rule = {"rule": ["label(liked)"], "user": "user_id", "item": "video_id"}
    found = find_rows(log.model_copy(update=rule), data)
    for column in ("users", "items", "labels"):
        np.testing.assert_array_equal(getattr(found.rows, column), getattr(data.test, column))
    assert found.left_out == {}


def test_rule_and_columns_are_the_dataset_s_own_by_default(feed, data, tmp_path):
    options = ("--log", feed.log, "--seen", "keep")
    found = measured(feed.none, feed.ig, *options, tmp_path=tmp_path)
    n_labelled = len(data.train) + len(data.valid) + len(data.test)
    assert found["runs"]["none"]["rows"] == n_labelled
    assert set(found["differences"]) == {"ig"}
    assert found["left_out"]["unlabelled"] >= len(data.unlabelled)


def test_unlabelled_bad_and_repeated_rows_are_left_out_and_counted(data, ids):
    users, items = ids
    log = pl.DataFrame(
        {
            "user_id": [users[3], users[3], users[0], users[0], users[1], users[2]],
            "video_id": [items[5], items[5], items[1], items[2], items[2], None],
            "ratio": [2.0, 0.1, 0.5, 9.0, -1.0, 3.0],
            "when": [9, 8, 1, 1, 1, 1],
        }
    )
    rule = ["ratio >= 1, < 0.3"]
    other = OtherLog(log=log, rule=rule, bad_rows="drop", time="when", seen="keep")
    found = find_rows(other, data)
    triples = zip(found.rows.users, found.rows.items, found.rows.labels, strict=True)
    assert [tuple(map(int, row)) for row in triples] == [(0, 2, 1), (3, 5, 1)]
    assert found.left_out == {
        "video_id is not an integer or string id": 1,
        "ratio is not a number >= 0": 1,
        "unlabelled": 1,
        "repeats of a pair": 1,
    }


def test_unknown_ids_are_an_error_that_names_the_first(feed, own_rows, tmp_path):
    unknown_ids = [("u0000000", 999, 1), ("who", 0, None), ("who", 0, 0), ("who", 888, 1)]
    extra = pl.DataFrame(unknown_ids, schema=own_rows.schema, orient="row")
    pl.concat([own_rows, extra]).write_csv(tmp_path / "rows.csv")
    options = ("--log", tmp_path / "rows.csv", "--rule", "label(liked)", *IDS)
    answer = call("evaluate", feed.none, *options)
    n = len(own_rows)
    assert answer.code == 2
    assert answer.err == (
        "error: 3 labelled rows of rows.csv name users or items that the dataset does not have, "
        f"the first in rows.csv, row {n + 1:,} (data rows counted from 1): item 999; drop such "
        "rows with --unknown drop, or train on a log that has them\n"
    )
    found = measured(feed.none, *options, "--unknown", "drop", tmp_path=tmp_path)
    assert found["runs"]["none"]["rows"] == n
    assert found["left_out"] == {"unlabelled": 1, "unknown user or item": 3}


def test_both_unknown_ids_of_a_row_are_named(data, own_rows):
    rows = own_rows.with_columns(
        pl.lit("zoë").alias("user_id"), pl.lit(12345, pl.Int64).alias("video_id")
    )
    log = {"log": rows, "rule": ["label(liked)"]}
    with pytest.raises(DataError, match=r"row 1 .*: user 'zoë' and item 12345"):
        find_rows(OtherLog(**log), data)
    with pytest.raises(DataError, match="no labelled row of table in memory has a user and an"):
        find_rows(OtherLog(**log, unknown="drop"), data)


@pytest.fixture
def mixed_rows(data, ids, own_rows):
    """The test part, and two rows of a pair that was trained on and one that was validated on."""
    users, items = ids
    pairs = [(data.train, 5), (data.train, 5), (data.valid, 3)]
    extra = [(users[int(p.users[n])], items[int(p.items[n])], n % 2) for p, n in pairs]
    return pl.concat([own_rows, pl.DataFrame(extra, schema=own_rows.schema, orient="row")])


def test_pairs_of_the_training_are_an_error_that_names_the_first(feed, mixed_rows, tmp_path):
    mixed_rows.write_csv(tmp_path / "rows.csv")
    options = ("--log", tmp_path / "rows.csv", "--rule", "label(liked)", *IDS)
    answer = call("evaluate", feed.none, *options)
    n = len(mixed_rows) - 3
    user, item, _ = mixed_rows.row(n)
    assert answer.code == 2
    assert answer.err == (
        "error: 3 labelled rows of rows.csv have a pair that the runs were trained or validated "
        f"on, which flatters them, the first in rows.csv, row {n + 1:,} (data rows counted from "
        f"1): user '{user}' and item {item}; leave such rows out with --seen drop, or measure on "
        "them all the same with --seen keep\n"
    )


def test_pairs_of_the_training_are_left_out_or_kept_and_counted(feed, mixed_rows, tmp_path):
    mixed_rows.write_csv(tmp_path / "rows.csv")
    options = ("--log", tmp_path / "rows.csv", "--rule", "label(liked)", *IDS, "--draws", 0)
    left = measured(feed.none, *options, "--seen", "drop", tmp_path=tmp_path)
    own = measured(feed.none, "--draws", 0, tmp_path=tmp_path)
    assert left["left_out"] == {"pair of the training or validation part": 3}
    assert left["seen"] == 0
    assert left["runs"]["none"]["auc"] == own["runs"]["none"]["auc"]
    kept = measured(feed.none, *options, "--seen", "keep", tmp_path=tmp_path)
    assert kept["left_out"] == {"repeats of a pair": 1}
    assert kept["seen"] == 2
    assert kept["runs"]["none"]["rows"] == own["runs"]["none"]["rows"] + 2
    assert "2 rows have a pair that the runs were trained" in done(
        "evaluate", feed.none, *options, "--seen", "keep"
    )


def test_a_log_of_nothing_but_training_pairs_is_refused(data, mixed_rows):
    log = {"log": mixed_rows.tail(3), "rule": ["label(liked)"], "seen": "drop"}
    both = mixed_rows.tail(3).with_columns(pl.Series("liked", [1, 1, 0], dtype=pl.Int8))
    with pytest.raises(DataError, match="every labelled row of table in memory has a pair that"):
        find_rows(OtherLog(**log | {"log": both}), data)


def test_unknown_and_trained_rows_of_several_files_are_named_within_theirs(
    data, own_rows, mixed_rows, tmp_path
):
    own_rows.head(40).write_csv(tmp_path / "a.csv")
    log = {"log": tmp_path, "rule": ["label(liked)"]}
    mixed_rows.tail(5).write_csv(tmp_path / "b.csv")
    with pytest.raises(DataError, match=r"trained .* in \S*/b\.csv, row 3 \("):
        find_rows(OtherLog(**log), data)
    own_rows.tail(5).with_columns(pl.lit("who").alias("user_id")).write_csv(tmp_path / "b.csv")
    with pytest.raises(DataError, match=r"do(es)? not have.* in \S*/b\.csv, row 1 \("):
        find_rows(OtherLog(**log), data)


def test_what_is_wrong_with_the_log_is_said_as_in_preparation(feed, own_rows, tmp_path):
    file = tmp_path / "rows.csv"
    cases = {
        "no column 'rating'": (own_rows, "rating > 2"),
        "row 1 (data rows counted from 1), column 'liked'": (
            own_rows.with_columns(pl.lit(3).alias("liked")),
            "label(liked)",
        ),
        "both classes are needed": (own_rows.filter(pl.col("liked") == 1), "label(liked)"),
    }
    for says, (rows, rule) in cases.items():
        rows.write_csv(file)
        answer = call("evaluate", feed.none, "--log", file, "--rule", rule)
        assert answer.code == 2
        assert says in answer.err
        assert answer.err.count("\n") == 1
    missing = call("evaluate", feed.none, "--log", tmp_path / "no.csv", "--rule", RULE)
    assert "no.csv does not exist" in missing.err


def test_one_class_after_dropping_strangers_is_refused(feed, own_rows, tmp_path):
    rows = own_rows.with_columns(
        pl.when(pl.col("liked") == 0).then(pl.lit("who")).otherwise("user_id").alias("user_id")
    )
    rows.write_csv(tmp_path / "rows.csv")
    options = ("--log", tmp_path / "rows.csv", "--rule", "label(liked)", "--unknown", "drop")
    answer = call("evaluate", feed.none, *options)
    assert answer.code == 2
    assert "rows have the label 1; give rows of both classes" in answer.err


def test_the_catalogue_is_ranked_by_the_test_part_only(feed):
    from invlearn.inference.comparison import compare_runs

    with pytest.raises(ConfigError, match="catalogue is ranked by the positives of the test part"):
        compare_runs([feed.none], other=OtherLog(log=feed.log), catalogue=True)
