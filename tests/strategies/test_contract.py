"""The contract that every strategy keeps over every backbone, the built-in ones taken as they come.

A newcomer to `STRATEGIES` or `BACKBONES` is tested by what is here without a line added.
"""

from dataclasses import replace

import pytest
import torch

import invlearn
from invlearn.backbones import BACKBONES
from invlearn.data.types import Pairs
from invlearn.strategies import STRATEGIES
from invlearn.training.class_lookup import options_of
from toys import FITTING, assert_near, checkerboard, gather_small, random_batch, with_ledger

SMALL = {
    "dim": 8,
    "layers": 1,
    "factors": 4,
    "least_shrinkage": 0.1,
    "most_shrinkage": 0.1,
    "bias_shrinkage": 0.1,
    "deep": "gmf",
}
everywhere = pytest.mark.parametrize("strategy_name", STRATEGIES)
on_every_backbone = pytest.mark.parametrize("backbone_name", BACKBONES)


def small_batch(strategy_name):
    """Batch in which the strategy does all that it can do."""
    strategy = STRATEGIES[strategy_name]()
    is_meta_batch = strategy.feed.judge_fraction > 0
    batch = random_batch(n_users=9, n_items=7, is_meta_batch=is_meta_batch, step=100_000)
    return with_ledger(batch, strategy, n_epochs=11)


def context(backbone_name, strategy_name, batch):
    """The batch in play, with the auxiliary models that the strategy asks for."""
    n_auxiliary = STRATEGIES[strategy_name]().feed.n_auxiliary
    return gather_small(backbone_name, batch, n_auxiliary=n_auxiliary)


@pytest.mark.covering
@everywhere
@on_every_backbone
def test_proposing_changes_nothing(strategy_name, backbone_name):
    score, params, batch, _ = context(backbone_name, strategy_name, small_batch(strategy_name))
    row_state = {name: tensor.clone() for name, tensor in batch.row_state.items()}
    weights = {name: weight.clone() for name, weight in params.items()}
    tensors = [*batch.labelled, batch.labels, *batch.unlabelled]
    copies = [tensor.clone() for tensor in tensors]
    proposal = STRATEGIES[strategy_name]().propose(score, params, batch)
    again = STRATEGIES[strategy_name]().propose(score, params, batch)
    assert all(torch.equal(params[name], weight) for name, weight in weights.items())
    assert all(torch.equal(*both) for both in zip(tensors, copies, strict=True))
    assert all(torch.equal(batch.row_state[name], tensor) for name, tensor in row_state.items())
    assert set(proposal.row_updates) <= set(row_state)
    for part in ("params", "gradients", "log", "state", "row_updates"):
        assert_near(getattr(proposal, part), getattr(again, part), rtol=0, atol=0)
        assert not any(tensor.requires_grad for tensor in getattr(proposal, part).values())
    assert proposal.params.keys() == params.keys()
    assert proposal.gradients.keys() in (params.keys(), set())


@pytest.mark.covering
@everywhere
@on_every_backbone
def test_proposing_does_not_change_what_is_remembered(strategy_name, backbone_name):
    score, params, batch, _ = context(backbone_name, strategy_name, small_batch(strategy_name))
    strategy, memory = STRATEGIES[strategy_name](), {}
    for number in range(4):
        kept = {name: tensor.clone() for name, tensor in memory.items()}
        seen = batch._replace(state=memory, is_meta_batch=batch.is_meta_batch and number % 2 == 0)
        proposal = strategy.propose(score, params, seen)
        assert_near(memory, kept, rtol=0, atol=0)
        memory = proposal.state


@pytest.mark.covering
@everywhere
@on_every_backbone
def test_order_of_pairs_does_not_matter(strategy_name, backbone_name):
    batch = small_batch(strategy_name)
    generator = torch.Generator().manual_seed(1)
    a = torch.randperm(len(batch.labels), generator=generator)
    b = torch.randperm(len(batch.unlabelled.users), generator=generator)
    shuffled = batch._replace(
        labelled=Pairs(*(ids[a] for ids in batch.labelled)),
        labels=batch.labels[a],
        unlabelled=Pairs(*(ids[b] for ids in batch.unlabelled)),
        rows=None if batch.rows is None else batch.rows[a],
        origin=batch.origin and Pairs(*(ids[b] for ids in batch.origin)),
    )
    moves = [
        STRATEGIES[strategy_name]().propose(score, params, played)
        for score, params, played, _ in (
            context(backbone_name, strategy_name, x) for x in (batch, shuffled)
        )
    ]
    for one, other in zip(*((m.gradients, m.params, m.log) for m in moves), strict=True):
        assert_near(one, other)


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return checkerboard(tmp_path_factory.mktemp("board") / "data")


@pytest.mark.covering
@everywhere
@on_every_backbone
def test_solves_the_checkerboard(strategy_name, backbone_name, board, tmp_path):
    if strategy_name == "deca" and backbone_name in ("mlp", "deepfm", "two-tower"):
        pytest.skip("drawn to its auxiliary model, a perceptron stays on the board's plateau")
    known = options_of(BACKBONES[backbone_name])
    run = invlearn.train(
        board.folder,
        tmp_path / "run",
        backbone=backbone_name,
        strategy=strategy_name,
        method=FITTING.get(strategy_name, {}),
        model={name: value for name, value in SMALL.items() if name in known},
        epochs=30,
        batch_size=64,
        optimizer={"lr": 0.02},
    )
    assert run.test["auc"] > 0.95
    assert run.test["gauc"] > 0.95


@everywhere
def test_strategies_are_equal_by_their_options(strategy_name):
    strategy = STRATEGIES[strategy_name]()
    assert replace(strategy) == strategy
    assert hash(replace(strategy)) == hash(strategy)
