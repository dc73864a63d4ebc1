"""Metrics against slow obvious ones, every order of every tie, and scikit-learn."""

from itertools import pairwise, permutations
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score

from invlearn.evaluation import metrics
from invlearn.evaluation.metrics import tie_groups


def every_order(scores):
    """All orders of one user's rows, best first, that the scores allow."""
    rows = range(len(scores))
    return [p for p in permutations(rows) if all(scores[a] >= scores[b] for a, b in pairwise(p))]


def slow_ndcg(labels, order, k):
    gain = sum(labels[row] / log2(i + 2) for i, row in enumerate(order[:k]))
    return gain / sum(1 / log2(i + 2) for i in range(min(k, sum(labels))))


def slow_mrr(labels, order):
    return next(1 / (i + 1) for i, row in enumerate(order) if labels[row])


def slow_mrr_all(labels, order):
    found = sum(labels[row] / (i + 1) for i, row in enumerate(order))
    return found / sum(1 / (i + 1) for i in range(sum(labels)))


def slow_auc(labels, scores):
    rows = list(zip(scores, labels, strict=True))
    pairs = [(p, n) for p, a in rows if a for n, b in rows if not b]
    if not pairs:
        return np.nan
    return np.mean([(p > n) + (p == n) / 2 for p, n in pairs])


def expected(metric, labels, scores, *rest):
    if not sum(labels):
        return np.nan
    return np.mean([metric(labels, order, *rest) for order in every_order(scores)])


@st.composite
def logs(draw, max_rows=6, max_users=4):
    """Few users with few rows and many ties; some users with one class."""
    lists = draw(
        st.lists(
            st.lists(
                st.tuples(st.booleans(), st.sampled_from([-2.0, -1.5, 0.0, 0.25])),
                min_size=1,
                max_size=max_rows,
            ),
            min_size=1,
            max_size=max_users,
        )
    )
    rows = [(3 * u, int(y), s) for u, own in enumerate(lists) for y, s in own]
    users, labels, scores = map(np.array, zip(*draw(st.permutations(rows)), strict=True))
    return users, labels, scores


def by_user(log, slow, *rest):
    users, labels, scores = log
    return [
        slow(labels[users == u].tolist(), scores[users == u].tolist(), *rest)
        for u in np.unique(users)
    ]


@given(logs())
def test_metrics_of_users_are_means_over_every_order_of_ties(log):
    groups = tie_groups(*log)
    for k in (1, 3, 10):
        slow = by_user(log, lambda y, s, k=k: expected(slow_ndcg, y, s, k))
        np.testing.assert_allclose(metrics.user_ndcg(groups, k), slow, rtol=1e-12)
    slow = by_user(log, lambda y, s: expected(slow_mrr, y, s))
    np.testing.assert_allclose(metrics.user_mrr(groups), slow, rtol=1e-12)
    slow = by_user(log, lambda y, s: expected(slow_mrr_all, y, s))
    np.testing.assert_allclose(metrics.user_mrr_all(groups), slow, rtol=1e-12)


@given(logs())
def test_auc_counts_pairs(log):
    groups = tie_groups(*log)
    np.testing.assert_allclose(metrics.user_auc(groups), by_user(log, slow_auc), rtol=1e-12)
    np.testing.assert_allclose(metrics.auc(groups), slow_auc(log[1], log[2]), rtol=1e-12)


@given(logs())
def test_placements_belong_to_users(log):
    users, labels, scores = log
    wins = np.array(
        [
            [labels[i] > labels[j] and (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2]
            for i in range(len(users))
            for j in range(len(users))
        ],
        float,
    ).reshape(len(users), len(users))
    by_positives, by_negatives = metrics.placements(tie_groups(*log))
    for place, user in enumerate(np.unique(users)):
        assert by_positives[place] == wins[users == user].sum()
        assert by_negatives[place] == wins[:, users == user].sum()


@given(logs(max_rows=30), st.randoms(use_true_random=False))
def test_order_of_rows_changes_no_bit(log, random):
    rows = list(range(len(log[0])))
    random.shuffle(rows)
    one, other = tie_groups(*log), tie_groups(*(column[rows] for column in log))
    for column in type(one).__slots__:
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column))


