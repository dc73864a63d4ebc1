"""The inverse gradient for each pair, against per-pair gradients and printed formulas."""

import pytest
import torch
from test_strategies import dual_loss, gmf, labelled_loss, slope_at

from invlearn.strategies.influence import PULLS, InverseGradientPerPair, influences
from invlearn.strategies.losses import cross_entropy
from invlearn.strategies.plain import LabelledOnly
from toys import assert_near, gather_small, random_batch

POLICIES = sorted(PULLS)


def given(seed, **fields):
    batch = random_batch(n_users=9, n_items=7, n_labelled=5, n_unlabelled=6, seed=seed, **fields)
    return gather_small("gmf", batch)[:3]


def in_float64(params):
    return {name: weight.double() for name, weight in params.items()}


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
def test_influence_is_each_pairs_own_gradient_times_the_gradient(seed):
    score, params, batch = given(seed)
    gradients = slope_at(lambda w: labelled_loss(w, batch).mean(), params)
    logits, found = influences(score, params, batch.unlabelled, gradients)
    for pair, (z, a) in enumerate(zip(logits, found, strict=True)):
        own = slope_at(lambda w, n=pair: gmf(w, batch.unlabelled)[n], params)
        torch.testing.assert_close(z, gmf(params, batch.unlabelled)[pair])
        torch.testing.assert_close(a, sum((own[name] * gradients[name]).sum() for name in own))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(4))
def test_proposal_by_hand(policy, seed):
    score, params, batch = given(seed)
    params = in_float64(params)
    proposal = InverseGradientPerPair(policy=policy, weight=0.7, beta=2.0).propose(
        score, params, batch
    )
    gradients = slope_at(lambda w: labelled_loss(w, batch).mean(), params)
    logits, a = influences(score, params, batch.unlabelled, gradients)
    pulls = pull_by_hand(policy, logits, a, 2.0)
    added = slope_at(lambda w: (pulls * gmf(w, batch.unlabelled)).mean(), params)
    assert_near(
        proposal.gradients, {name: gradients[name] + 0.7 * added[name] for name in gradients}
    )
    assert_near(proposal.params, params, rtol=0, atol=0)
    expected = labelled_loss(params, batch).mean()
    torch.testing.assert_close(proposal.log["loss"], expected, check_dtype=False)


@pytest.mark.parametrize("policy", ["pass", "invert", "relabel"])
@pytest.mark.parametrize("seed", range(4))
def test_a_small_step_along_the_unlabelled_part_never_hurts_the_judges(policy, seed):
    score, params, batch = given(seed)
    params = in_float64(params)
    proposal = InverseGradientPerPair(policy=policy).propose(score, params, batch)
    alone = LabelledOnly().propose(score, params, batch).gradients
    moved = {n: w - 1e-4 * (proposal.gradients[n] - alone[n]) for n, w in params.items()}

    def judged(weights):
        return cross_entropy(score(weights, batch.labelled), batch.labels).mean()

    if policy == "pass" and proposal.log["helpful"] == 0:
        assert_near(proposal.gradients, alone, rtol=0, atol=0)
    else:
        assert judged(moved) < judged(params)


def test_without_weight_it_is_labelled_only_and_asks_for_nothing():
    strategy = InverseGradientPerPair(weight=0.0)
    score, params, batch = given(0)
    assert not strategy.feed.unlabelled
    expected = LabelledOnly().propose(score, params, batch)
    assert_near(
        strategy.propose(score, params, batch).gradients, expected.gradients, rtol=0, atol=0
    )


def test_held_out_judges_alone_look_at_unlabelled_pairs():
    strategy = InverseGradientPerPair(policy="relabel", judge_fraction=0.1)
    assert (strategy.feed.unlabelled, strategy.feed.judge_fraction) == (True, 0.1)
    score, params, batch = given(0)
    expected = LabelledOnly().propose(score, params, batch).gradients
    assert_near(strategy.propose(score, params, batch).gradients, expected, rtol=0, atol=0)
    judged = strategy.propose(score, params, batch._replace(is_meta_batch=True)).gradients
    assert any(not torch.equal(judged[name], expected[name]) for name in expected)


@pytest.mark.parametrize("policy", POLICIES)
def test_without_influence_nothing_is_divided_by_zero(policy):
    z = torch.tensor([-200.0, -1.0, 0.0, 1.0, 200.0])
    found = PULLS[policy](z, torch.zeros(5), 3.0)
    assert found.isfinite().all()
    if policy == "evidence":
        torch.testing.assert_close(found, PULLS["pass"](z, z.sigmoid() - (z > 0).float(), 3.0))
