"""The mixed model: stationary by hand, penalties of known truth, what exposures can tell."""

import numpy as np
import pytest

from invlearn.backbones.exposure_hybrid.intercepts import LEAST, MOST
from invlearn.backbones.exposure_hybrid.mixed_model import GROUPS, fit_mixed_model
from invlearn.backbones.rates import logit, mean_rate
from invlearn.data.exposures import Exposures
from invlearn.evaluation.evaluation import evaluate


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def drawn(n_users, n_items, *, user_sd=1.0, item_sd=0.5, shown=1.0, labelled=1.0, seed=0):
    """Labels of intercepts alone, pairs shown at random."""
    rng = np.random.default_rng(seed)
    users, items = (ids.ravel() for ids in np.indices((n_users, n_items)))
    kept = rng.random(len(users)) < shown
    users, items = users[kept], items[kept]
    logits = rng.normal(size=n_users)[users] * user_sd + rng.normal(size=n_items)[items] * item_sd
    labels = (rng.random(len(users)) < sigmoid(logits + 0.5)).astype(np.int8)
    labels[rng.random(len(users)) >= labelled] = -1
    return Exposures(users, items, labels)


def tastes(n_users=60, n_items=40, labelled=0.3, seed=0):
    """Two kinds of users and items: like is shown to like, and liked."""
    rng = np.random.default_rng(seed)
    users, items = (ids.ravel() for ids in np.indices((n_users, n_items)))
    alike = users % 2 == items % 2
    kept = rng.random(len(users)) < np.where(alike, 0.6, 0.2)
    labels = np.where(rng.random(len(users)) < labelled, alike, -1).astype(np.int8)
    return Exposures(users[kept], items[kept], labels[kept]), (users, items, alike)


def test_scores_by_hand():
    shown = drawn(12, 9, shown=0.6, labelled=0.5)
    model = fit_mixed_model(shown, shape=(12, 9), factors=4, crossed=2)
    users, items = (ids.ravel() for ids in np.indices((12, 9)))
    found = model.score(users, items)
    for user, item, logit_ in zip(users, items, found, strict=True):
        mine, its = model.users[user], model.items[item]
        expected = model.intercept + model.user_bias[user] + model.item_bias[item]
        expected += mine @ model.user_coefficients + its @ model.item_coefficients
        expected += mine @ model.between @ its
        assert logit_ == pytest.approx(expected)
    off = model.between.copy()
    off[:2, :2] = 0
    assert np.count_nonzero(off - np.diag(np.diag(off))) == 0
    assert np.count_nonzero(model.between[:2, :2]) == 4
    assert model.between[-1, -1] == 0  # counts are not multiplied


def test_what_is_found_is_where_the_penalised_loss_is_least():
    shown = drawn(40, 30, shown=0.7, labelled=0.6)
    model = fit_mixed_model(shown, shape=(40, 30), factors=3, crossed=3)
    known = shown.labels >= 0
    users, items, labels = shown.users[known], shown.items[known], shown.labels[known]
    error = sigmoid(model.score(users, items)) - labels
    p = model.penalties
    pull = np.bincount(items, error, 30) + p["item_bias"] * model.item_bias
    assert np.abs(pull).max() < 1e-2
    pull = np.bincount(users, error, 40) + p["user_bias"] * model.user_bias
    assert np.abs(pull).max() < 1e-2
    assert abs(error.sum()) < 1e-2
    penalty = p["item_coefficients"] * model.item_coefficients[:3]
    pull = model.items[items][:, :3].T @ error + penalty
    assert np.abs(pull).max() < 0.1


@pytest.mark.parametrize(("user_sd", "item_sd"), [(1.0, 0.5), (0.5, 2.0)])
def test_penalties_are_the_precisions_that_labels_were_drawn_with(user_sd, item_sd):
    shown = drawn(300, 300, user_sd=user_sd, item_sd=item_sd)
    found = fit_mixed_model(shown, shape=(300, 300), factors=0).penalties
    assert found["user_bias"] == pytest.approx(user_sd**-2, rel=0.3)
    assert found["item_bias"] == pytest.approx(item_sd**-2, rel=0.3)


def test_exposures_that_tell_nothing_are_left_alone():
    shown = drawn(80, 60, shown=0.5, labelled=0.3)
    users, items = (ids.ravel() for ids in np.indices((80, 60)))
    with_factors, without = (
        fit_mixed_model(shown, shape=(80, 60), factors=factors) for factors in (16, 0)
    )
    apart = with_factors.score(users, items) - without.score(users, items)
    assert apart.std() < 0.3 * without.score(users, items).std()
    assert min(with_factors.penalties[name] for name in ("same", "crossed")) > 50


