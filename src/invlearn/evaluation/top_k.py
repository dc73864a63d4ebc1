"""The highest scores of each row, exactly and in an order that nothing but the scores decides.

Legend of shapes: `users` rows, one for each user; `n_items` columns, one for each item.
"""

import torch
from torch import Tensor

from invlearn.runtime.errors import ConfigError, DataError

RUN = 64
"""Neighbouring items of which only the highest score is looked at first."""


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the `k` highest scores of each row, best first, of equal ones the first item first.

    Most items cannot be among them, and one maximum for each run of neighbours tells which: an
    item outside of the `k` runs with the highest maxima (of equal ones the first) has the maxima
    of all of those before it. So one pass over the scores is left, and a search among few.

    Args:
        scores: Shape `(users, n_items)`, float32; `-inf` for an item that comes after all others.
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
    """Columns of the `k` highest scores of each row, of equal ones the lowest id first.

    Score and id become one integer, so that no two are equal and any search finds the same. The
    bits of a float, read as an integer, rise with it; those of a negative one fall.

    Raises:
        DataError: A score is NaN.
    """
    if scores.isnan().any():
        raise DataError("scores to rank hold NaN, which has no order; look for NaN in the weights")
    bits = (scores + 0.0).view(torch.int32)  # -0.0 + 0.0 is 0.0
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (rising.long() * 2**32 - ids).topk(k, dim=1).indices
