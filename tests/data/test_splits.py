"""Splits are disjoint, complete, of the right sizes, and hold nothing back from the future."""

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invlearn.data.prepare.splits import (
    PRIME,
    TEST,
    TRAIN,
    UNLABELLED,
    VALID,
    WORDS,
    Split,
    hashed,
    part_of,
    with_part,
)
from invlearn.data.prepare.table import ITEM, LABEL, PART, SPLIT, TIME, USER
from invlearn.runtime.errors import ConfigError


def table(n_users, n_items, *, seed=0, unlabelled_fraction=0.2):
    """Every pair of some users and items once, with random labels, times and marks."""
    draw = np.random.default_rng(seed)
    users, items = np.divmod(np.arange(n_users * n_items), n_items)
    label = draw.integers(0, 2, len(users))
    shown = draw.random(len(users)) < unlabelled_fraction
    return pl.DataFrame(
        {
            USER: users,
            ITEM: items,
            LABEL: pl.Series(label, dtype=pl.Int8).set(pl.Series(shown), None),
            TIME: draw.integers(0, 50, len(users)),
            SPLIT: pl.Series(draw.integers(0, 3, len(users)), dtype=pl.Int8),
        }
    )


def parts_of(rows, split):
    return nw.to_native(with_part(nw.from_native(rows.lazy()), split).collect())


@pytest.mark.parametrize("how", ["random", "per-user", "temporal", "column"])
def test_labelled_rows_go_to_one_part_each_and_unlabelled_rows_to_none_of_them(how):
    rows = table(30, 40)
    found = parts_of(rows, Split(how))
    keys = [USER, ITEM, LABEL]
    assert found.select(USER, ITEM).is_unique().all()
    assert found.join(rows, on=keys, how="anti", nulls_equal=True).is_empty()
    kept = found.filter(pl.col(LABEL).is_not_null())
    assert kept.height == rows[LABEL].count()
    assert set(kept[PART]) == {TRAIN, VALID, TEST}
    assert set(found.filter(pl.col(LABEL).is_null())[PART]) == {UNLABELLED}


@pytest.mark.parametrize(("valid", "test"), [(0.1, 0.1), (0.25, 0.05), (0.05, 0.5)])
@pytest.mark.parametrize("how", ["random", "per-user"])
def test_hashed_splits_have_about_the_sizes_asked_for(how, valid, test):
    rows = table(400, 50, unlabelled_fraction=0)
    sizes = parts_of(rows, Split(how, valid, test))[PART].value_counts()
    found = dict(zip(sizes[PART], sizes["count"] / rows.height, strict=True))
    # five standard deviations of a binomial of 20,000 rows
    assert found[TEST] == pytest.approx(test, abs=5 * (test * (1 - test) / rows.height) ** 0.5)
    assert found[VALID] == pytest.approx(valid, abs=5 * (valid * (1 - valid) / rows.height) ** 0.5)


