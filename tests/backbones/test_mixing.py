"""Mixes of models: the quick AUC against the metric, the search against each model alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invlearn.backbones.exposure_hybrid.mixing import PARTS, _area, best_parts
from invlearn.evaluation.metrics import auc, tie_groups


def exact(labels, scores):
    return auc(tie_groups(np.zeros(len(labels), np.int64), labels, scores))


@pytest.mark.parametrize("digits", [1, 12])
def test_the_quick_auc_is_the_metric(digits):
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=5_000)
    scores = (rng.normal(size=5_000) + labels).round(digits)
    assert _area(scores, labels > 0) == pytest.approx(exact(labels, scores), abs=2e-5)
    assert _area(np.zeros(5_000), labels > 0) == 0.5


@given(st.integers(2, 4), st.integers(0, 10_000))
def test_a_mix_ranks_no_worse_than_any_model_alone_or_the_start(n_models, seed):
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(2, size=20), [0, 1])
    members = rng.normal(size=(n_models, 22)) + rng.random((n_models, 1)) * labels
    start = rng.multinomial(PARTS, np.full(n_models, 1 / n_models))
    found = best_parts(members, labels, start=start)
    assert found.sum() == PARTS
    assert (found >= 0).all()
    others = [start, *(PARTS * np.eye(n_models, dtype=np.int64))]
    best = max(exact(labels, parts @ members) for parts in others)
    assert exact(labels, found @ members) >= best - 1e-3


def test_two_halves_of_what_is_known_are_put_together():
    rng = np.random.default_rng(1)
    halves = rng.normal(size=(2, 4_000))
    labels = (halves.sum(0) > 0).astype(np.int8)
    found = best_parts(
        np.stack([*halves, rng.normal(size=4_000)]), labels, start=np.array([0, 0, PARTS])
    )
    assert found[2] == 0
    assert abs(found[0] - found[1]) <= 2


def test_scores_that_are_no_numbers_leave_the_mix_as_it_is():
    start = np.array([5, 7])
    members = np.array([[0.0, 1.0], [np.nan, 0.0]])
    assert best_parts(members, np.array([0, 1]), start=start) is start


def test_one_score_far_out_leaves_the_others_told_apart():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=5_000)
    scores = rng.normal(size=5_000) + labels
    scores[7] = 1e7
    assert _area(scores, labels > 0) == pytest.approx(exact(labels, scores), abs=1e-3)
