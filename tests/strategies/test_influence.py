"""The inverse gradient for each pair, against per-pair gradients and printed formulas."""

import pytest
import torch
from test_strategies import dual_loss, gmf, labelled_loss, slope_at

from invlearn.strategies.influence import PULLS, InverseGradientPerPair, influences
from invlearn.strategies.losses import cross_entropy
from invlearn.strategies.plain import LabelledOnly
from toys import assert_near, play_small, random_batch

POLICIES = sorted(PULLS)


def given(seed, **fields):
    batch = random_batch(n_users=9, n_items=7, n_labelled=5, n_unlabelled=6, seed=seed, **fields)
    return play_small("gmf", batch)[:3]


def in_float64(point):
    return {name: weight.double() for name, weight in point.items()}


def pull_by_hand(policy, z, a, beta):
    """Derivative by the logit, from the paper's loss by autograd and from the policy's words."""
    z = z.clone().requires_grad_()
    (c,) = torch.autograd.grad(dual_loss(z).sum(), z)
    z = z.detach()
    helps = c * a > 0
    if policy == "pass":
        return c * helps
    if policy == "invert":
        return torch.where(helps, c, -c)
    if policy == "relabel":
        return torch.sigmoid(z) - (a < 0).to(z.dtype)
    l1, l0 = torch.log1p(torch.exp(-z)), torch.log1p(torch.exp(z))
    odds = (l0 / l1) ** 2 * torch.exp(-beta * a / a.square().mean().sqrt())
    return torch.sigmoid(z) - odds / (1 + odds)


@pytest.mark.parametrize("seed", range(3))
def test_influence_is_each_pairs_own_gradient_times_the_slope(seed):
    score, point, batch = given(seed)
    slope = slope_at(lambda w: labelled_loss(w, batch).mean(), point)
    logits, found = influences(score, point, batch.unlabelled, slope)
    for pair, (z, a) in enumerate(zip(logits, found, strict=True)):
        own = slope_at(lambda w, n=pair: gmf(w, batch.unlabelled)[n], point)
        torch.testing.assert_close(z, gmf(point, batch.unlabelled)[pair])
        torch.testing.assert_close(a, sum((own[name] * slope[name]).sum() for name in own))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(4))
def test_proposal_by_hand(policy, seed):
    score, point, batch = given(seed)
    point = in_float64(point)
    move = InverseGradientPerPair(policy=policy, weight=0.7, beta=2.0).propose(score, point, batch)
    slope = slope_at(lambda w: labelled_loss(w, batch).mean(), point)
    logits, a = influences(score, point, batch.unlabelled, slope)
    pulls = pull_by_hand(policy, logits, a, 2.0)
    added = slope_at(lambda w: (pulls * gmf(w, batch.unlabelled)).mean(), point)
    assert_near(move.slope, {name: slope[name] + 0.7 * added[name] for name in slope})
    assert_near(move.point, point, rtol=0, atol=0)
    expected = labelled_loss(point, batch).mean()
    torch.testing.assert_close(move.log["loss"], expected, check_dtype=False)


@pytest.mark.parametrize("policy", ["pass", "invert", "relabel"])
@pytest.mark.parametrize("seed", range(4))
def test_a_small_step_along_the_unlabelled_part_never_hurts_the_judges(policy, seed):
    score, point, batch = given(seed)
    point = in_float64(point)
    move = InverseGradientPerPair(policy=policy).propose(score, point, batch)
    alone = LabelledOnly().propose(score, point, batch).slope
    moved = {n: w - 1e-4 * (move.slope[n] - alone[n]) for n, w in point.items()}

    def judged(weights):
        return cross_entropy(score(weights, batch.labelled), batch.labels).mean()

    if policy == "pass" and move.log["helpful"] == 0:
        assert_near(move.slope, alone, rtol=0, atol=0)
    else:
        assert judged(moved) < judged(point)


def test_without_weight_it_is_labelled_only_and_asks_for_nothing():
    strategy = InverseGradientPerPair(weight=0.0)
    score, point, batch = given(0)
    assert not strategy.feed.unlabelled
    expected = LabelledOnly().propose(score, point, batch)
    assert_near(strategy.propose(score, point, batch).slope, expected.slope, rtol=0, atol=0)


def test_held_out_judges_alone_look_at_unlabelled_pairs():
    strategy = InverseGradientPerPair(policy="relabel", judge_fraction=0.1)
    assert (strategy.feed.unlabelled, strategy.feed.judge_fraction) == (True, 0.1)
    score, point, batch = given(0)
    expected = LabelledOnly().propose(score, point, batch).slope
    assert_near(strategy.propose(score, point, batch).slope, expected, rtol=0, atol=0)
    judged = strategy.propose(score, point, batch._replace(judges=True)).slope
    assert any(not torch.equal(judged[name], expected[name]) for name in expected)


@pytest.mark.parametrize("policy", POLICIES)
def test_without_influence_nothing_is_divided_by_zero(policy):
    z = torch.tensor([-200.0, -1.0, 0.0, 1.0, 200.0])
    found = PULLS[policy](z, torch.zeros(5), 3.0)
    assert found.isfinite().all()
    if policy == "evidence":
        torch.testing.assert_close(found, PULLS["pass"](z, z.sigmoid() - (z > 0).float(), 3.0))
