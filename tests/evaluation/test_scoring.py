"""Scores of many pairs and of the whole catalogue against one call of the backbone."""

import numpy as np
import pytest
import torch
from torch import nn

from invlearn.backbones import BACKBONES
from invlearn.backbones.backbone import InnerProduct
from invlearn.evaluation import scoring
from invlearn.evaluation.scoring import CatalogueScorer, score_pairs
from toys import small_backbone

N_USERS, N_ITEMS = 9, 7


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks that end amid the items of a user."""
    monkeypatch.setattr(scoring, "BLOCK_PAIRS", 5)


def all_pairs(users):
    return np.repeat(users, N_ITEMS), np.tile(np.arange(N_ITEMS), len(users))


def asked_at_once(module, users):
    with torch.no_grad():
        logits = module.eval()(*(torch.from_numpy(ids) for ids in all_pairs(users)))
    return logits.reshape(len(users), N_ITEMS)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", BACKBONES)
def test_every_item_is_scored_for_each_user(name):
    module, users = small_backbone(name, N_USERS, N_ITEMS), np.array([4, 0, 8, 4])
    scores = CatalogueScorer(module, N_ITEMS)(users.astype(np.int32))
    torch.testing.assert_close(scores, asked_at_once(module, users), rtol=1e-5, atol=1e-6)
    pairs = score_pairs(module, *all_pairs(users)).reshape(scores.shape)
    np.testing.assert_allclose(scores, pairs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "width"), [("gmf", 5), ("mf", 6)])
def test_factors_are_the_backbone_in_two_tables(name, width):
    module = small_backbone(name, N_USERS, N_ITEMS)
    assert isinstance(module, InnerProduct)
    users, items = module.as_factors()
    assert (users.shape, items.shape) == ((N_USERS, width), (N_ITEMS, width))
    torch.testing.assert_close(users @ items.T, asked_at_once(module, np.arange(N_USERS)))


def test_backbones_with_a_tower_have_no_factors():
    assert not any(isinstance(small_backbone(n, 2, 2), InnerProduct) for n in ("mlp", "neumf"))


class Dropped(nn.Module):
    """All dropout: its scores are zero while it trains."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.dropout = nn.Dropout(1.0)

    def forward(self, users, items):
        return self.dropout(self.weight[users] + items)


def test_dropout_is_off_and_the_mode_comes_back():
    module, users = Dropped().train(), np.array([1])
    scorer = CatalogueScorer(module, N_ITEMS)
    assert scorer(users).tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    assert score_pairs(module, users, users).tolist() == [2]
    assert module.training
    with pytest.raises(IndexError):
        scorer(np.array([3]))
    assert module.training
    assert not CatalogueScorer(module.eval(), N_ITEMS)(users).requires_grad
    assert not module.training


@pytest.mark.parametrize("name", ["gmf", "mlp"])
def test_room_is_used_again(name):
    module = small_backbone(name, N_USERS, N_ITEMS)
    scorer = CatalogueScorer(module, N_ITEMS)
    room = scorer.empty(3)
    for users in (np.array([2, 5, 1]), np.array([7])):
        scores = scorer(users, out=room)
        assert scores.data_ptr() == room.data_ptr()
        torch.testing.assert_close(scores, scorer(users), rtol=0, atol=0)
    assert scorer(users[:0]).shape == (0, N_ITEMS)
