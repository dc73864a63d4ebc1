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
    if torch.compiler.is_compiling():  # which follows torch.func, but no call of autograd
        slope, loss = grad_and_value(objective)(point)
        return slope, loss.detach()
    leaves = {name: weight.detach().requires_grad_() for name, weight in point.items()}
    with torch.enable_grad():
        loss = objective(leaves)
    slopes = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, slopes, strict=True)), loss.detach()


def at_hand(choice: Tensor) -> bool:
    """Whether Python may branch on a tensor's value: no device to wait for, no graph to break."""
    return choice.device.type == "cpu" and not torch.compiler.is_compiling()
