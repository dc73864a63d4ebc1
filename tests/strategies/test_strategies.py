"""Strategies by hand: what each proposes, computed again without the library."""

from itertools import product
from math import inf, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from invlearn.data.types import Batch, Pairs
from invlearn.strategies import STRATEGIES
from invlearn.strategies.denoising import ReweightedCrossEntropy, TruncatedCrossEntropy
from invlearn.strategies.inverse import CHOICES, InverseGradient, best_choice
from toys import assert_near, gather_small, random_batch

NO_PAIRS = Pairs(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def gmf(params, pairs):
    """GMF as He et al. print it, without a module."""
    users, items = params["user_embedding.weight"], params["item_embedding.weight"]
    joint = users[pairs.users] * items[pairs.items]
    return joint @ params["output.weight"][0] + params["output.bias"]


def slope_at(loss, params):
    """Gradient by plain reverse mode, on copies."""
    leaves = {name: weight.clone().requires_grad_() for name, weight in params.items()}
    return dict(zip(leaves, torch.autograd.grad(loss(leaves), leaves.values()), strict=True))


def dual_loss(z):
    """Eq. 4 as printed, weights cut off from the graph; for logits of moderate size."""
    l1, l0 = bce(z, torch.ones_like(z), reduction="none"), bce(z, 0 * z, reduction="none")
    w1 = ((l0 / l1) / (l0 / l1 + l1 / l0)).detach()
    return w1 * l1 + (1 - w1) * l0


def labelled_loss(params, batch):
    return bce(gmf(params, batch.labelled), batch.labels, reduction="none")


def released_choice(stay, inverse, direct):
    """Which point the released code goes on from, as its `if/elif/else` says."""
    if direct < inverse and direct < stay:
        return "direct"
    if inverse < stay:
        return "inverse"
    return "stay"


@pytest.mark.parametrize("losses", [*product([0.0, 1.0, 2.0], repeat=3)])
def test_choice_is_the_released_one_for_every_order(losses):
    assert CHOICES[best_choice(torch.tensor(losses))] == released_choice(*losses)


@pytest.mark.parametrize(
    ("losses", "choice"),
    [
        ((nan, 1.0, 2.0), "inverse"),
        ((1.0, nan, 0.5), "direct"),
        ((1.0, 0.5, nan), "inverse"),
        ((1.0, nan, nan), "stay"),
        ((nan, nan, 3.0), "direct"),
        ((inf, nan, 3.0), "direct"),
        ((nan, nan, nan), "stay"),
        ((inf, inf, inf), "stay"),
    ],
)
def test_a_loss_that_is_no_number_never_wins(losses, choice):
    assert CHOICES[best_choice(torch.tensor(losses))] == choice


@pytest.mark.parametrize("seed", range(12))
def test_inverse_gradient_by_hand(seed):
    batch = random_batch(n_users=9, n_items=7, n_labelled=5, seed=seed, is_meta_batch=True, lr=0.3)
    score, params, batch, _ = gather_small("gmf", batch)
    proposal = InverseGradient(alpha_ratio=0.5).propose(score, params, batch)

    alpha = 0.5 * 0.3
    trial = slope_at(lambda w: dual_loss(gmf(w, batch.unlabelled)).mean(), params)
    points = {
        "stay": params,
        "inverse": {name: params[name] + alpha * trial[name] for name in params},
        "direct": {name: params[name] - alpha * trial[name] for name in params},
    }
    losses = {name: labelled_loss(weights, batch).mean() for name, weights in points.items()}
    choice = released_choice(losses["stay"], losses["inverse"], losses["direct"])

    assert CHOICES[proposal.log["choice"]] == choice
    torch.testing.assert_close(proposal.log["judge_losses"], torch.stack([*losses.values()]))
    assert_near(proposal.params, points[choice])
    assert_near(
        proposal.gradients, slope_at(lambda w: labelled_loss(w, batch).mean(), points[choice])
    )
    torch.testing.assert_close(proposal.log["loss"], losses[choice])


def test_inverse_gradient_meets_every_choice():
    """The seeds of the test by hand would prove little if they all chose alike."""
    chosen = set()
    for seed in range(12):
        batch = random_batch(
            n_users=9, n_items=7, n_labelled=5, seed=seed, is_meta_batch=True, lr=0.3
        )
        score, params, batch, _ = gather_small("gmf", batch)
        proposal = InverseGradient(alpha_ratio=0.5).propose(score, params, batch)
        chosen.add(CHOICES[proposal.log["choice"]])
    assert chosen >= {"inverse", "direct"}


def test_inverse_gradient_stays_where_both_ways_hurt_the_judges():
    """At a minimum of the judges' loss the proposal starts from the very point it was shown."""
    pair = Pairs(torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    batch = Batch(pair, torch.tensor([0.0, 1.0]), pair, is_meta_batch=True, step=0, lr=1.0)

    def score(weights, pairs):
        return weights["z"].expand(len(pairs.users))

    params = {"z": torch.zeros(1)}
    proposal = InverseGradient().propose(score, params, batch)
    assert CHOICES[proposal.log["choice"]] == "stay"
    assert proposal.params is params


def test_inverse_gradient_without_judges_is_labelled_only():
    batch = random_batch(n_users=9, n_items=7)._replace(unlabelled=NO_PAIRS)
    score, params, batch, _ = gather_small("gmf", batch)
    proposal = InverseGradient().propose(score, params, batch)
    assert proposal.params is params
    assert proposal.log.keys() == {"loss"}
    assert_near(proposal.gradients, slope_at(lambda w: labelled_loss(w, batch).mean(), params))


def by_hand(strategy_name, params, batch):
    """Mean losses of the strategies that are only a loss, pair by pair."""
    losses = list(labelled_loss(params, batch))
    if strategy_name != "none":
        logits = gmf(params, batch.unlabelled)
        found = (
            dual_loss(logits)
            if strategy_name == "idl"
            else bce(logits, 0 * logits, reduction="none")
        )
        losses += list(found)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("strategy_name", ["none", "ns", "idl"])
def test_plain_losses_by_hand(strategy_name):
    score, params, batch, _ = gather_small(
        "gmf", random_batch(n_users=9, n_items=7, n_unlabelled=40)
    )
    proposal = STRATEGIES[strategy_name]().propose(score, params, batch)
    assert proposal.params is params
    torch.testing.assert_close(proposal.log["loss"], by_hand(strategy_name, params, batch))
    assert_near(proposal.gradients, slope_at(lambda w: by_hand(strategy_name, w, batch), params))


def constant_score(logits):
    """Score function that gives the pairs of a batch fixed logits, and the weights behind it."""
    return lambda weights, pairs: weights["z"], {"z": torch.tensor(logits)}


def fixed_batch(labels, n_unlabelled, step=0):
    def pairs(n):
        return Pairs(torch.arange(n), torch.arange(n))

    return Batch(
        pairs(len(labels)),
        torch.tensor(labels),
        pairs(n_unlabelled),
        is_meta_batch=False,
        step=step,
        lr=0.1,
    )


def released_t_ce(logits, labels, n_kept):
    """DenoisingRec's loss: the `n_kept` smallest of loss times label, averaged."""
    losses = bce(logits, labels, reduction="none")
    order = torch.sort(losses * labels, stable=True).indices[:n_kept]
    return losses[order].mean()


@pytest.mark.parametrize("drop_fraction", [0.0, 0.1, 0.25, 0.4])
@pytest.mark.parametrize("seed", range(5))
def test_t_ce_is_the_released_loss(drop_fraction, seed):
    """With no more dropped than there are positives, over a batch of 20 pairs."""
    logits = 3 * torch.randn(20, generator=torch.Generator().manual_seed(seed))
    labels = [1.0] * 9 + [0.0]
    score, params = constant_score(logits.tolist())
    strategy = TruncatedCrossEntropy(drop_fraction=drop_fraction, ramp_steps=1)
    proposal = strategy.propose(score, params, fixed_batch(labels, 10, step=1))
    everything = torch.tensor(labels + [0.0] * 10)
    expected = released_t_ce(logits, everything, int((1 - drop_fraction) * 20))
    torch.testing.assert_close(proposal.log["loss"], expected)
    dropped = proposal.gradients["z"] == 0
    assert int(dropped.sum()) == 20 - int((1 - drop_fraction) * 20)
    assert not dropped[everything == 0].any()


def test_t_ce_never_drops_what_is_not_suspect():
    """Where the released code would go on to drop negatives, in the order they happen to have."""
    score, params = constant_score([5.0, -5.0, 1.0, 2.0, -3.0, 4.0])
    strategy = TruncatedCrossEntropy(drop_fraction=0.9, ramp_steps=1)
    proposal = strategy.propose(score, params, fixed_batch([1.0, 1.0, 0.0], 3, step=1))
    assert (proposal.gradients["z"] == 0).tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("target", "dropped"), [("positives", [1]), ("negatives", [3]), ("both", [3])]
)
def test_t_ce_targets(target, dropped):
    """Labelled negatives (here of the largest loss) are never under suspicion."""
    score, params = constant_score([1.0, -1.0, 9.0, 3.0, -3.0])
    strategy = TruncatedCrossEntropy(target=target, drop_fraction=0.2, ramp_steps=1)
    proposal = strategy.propose(score, params, fixed_batch([1.0, 1.0, 0.0], 2, step=1))
    assert (proposal.gradients["z"] == 0).nonzero()[:, 0].tolist() == dropped


@pytest.mark.parametrize(("share_of", "n_dropped"), [("batch", 2), ("suspects", 1)])
def test_t_ce_share_of_scarce_suspects(share_of, n_dropped):
    """Two positives among ten pairs: a fifth of the batch is both, half of the suspects is one."""
    score, params = constant_score([-1.0, -2.0] + 8 * [0.5])
    fraction = 0.2 if share_of == "batch" else 0.5
    strategy = TruncatedCrossEntropy(drop_fraction=fraction, ramp_steps=1, share_of=share_of)
    proposal = strategy.propose(score, params, fixed_batch([1.0, 1.0] + 6 * [0.0], 2, step=1))
    assert int((proposal.gradients["z"] == 0).sum()) == n_dropped
    assert (proposal.gradients["z"][:2] == 0).tolist() == [n_dropped == 2, True]


@given(st.floats(0, 0.9), st.integers(1, 50), st.sampled_from([0.5, 1.0, 2.0]))
def test_t_ce_ramp_is_the_released_one(drop_fraction, ramp_steps, exponent):
    """`linspace(0, drop_rate ** exponent, num_gradual)[t]`, then `drop_rate`."""
    strategy = TruncatedCrossEntropy(
        drop_fraction=drop_fraction, ramp_steps=ramp_steps, exponent=exponent
    )
    ramp = torch.linspace(0, drop_fraction**exponent, ramp_steps, dtype=torch.float64).tolist()
    for step in range(ramp_steps + 2):
        expected = ramp[step] if step < ramp_steps else drop_fraction
        assert strategy.dropped_fraction(step) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("target", "suspected"),
    [
        ("positives", [True, True, False, False, False]),
        ("negatives", [False, False, False, True, True]),
        ("both", [True, True, False, True, True]),
    ],
)
@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_r_ce_by_hand(target, suspected, alpha):
    """Weight `p ** alpha` of a positive, `(1 - p) ** alpha` of a negative, constant to autograd."""
    logits, labels = torch.tensor([1.0, -1.0, 4.0, 3.0, -3.0]), [1.0, 1.0, 0.0, 0.0, 0.0]
    score, params = constant_score(logits.tolist())
    strategy = ReweightedCrossEntropy(target=target, alpha=alpha)
    proposal = strategy.propose(score, params, fixed_batch(labels[:3], 2))
    loss, gradients = 0.0, []
    for z, y, suspect in zip(logits, labels, suspected, strict=True):
        p = torch.sigmoid(z)
        weight = (p if y else 1 - p) ** alpha if suspect else 1.0
        loss += weight * -torch.log(p if y else 1 - p) / 5
        gradients.append(weight * (p - y) / 5)
    torch.testing.assert_close(proposal.log["loss"], loss)
    torch.testing.assert_close(proposal.gradients["z"], torch.stack(gradients))
