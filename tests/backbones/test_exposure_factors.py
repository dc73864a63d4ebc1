"""Exposure factors against SciPy, scikit-learn and slow loops, and where only exposures tell."""

from dataclasses import replace
from math import log

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds
from sklearn.linear_model import LogisticRegression

from invlearn.backbones.exposure_hybrid import exposure_factors
from invlearn.backbones.exposure_hybrid.exposure_factors import (
    exposure_svd,
    fit_exposure_factors,
    logistic_regression,
)
from invlearn.backbones.rates import PSEUDO_ROWS
from invlearn.data.exposures import Exposures
from invlearn.evaluation.assessment import measure_baselines
from invlearn.evaluation.baselines import ALL_BASELINES, BASELINES, baseline_scores
from invlearn.evaluation.evaluation import evaluate
from invlearn.runtime.errors import ConfigError
from toys import checkerboard, part

RNG = np.random.default_rng(0)
SHAPE = 40, 30


def exposures(n_users=40, n_items=30, n=500, rng=RNG):
    """Pairs that occur once each, popular items more often."""
    cells = rng.choice(n_users * n_items, n, replace=False)
    return cells // n_items, cells % n_items


def labelled_and_not():
    users, items = exposures()
    return part(users[:300], items[:300], RNG.integers(2, size=300)), part(users[300:], items[300:])


TRAIN, UNLABELLED = labelled_and_not()
SHOWN = Exposures.of(TRAIN, UNLABELLED)


def exposed(users, items):
    return Exposures.of(part(), part(users, items))


def every_score(model):
    users, items = np.divmod(np.arange(SHAPE[0] * SHAPE[1]), SHAPE[1])
    return model.score(users, items)


# The decomposition


