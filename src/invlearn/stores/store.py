"""What every store is: the keeper of the weights, who shows the ones in play and commits moves."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from invlearn.pairs import Batch, Pairs, Proposal, Score, Weights
from invlearn.randomness import torch_seed


class Play(NamedTuple):
    """What a strategy is given for one batch."""

    score: Score
    """Logits of pairs under some weights."""
    point: Weights
    """The weights in play."""
    batch: Batch
    """The batch, its ids numbered as the rows of `point`."""
    rows: dict[str, Tensor]
    """Distinct dense ids of the batch by key (`user`, `item`), ascending."""


class Store(ABC):
    """Keeps a backbone's weights and the optimizer's moments."""

    @abstractmethod
    def play(self, batch: Batch) -> Play:
        """Bring the weights that `batch` touches into play; nothing changes."""

    @abstractmethod
    def commit(self, play: Play, move: Proposal) -> None:
        """Step from the proposed point along the proposed slope, and keep the result."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Optimizer state by name, not copied; empty tensors stand for nothing."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over an optimizer state that `state` gave."""


def scorer(module: nn.Module, seed: int, step: int) -> Score:
    """Make the score function of a batch.

    Dropout draws the same mask in every call of one step, so that points of the same pairs differ
    by their weights alone; the mask is a function of (seed, step).
    """
    plain = partial(_score, module)
    if not any(isinstance(m, nn.Dropout) and m.p > 0 for m in module.modules()):
        return plain
    mask_seed = torch_seed(seed, "dropout", step)

    def score(weights: Weights, pairs: Pairs) -> Tensor:
        torch.manual_seed(mask_seed)
        return plain(weights, pairs)

    return score


def _score(module: nn.Module, weights: Weights, pairs: Pairs) -> Tensor:
    return functional_call(module, weights, (pairs.users, pairs.items))


def distinct(batch: Batch) -> tuple[dict[str, Tensor], Batch]:
    """Distinct ids of a batch, and the batch with its ids replaced by their places among them."""
    split = [len(batch.labels), len(batch.unlabelled.users)]
    rows: dict[str, Tensor] = {}
    places: list[tuple[Tensor, ...]] = []
    for key, column in (("user", 0), ("item", 1)):
        ids = torch.cat([batch.labelled[column], batch.unlabelled[column]])
        rows[key], inverse = torch.unique(ids, return_inverse=True)
        places.append(inverse.split(split))
    labelled, unlabelled = (Pairs(users, items) for users, items in zip(*places, strict=True))
    return rows, batch._replace(labelled=labelled, unlabelled=unlabelled)
