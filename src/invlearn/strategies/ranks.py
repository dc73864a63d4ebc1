"""Ranks of values and means by group, for strategies with row state."""

import torch
from torch import Tensor


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each value in ascending order, from 0; ties go to the earlier.

    Args:
        values: Values, shape `(rows,)`.

    Example:
        >>> ranks(torch.tensor([3.0, 1.0, 2.0, 1.0]))
        tensor([3, 0, 2, 1])
    """
    order = torch.argsort(values, stable=True)
    places = torch.arange(len(order), device=order.device)
    return torch.empty_like(order).index_copy(0, order, places)


def group_means(values: Tensor, groups: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Compute the mean value of each group, NaN for empty groups.

    Args:
        values: Values, shape `(rows,)`.
        groups: Id of the group of each row, from 0, shape `(rows,)`.
        chosen: Rows to use, boolean of shape `(rows,)`; all by default.

    Returns:
        Means by group id, up to the largest id.

    Example:
        >>> group_means(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]))
        tensor([2., nan, 5.])
    """
    weights = torch.ones_like(values) if chosen is None else chosen.to(values)
    n_groups = int(groups.max()) + 1 if len(groups) else 0
    sums = torch.zeros(n_groups).to(values)
    counts = sums.index_add(0, groups, weights)
    return sums.index_add(0, groups, weights * values) / counts