def test_factors_are_those_of_scipy():
    tastes, kinds = RNG.integers(6, size=300), RNG.integers(6, size=200)
    rate = np.where(tastes[:, None] == kinds, 0.3, 0.02)
    users, items = np.nonzero(RNG.random((300, 200)) < rate)
    again = np.r_[users, users[:50]], np.r_[items, items[:50]]  # a pair counts once
    left, strengths, right = exposure_svd(exposed(*again), (300, 200), factors=12)
    u, s, vt = svds(csr_matrix((np.ones(len(users)), (users, items)), (300, 200)), k=12)
    np.testing.assert_allclose(strengths, s[::-1], rtol=1e-4)
    top = slice(-6, None)  # the twelfth of a noisy tail turns freely with the thirteenth
    ours = left[:, :6] * strengths[:6] @ right[:, :6].T
    np.testing.assert_allclose(ours, u[:, top] * s[top] @ vt[top], atol=1e-5)
    np.testing.assert_allclose(left.T @ left, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(right.T @ right, np.eye(12), atol=1e-12)


def test_a_matrix_of_low_rank_has_no_more_factors():
    users, items = np.divmod(np.arange(20), 5)
    left, strengths, right = exposure_svd(exposed(users, items), (6, 5), factors=4)
    assert (left.shape, right.shape) == ((6, 1), (5, 1))
    np.testing.assert_allclose(left * strengths @ right.T, [[1] * 5] * 4 + [[0] * 5] * 2, atol=1e-9)


# The regression


@pytest.mark.parametrize("l2", [1e-3, 1.0, 300.0])
def test_the_regression_is_that_of_scikit_learn(l2):
    columns = RNG.normal(size=(400, 5)) * [1, 1, 1, 5, 0.1]
    labels = (columns[:, 0] * 3 + columns[:, 3] + RNG.logistic(size=400) > 2).astype(float)
    with_constant = np.column_stack([columns, np.ones(400)])
    oracle = LogisticRegression(C=1 / l2, tol=1e-12, solver="newton-cholesky", max_iter=1000)
    oracle.fit(columns, labels)

    def blocks():
        for rows in (slice(0, 3), slice(3, 4), slice(4, None)):
            yield with_constant[rows], labels[rows]

    found = logistic_regression(blocks, l2=l2)
    np.testing.assert_allclose(found, [*oracle.coef_[0], *oracle.intercept_], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seed", [214, 256])
def test_a_step_too_far_is_cut(seed):
    """Newton's full steps overshoot here, for one of the two to where the curvature is singular."""
    rng = np.random.default_rng(seed)
    columns = np.column_stack([rng.standard_cauchy((30, 2)) ** 3, np.ones(30)])
    labels = (rng.random(30) < 0.2).astype(float)
    coefficients = logistic_regression(lambda: iter([(columns, labels)]), l2=1e-3)
    with np.errstate(over="ignore"):
        rates = 1 / (1 + np.exp(-columns @ coefficients))
    pull = columns * (rates - labels)[:, None]
    gradient = pull.sum(axis=0) + np.array([1e-3, 1e-3, 0]) * coefficients
    assert (np.abs(gradient) <= 1e-6 * np.abs(pull).sum(axis=0)).all()


# The whole


def slow_columns(pairs, left, right, *, own):
    """Columns of pairs one by one; `own` leaves a training row out of its rates."""
    mean = (TRAIN.labels.sum() + 1) / (len(TRAIN) + 2)
    found = []
    for user, item in pairs:
        row = [*left[user], *right[item], *(left[user] * right[item])]
        for key, wanted in (("users", user), ("items", item)):
            shown = [*getattr(TRAIN, key), *getattr(UNLABELLED, key)]
            row.append(log(1 + shown.count(wanted)))
            others = [
                label
                for u, i, label in zip(TRAIN.users, TRAIN.items, TRAIN.labels, strict=True)
                if (u if key == "users" else i) == wanted and not (own and (u, i) == (user, item))
            ]
            rate = (sum(others) + PSEUDO_ROWS * mean) / (len(others) + PSEUDO_ROWS)
            row.append(log(rate / (1 - rate)))
        found.append(row)
    return np.array(found)


def test_scores_are_those_of_a_slow_obvious_way():
    left, strengths, right = exposure_svd(SHOWN, SHAPE, factors=3)
    pairs = zip(TRAIN.users, TRAIN.items, strict=True)
    rows = slow_columns(pairs, left, right, own=True)
    share = strengths / strengths[0]
    emphasis = np.r_[share, share, share, np.ones(4)] / rows.std(axis=0)
    oracle = LogisticRegression(C=0.5, tol=1e-12, solver="newton-cholesky", max_iter=1000)
    oracle.fit((rows - rows.mean(axis=0)) * emphasis, TRAIN.labels)
    pairs = [(u, i) for u in range(SHAPE[0]) for i in range(SHAPE[1])]
    scored = slow_columns(pairs, left, right, own=False)
    expected = oracle.decision_function((scored - rows.mean(axis=0)) * emphasis)
    model = fit_exposure_factors(SHOWN, SHAPE, factors=3, l2=2.0)
    np.testing.assert_allclose(every_score(model), expected, rtol=1e-6, atol=1e-8)


def test_smoothed_factors_are_those_of_a_dense_decomposition():
    users, items = exposures()
    matrix = np.zeros((40, 30))
    matrix[users, items] = 1
    roots = [np.sqrt(matrix.sum(axis=side) + 5.0) for side in (1, 0)]
    left, strengths, right = np.linalg.svd(matrix / np.outer(*roots))
    found = exposure_svd(exposed(users, items), SHAPE, factors=3, smoothing=5.0)
    np.testing.assert_allclose(found[1], strengths[:3], rtol=1e-6)
    for side, expected, root in zip(found[::2], (left, right.T), roots, strict=True):
        expected = expected[:, :3] / root[:, None]
        signs = np.sign((side * expected).sum(axis=0))
        np.testing.assert_allclose(side, expected * signs, rtol=1e-4, atol=1e-6)


@given(st.integers(1, 310))
def test_blocks_change_nothing(block_rows):
    whole = fit_exposure_factors(SHOWN, SHAPE, factors=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exposure_factors, "BLOCK_ROWS", block_rows)
        cut = fit_exposure_factors(SHOWN, SHAPE, factors=3)
    np.testing.assert_allclose(every_score(cut), every_score(whole), rtol=1e-9, atol=1e-9)


def test_where_only_exposures_tell():
    rng = np.random.default_rng(1)
    users, items = np.divmod(rng.permutation(60 * 60), 60)
    same = users % 2 == items % 2
    shown = np.flatnonzero(rng.random(len(users)) < np.where(same, 0.6, 0.1))
    rest = np.setdiff1d(np.arange(len(users)), shown)
    train, test = rest[:400], rest[400:]
    known = part(users[train], items[train], same[train])
    unlabelled = part(users[shown], items[shown])
    size = 60, 60

    def auc(scores):
        return evaluate(users[test], same[test], scores, draws=0).values["auc"]

    model = fit_exposure_factors(Exposures.of(known, unlabelled), size)
    assert auc(model.score(users[test], items[test])) > 0.95
    blind = fit_exposure_factors(Exposures.of(known, part()), size)
    assert auc(blind.score(users[test], items[test])) < 0.8
    rates = baseline_scores("item+user-rate", known, users[test], items[test], shape=size)
    assert auc(rates) < 0.65


def test_an_own_label_does_not_leak():
    """With one row a user and labels of chance, a rate that kept the own label would know all."""
    rng = np.random.default_rng(2)
    users = np.arange(2000)
    labels = rng.integers(2, size=2000)
    train = part(users, rng.integers(50, size=2000), labels)
    model = fit_exposure_factors(Exposures.of(train, part()), shape=(2000, 50), factors=4)
    assert (
        np.abs(model.coefficients[[4, 5]]).max() < 1e-6
    )  # count and rate of users: the same for all


def test_a_seed_is_its_factors_and_no_other_randomness():
    before = torch.random.get_rng_state()
    fits = [
        every_score(fit_exposure_factors(SHOWN, SHAPE, factors=3, seed=seed)) for seed in (0, 0, 1)
    ]
    assert torch.equal(before, torch.random.get_rng_state())
    assert (fits[0] == fits[1]).all()
    assert (fits[0] != fits[2]).any()
    np.testing.assert_allclose(fits[0], fits[2], atol=1e-3)


# What is too small or too even


@pytest.mark.parametrize(("labels", "expected"), [([], 1 / 2), ([1, 1], 3 / 4), ([0, 0, 0], 1 / 5)])
def test_one_class_gives_the_mean(labels, expected):
    train = part(range(len(labels)), range(len(labels)), labels)
    for unlabelled in (part(), part([0, 1], [2, 2])):
        found = every_score(fit_exposure_factors(Exposures.of(train, unlabelled), SHAPE))
        np.testing.assert_allclose(found, log(expected / (1 - expected)))


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 12),
    st.floats(0, 1),
    st.randoms(use_true_random=False),
    st.sampled_from([1e-3, 10.0]),
)
def test_tiny_data_give_finite_scores(n_users, n_items, n, share, random, l2):
    cells = np.array(random.sample(range(n_users * n_items), min(n, n_users * n_items)))
    users, items = np.divmod(cells, n_items)
    n_known = round(share * len(cells))
    train = part(users[:n_known], items[:n_known], [random.randrange(2) for _ in range(n_known)])
    size = n_users + 1, n_items + 1  # the last of each was never shown
    model = fit_exposure_factors(
        Exposures.of(train, part(users[n_known:], items[n_known:])), size, l2=l2
    )
    everyone, everything = np.divmod(np.arange((n_users + 1) * (n_items + 1)), n_items + 1)
    assert np.isfinite(model.score(everyone, everything)).all()


