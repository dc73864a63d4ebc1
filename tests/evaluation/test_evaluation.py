"""Values and intervals from scores: weightings, counts, bootstrap, pairs, and what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invlearn.evaluation import metrics
from invlearn.evaluation.evaluation import evaluate, paired_difference
from invlearn.runtime.errors import ConfigError, DataError
from invlearn.runtime.random import stream

NAMES = [
    "auc",
    "gauc",
    "gauc_impressions",
    "gauc_positives",
    "ndcg@10",
    "ndcg@20",
    "mrr",
    "mrr_all",
    "log_loss",
]


def simulated(n_users=60, rows_per_user=12, noise=1.0, seed=0):
    """Rows of users who differ in taste, in activity and in how well they are understood."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(n_users), rng.integers(1, 2 * rows_per_user, n_users))
    rng.shuffle(users)
    bias, skill = rng.normal(size=n_users)[users], rng.uniform(0, 2, n_users)[users]
    scores = bias + rng.normal(size=len(users))
    labels = (skill * scores + noise * rng.normal(size=len(users)) > 0).astype(np.int8)
    return users.astype(np.int32), labels, scores.astype(np.float32)


def auc_of(log):
    return metrics.auc(metrics.tie_groups(*log))


def test_names_and_values():
    users, labels, scores = log = simulated()
    evaluation = evaluate(*log, draws=0)
    assert list(evaluation.values) == NAMES
    assert evaluation.intervals == {}
    assert evaluation.values["auc"] == pytest.approx(auc_of(log), rel=1e-14)
    loss = np.logaddexp(0, -(2.0 * labels - 1) * scores).mean()
    assert evaluation.values["log_loss"] == pytest.approx(loss)

    mixed = [u for u in np.unique(users) if 0 < labels[users == u].mean() < 1]
    aucs = [auc_of((users[users == u], labels[users == u], scores[users == u])) for u in mixed]
    rows = [(users == u).sum() for u in mixed]
    positives = [labels[users == u].sum() for u in mixed]
    assert evaluation.values["gauc"] == pytest.approx(np.mean(aucs))
    assert evaluation.values["gauc_impressions"] == pytest.approx(np.average(aucs, weights=rows))
    assert evaluation.values["gauc_positives"] == pytest.approx(np.average(aucs, weights=positives))
    keep = np.isin(users, mixed)
    alone = evaluate(users[keep], labels[keep], scores[keep], draws=0)
    for name in ("ndcg@10", "mrr", "mrr_all"):
        assert evaluation.values[name] == pytest.approx(alone.values[name], rel=1e-14)


def test_users_with_one_class_are_counted():
    evaluation = evaluate([7, 7, 3, 3, 5, 9], [1, 0, 1, 1, 0, 0], [0.0, 1, 2, 3, 4, 5], draws=0)
    assert evaluation.counts == {
        "rows": 6,
        "users": 4,
        "users_scored": 1,
        "users_all_positive": 1,
        "users_all_negative": 2,
    }
    assert evaluation.values["gauc"] == 0.0
    assert evaluation.values["mrr"] == 0.5


def test_without_a_scored_user_metrics_per_user_are_nothing():
    evaluation = evaluate([0, 1], [1, 0], [1.0, 0.0], draws=20)
    assert evaluation.values["auc"] == 1.0
    assert np.isnan(evaluation.values["gauc"])
    written = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert written["values"]["gauc"] is None
    assert written["intervals"]["gauc"] == [None, None]
    assert written["counts"] == evaluation.counts


@given(st.integers(0, 10_000), st.sampled_from([1, 3]))
def test_order_of_rows_and_shape_of_scores_do_not_matter(seed, rows_per_user):
    users, labels, scores = simulated(20, rows_per_user, seed=seed)
    labels[:2], scores = (0, 1), scores.round(1)
    users[:2] = 0
    shuffled = np.random.default_rng(seed).permutation(len(users))
    one = evaluate(users, labels, scores, draws=10)
    other = evaluate(users[shuffled], labels[shuffled], scores[shuffled], draws=10)
    assert one.to_json() == other.to_json()
    # float32 scores of one decimal stay apart under this transform
    moved = evaluate(users, labels, np.exp(scores.astype(float)) - 50, draws=10)
    for name in NAMES[:-1]:
        np.testing.assert_equal(moved.values[name], one.values[name])
        np.testing.assert_equal(moved.intervals[name], one.intervals[name])


def exact_draws(log, statistic, draws):
    """Bootstrap as the textbook has it: draw users, copy their rows, compute again."""
    users, labels, scores = log
    rng = np.random.default_rng(9)
    names = np.unique(users)
    rows = {user: np.flatnonzero(users == user) for user in names}
    for _ in range(draws):
        drawn = [rows[user] for user in rng.choice(names, len(names))]
        clones = np.repeat(np.arange(len(drawn)), [len(own) for own in drawn])
        index = np.concatenate(drawn)
        yield statistic((clones, labels[index], scores[index]))


@pytest.mark.parametrize("name", ["auc", "gauc_impressions", "ndcg@10", "mrr", "log_loss"])
def test_draws_are_those_of_the_textbook(name):
    log = simulated(80, 10, seed=4)
    exact = list(exact_draws(log, lambda rows: evaluate(*rows, draws=0).values[name], 400))
    fast = evaluate(*log, draws=4000).draws[name]
    assert np.mean(fast) == pytest.approx(np.mean(exact), abs=0.2 * np.std(exact))
    assert np.std(fast) == pytest.approx(np.std(exact), rel=0.12)


