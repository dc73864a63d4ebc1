"""Means and differences over seeds: right values, and intervals that hold what they promise."""

import numpy as np
import pytest

from invlearn.evaluation.evaluation import Evaluation, evaluate, paired_difference
from invlearn.evaluation.replication import mean_over_seeds, paired_over_seeds
from invlearn.runtime.errors import DataError
from invlearn.runtime.random import stream

N_USERS, ROWS = 120, 8
USERS = np.repeat(np.arange(N_USERS), ROWS)


def simulated(rng, *, seeds=1, users=N_USERS, signal=(1.0, 1.0), wobble=0.0, draws=200):
    """Labels of random users, and scores of two methods that see them through noise.

    Returns:
        For each method, an evaluation by seed; `wobble` is how much a seed changes the signal.
    """
    ids = np.repeat(np.arange(users), ROWS)
    labels = (np.arange(len(ids)) % 2).astype(np.int8)
    skill = np.repeat(rng.normal(size=users), ROWS)  # some users are easier for both methods
    shared = rng.normal(size=len(ids))

    def scores(strength):
        own = rng.normal(size=len(ids))
        return (strength + 0.5 * skill) * labels + shared + 0.5 * own

    return [
        {
            seed: evaluate(
                ids, labels, scores(strength + wobble * rng.normal()), ks=(10,), draws=draws, seed=5
            )
            for seed in range(seeds)
        }
        for strength in signal
    ]


def test_one_seed_is_the_plain_bootstrap():
    first, second = simulated(stream(0, "x"))
    found = paired_over_seeds(first, second)
    expected = paired_difference(first[0], second[0])
    for name in expected:
        assert found[name] == pytest.approx(expected[name])
    mean = mean_over_seeds([first[0]])["auc"]
    assert mean.value == first[0].values["auc"]
    assert np.isnan(mean.spread)
    assert (mean.low, mean.high) == pytest.approx(first[0].intervals["auc"])


def test_means_and_spread_are_those_of_the_seeds():
    (runs, others) = simulated(stream(1, "x"), seeds=4, wobble=0.3)
    values = [run.values["gauc"] for run in runs.values()]
    mean = mean_over_seeds([*runs.values()])["gauc"]
    assert mean.value == pytest.approx(np.mean(values))
    assert mean.spread == pytest.approx(np.std(values, ddof=1))
    assert mean.low < mean.value < mean.high
    each = [paired_difference(runs[s], others[s])["gauc"].value for s in runs]
    assert paired_over_seeds(runs, others)["gauc"].value == pytest.approx(np.mean(each))


def test_only_seeds_that_both_have_count():
    runs, others = simulated(stream(2, "x"), seeds=3, wobble=0.3)
    some = {seed: runs[seed] for seed in (2, 0)}
    assert paired_over_seeds(some, others) == paired_over_seeds(
        some, {seed: others[seed] for seed in (0, 2)}
    )


def test_seeds_that_differ_widen_the_interval():
    """Same users, other trainings: the plain bootstrap knows nothing of them."""
    runs, others = simulated(stream(3, "x"), seeds=3, wobble=1.0)
    low, high = paired_over_seeds(runs, others)["gauc"][1:]
    widths = [np.diff(paired_difference(runs[s], others[s])["gauc"][1:])[0] for s in runs]
    assert high - low > 1.5 * max(widths)


def test_few_seeds_have_the_far_tails_of_students_t():
    """Without any doubt about users, the interval of n numbers is the one of textbooks."""
    for n_seeds, quantile in ((2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)):
        values = np.arange(n_seeds) * 1.0
        runs = [alone({"auc": value}, np.full(1000, value)) for value in values]
        mean = mean_over_seeds(runs)["auc"]
        half = quantile * values.std(ddof=1) / n_seeds**0.5
        assert (mean.low, mean.high) == pytest.approx(
            (values.mean() - half, values.mean() + half), rel=0.1, abs=0.05 * half
        )


def alone(values, draws):
    return Evaluation(values, {}, {}, dict.fromkeys(values, draws), "same")


def test_different_rows_cannot_be_averaged():
    first, _ = simulated(stream(4, "x"))
    second, _ = simulated(stream(4, "x"), users=N_USERS + 1)
    with pytest.raises(DataError, match="different rows"):
        mean_over_seeds([first[0], second[0]])
    with pytest.raises(DataError, match="no run to average"):
        mean_over_seeds([])


@pytest.mark.parametrize(
    ("seeds", "wobble", "signal"),
    [
        (3, 0.5, (1.0, 1.0)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                *((1, 0.0, (1.0, 1.0)), (1, 0.0, (1.3, 1.0)), (3, 0.5, (1.3, 1.0))),
                *((5, 0.15, (1.0, 1.0)), (5, 0.15, (1.3, 1.0))),
            ]
        ),
    ],
)
def test_an_interval_covers_the_truth_as_often_as_it_claims(seeds, wobble, signal):
    """New users, labels and trainings each time; the truth is from many users and trainings."""
    truth = _truth(signal, wobble)
    n_times = 150
    covered = dict.fromkeys(truth, 0)
    for time in range(n_times):
        runs, others = simulated(
            stream(time, "coverage"), seeds=seeds, signal=signal, wobble=wobble
        )
        for name, found in paired_over_seeds(runs, others).items():
            if name in covered:
                covered[name] += found.low <= truth[name] <= found.high
    for name, times in covered.items():
        # 95 % of 150, less three standard deviations; an interval too wide covers every time
        assert 0.897 < times / n_times < 0.99, name


def _truth(signal, wobble):
    """Difference of the metrics over very many users; a mean over trainings."""
    found = {"auc": [], "gauc": []}
    for time in range(40):
        runs, others = simulated(
            stream(time, "truth"), users=3000, signal=signal, wobble=wobble, draws=0
        )
        for name, values in found.items():
            values.append(runs[0].values[name] - others[0].values[name])
    return {name: np.mean(values) for name, values in found.items()}
