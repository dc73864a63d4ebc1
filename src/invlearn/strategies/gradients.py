"""Gradients, and gradients at the best of several parameters: eager, compiled, on a device."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value

from invlearn.data.types import Params


def gradients_and_loss(
    objective: Callable[[Params], Tensor], params: Params
) -> tuple[Params, Tensor]:
    """Compute the gradient of a scalar loss at a point, and the loss there.

    Args:
        objective: Loss of weights, without side effects.
        params: Where to look; it stays as it is.

    Returns:
        The gradients by the names of `params`, zeros for what the loss does not depend on; and the
        loss, both detached.

    Example:
        >>> x = {"x": torch.ones(2)}
        >>> gradients, loss = gradients_and_loss(lambda params: params["x"].square().sum(), x)
        >>> gradients["x"], loss
        (tensor([2., 2.]), tensor(2.))
    """

    def alone(weights: Params) -> tuple[Tensor, Tensor]:
        loss = objective(weights)
        return loss, loss.detach()

    return gradients_and_aux(alone, params)


def gradients_and_aux(
    objective: Callable[[Params], tuple[Tensor, Tensor]], params: Params
) -> tuple[Params, Tensor]:
    """Compute the gradient of a scalar loss, and hand on a tensor that came up on the way.

    Args:
        objective: Loss of weights, and the tensor to hand on; without side effects.
        params: Where to look; it stays as it is.

    Returns:
        The gradient as `gradients_and_loss` gives it, and the tensor, detached.
    """
    if torch.compiler.is_compiling():  # which follows torch.func, but no call of autograd
        gradients, (_, more) = grad_and_value(objective, has_aux=True)(params)
        return gradients, more.detach()
    leaves = as_leaves(params)
    with torch.enable_grad():
        loss, more = objective(leaves)
    return _gradients(loss, leaves), more.detach()


class Best(NamedTuple):
    """The point that was chosen among several."""

    params: Params
    gradients: Params
    loss: Tensor
    losses: Tensor
    """At every point, shape `(points,)`."""
    choice: Tensor
    """Place of the chosen point, a scalar."""


def gradients_at_best(
    objective: Callable[[Params], Tensor],
    points: Sequence[Params],
    choose: Callable[[Tensor], Tensor],
) -> Best:
    """Compute a loss at several points, choose one of them by the losses, and the gradient there.

    Args:
        objective: Loss of weights, without side effects.
        points: Where to look; they stay as they are.
        choose: From losses of shape `(points,)` to the place of the point to go on from.
    """
    if not at_hand(next(iter(points[0].values()))):
        losses = torch.stack([objective(params).detach() for params in points])
        choice = choose(losses)
        params = _selected(points, choice)
        return Best(params, *gradients_and_loss(objective, params), losses, choice)
    # The pass that found the loss of the chosen point is gone back over, not repeated.
    leaves = [as_leaves(params) for params in points]
    with torch.enable_grad():
        found = [objective(weights) for weights in leaves]
    losses = torch.stack([loss.detach() for loss in found])
    choice = choose(losses)
    k = int(choice)
    return Best(points[k], _gradients(found[k], leaves[k]), losses[k], losses, choice)


def _selected(points: Sequence[Params], choice: Tensor) -> Params:
    """The point of a place, without asking a device for its number."""
    params = points[0]
    for place, other in enumerate(points[1:], start=1):
        params = {n: torch.where(choice == place, other[n], w) for n, w in params.items()}
    return params


def as_leaves(params: Params) -> Params:
    """The weights of a point as the leaves of a graph of their own."""
    return {name: weight.detach().requires_grad_() for name, weight in params.items()}


def _gradients(loss: Tensor, leaves: Params) -> Params:
    gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, gradients, strict=True))


def at_hand(tensor: Tensor) -> bool:
    """Whether Python may branch on a tensor's value: no device to wait for, no graph to break."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def rows_with_gradient(gradients: Tensor) -> Tensor:
    """Which rows of a table have a gradient, in a shape that broadcasts with the table's.

    Example:
        >>> rows_with_gradient(torch.tensor([[0.0, 0.5], [0.0, 0.0]]))
        tensor([[ True],
                [False]])
    """
    others = tuple(range(1, gradients.dim()))
    return (gradients != 0).any(dim=others, keepdim=True) if others else gradients != 0
