"""Semi-supervised controls: unlabelled pairs reinforce the model's beliefs.

Both use only the model's own output, so neither can correct a wrong belief. They show the gain of
inverse learning over self-training.
"""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt
from torch import Tensor

from invlearn.data.types import Batch, Params, Score
from invlearn.strategies.losses import cross_entropy, entropy
from invlearn.strategies.strategy import LossStrategy, split_logits


@final
@dataclass(frozen=True, slots=True)
class EntropyMinimization(LossStrategy):
    """`entropy`: the entropy of unlabelled predictions is minimized.

    Grandvalet and Bengio, Semi-supervised Learning by Entropy Minimization, NeurIPS 2004.
    """

    weight: NonNegativeFloat = 0.1
    """Weight `lambda` of the unlabelled pairs' mean entropy relative to the labelled pairs' mean
    loss. The paper chooses it by cross-validation; the default is ours."""

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Return the labelled mean log loss plus `weight` times the others' mean entropy."""
        labelled, unlabelled = split_logits(score, params, batch)
        clear = cross_entropy(labelled, batch.labels).mean()
        return clear + self.weight * entropy(unlabelled).mean()


@final
@dataclass(frozen=True, slots=True)
class PseudoLabel(LossStrategy):
    """`pseudo-label`: unlabelled pairs with a confident prediction get the predicted label.

    Lee, Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural
    Networks, ICML 2013 workshop, Eq. 15 and 16; the threshold is that of Sohn et al., FixMatch,
    NeurIPS 2020, Eq. 4.
    """

    weight: NonNegativeFloat = 3.0
    """Weight of the unlabelled pairs at the end of the ramp (`alpha_f` of Lee)."""
    threshold: Annotated[float, Field(ge=0.5, lt=1)] = 0.5
    """Minimum probability of the predicted label; 0.5 (Lee) uses every pair, FixMatch uses
    0.95."""
    ramp_start: NonNegativeInt = 100
    """Step at which the weight starts to grow from 0 (`T1` of Lee)."""
    ramp_end: NonNegativeInt = 600
    """Step at which the weight is reached (`T2` of Lee)."""

    def weight_at(self, step: int) -> float:
        """Return the weight of the unlabelled pairs at a step (Eq. 16).

        Example:
            >>> strategy = PseudoLabel()
            >>> strategy.weight_at(50), strategy.weight_at(350), strategy.weight_at(9000)
            (0.0, 1.5, 3.0)
        """
        if step >= self.ramp_end:
            return self.weight
        grown = (step - self.ramp_start) / max(self.ramp_end - self.ramp_start, 1)
        return self.weight * max(grown, 0.0)

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Return the labelled mean log loss plus that of the others with predicted labels."""
        labelled, unlabelled = split_logits(score, params, batch)
        sure = torch.sigmoid(unlabelled.detach().abs()) >= self.threshold
        predicted = (unlabelled.detach() > 0).to(unlabelled.dtype)
        unclear = torch.where(sure, cross_entropy(unlabelled, predicted), 0.0).mean()
        clear = cross_entropy(labelled, batch.labels).mean()
        return clear + self.weight_at(batch.step) * unclear
