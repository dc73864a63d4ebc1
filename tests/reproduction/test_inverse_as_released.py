"""The released code's loop, against the same loop written plainly in torch."""

from copy import deepcopy

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

import invlearn
from invlearn.config.schema import OptimizerConfig
from invlearn.data.sampling.sampler import Sampler, UnlabelledSource
from invlearn.runtime.errors import ConfigError, DivergedError
from invlearn.strategies.inverse import CHOICES
from invlearn.training import checkpoint
from invlearn.training.stores import DenseStore
from reproduction.inverse_as_released import Adam, InverseGradientAsReleased
from toys import checkerboard, small_backbone

RATE = 0.05
N_EPOCHS = 3
OPTIONS = [
    {},
    {"alpha_ratio": 4.0, "judge_fraction": 0.4},
    {"unlabelled_step": False},
    {"clear_gradients": True},
    {"clear_gradients": True, "unlabelled_step": False},
]


def dual_loss(z):
    """Eq. 4 as printed, weights cut off from the graph; for logits of moderate size."""
    l1, l0 = bce(z, torch.ones_like(z), reduction="none"), bce(z, 0 * z, reduction="none")
    w1 = ((l0 / l1) / (l0 / l1 + l1 / l0)).detach()
    return (w1 * l1 + (1 - w1) * l0).mean()


class Plainly:
    """The released loop: modules, a new torch Adam at every step, gradients never cleared."""

    def __init__(
        self, module, *, alpha_ratio=0.1, unlabelled_step=True, clear_gradients=False, **_
    ):
        self.model, self.clear = module, clear_gradients
        self.alpha, self.tries = alpha_ratio * RATE, unlabelled_step
        self.copies = {"inverse": deepcopy(module), "direct": deepcopy(module)}
        self.optimizer = self.new_adam(module)
        self.choices = []

    def new_adam(self, module, lr=RATE):
        return torch.optim.Adam(module.parameters(), lr=lr)

    def backward(self, module, loss):
        if self.clear:
            module.zero_grad()
        loss.backward()

    def step(self, batch):
        if not batch.is_meta_batch:
            self.backward(self.model, self.loss_of(self.model, batch))
            self.optimizer.step()
            return
        self.model.zero_grad()
        choice = self.tried(batch) if self.tries else "stay"
        self.choices.append(choice)
        chosen = self.copies.get(choice, self.model)
        self.backward(chosen, self.loss_of(chosen, batch))
        (self.optimizer if choice == "stay" else self.new_adam(chosen)).step()
        self.model.load_state_dict(chosen.state_dict())
        self.optimizer = self.new_adam(self.model)

    def tried(self, batch):
        """Take both trial steps; which point the judges like best."""
        for choice, sign in (("direct", 1), ("inverse", -1)):
            copy = self.copies[choice]
            copy.load_state_dict(self.model.state_dict())
            self.backward(copy, sign * dual_loss(copy(*batch.unlabelled)))
            self.new_adam(copy, self.alpha).step()
        stay, inverse, direct = (
            self.loss_of(self.copies.get(choice, self.model), batch).item()
            for choice in ("stay", "inverse", "direct")
        )
        if direct < inverse and direct < stay:
            return "direct"
        return "inverse" if inverse < stay else "stay"

    def loss_of(self, module, batch):
        return bce(module(*batch.labelled), batch.labels.double())


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return checkerboard(tmp_path_factory.mktemp("board") / "data", n_users=12, n_items=12)


def batches(board, strategy, seed):
    """Three epochs of small batches."""
    source = UnlabelledSource(0.0)
    sampler = Sampler(board, strategy.feed, source, batch_size=8, seed=seed)
    for epoch in range(N_EPOCHS):
        for step in range(sampler.steps_per_epoch):
            yield sampler.batch(epoch, step, lr=RATE)


