"""Score many pairs with a trained backbone, block by block."""

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
"""Pairs per call of a backbone."""


def score_pairs(module: nn.Module, users: IntegerIds, items: IntegerIds) -> npt.NDArray[np.float32]:
    """Return the logits of pairs, with dropout off.

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
    """Scores every item for a block of users, with dropout off.

    A backbone's factors, if any, are computed once: create a new scorer after the parameters
    change.

    Args:
        module: The backbone; its mode is restored after each use.
        n_items: Number of items; ids are below it.
    """

    def __init__(self, module: nn.Module, n_items: int) -> None:
        self.n_items, self._module = n_items, module
        with _at_rest(module) as self._device:
            self._factors = module.as_factors() if isinstance(module, InnerProduct) else None

    def __call__(self, users: IntegerIds, *, out: Tensor | None = None) -> Tensor:
        """Return the logits of every item for `users`.

        Args:
            users: Dense user ids, shape `(users,)`.
            out: Output tensor from `empty`, with at least as many rows; allocated by default.

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
        """Return a reusable output tensor for the scores of `n_users` users."""
        return torch.empty(n_users, self.n_items, device=self._device)


@contextmanager
def _at_rest(module: nn.Module) -> Generator[torch.device]:
    """Turn off dropout and autograd, and yield the device of the parameters."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield next((p.device for p in module.parameters()), torch.device("cpu"))
    finally:
        module.train(was_training)


def _ids(ids: IntegerIds, device: torch.device) -> Tensor:
    return torch.from_numpy(ids.astype(np.int64)).to(device)
