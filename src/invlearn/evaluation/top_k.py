"""Exact top-k scores of each row, in a deterministic order.

Legend of shapes: `users` rows, one per user; `n_items` columns, one per item.
"""

import torch
from torch import Tensor

from invlearn.runtime.errors import ConfigError, DataError

RUN = 64
"""Adjacent items reduced to their maximum score in the first pass."""


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the `k` highest scores of each row, exactly; ties go to the first item.

    The maximum of each run of `RUN` items excludes most items: an item outside of the `k` runs with
    the highest maxima (the first among ties) ranks after all of those maxima. So one pass over the
    scores and a search among few remain.

    Args:
        scores: Float32, shape `(users, n_items)`; `-inf` ranks an item after all others.
        k: Length of the lists.

    Returns:
        Item ids, int64, and their scores, both of shape `(users, min(k, n_items))`.

    Raises:
        ConfigError: `k` is below 1.
        DataError: Scores are not float32, or one is NaN.

    Example:
        >>> items, scores = top_k(torch.tensor([[0.5, 2.0, -1.0, 2.0]]), 3)
        >>> items.tolist(), scores.tolist()
        ([[1, 3, 0]], [[2.0, 2.0, 0.5]])
    """
    if k < 1:
        raise ConfigError(f"a list cannot have the length {k}; give k of at least 1")
    if scores.dtype != torch.float32:
        raise DataError(f"scores to rank are of type {scores.dtype}; convert them to torch.float32")
    n_items = scores.shape[1]
    items = torch.arange(n_items, device=scores.device)
    n_runs = n_items // RUN
    if k < n_runs:
        in_runs, rest = items[: n_runs * RUN].view(n_runs, RUN), items[n_runs * RUN :]
        maxima = scores[:, : n_runs * RUN].unflatten(1, (n_runs, RUN)).amax(2)
        runs = _first(maxima, items[:n_runs].expand_as(maxima), k)
        items = torch.cat([in_runs[runs].flatten(1), rest.expand(len(scores), -1)], dim=1)
    else:
        items = items.expand_as(scores)
    candidates = scores.gather(1, items)
    found = _first(candidates, items, min(k, n_items))
    return items.gather(1, found), candidates.gather(1, found)


def _first(scores: Tensor, ids: Tensor, k: int) -> Tensor:
    """Return columns of the `k` highest scores of each row; ties go to the lowest id.

    Score and id are packed into one integer, so that all are distinct and every search agrees. The
    bits of a float, read as an integer, increase with it; those of a negative float decrease.

    Raises:
        DataError: A score is NaN.
    """
    if scores.isnan().any():
        raise DataError("scores to rank hold NaN, which has no order; look for NaN in the weights")
    bits = (scores + 0.0).view(torch.int32)  # -0.0 + 0.0 is 0.0
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (rising.long() * 2**32 - ids).topk(k, dim=1).indices