@given(logs(max_rows=30))
def test_groups_hold_what_they_say(log):
    users, labels, scores = log
    groups = tie_groups(*log)
    assert groups.user_rows.tolist() == [(users == u).sum() for u in groups.ids]
    assert groups.user_positives.tolist() == [labels[users == u].sum() for u in groups.ids]
    for place in range(len(groups.size)):
        own = users == groups.ids[groups.user[place]]
        same = own & (scores == groups.score[place])
        assert groups.size[place] == same.sum()
        assert groups.positives[place] == labels[same].sum()
        assert groups.before[place] == (own & (scores > groups.score[place])).sum()


@pytest.fixture(scope="module")
def simulated():
    rng = np.random.default_rng(1)
    users = rng.integers(40, size=4_000)
    scores = rng.normal(size=4_000).round(1)
    labels = (scores + 2 * rng.normal(size=4_000) > 0).astype(int)
    return users, labels, scores


def test_agrees_with_scikit_learn(simulated):
    users, labels, scores = simulated
    groups = tie_groups(*simulated)
    assert metrics.auc(groups) == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)
    auc, ndcg = metrics.user_auc(groups), metrics.user_ndcg(groups, 20)
    for place, user in enumerate(groups.ids):
        y, s = labels[users == user], scores[users == user]
        assert auc[place] == pytest.approx(roc_auc_score(y, s), rel=1e-12)
        assert ndcg[place] == pytest.approx(
            ndcg_score([y], [s], k=20, ignore_ties=False), rel=1e-12
        )


def test_log_loss_of_logits():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=200) * 5, rng.integers(2, size=200)
    groups = tie_groups(np.zeros(200, int), labels, logits)
    probabilities = 1 / (1 + np.exp(-logits))
    expected_loss = log_loss(labels, probabilities, normalize=False)
    assert metrics.user_log_loss(groups) == pytest.approx([expected_loss])
    far = tie_groups([0, 0], [0, 1], [-800.0, 800.0])
    assert metrics.user_log_loss(far).tolist() == [0.0]
    wrong = tie_groups([0, 0], [1, 0], [-800.0, 800.0])
    assert metrics.user_log_loss(wrong).tolist() == [1600.0]


def test_first_positive_in_a_great_tie():
    """With `p` positives among `m` rows drawn at random the first comes at (m + 1) / (p + 1)."""
    labels = np.repeat([1, 0], [700, 4_300])
    groups = tie_groups(np.zeros(5_000, int), labels, np.zeros(5_000))
    rng = np.random.default_rng(3)
    simulated = [1 / (1 + rng.permutation(labels).argmax()) for _ in range(3_000)]
    error = np.std(simulated) / len(simulated) ** 0.5
    assert metrics.user_mrr(groups)[0] == pytest.approx(np.mean(simulated), abs=4 * error)


def test_large_scores_and_zero_of_both_signs():
    groups = tie_groups([0, 0, 0], [1, 0, 1], [0.0, -0.0, -1e300])
    assert groups.size.tolist() == [2, 1]
    assert metrics.auc(groups) == 0.25


@given(
    st.lists(st.sampled_from([-7, 0, 3, 4, 5_000_000_000]), min_size=1),
    st.sampled_from([1.0, 0.1, 1e300, 1e-45]),
    st.integers(0, 1000),
)
def test_rows_are_grouped_as_by_sorting_them(users, scale, seed):
    """Ids near and far, scores that are float32 and that are not, zeros of both signs."""
    rng = np.random.default_rng(seed)
    scores = rng.choice([-2.0, -1.0, -0.0, 0.0, 1.0, 3.0], len(users)) * scale
    labels = rng.integers(2, size=len(users))
    found = tie_groups(users, labels, scores)
    rows = sorted(zip(users, -scores, strict=True))
    expected = sorted(set(rows))
    assert found.ids.tolist() == sorted(set(users))
    assert [*zip(found.ids[found.user], -found.score, strict=True)] == expected
    assert found.size.tolist() == [rows.count(group) for group in expected]
    levels = sorted(set(scores.tolist()))
    assert found.level.tolist() == [levels.index(-score) for _, score in expected]
    positives = [
        labels[(np.array(users) == user) & (-scores == score)].sum() for user, score in expected
    ]
    assert found.positives.tolist() == positives