def test_resampled_auc_follows_the_exact_one_draw_by_draw():
    """The projection leaves out only what is of second order in the number of users."""
    users, labels, scores = log = simulated(150, 10, seed=5)
    n_users = len(np.unique(users))
    fast = evaluate(*log, draws=40).draws["auc"]
    exact = []
    rng = stream(0, "bootstrap")
    for _ in range(40):
        times = np.bincount(rng.integers(n_users, size=n_users, dtype=np.int32), minlength=n_users)
        index = np.repeat(np.arange(len(users)), times[users])
        exact.append(auc_of((users[index], labels[index], scores[index])))
    assert np.corrcoef(fast, exact)[0, 1] > 0.99
    assert np.abs(fast - exact).max() < 0.2 * np.std(exact)


def test_intervals_hold_the_truth_as_often_as_they_say():
    truth = evaluate(*simulated(40_000, 8, seed=77), draws=0).values
    repeats = 200
    held = dict.fromkeys(NAMES, 0)
    for seed in range(repeats):
        found = evaluate(*simulated(150, 8, seed=seed), draws=200, seed=seed)
        for name, (low, high) in found.intervals.items():
            held[name] += low <= truth[name] <= high
    for name, times in held.items():
        assert 0.89 <= times / repeats <= 0.99, name


def test_a_run_does_not_differ_from_itself():
    evaluation = evaluate(*simulated(), draws=100)
    for difference in paired_difference(evaluation, evaluation).values():
        assert tuple(difference) == (0.0, 0.0, 0.0)


def test_pairs_see_what_intervals_cannot():
    users, labels, scores = simulated(200, 10, seed=6)
    noise = np.random.default_rng(8).normal(size=len(users))
    good = evaluate(users, labels, scores, draws=500)
    worse = evaluate(users, labels, scores + 0.5 * noise, draws=500)
    value, low, high = paired_difference(good, worse)["auc"]
    assert value == good.values["auc"] - worse.values["auc"]
    assert 0 < low < value < high
    assert good.intervals["auc"][0] < worse.intervals["auc"][1]  # the two intervals overlap
    assert high - low < 0.7 * (good.intervals["auc"][1] - good.intervals["auc"][0])


def test_pairs_must_be_pairs():
    users, labels, scores = simulated()
    run = evaluate(users, labels, scores, draws=10)
    for other in (
        evaluate(users, 1 - labels, scores, draws=10),
        evaluate(users + 1, labels, scores, draws=10),
        evaluate(users, labels, scores, draws=10, seed=1),
        evaluate(users, labels, scores, draws=11),
    ):
        with pytest.raises(DataError, match="different rows or draws"):
            paired_difference(run, other)
    still = evaluate(users, labels, scores, draws=0)
    with pytest.raises(ConfigError, match="draws above 0"):
        paired_difference(still, still)


@pytest.mark.parametrize(
    ("users", "labels", "scores", "message"),
    [
        ([0, 0, 1], [1, 0, 1], [np.nan, 0, np.inf], "2 of 3 scores of gmf are NaN or infinite"),
        ([0, 0], [1, 1], [0, 1], "gmf cannot be evaluated: all 2 rows have the label 1"),
        ([], [], [], "gmf cannot be evaluated: there are no rows"),
        ([0, 0], [1, 2], [0, 1], "neither 1 nor 0"),
        ([0, 0], [1, np.nan], [0, 1], "neither 1 nor 0"),
        ([0, 0], [1, 0, 1], [0, 1], r"shapes \(2,\), \(3,\) and \(2,\)"),
        ([[0, 0]], [[1, 0]], [[0, 1]], r"shapes \(1, 2\)"),
        ([0.2, 0.7], [1, 0], [0, 1], "users of gmf are of type float64, expected integers"),
        (["a", "b"], [1, 0], [0, 1], "users of gmf are of type <U1, expected integers"),
        ([0, None], [1, 0], [0, 1], "users of gmf are of type object, expected integers"),
        ([True, False], [1, 0], [0, 1], "users of gmf are of type bool, expected integers"),
        ([0, 0, 0], [1, 0, None], [0, 1, 2], "neither 1 nor 0"),
        ([0, 0], ["1", "0"], [0, 1], "neither 1 nor 0"),
    ],
)
def test_what_cannot_be_evaluated(users, labels, scores, message):
    with pytest.raises(DataError, match=message):
        evaluate(users, labels, scores, name="gmf")


def test_cuts_begin_at_one():
    with pytest.raises(ConfigError, match="cut at 0"):
        evaluate([0, 0], [1, 0], [1.0, 0.0], ks=(10, 0))


def test_any_finite_score_will_do():
    users, labels, scores = [0, 0, 0, 1, 1], [1, 0, 1, 0, 1], [1e308, -1e308, 5e-324, 1e308, -1.0]
    found = evaluate(users, labels, scores, draws=10)
    assert found.values["auc"] == pytest.approx(3.5 / 6)


def test_an_interval_of_the_auc_stays_within_its_range():
    """Seven users ranked almost without a mistake, of whom some draws are all mistake."""
    rng = np.random.default_rng(0)
    n_users = int(rng.integers(2, 8))
    labels = (rng.random(4 * n_users) < rng.choice([0.2, 0.5, 0.8])).astype(int)
    scores = labels + 0.6 * rng.normal(size=4 * n_users)
    found = evaluate(np.repeat(np.arange(n_users), 4), labels, scores, name="here")
    low, high = found.intervals["auc"]
    assert 0 <= low < high <= 1
    assert found.draws["auc"].max() > 1  # the projection does leave it
