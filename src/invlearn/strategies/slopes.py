"""Slopes and choices, as cheaply as the way of computing allows: eager, compiled, on a device."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value

from invlearn.data.types import Weights


def slope_and_loss(
    objective: Callable[[Weights], Tensor], point: Weights
) -> tuple[Weights, Tensor]:
    """Compute the gradient of a scalar loss at a point, and the loss there.

    Args:
        objective: Loss of weights, without side effects.
        point: Where to look; it stays as it is.

    Returns:
        The slope by the names of `point`, zeros for what the loss does not depend on; and the
        loss, both detached.

    Example:
        >>> slope, loss = slope_and_loss(lambda w: w["x"].square().sum(), {"x": torch.ones(2)})
        >>> slope["x"], loss
        (tensor([2., 2.]), tensor(2.))
    """

    def alone(weights: Weights) -> tuple[Tensor, Tensor]:
        loss = objective(weights)
        return loss, loss.detach()

    return slope_and_more(alone, point)


def slope_and_more(
    objective: Callable[[Weights], tuple[Tensor, Tensor]], point: Weights
) -> tuple[Weights, Tensor]:
    """Compute the gradient of a scalar loss, and hand on a tensor that came up on the way.

    Args:
        objective: Loss of weights, and the tensor to hand on; without side effects.
        point: Where to look; it stays as it is.

    Returns:
        The slope as `slope_and_loss` gives it, and the tensor, detached.
    """
    if torch.compiler.is_compiling():  # which follows torch.func, but no call of autograd
        slope, (_, more) = grad_and_value(objective, has_aux=True)(point)
        return slope, more.detach()
    leaves = as_leaves(point)
    with torch.enable_grad():
        loss, more = objective(leaves)
    return _slope(loss, leaves), more.detach()


class Best(NamedTuple):
    """The point that was chosen among several."""

    point: Weights
    slope: Weights
    loss: Tensor
    losses: Tensor
    """At every point, shape `(points,)`."""
    choice: Tensor
    """Place of the chosen point, a scalar."""


def slope_at_best(
    objective: Callable[[Weights], Tensor],
    points: Sequence[Weights],
    choose: Callable[[Tensor], Tensor],
) -> Best:
    """Compute a loss at several points, choose one of them by the losses, and the slope there.

    Args:
        objective: Loss of weights, without side effects.
        points: Where to look; they stay as they are.
        choose: From losses of shape `(points,)` to the place of the point to go on from.
    """
    if not at_hand(next(iter(points[0].values()))):
        losses = torch.stack([objective(point).detach() for point in points])
        choice = choose(losses)
        point = _selected(points, choice)
        return Best(point, *slope_and_loss(objective, point), losses, choice)
    # The pass that found the loss of the chosen point is gone back over, not repeated.
    leaves = [as_leaves(point) for point in points]
    with torch.enable_grad():
        found = [objective(weights) for weights in leaves]
    losses = torch.stack([loss.detach() for loss in found])
    choice = choose(losses)
    k = int(choice)
    return Best(points[k], _slope(found[k], leaves[k]), losses[k], losses, choice)


def _selected(points: Sequence[Weights], choice: Tensor) -> Weights:
    """The point of a place, without asking a device for its number."""
    point = points[0]
    for place, other in enumerate(points[1:], start=1):
        point = {n: torch.where(choice == place, other[n], w) for n, w in point.items()}
    return point


def as_leaves(point: Weights) -> Weights:
    """The weights of a point as the leaves of a graph of their own."""
    return {name: weight.detach().requires_grad_() for name, weight in point.items()}


def _slope(loss: Tensor, leaves: Weights) -> Weights:
    slopes = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, slopes, strict=True))


def at_hand(tensor: Tensor) -> bool:
    """Whether Python may branch on a tensor's value: no device to wait for, no graph to break."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def rows_with_slope(slope: Tensor) -> Tensor:
    """Which rows of a table have a slope, in a shape that broadcasts with the table's.

    Example:
        >>> rows_with_slope(torch.tensor([[0.0, 0.5], [0.0, 0.0]]))
        tensor([[ True],
                [False]])
    """
    others = tuple(range(1, slope.dim()))
    return (slope != 0).any(dim=others, keepdim=True) if others else slope != 0
