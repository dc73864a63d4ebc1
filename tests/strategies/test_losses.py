"""Losses against their printed formulas, far out and in both precisions; their gradients."""

from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from invlearn.strategies.losses import (
    belief_in_positive,
    cross_entropy,
    inverse_dual_loss,
    negative_loss,
    positive_loss,
    reweighting,
    truncation,
)

GRID = torch.cat(
    [torch.linspace(-100, 100, 401), torch.linspace(-2, 2, 81), torch.tensor([-104.5, 1e-12])]
).double()
HUGE = torch.tensor([0.0, 1e-30, 1.0, 20.0, 87.0, 89.0, 104.0, 1e4, 1e10, 1e20])
HUGE = torch.cat([HUGE, -HUGE])


def formulas(logit):
    """`l1`, `l0` and `w1` as the paper prints them, with 120 digits."""
    with localcontext(prec=120):
        z = Decimal(float(logit))
        l1, l0 = (1 + (-z).exp()).ln(), (1 + z.exp()).ln()
        return l1, l0, (l0 / l1) / (l0 / l1 + l1 / l0)


def table(formula):
    return torch.tensor([float(formula(*formulas(z))) for z in GRID], dtype=torch.float64)


def test_losses_equal_their_formulas():
    torch.testing.assert_close(
        positive_loss(GRID), table(lambda l1, l0, w1: l1), rtol=1e-14, atol=0
    )
    torch.testing.assert_close(
        negative_loss(GRID), table(lambda l1, l0, w1: l0), rtol=1e-14, atol=0
    )
    for label in (0.0, 1.0):
        got = cross_entropy(GRID, torch.full_like(GRID, label))
        expected = table(lambda l1, l0, w1, y=Decimal(label): y * l1 + (1 - y) * l0)
        torch.testing.assert_close(got, expected, rtol=1e-14, atol=0)


def test_belief_equals_equation_4():
    got, expected = belief_in_positive(GRID), table(lambda l1, l0, w1: w1)
    torch.testing.assert_close(got, expected, rtol=5e-9, atol=0)
    near = GRID.abs() < 20
    torch.testing.assert_close(got[near], expected[near], rtol=1e-13, atol=0)


def test_inverse_dual_loss_equals_equation_4():
    with localcontext(prec=120):
        expected = table(lambda l1, l0, w1: w1 * l1 + (1 - w1) * l0)
    torch.testing.assert_close(inverse_dual_loss(GRID), expected, rtol=5e-8, atol=0)
    near = GRID.abs() < 5
    torch.testing.assert_close(inverse_dual_loss(GRID[near]), expected[near], rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_is_finite_far_out(dtype):
    logits = HUGE.to(dtype).requires_grad_()
    for label in (0.0, 1.0):
        assert cross_entropy(logits, torch.full_like(logits, label)).isfinite().all()
    beliefs, losses = belief_in_positive(logits), inverse_dual_loss(logits)
    assert ((beliefs >= 0) & (beliefs <= 1)).all()
    assert ((losses >= 0) & (losses <= torch.tensor(2.0).log().to(dtype) + 1e-6)).all()
    (gradients,) = torch.autograd.grad(losses.sum(), logits)
    assert gradients.isfinite().all()


def test_slope_of_the_inverse_dual_loss():
    logits = GRID.clone().requires_grad_()
    (gradients,) = torch.autograd.grad(inverse_dual_loss(logits).sum(), logits)
    w1, p = belief_in_positive(GRID), torch.sigmoid(GRID)
    expected = (1 - w1) * p - w1 * torch.sigmoid(-GRID)
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-18)


def test_descent_moves_every_logit_away_from_zero():
    logits = torch.cat([GRID, torch.zeros(1, dtype=torch.float64)]).requires_grad_()
    (gradients,) = torch.autograd.grad(inverse_dual_loss(logits).sum(), logits)
    assert gradients[-1] == 0
    decided = (logits.abs() > 1e-9) & (logits.abs() < 30)
    assert (gradients[decided].sign() == -logits[decided].sign()).all()
    assert (gradients * logits <= 0).all()


def test_belief_and_weights_are_constants_to_autograd():
    logits = torch.tensor([-1.0, 2.0], requires_grad=True)
    assert not belief_in_positive(logits).requires_grad
    losses = positive_loss(logits)
    assert not reweighting(losses, 0.5).requires_grad
    assert not truncation(losses, torch.tensor([True, True]), 1).requires_grad


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=20), st.floats(0, 3))
def test_reweighting_is_a_power_of_the_probability_of_the_label(logits, alpha):
    z = torch.tensor(logits, dtype=torch.float64)
    torch.testing.assert_close(reweighting(positive_loss(z), alpha), torch.sigmoid(z) ** alpha)
    torch.testing.assert_close(reweighting(negative_loss(z), alpha), torch.sigmoid(-z) ** alpha)


suspected = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0]), st.booleans()), max_size=9
)


@given(suspected, st.integers(0, 10))
def test_truncation_drops_the_worst_suspects_one_by_one(pairs, n_dropped):
    losses, suspects = [loss for loss, _ in pairs], [suspect for _, suspect in pairs]
    kept = [1.0] * len(pairs)
    for _ in range(n_dropped):
        left = [k for k in range(len(pairs)) if suspects[k] and kept[k]]
        if left:
            kept[max(left, key=lambda k: (losses[k], k))] = 0.0
    mask = truncation(torch.tensor(losses), torch.tensor(suspects, dtype=torch.bool), n_dropped)
    assert mask.tolist() == kept
