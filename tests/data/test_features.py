"""Features of users and items: tables against a slow reference, files, what weakening carries."""

import json
import shutil
from collections import Counter
from datetime import date
from statistics import fmean, pstdev

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import invlearn
from console import done
from invlearn.data.features import NO_FEATURES, Features, Scale, SideCard, SideFeatures
from invlearn.data.parts import PARTS
from invlearn.data.prepare.audit import Audit
from invlearn.data.prepare.side_tables import LEAST_IDS, open_tables, read_side, standardized
from invlearn.runtime.errors import ConfigError, DataError

RULE = "watch >= 2, < 1"
TOWNS = [None, "", "a", "b", "é", "🎬"]
numbers = st.one_of(st.none(), st.just(float("nan")), st.integers(-3, 3).map(float))


def feed(n_users=12, n_items=15):
    """A log in which a third of the rows is positive, a third negative, a third unlabelled."""
    rows = [(u, i, (0.5, 3.0, 1.5)[(u + i) % 3]) for u in range(n_users) for i in range(n_items)]
    return pl.DataFrame(rows, schema=["user", "item", "watch"], orient="row")


def people(n_users=14):
    """A table of users with a row too many and a value too few."""
    return pl.DataFrame(
        {
            "age": [None if user == 3 else 20.0 + user for user in range(n_users)],
            "user": range(n_users),
            "town": [("a", "b", "c")[user % 3] for user in range(n_users)],
        }
    )


def read(frame, ids, categorical=()):
    table = open_tables({"user": (frame, "user")}, categorical)["user"]
    return read_side(table, pl.Series("id", ids))


# Tables

tables = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(TOWNS), numbers, st.sampled_from([True, False])),
    min_size=1,
    max_size=10,
    unique_by=lambda row: row[0],
)


def frame_of(rows):
    schema = {"user": pl.Int64, "town": pl.String, "age": pl.Float64, "vip": pl.Boolean}
    return pl.DataFrame(rows, schema=schema, orient="row")


