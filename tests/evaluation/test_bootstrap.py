"""Draws of users against counting them one by one."""

import tracemalloc

import numpy as np
import pytest

from invlearn.evaluation import bootstrap
from invlearn.evaluation.bootstrap import Ratio, interval, resampled, value
from invlearn.runtime.random import stream


def test_draws_count_users():
    part, whole = np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 3.0])
    drawn = resampled({"rate": (Ratio(part, whole),)}, draws=50, seed=3)["rate"]
    rng = stream(3, "bootstrap")
    for found in drawn:
        users = rng.integers(3, size=3, dtype=np.int32)
        if whole[users].sum():
            assert found == part[users].sum() / whole[users].sum()
        else:
            assert np.isnan(found)


def test_deviations_of_joined_ratios_add_up():
    ones = np.ones(8)
    one, other = Ratio(np.arange(8.0), ones), Ratio(np.arange(8.0)[::-1], ones)
    drawn = resampled({"one": (one,), "other": (other,), "both": (one, other)}, draws=9, seed=0)
    assert value((one, other)) == 3.5
    np.testing.assert_allclose(drawn["both"], drawn["one"] + drawn["other"] - 3.5)
    np.testing.assert_allclose(drawn["both"], 3.5)


def test_a_seed_decides_the_draws():
    metric = {"mean": (Ratio(np.arange(30.0), np.ones(30)),)}
    first, again, other = (resampled(metric, draws=40, seed=seed)["mean"] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_no_users_no_interval():
    metric = {"mean": (Ratio(np.empty(0), np.empty(0)),)}
    assert np.isnan(value(metric["mean"]))
    assert np.isnan(interval(resampled(metric, draws=5, seed=0)["mean"])).all()


def test_interval_leaves_out_draws_without_a_value():
    sample = np.append(np.arange(401.0), [np.nan] * 50)
    np.testing.assert_allclose(interval(sample), (10.0, 390.0))


def test_users_in_blocks_are_users_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    metric = {"mean": (Ratio(rng.random(1000), rng.random(1000)),)}
    at_once = resampled(metric, draws=40, seed=0)["mean"]
    monkeypatch.setattr(bootstrap, "_BLOCK_USERS", 7)
    assert resampled(metric, draws=40, seed=0)["mean"] == pytest.approx(at_once, rel=1e-12)


def test_draws_of_many_users_take_little_memory():
    n_users, ones = 200_000, np.ones(200_000)
    found = {f"metric {n}": (Ratio(ones, ones),) for n in range(10)}
    tracemalloc.start()
    resampled(found, draws=32, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80 * n_users  # sixteen draws at eight bytes alone would be 128
