"""What the labelled rows of training would have of each pair: its influence on their loss."""

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
"""Labelled rows that the gradient is taken over; of more, so many are drawn."""


@final
class PairInfluence:
    """The influence of pairs on the labelled rows, as `ig-sample` means it, dropout off.

    With `G` the gradient of the mean log loss of the labelled training rows, a pair's influence is
    `<grad z, G>`: a small step that raises its logit changes that loss in proportion to it. So
    below 0 the labelled rows speak for the pair, above 0 against it.

    Args:
        module: A trained backbone, in evaluation mode.
        rows: The labelled rows of training.
        seed: Of the draw among more than `LABELLED_ROWS`.
    """

    def __init__(self, module: nn.Module, rows: Part, *, seed: int = 0) -> None:
        self._module = module
        self.n_rows = min(len(rows), LABELLED_ROWS)
        chosen = stream(seed, "influence").permutation(len(rows))[: self.n_rows]
        self._point = {name: weight.detach() for name, weight in module.named_parameters()}
        self._gradient = _gradient(module, rows, np.sort(chosen))

    @property
    def is_defined(self) -> bool:
        """Whether the logits depend on the weights at rest.

        Those of a backbone that is at rest two tables made of them, such as `exposure-hybrid`,
        do not.
        """
        return bool(self._gradient)

    def __call__(self, users: IntegerIds, items: IntegerIds) -> npt.NDArray[np.float32]:
        """Influence of pairs of dense ids, shape `(pairs,)`."""
        found = np.empty(len(users), np.float32)
        for start in range(0, len(users), BLOCK_PAIRS):
            block = slice(start, start + BLOCK_PAIRS)
            pairs = _pairs(self._module, users[block], items[block])
            along = influences(self._score, self._point, pairs, self._gradient)[1]
            found[block] = along.cpu().numpy()
        return found

    def _score(self, weights: Params, pairs: Pairs) -> Tensor:
        return functional_call(self._module, weights, tuple(pairs))


def _gradient(module: nn.Module, rows: Part, chosen: npt.NDArray[np.int64]) -> Params:
    """Gradient of the mean log loss of some rows, by parameter name; empty if there is none."""
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
    """Pairs on the device of the weights."""
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    return Pairs(*(torch.from_numpy(ids.astype(np.int64)).to(device) for ids in (users, items)))