@given(rows=tables, n_ids=st.integers(1, 8), seed=st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_columns_are_those_of_a_slow_loop_in_any_order_of_the_table(rows, n_ids, seed):
    by_id = {row[0]: row[1:] for row in rows}
    assume(any(number in by_id for number in range(n_ids)))
    found = read(frame_of(rows), range(n_ids), categorical=["town"])
    kept = {number: by_id.get(number, (None, None, None)) for number in range(n_ids)}

    for place, name in ((0, "town"), (2, "vip")):
        column = [None if row[place] is None else str(row[place]) for row in kept.values()]
        column = [value and value.lower() if name == "vip" else value for value in column]
        counts = Counter(value for value in column if value is not None)
        shared = sorted(v for v, n in counts.items() if n >= LEAST_IDS)
        expected = [shared.index(v) + 1 if v in shared else 0 for v in column]
        at = list(found.features.card.categorical).index(name)
        assert found.features.codes[:, at].tolist() == expected
        assert found.features.card.categorical[name] == 1 + len(shared)
        words = found.vocabulary.filter(pl.col("feature") == name)
        assert dict(words.select("code", "value").iter_rows()) == dict(enumerate(shared, 1))
        assert found.facts.missing[name] == column.count(None)
        assert found.facts.rare[name] == sum(counts[v] for v in counts if v not in shared)

    ages = [None if row[1] != row[1] else row[1] for row in kept.values()]
    there = [age for age in ages if age is not None] or [0.0]
    mean, spread = fmean(there), pstdev(there)
    expected = [0.0 if age is None or not spread else (age - mean) / spread for age in ages]
    np.testing.assert_allclose(found.features.values[:, 0], expected, atol=1e-6)
    scale = found.features.card.numeric["age"]
    assert (scale.mean, scale.spread) == (pytest.approx(mean), pytest.approx(spread))
    assert found.facts.missing["age"] == ages.count(None)

    assert found.facts.without_row == n_ids - len(by_id.keys() & set(range(n_ids)))
    assert found.facts.not_in_log == len(by_id.keys() - set(range(n_ids)))

    shuffled = list(rows)
    seed.shuffle(shuffled)
    again = read(frame_of(shuffled), range(n_ids), categorical=["town"])
    assert np.array_equal(again.features.codes, found.features.codes)
    assert np.array_equal(again.features.values, found.features.values)
    assert again.features.card == found.features.card


@given(st.lists(st.floats(allow_infinity=False, width=64), max_size=20))
def test_any_numbers_can_be_standardized(column):
    values, scale = standardized(np.array(column, np.float64))
    there = ~np.isnan(column)
    assert np.isfinite(values).all()
    assert np.isfinite([scale.mean, scale.spread]).all()
    assert (values[~there] == 0).all()
    if len({*np.array(column)[there].tolist()}) > 1:
        kept = values[there].astype(np.float64)
        assert kept.mean() == pytest.approx(0, abs=1e-5)
        assert kept.std() == pytest.approx(1, rel=1e-4)
    else:
        assert not values.any()


def test_small_differences_between_large_numbers_are_seen():
    values, _ = standardized(1e9 + np.array([0.0, 1e-3, 2e-3]))
    np.testing.assert_allclose(values, [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-3, atol=1e-3)


def test_a_large_table_of_equal_values_is_no_noise():
    values, scale = standardized(np.full(1000, 0.1))
    assert not values.any()
    assert scale == Scale(mean=0.1, spread=0.0)


def test_the_type_of_a_column_says_what_it_is():
    frame = pl.DataFrame({"user": ["x", "y"]}).with_columns(
        pl.Series("text", ["a", "b"]),
        pl.Series("truth", [True, False]),
        pl.Series("kind", ["a", "b"], pl.Categorical),
        pl.Series("rank", ["a", "b"], pl.Enum(["a", "b"])),
        pl.Series("whole", [1, 2], pl.Int8),
        pl.Series("real", [1.5, 2.0], pl.Float32),
        pl.Series("price", ["1.25", "2.50"]).cast(pl.Decimal(9, 2)),
        pl.Series("year", [1990, 1990]),
    )
    card = read(frame, ["y", "x"], categorical=["year"]).features.card
    assert list(card.categorical) == ["text", "truth", "kind", "rank", "year"]
    assert list(card.numeric) == ["whole", "real", "price"]


def test_ids_kept_as_numbers_are_those_kept_as_text():
    frame = pl.DataFrame({"user": ["2", "1"], "size": [20.0, 10.0]})
    assert read(frame, [1, 2]).features.values.tolist() == [[-1.0], [1.0]]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"user": [1, 2, 1, 1], "x": [1] * 4}, "row 3 .*repeats the id 1 .*2 rows repeat"),
        ({"user": [1, None], "x": [1, 1]}, r"row 2 .*column 'user'.*found nothing.*1 in all"),
        ({"user": [1, 2], "x": [1.0, float("-inf")]}, r"row 2 .*'x': found -inf, wanted a number"),
        ({"user": [1, 2], "x": [date(2024, 1, 1)] * 2}, r"'x'.*type Date.*convert it or leave"),
        ({"user": [1, 2], "x": [[1], [2]]}, r"'x'.*type List"),
        ({"user": [1.5, 2.0], "x": [1, 1]}, r"'user'.*Float64.*integer or string id"),
        ({"usr": [1, 2], "x": [1, 1]}, "no column 'user'; did you mean 'usr'"),
        ({"user": [1, 2]}, "no column besides 'user'"),
        ({"user": [8, 9], "x": [1, 1]}, "no id in column 'user'.*of which the first is '1'"),
    ],
)
def test_a_table_of_no_use_is_refused(columns, says):
    with pytest.raises(DataError, match=says):
        read(pl.DataFrame(columns), [1, 2])


def test_a_column_to_be_categorical_must_be_there():
    with pytest.raises(ConfigError, match="unknown feature 'twn'; did you mean 'town'"):
        open_tables({"user": (people(), "user"), "item": (None, "item")}, ["twn"])
    with pytest.raises(ConfigError, match="no table of features"):
        open_tables({"user": (None, "user")}, ["town"])


def test_features_must_fit_their_card():
    card = SideCard(categorical={"town": 2}, numeric={"age": Scale(mean=0, spread=1)})
    codes, values = np.zeros((3, 1), np.int32), np.zeros((3, 1), np.float32)
    assert len(SideFeatures(card, codes, values)) == 3
    for wrong in ((codes + 2, values), (codes - 1, values), (codes[:, :0], values), (codes, codes)):
        if wrong[1] is codes:
            wrong = (codes, values[:2])
        with pytest.raises(DataError, match="do not fit their card"):
            SideFeatures(card, *wrong)


# Dataset folders


def prepared(out, **tables):
    audit = invlearn.prepare(feed(), out, rule=RULE, **tables)
    return invlearn.Dataset.open(out, verify=True), audit


