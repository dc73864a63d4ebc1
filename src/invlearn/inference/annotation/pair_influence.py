"""Influence of pairs on the loss of the labelled training rows."""

from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from invlearn.data.parts import Part
from invlearn.data.types import IntegerIds, Pairs, Params
from invlearn.evaluation.scoring import BLOCK_PAIRS
from invlearn.runtime.random import stream
from invlearn.strategies.influence import influences

LABELLED_ROWS = 1_000_000
"""Maximum number of labelled rows in the gradient; of more rows this many are drawn."""


@final
class PairInfluence:
    """Computes the influence of pairs on the labelled rows as `ig-sample` does, without dropout.

    With `G` the gradient of the mean log loss of the labelled training rows, a pair's influence is
    `<grad z, G>`: a small step that raises its logit changes that loss in proportion to it. A
    negative influence means that a higher logit of the pair lowers that loss.

    Args:
        module: A trained backbone, in evaluation mode.
        rows: The labelled training rows.
        seed: Seed of the draw among more than `LABELLED_ROWS`.
    """

    def __init__(self, module: nn.Module, rows: Part, *, seed: int = 0) -> None:
        self._module = module
        self.n_rows = min(len(rows), LABELLED_ROWS)
        chosen = stream(seed, "influence").permutation(len(rows))[: self.n_rows]
        self._params = {name: weight.detach() for name, weight in module.named_parameters()}
        self._gradient = _gradient(module, rows, np.sort(chosen))

    @property
    def is_defined(self) -> bool:
        """Whether the logits depend on the weights in evaluation mode.

        Those of `exposure-hybrid`, which then scores with two tables computed before, do not.
        """
        return bool(self._gradient)

    def __call__(self, users: IntegerIds, items: IntegerIds) -> npt.NDArray[np.float32]:
        """Return the influence of pairs of dense ids, shape `(pairs,)`."""
        found = np.empty(len(users), np.float32)
        for start in range(0, len(users), BLOCK_PAIRS):
            block = slice(start, start + BLOCK_PAIRS)
            pairs = _pairs(self._module, users[block], items[block])
            influence = influences(self._score, self._params, pairs, self._gradient)[1]
            found[block] = influence.cpu().numpy()
        return found

    def _score(self, weights: Params, pairs: Pairs) -> Tensor:
        return functional_call(self._module, weights, tuple(pairs))


def _gradient(module: nn.Module, rows: Part, chosen: npt.NDArray[np.int64]) -> Params:
    """Return the gradient of the mean log loss by parameter name; empty if it is not defined."""
    weights = dict(module.named_parameters())
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for start in range(0, len(chosen), BLOCK_PAIRS):
        block = chosen[start : start + BLOCK_PAIRS]
        logits = module(*_pairs(module, rows.users[block], rows.items[block]))
        if not logits.requires_grad:
            return {}
        labels = torch.from_numpy(rows.labels[block].astype(np.float32)).to(logits)
        loss = binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(chosen)
        gradients = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        for name, gradient in zip(weights, gradients, strict=True):
            total[name] += gradient
    return total


def _pairs(module: nn.Module, users: IntegerIds, items: IntegerIds) -> Pairs:
    """Return pairs on the device of the weights."""
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    return Pairs(*(torch.from_numpy(ids.astype(np.int64)).to(device) for ids in (users, items)))
