"""Calibration against loops and scikit-learn."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from invlearn.evaluation.calibration import calibration
from invlearn.runtime.errors import DataError


def test_agrees_with_loops_and_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities = rng.beta(0.5, 0.3, size=3_000)
    labels = (rng.random(3_000) < probabilities**2).astype(np.int8)
    found = calibration(labels, probabilities, n_bins=7)
    fractions, means = calibration_curve(labels, probabilities, n_bins=7)
    np.testing.assert_allclose([b.positive_fraction for b in found.table], fractions)
    np.testing.assert_allclose([b.mean_probability for b in found.table], means)
    assert sum(b.rows for b in found.table) == 3_000
    assert found.brier == pytest.approx(brier_score_loss(labels, probabilities))
    ece = 0
    for low in range(7):
        inside = (probabilities >= low / 7) & (probabilities < (low + 1) / 7)
        ece += inside.mean() * abs(labels[inside].mean() - probabilities[inside].mean())
    assert found.ece == pytest.approx(ece)


def test_edges_and_empty_bins():
    found = calibration([1, 0, 1], [1.0, 0.0, 1.0])
    assert [(b.low, b.high, b.rows) for b in found.table] == [(0.0, 0.1, 1), (0.9, 1.0, 2)]
    assert found.ece == found.brier == 0.0


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.5])
def test_logits_are_refused(wrong):
    with pytest.raises(DataError, match=r"1 of 2 probabilities are not in \[0, 1\] \(row 1"):
        calibration([1, 0], [0.5, wrong])


def test_nothing_to_calibrate_on():
    with pytest.raises(DataError, match="no rows"):
        calibration([], [])
