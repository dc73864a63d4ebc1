"""Whole-catalogue ranking against sorting each user's list, every order of ties."""

from itertools import pairwise, permutations
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invlearn.data.parts import Part
from invlearn.evaluation.evaluation import paired_difference
from invlearn.evaluation.ranking import catalogue_top_k, rank_catalogue
from invlearn.evaluation.scoring import CatalogueScorer
from invlearn.runtime.errors import ConfigError, DataError
from toys import small_backbone


def part(cells):
    """Rows where `cells` (users, items) is not -1, its values being the labels."""
    users, items = np.nonzero(cells >= 0)
    return Part(users.astype(np.int32), items.astype(np.int32), cells[users, items].astype(np.int8))


def slow(scores, masked, relevant, k):
    """Recall and NDCG of one user: means over every order of the list."""
    items = [i for i in range(len(scores)) if not masked[i]]
    found = []
    for order in permutations(items):
        if any(scores[a] < scores[b] for a, b in pairwise(order)):
            continue
        hits = [relevant[i] for i in order[:k]]
        gain = sum(hit / log2(place + 2) for place, hit in enumerate(hits))
        ideal = sum(1 / log2(place + 2) for place in range(min(k, sum(relevant))))
        found.append((sum(hits) / sum(relevant), gain / ideal))
    return np.mean(found, axis=0)


@st.composite
def catalogues(draw):
    n_users, n_items = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    cells = st.lists(st.sampled_from(["-", "-", "train", "also", "like", "dislike"]),
                     min_size=n_items, max_size=n_items)  # fmt: skip
    kinds = np.array(draw(st.lists(cells, min_size=n_users, max_size=n_users)))
    ties = st.lists(st.sampled_from([-1.5, 0.0, 2.0]), min_size=n_items, max_size=n_items)
    return kinds, np.array(draw(st.lists(ties, min_size=n_users, max_size=n_users)))


@given(catalogues(), st.integers(1, 3))
def test_agrees_with_every_order(catalogue, block):
    kinds, scores = catalogue
    train, also = (part(np.where(kinds == kind, 1, -1)) for kind in ("train", "also"))
    test = part(np.where(kinds == "like", 1, np.where(kinds == "dislike", 0, -1)))
    users = np.arange(len(kinds))[::-1]
    found = rank_catalogue(
        lambda some: scores[some],
        train,
        test,
        n_items=kinds.shape[1],
        users=users,
        ks=(1, 2, 10),
        block=block,
        also_masked=[also],
        draws=3,
    )
    liked = kinds == "like"
    scored = [u for u in users if liked[u].any()]
    assert found.counts == {
        "rows": liked.sum(),
        "items": kinds.shape[1],
        "users": len(users),
        "users_scored": len(scored),
        "users_without_positives": len(users) - len(scored),
    }
    for k in (1, 2, 10):
        masked = (kinds == "train") | (kinds == "also")
        each = [slow(scores[u], masked[u], liked[u].astype(int), k) for u in scored]
        recall, ndcg = np.mean(each, axis=0) if each else (np.nan, np.nan)
        assert found.values[f"catalogue_recall@{k}"] == pytest.approx(recall, nan_ok=True)
        assert found.values[f"catalogue_ndcg@{k}"] == pytest.approx(ndcg, nan_ok=True)