@given(st.integers(1, 12), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_per_user_counts_differ_from_the_fraction_by_less_than_one_and_leave_training(n, seed):
    rows = table(60, n, unlabelled_fraction=0)
    split = Split("per-user", 0.2, 0.3, seed)
    counts = (
        parts_of(rows, split)
        .group_by(USER)
        .agg(
            train=(pl.col(PART) == TRAIN).sum(),
            test=(pl.col(PART) == TEST).sum(),
            judged=(pl.col(PART) != TRAIN).sum(),
        )
    )
    assert (counts["train"] >= 1).all()
    assert ((counts["test"] - min(n * 0.3, n - 1)).abs() < 1).all()
    assert ((counts["judged"] - min(n * 0.5, n - 1)).abs() < 1).all()


def test_per_user_fractions_hold_over_users_with_few_rows():
    found = parts_of(table(4000, 3, unlabelled_fraction=0), Split("per-user", 0.1, 0.1))
    assert (found[PART] == TEST).mean() == pytest.approx(0.1, abs=0.01)
    assert (found[PART] == VALID).mean() == pytest.approx(0.1, abs=0.01)


def test_temporal_splits_by_time_user_item_and_drops_later_unlabelled_rows():
    rows = table(20, 30)
    found = parts_of(rows, Split("temporal", 0.15, 0.25))
    ordered = rows.filter(pl.col(LABEL).is_not_null()).sort(TIME, USER, ITEM)
    n_test, n_judged = round(ordered.height * 0.25), round(ordered.height * 0.4)
    parts = [TRAIN] * (ordered.height - n_judged) + [VALID] * (n_judged - n_test) + [TEST] * n_test
    expected = ordered.with_columns(pl.Series(PART, parts, dtype=pl.Int8))
    kept = found.filter(pl.col(LABEL).is_not_null()).sort(USER, ITEM)
    assert kept.equals(expected.select(USER, ITEM, LABEL, PART).sort(USER, ITEM))
    first = expected.filter(pl.col(PART) == VALID)[TIME].min()
    early = rows.filter(pl.col(LABEL).is_null(), pl.col(TIME) <= first)
    assert 0 < early.height < rows[LABEL].null_count()
    shown = found.filter(pl.col(PART) == UNLABELLED).select(USER, ITEM).sort(USER, ITEM)
    assert shown.equals(early.select(USER, ITEM).sort(USER, ITEM))


def test_a_column_is_obeyed_and_unlabelled_rows_marked_for_judging_are_dropped():
    rows = table(20, 30)
    found = parts_of(rows, Split("column")).join(rows, on=[USER, ITEM])
    kept = found.filter(pl.col(LABEL).is_not_null())
    assert (kept[PART] == kept[SPLIT]).all()
    shown = found.filter(pl.col(LABEL).is_null())
    assert set(shown[SPLIT]) == {TRAIN}
    assert shown.height == rows.filter(pl.col(LABEL).is_null(), pl.col(SPLIT) == TRAIN).height


def test_a_column_without_validation_gives_some_of_its_train_rows():
    rows = table(40, 50).with_columns(
        pl.when(pl.col(SPLIT) == VALID).then(pl.lit(TRAIN, pl.Int8)).otherwise(SPLIT).alias(SPLIT)
    )
    found = parts_of(rows, Split("column", valid_fraction=0.2)).join(rows, on=[USER, ITEM])
    kept = found.filter(pl.col(LABEL).is_not_null())
    assert ((kept[PART] == TEST) == (kept[SPLIT] == TEST)).all()
    train = kept.filter(pl.col(SPLIT) == TRAIN)
    assert (train[PART] == VALID).mean() == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize("word", WORDS)
def test_words_of_a_split_column_in_any_case(word):
    frame = nw.from_native(pl.LazyFrame({"s": [word, word.upper(), "trial", None]}))
    found = frame.select(part_of("s").alias("part")).collect()["part"].to_list()
    assert found == [WORDS[word], WORDS[word], None, None]


def hashes(n_users, n_items, seed):
    rows = table(n_users, n_items)
    found = hashed(nw.from_native(rows.lazy()), (USER, ITEM), seed).collect()
    return found["__hash__"].to_numpy()


def slow_hash(values, seed):
    keys = (0x243F6A88, 0x05A308D3)
    state = seed + keys[0]
    state = (pow(state, 5, PRIME) + keys[1]) ** 5 % PRIME
    for value in values:
        state = (state + value + keys[0]) ** 5 % PRIME
        state = (state + keys[1]) ** 5 % PRIME
    return state


@given(st.integers(0, PRIME - 1), st.integers(0, PRIME - 1), st.integers(-(2**70), 2**70))
@settings(max_examples=50, deadline=None)
def test_the_hash_never_overflows(user, item, seed):
    rows = nw.from_native(pl.LazyFrame({USER: [user], ITEM: [item]}))
    found = hashed(rows, (USER, ITEM), seed).collect()
    assert found.columns == [USER, ITEM, "__hash__"]
    assert found["__hash__"].to_list() == [slow_hash((user, item), seed)]


@pytest.mark.parametrize("shape", [(2000, 50), (1, 100_000), (100_000, 1), (316, 316)])
def test_the_hash_is_uniform_and_neighbors_and_seeds_are_independent(shape):
    first, second = hashes(*shape, 0), hashes(*shape, 1)
    n_cells = 16
    cell, other = (values * n_cells // PRIME for values in (first, second))
    neighbour = np.roll(cell, 1)

    def chi_square(table):
        expected = table.sum() / table.size
        return float(((table - expected) ** 2 / expected).sum())

    # chi-square of d degrees has mean d and deviation sqrt(2d); five deviations
    assert chi_square(np.bincount(cell, minlength=n_cells)) < 15 + 5 * 30**0.5
    for pair in (other, neighbour):
        joint = np.bincount(cell * n_cells + pair, minlength=n_cells**2)
        assert chi_square(joint) < 255 + 5 * 510**0.5
    assert len(np.unique(first)) > 0.999 * len(first)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Split("randm"), "unknown split 'randm'; did you mean 'random'"),
        (lambda: Split(valid_fraction=0), "above 0"),
        (lambda: Split(test_fraction=-0.1), "above 0"),
        (lambda: Split(valid_fraction=0.5, test_fraction=0.5), "below 1 together"),
        (lambda: Split(valid_fraction=float("nan")), "found nan"),
    ],
)
def test_wrong_settings_are_refused(made, said):
    with pytest.raises(ConfigError, match=said):
        made()
