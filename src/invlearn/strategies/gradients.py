"""Gradients, also at the best of several parameter sets: eager, compiled, on a device."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value

from invlearn.data.types import Params

Objective = Callable[[Params], Tensor]
"""From parameters to a scalar loss, without side effects."""


def gradients_and_loss(objective: Objective, params: Params) -> tuple[Params, Tensor]:
    """Compute the gradient of a scalar loss, and the loss.

    Args:
        objective: From parameters to the loss, without side effects.
        params: Parameters at which to differentiate; not changed.

    Returns:
        The gradients by the names of `params`, zeros where the loss does not depend on a
        parameter; and the loss. Both are detached.

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
    """Compute the gradient of a scalar loss, and return an auxiliary tensor.

    Args:
        objective: From parameters to the loss and the tensor, without side effects.
        params: Parameters at which to differentiate; not changed.

    Returns:
        The gradient as from `gradients_and_loss`, and the tensor, detached.
    """
    if torch.compiler.is_compiling():  # supports torch.func, not torch.autograd.grad
        gradients, (_, more) = grad_and_value(objective, has_aux=True)(params)
        return gradients, more.detach()
    leaves = as_leaves(params)
    with torch.enable_grad():
        loss, more = objective(leaves)
    return _gradients(loss, leaves), more.detach()


class Best(NamedTuple):
    """The chosen parameters, with gradient and losses."""

    params: Params
    gradients: Params
    loss: Tensor
    losses: Tensor
    """Losses at all candidates, shape `(points,)`."""
    choice: Tensor
    """Index of the chosen candidate, a scalar."""


def gradients_at_best(
    objective: Objective, points: Sequence[Params], choose: Callable[[Tensor], Tensor]
) -> Best:
    """Compute a loss at several parameter sets, and the gradient at a chosen one.

    Args:
        objective: From parameters to the loss, without side effects.
        points: The candidate parameters; not changed.
        choose: From losses of shape `(points,)` to the index of the chosen candidate.
    """
    if not at_hand(next(iter(points[0].values()))):
        losses = torch.stack([objective(params).detach() for params in points])
        choice = choose(losses)
        params = _selected(points, choice)
        return Best(params, *gradients_and_loss(objective, params), losses, choice)
    # Reuse the forward pass of the chosen candidate for its gradient.
    leaves = [as_leaves(params) for params in points]
    with torch.enable_grad():
        found = [objective(weights) for weights in leaves]
    losses = torch.stack([loss.detach() for loss in found])
    choice = choose(losses)
    k = int(choice)
    return Best(points[k], _gradients(found[k], leaves[k]), losses[k], losses, choice)


def _selected(points: Sequence[Params], choice: Tensor) -> Params:
    """Return the candidate of an index tensor, without a device synchronization."""
    params = points[0]
    for place, other in enumerate(points[1:], start=1):
        params = {n: torch.where(choice == place, other[n], w) for n, w in params.items()}
    return params


def as_leaves(params: Params) -> Params:
    """Return detached parameters that require gradients."""
    return {name: weight.detach().requires_grad_() for name, weight in params.items()}


def _gradients(loss: Tensor, leaves: Params) -> Params:
    gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, gradients, strict=True))


def at_hand(tensor: Tensor) -> bool:
    """Return whether Python may branch on a tensor's value: on a CPU and not compiling."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def rows_with_gradient(gradients: Tensor) -> Tensor:
    """Return a mask of table rows with nonzero gradient, broadcastable to the table.

    Example:
        >>> rows_with_gradient(torch.tensor([[0.0, 0.5], [0.0, 0.0]]))
        tensor([[ True],
                [False]])
    """
    others = tuple(range(1, gradients.dim()))
    return (gradients != 0).any(dim=others, keepdim=True) if others else gradients != 0