def test_exposures_that_tell_all_are_used():
    shown, (users, items, liked) = tastes()
    aucs = [
        evaluate(
            users,
            liked,
            fit_mixed_model(shown, shape=(60, 40), factors=factors).score(users, items),
            draws=0,
            name="here",
        ).values["auc"]
        for factors in (0, 8)
    ]
    assert aucs[0] < 0.6
    assert aucs[1] > 0.95


def test_the_order_of_rows_changes_nothing():
    shown = drawn(30, 20, shown=0.6, labelled=0.5)
    order = np.random.default_rng(0).permutation(len(shown.users))
    again = Exposures(*(column[order] for column in shown))
    one, other = (fit_mixed_model(rows, shape=(30, 20), factors=4) for rows in (shown, again))
    users, items = (ids.ravel() for ids in np.indices((30, 20)))
    np.testing.assert_allclose(one.score(users, items), other.score(users, items), atol=1e-4)


@pytest.mark.parametrize("label", [-1, 0, 1])
def test_labels_of_one_kind_give_their_mean(label):
    shown = drawn(10, 8, shown=0.7)
    shown = shown._replace(labels=np.full(len(shown.users), label, np.int8))
    model = fit_mixed_model(shown, shape=(10, 8), factors=3)
    known = shown.labels[shown.labels >= 0]
    found = model.score(np.arange(8), np.arange(8))
    np.testing.assert_allclose(found, float(logit(mean_rate(known))))
    assert {*model.penalties} == {"user_bias", "item_bias", *GROUPS}


def test_penalties_of_coefficients_are_those_of_the_evidence():
    """MacKay's Eq. 3.21 once more, by whole matrices, from the model that was found."""
    shown, _ = tastes(labelled=0.8)
    model = fit_mixed_model(shown, shape=(60, 40), factors=4, crossed=2)
    known = shown.labels >= 0
    mine, its = model.users[shown.users[known]], model.items[shown.items[known]]
    crossed = [mine[:, [i]] * its[:, [j]] for i in range(2) for j in range(2)]
    same = [mine[:, [k]] * its[:, [k]] for k in (2, 3)]
    columns = np.hstack([mine, its, *crossed, *same])
    between = model.between
    own = [model.user_coefficients, model.item_coefficients]
    coefficients = np.concatenate([*own, between[:2, :2].ravel(), np.diag(between)[2:4]])
    names = ["user_coefficients", "user_count", "item_coefficients", "item_count"]
    groups = np.repeat(names, [4, 1, 4, 1])
    groups = np.append(groups, ["same", "crossed", "crossed", "same", "same", "same"])
    penalties = np.array([model.penalties[name] for name in groups])
    rates = sigmoid(model.score(shown.users[known], shown.items[known]))
    weighted = columns * (rates * (1 - rates))[:, None]
    variances = np.diag(np.linalg.inv(columns.T @ weighted + np.diag(penalties)))
    for name in ("same", "item_coefficients"):
        rows = groups == name
        determined = (1 - penalties * variances)[rows].sum()
        expected = np.clip(determined / (coefficients[rows] ** 2).sum(), LEAST, MOST)
        assert model.penalties[name] == pytest.approx(expected, rel=0.25), name


def test_coefficients_find_the_precision_that_they_were_drawn_with():
    rng = np.random.default_rng(3)
    shown, _ = tastes(n_users=300, n_items=200, labelled=1.0)
    columns = fit_mixed_model(shown, shape=(300, 200), factors=8, crossed=8)
    between = np.zeros_like(columns.between)
    between[:8, :8] = rng.normal(size=(8, 8)) * 2.0
    logits = (columns.users @ between * 1.0)[shown.users] * columns.items[shown.items]
    labels = (rng.random(len(shown.users)) < sigmoid(logits.sum(1))).astype(np.int8)
    found = fit_mixed_model(shown._replace(labels=labels), shape=(300, 200), factors=8, crossed=8)
    assert found.penalties["crossed"] == pytest.approx(2.0**-2, rel=0.6)
    assert np.corrcoef(found.between[:8, :8].ravel(), between[:8, :8].ravel())[0, 1] > 0.9


def test_exposures_without_any_difference_make_no_columns():
    """All pairs shown: what is left of factors and counts is rounding, not to be scaled up."""
    users, items = (ids.ravel() for ids in np.indices((60, 40)))
    labels = np.random.default_rng(0).integers(0, 2, 2400).astype(np.int8)
    model = fit_mixed_model(Exposures(users, items, labels), shape=(60, 40), factors=1)
    assert not model.users.any()
    assert not model.items.any()


def test_ids_that_do_not_differ_are_held_together():
    shown = drawn(400, 50, user_sd=0.0, item_sd=0.0)
    model = fit_mixed_model(shown, shape=(400, 50), factors=0)
    assert min(model.penalties.values()) > 50
    assert model.user_bias.std() < 0.1