@pytest.mark.parametrize("wrong", [{"factors": 0}, {"l2": 0.0}, {"l2": float("nan")}])
def test_settings_without_meaning(wrong):
    with pytest.raises(ConfigError, match="factors of at least 1 and l2 above 0"):
        fit_exposure_factors(SHOWN, SHAPE, **wrong)


# Beside the others


def test_baselines_are_measured_by_name(tmp_path):
    board = checkerboard(tmp_path / "board")
    found = measure_baselines(board, board.test, draws=20, seed=3)
    assert tuple(found) == ALL_BASELINES == (*BASELINES, "exposure-factors")
    size = board.n_users, board.n_items
    model = fit_exposure_factors(Exposures.of(board.train, board.unlabelled), size, seed=3)
    scores = model.score(board.test.users, board.test.items)
    again = evaluate(board.test.users, board.test.labels, scores, draws=20, seed=3)
    assert found["exposure-factors"].values == again.values
    assert found["exposure-factors"].intervals == again.intervals
    assert list(measure_baselines(board, board.valid, names=["random"], draws=0)) == ["random"]
    with pytest.raises(ConfigError, match="did you mean 'exposure-factors'"):
        measure_baselines(board, board.test, names=["exposure-factor"])
    without = measure_baselines(replace(board, unlabelled=part()), board.test, draws=0)
    assert without["exposure-factors"].values != again.values


def test_movielens_with_few_labels(data_folder):
    file = data_folder / "ml-1m" / "ratings.parquet"
    if not file.is_file():
        pytest.skip(f"{file.name} of ML-1M is not in INVLEARN_DATA or ../shared/data")
    rows = pl.read_parquet(file)
    users, items, split = (rows[c].to_numpy() for c in ("user", "item", "split"))
    labels = (rows["rating"].to_numpy() > 2).astype(np.int8)
    chosen = np.random.default_rng(0).random(len(rows)) < 0.05
    known, hidden, test = (split == 0) & chosen, (split == 0) & ~chosen, split == 2
    train = part(users[known], items[known], labels[known])
    size = int(users.max()) + 1, int(items.max()) + 1
    model = fit_exposure_factors(Exposures.of(train, part(users[hidden], items[hidden])), size)
    scores = model.score(users[test], items[test])
    found = evaluate(users[test], labels[test], scores, draws=0).values
    assert found["auc"] == pytest.approx(0.782, abs=0.004)
    assert found["gauc"] == pytest.approx(0.736, abs=0.004)
