"""NDCG@20 as the code released with the paper has it."""

import numpy as np
import pytest
import torch

from invlearn.evaluation.assessment import assess
from invlearn.evaluation.evaluation import paired_difference
from invlearn.evaluation.scoring import score_pairs
from reproduction.released_ndcg import released_order, with_released_ndcg
from toys import checkerboard, small_backbone

NAME = "ndcg@20_as_released"


def test_released_order_is_a_reversed_argsort():
    scores = np.array([0.5, 0.1, 0.5, -3.0, 0.5, 0.1])
    ranks = released_order(scores)
    assert np.argsort(-ranks).tolist() == np.argsort(scores, kind="stable")[::-1].tolist()


def plainly(rows, scores):
    """The mean NDCG@20 of users with both classes, ties broken by the order of the rows."""
    found = []
    for user in np.unique(rows.users):
        y, s = rows.labels[rows.users == user], scores[rows.users == user]
        if 0 < y.mean() < 1:
            order = np.argsort(s, kind="stable")[::-1][:20]
            discount = 1 / np.log2(np.arange(len(order)) + 2)
            found.append((y[order] * discount).sum() / (np.sort(y)[::-1][:20] * discount).sum())
    return np.mean(found)


@pytest.mark.parametrize("draws", [0, 20])
def test_ties_are_broken_by_the_order_of_the_rows(tmp_path, draws):
    dataset = checkerboard(tmp_path / "data", n_users=30, n_items=30)
    module = small_backbone("mf", 30, 30, seed=0, scale=0.5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.round_()
    rows = dataset.train
    found = assess(module, dataset, rows, draws=draws, baselines=("popularity",))
    more = with_released_ndcg(found, module, dataset, rows, draws=draws)
    for before, after in (
        (found.backbone, more.backbone),
        (found.baselines["popularity"], more.baselines["popularity"]),
    ):
        assert list(after.values) == [*before.values, NAME]
        assert list(after.intervals) == [*before.intervals, *[NAME] * (draws > 0)]
        assert {name: after.values[name] for name in before.values} == before.values
    scores = score_pairs(module, rows.users, rows.items)
    assert more.backbone.values[NAME] == pytest.approx(plainly(rows, scores))
    assert more.backbone.values[NAME] != pytest.approx(found.backbone.values["ndcg@20"])
    if draws:
        assert NAME in paired_difference(more.backbone, more.baselines["popularity"])
