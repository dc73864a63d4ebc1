"""Calibrators against scikit-learn and SciPy, and chosen on users that they have not seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from invlearn.evaluation import calibrators
from invlearn.evaluation.calibrators import FITS, choose_calibrator, fit_isotonic, fit_temperature
from invlearn.runtime.errors import DataError


def drawn(n, *, seed=0, scale=1.0, shift=0.0, n_users=40):
    """Users, labels and logits; the labels follow `sigmoid(scale * z + shift)`."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n) * 2
    y = rng.random(n) < 1 / (1 + np.exp(-(scale * z + shift)))
    return rng.integers(n_users, size=n), y.astype(np.int8), z


rows = st.lists(st.tuples(st.integers(0, 1), st.integers(-6, 6)), min_size=1, max_size=40)


@settings(max_examples=200)
@given(rows=rows)
def test_isotonic_agrees_with_scikit_learn(rows):
    labels, logits = (np.array(column, float) for column in zip(*rows, strict=True))
    found = fit_isotonic(labels, logits)
    more = [logits.min(), logits.max()]
    oracle = IsotonicRegression(out_of_bounds="clip").fit([*logits, *more], [*labels, 1, 0])
    asked = np.linspace(-8, 8, 65)
    np.testing.assert_allclose(found(asked), oracle.predict(asked), atol=1e-9)
    assert (np.diff(found(asked)) >= -1e-12).all()
    assert ((found(asked) > 0) & (found(asked) < 1)).all()


def test_isotonic_on_many_rows():
    _, labels, logits = drawn(20_000)
    oracle = IsotonicRegression().fit([*logits, logits.min(), logits.max()], [*labels, 1, 0])
    np.testing.assert_allclose(fit_isotonic(labels, logits)(logits), oracle.predict(logits))


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (0.3, -2), (4, 1)])
def test_temperature_finds_the_least_loss(scale, shift):
    _, labels, logits = drawn(3_000, scale=scale, shift=shift)
    n = labels.sum()
    targets = np.where(labels, (n + 1) / (n + 2), 1 / (len(labels) - n + 2))

    def loss(w):
        s = w[0] * logits + w[1]
        return np.mean(np.logaddexp(0, s) - targets * s)

    found, oracle = fit_temperature(labels, logits), minimize(loss, [1, 0], tol=1e-10)
    np.testing.assert_allclose([found.scale, found.shift], oracle.x, atol=1e-4)
    np.testing.assert_allclose([found.scale, found.shift], [scale, shift], atol=0.25)


@settings(max_examples=100)
@given(rows=rows)
def test_temperature_never_falls_and_is_level_where_it_would(rows):
    labels, logits = (np.array(column, float) for column in zip(*rows, strict=True))
    found = fit_temperature(labels, logits)
    assert (np.diff(found(np.linspace(-8, 8, 65))) >= 0).all()
    if (logits @ (labels - labels.mean())) < -1e-6:
        n = labels.sum()
        targets = np.where(labels, (n + 1) / (n + 2), 1 / (len(labels) - n + 2))
        assert found.scale == 0
        assert found(3.0) == pytest.approx(targets.mean())


@pytest.mark.parametrize("factor", [1e-6, 1, 1e6])
def test_temperature_does_not_mind_the_unit_of_the_logits(factor):
    _, labels, logits = drawn(2_000)
    one, other = fit_temperature(labels, logits), fit_temperature(labels, logits * factor)
    np.testing.assert_allclose(one(logits), other(logits * factor), atol=1e-9)


@pytest.mark.parametrize("fit", FITS.values())
def test_logits_that_part_the_classes_or_are_all_equal_give_probabilities(fit):
    labels = np.array([0, 0, 0, 1, 1, 1])
    for logits in (labels * 10.0 - 5, np.zeros(6)):
        found = fit(labels, logits)([-1e4, 0, 1e4])
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()
    assert fit(labels, np.zeros(6))(0.0) == pytest.approx(0.5)


def test_each_is_chosen_where_it_should_be():
    users, labels, logits = drawn(20_000, scale=0.5, shift=-1)
    assert choose_calibrator(users, labels, logits).name == "temperature"
    bent = np.where(logits > 0, 20 + logits / 100, logits)  # no scale and shift undo that
    found = choose_calibrator(users, labels, bent)
    assert found.name == "isotonic"
    assert found.log_losses["isotonic"] < found.log_losses["temperature"]


def test_no_row_is_judged_by_a_calibrator_that_saw_its_user(monkeypatch):
    users, labels, logits = drawn(500, n_users=13)
    users = users * 7 + 3
    logits = logits + np.arange(500) * 1e-9  # each tells its row
    seen = []

    def fit(y, z):
        known = set(users[np.isin(logits, z)])

        def calibrator(asked):
            if len(known) < 13:
                assert not known & set(users[np.isin(logits, asked)])
                seen.extend(np.asarray(asked))
            return np.full(len(asked), 0.5)

        return calibrator

    monkeypatch.setattr(calibrators, "FITS", {"fit": fit})
    choose_calibrator(users, labels, logits)
    assert sorted(seen) == sorted(logits)


def test_the_losses_told_are_those_of_the_probabilities():
    users, labels, logits = drawn(2_000, scale=2)
    found = choose_calibrator(users, labels, logits)
    p = np.where(labels, found.probabilities, 1 - found.probabilities)
    assert found.log_losses[found.name] == pytest.approx(-np.log(p).mean())
    raw = np.where(labels, logits, -logits)
    assert found.log_losses["raw"] == pytest.approx(np.log1p(np.exp(-raw)).mean())
    assert found.log_losses[found.name] < found.log_losses["raw"]


@pytest.mark.parametrize(
    ("users", "labels"), [([1, 1, 1], [0, 1, 0]), ([1, 2, 3], [0, 0, 0]), ([1, 2], [1, 1])]
)
def test_too_little_to_calibrate_on(users, labels):
    with pytest.raises(DataError, match="both classes from at least two users"):
        choose_calibrator(users, labels, np.arange(len(users)))