@pytest.fixture
def world():
    """Sixty users, three hundred items, scores that know something of the labels."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(60, 300))
    kinds = rng.choice(3, size=(60, 300), p=[0.85, 0.1, 0.05])
    cells = (truth > 0.5).astype(int)
    train, test = (part(np.where(kinds == kind, cells, -1)) for kind in (1, 2))
    return truth.astype(np.float32), train, test


def rank(scores, world, **options):
    _, train, test = world
    defaults = {"n_items": 300, "users": np.arange(60), "draws": 50}
    return rank_catalogue(lambda some: scores[some], train, test, **defaults | options)


def test_long_lists_agree_with_a_full_sort(world):
    truth, train, test = world
    found = rank(truth, world, ks=(7, 400))
    recalls = []
    for user in range(60):
        seen = set(train.items[train.users == user].tolist())
        order = [i for i in np.argsort(-truth[user]) if i not in seen]
        liked = set(test.items[(test.users == user) & (test.labels == 1)].tolist())
        if liked:
            recalls.append(len(liked & set(order[:7])) / len(liked))
    assert found.values["catalogue_recall@7"] == pytest.approx(np.mean(recalls))
    assert found.values["catalogue_recall@400"] == 1.0


def test_constant_scores_earn_what_chance_would(world):
    _, train, _ = world
    found = rank(np.zeros((60, 300), np.float32), world, ks=(10,))
    free = 300 - np.bincount(train.users, minlength=60)
    assert found.values["catalogue_recall@10"] == pytest.approx(np.mean(10 / free), rel=1e-3)


def test_blocks_change_nothing_and_progress_is_told(world):
    told = []
    one = rank(world[0], world)
    other = rank(
        world[0],
        world,
        block=7,
        progress=lambda stage, done, total, **_: told.append((done, total)),
    )
    assert one.to_json() == other.to_json()
    assert told[-1][0] == told[-1][1] == one.counts["users_scored"]
    assert len(told) == -(-one.counts["users_scored"] // 7)


def test_scores_of_the_caller_stay_as_they_were(world):
    scores = world[0].copy()
    scores.flags.writeable = False
    rank(scores, world)


def test_runs_can_be_paired(world):
    noise = np.random.default_rng(1).normal(size=(60, 300))
    better, worse = rank(world[0], world), rank(world[0] + 3 * noise, world)
    assert paired_difference(better, worse)["catalogue_recall@20"].low > 0
    fewer = rank(world[0], world, users=np.arange(50))
    with pytest.raises(DataError, match="different rows"):
        paired_difference(better, fewer)


def test_scores_without_an_order_are_refused(world):
    scores = world[0].copy()
    scores[3, 5] = np.nan
    with pytest.raises(DataError, match=r"1 of \d+ scores of ig are NaN or infinite"):
        rank(scores, world, name="ig")


def test_lengths_begin_at_one(world):
    with pytest.raises(ConfigError, match="length 0"):
        rank(world[0], world, ks=(0,))


@pytest.mark.parametrize(
    ("n_items", "sizes"), [(10, [256, 44]), (20_000_000, [1] * 2), (80_000, [100, 100, 1])]
)
def test_blocks_are_so_small_that_their_scores_fit(n_items, sizes):
    seen = []

    def score_users(some):
        seen.append(len(some))
        return np.broadcast_to(np.float32(0), (len(some), n_items))

    n_users = sum(sizes)
    users, items = np.arange(n_users, dtype=np.int32), np.zeros(n_users, np.int32)
    empty = Part(users[:0], items[:0], np.empty(0, np.int8))
    test = Part(users, items, np.ones(n_users, np.int8))
    rank_catalogue(score_users, empty, test, n_items=n_items, users=users, draws=0)
    assert seen == sizes


@pytest.fixture
def shop():
    """A backbone of 40 users and 300 items, a scorer of it, and pairs seen, some of them twice."""
    module = small_backbone("gmf", 40, 300)
    rng = np.random.default_rng(2)
    seen = [part(rng.choice([-1, 0, 1], size=(40, 300), p=[0.8, 0.1, 0.1])) for _ in range(2)]
    return CatalogueScorer(module, 300), seen


def joined(blocks):
    return [np.concatenate(column) for column in zip(*blocks, strict=True)]


@pytest.mark.parametrize("block", [None, 1, 7])
def test_top_items_are_those_of_a_full_sort_without_what_was_seen(shop, block):
    scorer, seen = shop
    users = np.arange(40)[::-2]
    told = []
    found = joined(
        catalogue_top_k(
            scorer,
            users,
            k=5,
            seen=seen,
            block=block,
            progress=lambda stage, done, total, **_: told.append((done, total)),
        )
    )
    assert found[0].tolist() == users.tolist()
    assert told[-1] == (20, 20)
    for user, items, scores in zip(*found, strict=True):
        own = scorer(np.array([user])).numpy()[0]
        known = {item for old in seen for item in old.items[old.users == user].tolist()}
        expected = [i for i in np.argsort(-own, kind="stable") if i not in known][:5]
        assert items.tolist() == expected
        np.testing.assert_allclose(scores, own[expected], rtol=1e-5)


def test_lists_end_where_no_item_is_left(shop):
    scorer, _ = shop
    cells = np.full((40, 300), -1)
    cells[3, :298], cells[4] = 1, 0
    _, items, scores = joined(catalogue_top_k(scorer, np.array([3, 4, 5]), k=4, seen=[part(cells)]))
    assert sorted(items[0, :2].tolist()) == [298, 299]
    assert items[0, 2:].tolist() == [-1, -1]
    assert (items[1] == -1).all()
    assert (items[2] >= 0).all()
    assert np.array_equal(scores == -np.inf, items == -1)


def test_without_users_there_are_no_lists(shop):
    assert list(catalogue_top_k(shop[0], np.arange(0), k=3)) == []


def test_top_items_need_finite_scores():
    module = small_backbone("gmf", 40, 300)
    module.item_embedding.weight.data[7, 1] = np.inf
    cells = np.full((40, 300), -1)
    cells[:, 7] = 1
    with pytest.raises(DataError, match="2 of 600 scores of ig are NaN or infinite"):
        list(
            catalogue_top_k(
                CatalogueScorer(module, 300), np.arange(2), k=3, seen=[part(cells)], name="ig"
            )
        )
