"""Thresholds against a slow search, and what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from invlearn.evaluation import thresholds
from invlearn.evaluation.thresholds import (
    LEAST_ROWS,
    STANDARD_ERRORS,
    UNCLEAR,
    Reach,
    Thresholds,
    find_thresholds,
    kept_promises,
    suggested,
    wilson_lower,
)
from invlearn.runtime.errors import ConfigError


def slow_reach(labels, probabilities, precision, label, least):
    """The widest threshold on the label's own side, tried one by one."""
    side = probabilities >= 0.5 if label else probabilities < 0.5
    best = Reach(None)
    for edge in sorted(set(probabilities[side]), reverse=bool(label)):
        beyond = side & (probabilities >= edge if label else probabilities <= edge)
        n, hits = beyond.sum(), (labels[beyond] == label).sum()
        if n >= least and wilson_lower(hits, n) >= precision:
            best = Reach(edge, int(n), hits / n)
    return best


@settings(max_examples=100)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 80),
    levels=st.integers(1, 30),
    precision=st.floats(0.51, 0.99),
)
def test_agrees_with_a_slow_search(seed, n, levels, precision):
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(levels + 1, size=n) / levels
    labels = (rng.random(n) < probabilities).astype(np.int8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thresholds, "LEAST_ROWS", 5)
        found = find_thresholds(labels, probabilities, precision)
    for reach, label in zip(found, (1, 0), strict=True):
        assert reach == pytest.approx(slow_reach(labels, probabilities, precision, label, 5))


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (90, 100), (3, 7)])
def test_the_lower_end_is_wilson_s(hits, n):
    confidence = math.erf(STANDARD_ERRORS / math.sqrt(2))
    oracle = binomtest(hits, n).proportion_ci(confidence, method="wilson").low
    assert float(wilson_lower(hits, n)) == pytest.approx(oracle)


def test_a_handful_of_rows_promises_nothing():
    probabilities = np.r_[np.full(LEAST_ROWS - 1, 0.99), np.full(500, 0.6)]
    labels = np.r_[np.ones(LEAST_ROWS - 1), np.tile([1, 0], 250)]
    assert find_thresholds(labels, probabilities, 0.9).positive == Reach(None)
    more = find_thresholds(np.r_[labels, 1], np.r_[probabilities, 0.99], 0.9)
    assert more.positive == Reach(0.99, LEAST_ROWS, 1.0)


def test_a_row_gets_no_label_that_is_the_less_likely_one():
    """Calling every row positive would be right for 95 %, and yet no row below a half is."""
    labels, probabilities = np.ones(1000), np.linspace(0, 1, 1000)
    found = find_thresholds(labels, probabilities, 0.9)
    assert found.positive.threshold == probabilities[500]
    assert found.negative.threshold is None
    assert set(suggested(probabilities[:500], found)) == {UNCLEAR}


def test_suggestions_at_the_very_thresholds_and_of_strangers():
    found = Thresholds(Reach(0.75), Reach(0.25))
    given_to = np.array([0.75, 0.7499, 0.25, 0.2501, 0.0, 1.0, np.nan])
    assert suggested(given_to, found).tolist() == [1, -1, 0, -1, 0, 1, -1]
    assert set(suggested(given_to, Thresholds(Reach(None), Reach(None)))) == {UNCLEAR}


def test_the_promise_is_kept_on_rows_of_the_same_kind():
    rng = np.random.default_rng(1)
    p = rng.beta(0.6, 0.4, size=(2, 20_000))
    y = (rng.random(p.shape) < p).astype(np.int8)
    promises = [find_thresholds(y[0], p[0], precision) for precision in (0.8, 0.9, 0.95)]
    for found, precision in zip(kept_promises(y[1], p[1], promises), (0.8, 0.9, 0.95), strict=True):
        for facts in found.values():
            assert facts["rows"] > 1000
            assert facts["precision"] > precision - 0.01


def test_few_thresholds_are_lucky_ones_where_probabilities_are_exactly_right():
    """The furthest of many cut-offs is taken, so the promise must hold with room to spare."""
    rng = np.random.default_rng(0)
    z = rng.normal(0, 1.2, size=(100, 3_000))
    p = 1 / (1 + np.exp(-z))
    y = rng.random(p.shape) < p
    everybody = 1 / (1 + np.exp(-rng.normal(0, 1.2, 200_000)))
    true = []
    for labels, claimed in zip(y, p, strict=True):
        above, below = (reach.threshold for reach in find_thresholds(labels, claimed, 0.9))
        true += [] if above is None else [everybody[everybody >= above].mean()]
        true += [] if below is None else [1 - everybody[everybody <= below].mean()]
    assert len(true) > 30
    assert np.mean(np.array(true) < 0.9) < 0.15
    assert min(true) > 0.87


def test_nobody_labelled_no_precision():
    (found,) = kept_promises(np.ones(3), np.full(3, 0.5), [Thresholds(Reach(None), Reach(None))])
    assert found["positive"] == {"rows": 0, "precision": None}


@pytest.mark.parametrize("precision", [0.5, 1.0, -1, 90])
def test_precisions_out_of_range(precision):
    with pytest.raises(ConfigError, match=r"above 0\.5 and below 1; found"):
        find_thresholds([1], [0.5], precision)
