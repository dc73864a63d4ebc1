"""The inverse-gradient step as the released program takes it, over whole tables: a reference.

Written for `step.py` from the description of that program. Copies of the whole model try both
directions, every gradient is as large as its table, every Adam is dense, and those of a judged
step are made again. Gradients are cleared, which the program forgets.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from invlearn.data.types import Batch, Pairs
from invlearn.strategies.losses import inverse_dual_loss

TRIALS = {"inverse": -1.0, "direct": 1.0}


class DenseReference:
    """A model, two trial copies of it, and a dense Adam."""

    def __init__(self, model: nn.Module, *, lr: float, alpha_ratio: float) -> None:
        self.model, self._alpha_ratio = model, alpha_ratio
        self._copies = {name: deepcopy(model) for name in TRIALS}
        self._optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def __call__(self, batch: Batch) -> int:
        """Take a step; what the judges chose, 0 without any."""
        if not batch.is_meta_batch:
            descend(self.model, self._optimizer, self._loss(self.model, batch))
            return 0
        for name, copy in self._copies.items():
            copy.load_state_dict(self.model.state_dict())
            trial = torch.optim.Adam(copy.parameters(), lr=self._alpha_ratio * batch.lr)
            dual = inverse_dual_loss(logits(copy, batch.unlabelled)).mean()
            descend(copy, trial, TRIALS[name] * dual)
        models = [self.model, *self._copies.values()]
        with torch.no_grad():
            losses = [float(self._loss(model, batch)) for model in models]
        choice = losses.index(min(losses))
        if choice:
            self.model.load_state_dict(models[choice].state_dict())
        again = torch.optim.Adam(self.model.parameters(), lr=batch.lr)
        descend(self.model, again, self._loss(self.model, batch))
        return choice

    @staticmethod
    def _loss(model: nn.Module, batch: Batch) -> Tensor:
        return binary_cross_entropy_with_logits(logits(model, batch.labelled), batch.labels)


def logits(model: nn.Module, pairs: Pairs) -> Tensor:
    return model(pairs.users, pairs.items)


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Step along the gradient of a loss."""
    model.zero_grad()
    loss.backward()
    optimizer.step()
