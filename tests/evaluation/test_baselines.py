"""Baselines against counting by hand, and on MovieLens-1M."""

import os
from math import log
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from invlearn.backbones.rates import PSEUDO_ROWS
from invlearn.data.parts import Part
from invlearn.evaluation.baselines import BASELINES, baseline_scores
from invlearn.evaluation.evaluation import evaluate
from invlearn.runtime.errors import ConfigError

DATA = Path(os.environ.get("INVLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))


def part(rows):
    users, items, labels = zip(*rows, strict=True)
    return Part(np.array(users, np.int32), np.array(items, np.int32), np.array(labels, np.int8))


TRAIN = part([(0, 0, 1), (0, 1, 0), (1, 0, 1), (1, 2, 1), (2, 0, 0), (2, 2, 0)])
USERS, ITEMS = np.array([0, 1, 2, 3, 3]), np.array([0, 1, 2, 0, 3])


def scores(name, train=TRAIN, seed=0):
    return baseline_scores(name, train, USERS, ITEMS, shape=(4, 4), seed=seed)


def logit(rate):
    return log(rate / (1 - rate))


def slow_logit(ids, wanted):
    mean = (TRAIN.labels.sum() + 1) / (len(TRAIN) + 2)
    own = TRAIN.labels[ids == wanted]
    return logit((own.sum() + PSEUDO_ROWS * mean) / (len(own) + PSEUDO_ROWS))


def test_popularity_counts_positive_rows():
    assert scores("popularity").tolist() == [2, 0, 1, 2, 0]


def test_rates_are_shrunk_logits():
    item = [slow_logit(TRAIN.items, i) for i in ITEMS]
    user = [slow_logit(TRAIN.users, u) for u in USERS]
    np.testing.assert_allclose(scores("item-rate"), item)
    mean = logit((TRAIN.labels.sum() + 1) / (len(TRAIN) + 2))
    np.testing.assert_allclose(scores("item+user-rate"), np.add(item, user) - mean)


def test_an_unknown_pair_gets_the_mean():
    train = part([(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0)])
    for name in ("item-rate", "item+user-rate"):
        assert scores(name, train)[-1] == pytest.approx(logit(4 / 6))


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("name", BASELINES)
def test_one_class_or_nothing_to_learn_from(name, label):
    assert np.isfinite(scores(name, part([(0, 0, label), (1, 1, label)]))).all()
    empty = np.empty(0, np.int32)
    assert np.isfinite(scores(name, Part(empty, empty, empty.astype(np.int8)))).all()


def test_random_is_its_seed():
    assert (
        scores("random").tolist() == scores("random").tolist() != scores("random", seed=1).tolist()
    )


def test_unknown_name():
    with pytest.raises(
        ConfigError, match="unknown baseline 'item-rates'; did you mean 'item-rate'"
    ):
        scores("item-rates")


@pytest.mark.parametrize(
    ("share", "known"), [(1.0, 0.817), (0.2, 0.798), (0.05, 0.755), (0.01, 0.672)]
)
def test_movielens_reaches_known_figures(share, known):
    file = DATA / "ml-1m" / "ratings.parquet"
    if not file.is_file():
        pytest.skip(f"{file.name} of ML-1M is not in INVLEARN_DATA or ../shared/data")
    rows = pl.read_parquet(file)
    users, items, split = (rows[c].to_numpy().astype(np.int32) for c in ("user", "item", "split"))
    labels = (rows["rating"].to_numpy() > 2).astype(np.int8)
    known_rows = (split == 0) & (np.random.default_rng(0).random(len(rows)) < share)
    train = Part(users[known_rows], items[known_rows], labels[known_rows])
    test = split == 2
    shape = int(users.max()) + 1, int(items.max()) + 1
    aucs = []
    for name in BASELINES:
        s = baseline_scores(name, train, users[test], items[test], shape=shape)
        aucs.append(evaluate(users[test], labels[test], s, draws=0).values["auc"])
    assert min(aucs) == aucs[0]
    assert max(aucs) == aucs[-1]
    assert aucs[0] == pytest.approx(0.5, abs=0.006)
    assert aucs[-1] == pytest.approx(known, abs=0.01 if share < 0.1 else 0.002)
