"""Logits of many pairs from a trained backbone, block by block."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

BLOCK_PAIRS = 1 << 16
"""Pairs scored at once."""


@torch.no_grad()
def score_pairs(
    module: nn.Module, users: npt.NDArray[np.integer], items: npt.NDArray[np.integer]
) -> npt.NDArray[np.float32]:
    """Score pairs with dropout off.

    Args:
        module: The backbone; its mode is restored.
        users: Dense user ids, shape `(pairs,)`.
        items: Dense item ids, shape `(pairs,)`.

    Returns:
        Logits of shape `(pairs,)`.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    logits = np.empty(len(users), np.float32)
    was_training = module.training
    module.eval()
    for start in range(0, len(users), BLOCK_PAIRS):
        block = slice(start, start + BLOCK_PAIRS)
        columns = (torch.from_numpy(ids[block].astype(np.int64)) for ids in (users, items))
        logits[block] = module(*(column.to(device) for column in columns)).cpu().numpy()
    module.train(was_training)
    return logits


def score_catalogue(
    module: nn.Module, users: npt.NDArray[np.integer], n_items: int
) -> npt.NDArray[np.float32]:
    """Score every item for some users.

    Args:
        module: The backbone.
        users: Dense user ids, shape `(users,)`; take few at a time, the result is dense.
        n_items: Number of items.

    Returns:
        Logits of shape `(users, n_items)`.
    """
    items = np.tile(np.arange(n_items), len(users))
    return score_pairs(module, np.repeat(users, n_items), items).reshape(len(users), n_items)