def columns_of(features):
    return [c.tolist() for s in (features.users, features.items) for c in (s.codes, s.values)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset with two features of users and none of items."""
    return prepared(tmp_path_factory.mktemp("features") / "data", user_features=people())[0]


def test_a_dataset_without_features_has_no_trace_of_them(tmp_path):
    plain, audit = prepared(tmp_path / "plain")
    text = (plain.folder / "data.json").read_text()
    assert "features" not in text
    assert not any("features" in file.name for file in plain.folder.iterdir())
    assert plain.feature_card == NO_FEATURES
    assert columns_of(plain.features) == [[[]] * 12, [[]] * 12, [[]] * 15, [[]] * 15]
    assert Audit.from_json(plain.card.audit) == audit


def test_features_are_written_in_the_order_of_the_ids(dataset):
    ages = np.array([20.0 + user for user in range(12) if user != 3])
    codes, values = dataset.features.users.codes, dataset.features.users.values
    assert codes[:, 0].tolist() == [user % 3 + 1 for user in range(12)]
    np.testing.assert_allclose(np.delete(values[:, 0], 3), (ages - ages.mean()) / ages.std())
    assert values[3, 0] == 0
    assert dataset.feature_card.user.categorical == {"town": 4}
    assert dataset.feature_card.user.numeric["age"].mean == pytest.approx(ages.mean())
    facts = Audit.from_json(dataset.card.audit).features["user"]
    assert (facts.without_row, facts.not_in_log, facts.missing["age"]) == (0, 2, 1)
    vocabulary = pl.read_parquet(dataset.folder / "user_features.vocabulary.parquet")
    assert vocabulary.rows() == [("town", 1, "a"), ("town", 2, "b"), ("town", 3, "c")]


def test_the_fingerprint_is_of_the_features_too_and_not_of_their_order(dataset, tmp_path):
    shuffled, _ = prepared(tmp_path / "shuffled", user_features=people().reverse())
    other, _ = prepared(tmp_path / "other", user_features=people().with_columns(town=pl.lit("a")))
    plain, _ = prepared(tmp_path / "plain")
    assert shuffled.fingerprint == dataset.fingerprint
    assert len({dataset.fingerprint, other.fingerprint, plain.fingerprint}) == 3


def test_weakening_carries_features_along(dataset, tmp_path):
    for share, is_same in ((1.0, True), (0.5, False)):
        made = invlearn.corrupt_labels(dataset.folder, tmp_path / str(share), label_share=share)
        assert columns_of(made.features) == columns_of(dataset.features)
        assert made.features.card == dataset.features.card
        assert (made.fingerprint == dataset.fingerprint) == is_same
        before, after = (
            [name for name in some.card.files if not name.startswith(PARTS)]
            for some in (dataset, made)
        )
        assert before == after


def test_damaged_features_are_refused(dataset, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(dataset.folder, folder)
    card = json.loads((folder / "data.json").read_text())
    for town, says in (({"town": 2}, "do not fit their card"), ({"town": "x"}, "data.json")):
        card["features"]["user"]["categorical"] = town
        (folder / "data.json").write_text(json.dumps(card))
        with pytest.raises(DataError, match=says):
            _ = invlearn.Dataset.open(folder).features
    (folder / "user_features.codes.npy").write_bytes(b"")
    (folder / "data.json").write_text(json.dumps(dataset.card.to_json()))
    with pytest.raises(DataError, match=r"user_features\.codes\.npy has 0 bytes"):
        invlearn.Dataset.open(folder)


def test_the_command_line_prepares_features_and_says_what_became_of_them(tmp_path):
    feed().write_csv(tmp_path / "feed.csv")
    people().write_parquet(tmp_path / "people.parquet")
    pl.DataFrame({"item": range(9), "genre": [i % 2 for i in range(9)]}).write_csv(
        tmp_path / "things.csv"
    )
    said = done(
        *("prepare", tmp_path / "feed.csv", "--rule", RULE, "--out", tmp_path / "data"),
        *("--user-features", tmp_path / "people.parquet"),
        *("--item-features", tmp_path / "things.csv", "--categorical", "genre"),
    )
    words = " ".join(said.split())
    assert "user features of people.parquet: town (categorical, 0 missing), age (num" in words
    assert "6 items have no row there; 0 rows there are of items that the dataset does not" in words
    found = invlearn.Dataset.open(tmp_path / "data", verify=True)
    assert found.feature_card.item == SideCard(categorical={"genre": 3})
    assert isinstance(found.features, Features)