def train_both(board, options, seed, *, backbone_name="gmf", scale=0.5):
    """Weights after the same batches, and the choices on the way: ours, then plainly."""
    strategy = InverseGradientAsReleased(**options)
    modules = [small_backbone(backbone_name, 12, 12, seed=seed, scale=scale) for _ in range(2)]
    module, other = (module.double() for module in modules)
    store = DenseStore(module, module.tables, OptimizerConfig(), seed=0)
    plainly, choices = Plainly(other, **options), []
    for batch in batches(board, strategy, seed):
        context = store.gather(batch)
        proposal = strategy.propose(context.score, context.params, context.batch)
        store.apply(context, proposal)
        plainly.step(batch)
        if batch.is_meta_batch:
            choices.append(CHOICES[proposal.log["choice"]] if "choice" in proposal.log else "stay")
    return module.state_dict(), other.state_dict(), choices, plainly.choices


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("backbone_name", ["gmf", "neumf"])
@pytest.mark.parametrize("options", OPTIONS)
def test_equals_the_loop_written_plainly(board, options, backbone_name, seed):
    ours, plain, choices, expected = train_both(board, options, seed, backbone_name=backbone_name)
    assert choices == expected
    for name in plain:
        torch.testing.assert_close(ours[name], plain[name], rtol=0, atol=1e-8)


def test_the_loops_meet_every_choice_also_at_the_ends_of_an_epoch(board):
    """Staying first uses the Adam of training-train; staying last leaves its gradient behind."""
    chosen = [train_both(board, OPTIONS[1], seed)[2] for seed in range(3)]
    n_judged = len(chosen[0]) // N_EPOCHS
    assert {choice for found in chosen for choice in found} == set(CHOICES)
    assert any("stay" in found[::n_judged] for found in chosen)
    assert any("stay" in found[n_judged - 1 : -1 : n_judged] for found in chosen)


@pytest.mark.parametrize("changed", [{"clear_gradients": True}, {"unlabelled_step": False}])
def test_every_habit_changes_the_weights(board, changed):
    """Else the equalities above would prove little."""
    ours, other = (train_both(board, options, 0)[0] for options in ({}, changed))
    assert not any(torch.allclose(ours[name], other[name], rtol=1e-3) for name in ours)


def test_adam_is_torchs():
    rng = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(3, 4, generator=rng, dtype=torch.float64))
    optimizer, params, adam = torch.optim.Adam([weight]), {"w": weight.detach().clone()}, Adam()
    for number in range(20):
        gradients = torch.randn(3, 4, generator=rng, dtype=torch.float64) * 10.0 ** (-number % 12)
        lr = 0.1 / (1 + number)
        optimizer.param_groups[0]["lr"], weight.grad = lr, gradients
        optimizer.step()
        params, adam = adam.step(params, {"w": gradients}, lr)
        torch.testing.assert_close(params["w"], weight.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("unlabelled_step", [True, False])
def test_unlabelled_pairs_stand_beside_judges_if_they_are_used(board, unlabelled_step):
    strategy = InverseGradientAsReleased(unlabelled_step=unlabelled_step)
    for batch in batches(board, strategy, 0):
        used = batch.is_meta_batch and unlabelled_step
        assert len(batch.unlabelled.users) == (len(batch.labels) if used else 0)


def test_trains_in_the_dense_store_alone(board, tmp_path):
    given = {"strategy": InverseGradientAsReleased, "epochs": 1, "batch_size": 32}
    assert invlearn.train(board.folder, tmp_path / "run", **given).config.store == "dense"
    with pytest.raises(ConfigError, match=r"AsReleased works on whole tables.*--store dense"):
        invlearn.train(board.folder, tmp_path / "other", store="row", **given)
    assert not (tmp_path / "other").exists()


def test_a_step_to_nowhere_is_caught_before_it_is_taken(board, tmp_path):
    with pytest.raises(DivergedError, match="the proposed update is not finite"):
        invlearn.train(
            board.folder,
            tmp_path / "run",
            strategy=InverseGradientAsReleased,
            epochs=1,
            optimizer={"lr": 1e38},
            method={"unlabelled_step": False},
        )
    weights = checkpoint.load(tmp_path / "run" / "checkpoints", "last").weights
    assert all(weight.isfinite().all() for weight in weights.values())
