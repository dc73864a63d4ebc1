"""Factors pretrained on exposures, against SciPy and a slow obvious ALS."""

import sys

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds
from threadpoolctl import threadpool_info

import invlearn
from invlearn.backbones.pretraining import PRETRAINING, als_factors, svd_factors
from invlearn.cli.main import main
from invlearn.data.exposures import Exposures
from invlearn.runtime.errors import ConfigError
from toys import checkerboard

SIZE = {"shape": (40, 30)}
each_way = pytest.mark.parametrize("make", PRETRAINING.values(), ids=PRETRAINING)


def exposures(seed=0):
    """Shown by four tastes; the last user and item were never shown, and some pairs come twice."""
    rng = np.random.default_rng(seed)
    tastes, kinds = rng.integers(4, size=40), rng.integers(4, size=30)
    shown = rng.random((40, 30)) < np.where(tastes[:, None] == kinds, 0.6, 0.1)
    shown[-1], shown[:, -1] = False, False
    users, items = np.nonzero(shown)
    users, items = np.r_[users, users[:20]], np.r_[items, items[:20]]
    return Exposures(users, items, np.full(len(users), -1, np.int8)), shown.astype(float)


def test_svd_factors_are_those_of_scipy():
    shown, matrix = exposures()
    users, items = svd_factors(shown, **SIZE, factors=4)
    u, s, vt = svds(csr_matrix(matrix), k=4)
    np.testing.assert_allclose(users @ items.T, u * s @ vt, atol=1e-4)
    np.testing.assert_allclose(users.T @ users, items.T @ items, atol=1e-9)
    assert (np.diff((users**2).sum(axis=0)) < 0).all()


def solved(weights, targets, others, l2):
    """Rows that are best for the factors of the other side, one by one."""
    eye = l2 * np.eye(others.shape[1])
    return np.array(
        [
            np.linalg.solve(others.T @ np.diag(w) @ others + eye, others.T @ (w * t))
            for w, t in zip(weights, targets, strict=True)
        ]
    )


def loss(users, items, matrix, alpha, l2):
    squares = (1 + alpha * matrix) * (matrix - users @ items.T) ** 2
    return squares.sum() + l2 * ((users**2).sum() + (items**2).sum())


def test_als_factors_are_those_of_a_slow_obvious_way():
    shown, matrix = exposures()
    alpha, l2 = 5.0, 0.7
    users, items = als_factors(shown, **SIZE, factors=4, alpha=alpha, l2=l2, sweeps=200)
    weights = 1 + alpha * matrix
    np.testing.assert_allclose(users, solved(weights, matrix, items, l2), atol=1e-6)
    np.testing.assert_allclose(items, solved(weights.T, matrix.T, users, l2), atol=1e-6)
    slow = np.random.default_rng(1).random((30, 4))
    for _ in range(200):
        left = solved(weights, matrix, slow, l2)
        slow = solved(weights.T, matrix.T, left, l2)
    expected = loss(left, slow, matrix, alpha, l2)
    assert loss(users, items, matrix, alpha, l2) == pytest.approx(expected, rel=1e-6)
    few = als_factors(shown, **SIZE, factors=4, alpha=alpha, l2=l2)
    assert loss(*few, matrix, alpha, l2) == pytest.approx(expected, rel=0.02)


@each_way
def test_the_same_exposures_give_the_same_factors_and_leave_no_trace(make):
    shown, _ = exposures()
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), threadpool_info()
    found = [make(shown, **SIZE, factors=3, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), threadpool_info())
    for one, again, other in zip(*found, strict=True):
        assert np.array_equal(one, again)
        assert not np.array_equal(one, other)


@each_way
def test_a_pair_counts_once_and_labels_do_not_count(make):
    shown, matrix = exposures()
    users, items = np.nonzero(matrix)
    other = Exposures(users, items, (np.arange(len(users)) % 3 - 1).astype(np.int8))
    for one, two in zip(
        make(shown, **SIZE, factors=3), make(other, **SIZE, factors=3), strict=True
    ):
        np.testing.assert_allclose(one, two, atol=1e-9)


@each_way
def test_what_was_never_shown_has_no_factors(make):
    shown, _ = exposures()
    users, items = make(shown, **SIZE, factors=3)
    assert (users.shape, items.shape) == ((40, 3), (30, 3))
    for side in (users, items):
        np.testing.assert_allclose(side[-1], 0, atol=1e-12)
        assert (np.abs(side[:-1]).max(axis=1) > 1e-3).all()
    nothing = Exposures(*(column[:0] for column in shown))
    assert all(not side.any() for side in make(nothing, **SIZE, factors=3))


def test_more_factors_than_the_rank_are_zero():
    users, items = np.divmod(np.arange(20), 5)
    block = Exposures(users, items, np.full(20, -1, np.int8))
    left, right = svd_factors(block, shape=(6, 5), factors=4)
    assert (left.shape, right.shape) == ((6, 4), (5, 4))
    np.testing.assert_allclose(left @ right.T, [[1] * 5] * 4 + [[0] * 5] * 2, atol=1e-9)
    assert not left[:, 1:].any()


def test_without_the_package_als_says_what_to_install(monkeypatch, tmp_path, capsys):
    board = checkerboard(tmp_path / "data", n_users=8, n_items=8)
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(ConfigError, match=r"pip install 'invlearn\[als\]', or pass --model"):
        invlearn.train(
            board.folder, tmp_path / "run", backbone="wide-deep", model={"pretrained": "als"}
        )
    given = ["train", str(board.folder), "--backbone", "wide-deep", "--model.pretrained", "als"]
    with pytest.raises(SystemExit) as left:
        main([*given, "--out", str(tmp_path / "other")])
    assert left.value.code == 2
    assert "pip install 'invlearn[als]'" in " ".join(capsys.readouterr().err.split())
