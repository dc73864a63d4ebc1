"""Logits of many pairs from a trained backbone, block by block."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from invlearn.backbones.backbone import InnerProduct
from invlearn.data.types import IntegerIds

BLOCK_PAIRS = 1 << 16
"""Pairs that a backbone is given at once."""


def score_pairs(module: nn.Module, users: IntegerIds, items: IntegerIds) -> npt.NDArray[np.float32]:
    """Score pairs with dropout off.

    Args:
        module: The backbone; its mode is restored.
        users: Dense user ids, shape `(pairs,)`.
        items: Dense item ids, shape `(pairs,)`.

    Returns:
        Logits of shape `(pairs,)`.
    """
    logits = np.empty(len(users), np.float32)
    with _at_rest(module) as device:
        for start in range(0, len(users), BLOCK_PAIRS):
            block = slice(start, start + BLOCK_PAIRS)
            columns = (_ids(column[block], device) for column in (users, items))
            logits[block] = module(*columns).cpu().numpy()
    return logits


@final
class CatalogueScorer:
    """Scores every item for a few users at a time, with dropout off.

    The factors of a backbone that has them are taken here, once: make a new scorer when the
    weights have changed.

    Args:
        module: The backbone; its mode is restored after each use.
        n_items: Number of items; ids are below it.
    """

    def __init__(self, module: nn.Module, n_items: int) -> None:
        self.n_items, self._module = n_items, module
        with _at_rest(module) as self._device:
            self._factors = module.as_factors() if isinstance(module, InnerProduct) else None

    def __call__(self, users: IntegerIds, *, out: Tensor | None = None) -> Tensor:
        """Score every item for `users`.

        Args:
            users: Dense user ids, shape `(users,)`.
            out: Where to put the scores, from `empty`, at least as many rows; new if not given.

        Returns:
            Logits on the device of the weights, float32, shape `(users, n_items)`.
        """
        out = (self.empty(len(users)) if out is None else out)[: len(users)]
        ids = _ids(users, self._device)
        if self._factors:
            return torch.mm(self._factors.users[ids], self._factors.items.T, out=out)
        flat = out.view(-1)
        with _at_rest(self._module):
            for start in range(0, len(flat), BLOCK_PAIRS):
                end = min(start + BLOCK_PAIRS, len(flat))
                pairs = torch.arange(start, end, device=self._device)
                row = pairs.div(self.n_items, rounding_mode="floor")
                flat[start:end] = self._module(ids[row], pairs - row * self.n_items)
        return out

    def empty(self, n_users: int) -> Tensor:
        """Room for the scores of `n_users` users, to be used again and again."""
        return torch.empty(n_users, self.n_items, device=self._device)


@contextmanager
def _at_rest(module: nn.Module) -> Generator[torch.device]:
    """The device of the weights, with dropout and autograd off meanwhile."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield next((p.device for p in module.parameters()), torch.device("cpu"))
    finally:
        module.train(was_training)


def _ids(ids: IntegerIds, device: torch.device) -> Tensor:
    return torch.from_numpy(ids.astype(np.int64)).to(device)
