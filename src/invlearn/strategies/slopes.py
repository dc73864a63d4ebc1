"""Slopes and choices, as cheaply as the way of computing allows: eager, compiled, on a device."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad_and_value

from invlearn.pairs import Weights


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
    leaves = {name: weight.detach().requires_grad_() for name, weight in point.items()}
    with torch.enable_grad():
        loss, more = objective(leaves)
    slopes = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, slopes, strict=True)), more.detach()


def at_hand(choice: Tensor) -> bool:
    """Whether Python may branch on a tensor's value: no device to wait for, no graph to break."""
    return choice.device.type == "cpu" and not torch.compiler.is_compiling()
