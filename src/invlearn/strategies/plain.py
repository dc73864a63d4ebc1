"""Baseline strategies: labelled pairs alone, or unlabelled pairs as negatives."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from invlearn.data.types import Batch, Feed, Params, Score
from invlearn.strategies.losses import negative_loss
from invlearn.strategies.strategy import LossStrategy, labelled_loss, mean_loss


@final
@dataclass(frozen=True, slots=True)
class LabelledOnly(LossStrategy):
    """`none`: the log loss of the labelled pairs; unlabelled pairs are not used."""

    @property
    def feed(self) -> Feed:
        """Labelled pairs only."""
        return Feed()

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Return the mean log loss of the labelled pairs (Eq. 1)."""
        return labelled_loss(score, batch, params)


@final
@dataclass(frozen=True, slots=True)
class NegativeSampling(LossStrategy):
    """`ns`: every unlabelled pair is used as a negative."""

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Return the mean log loss of all pairs, unlabelled ones with label 0."""
        return mean_loss(score, params, batch, negative_loss)
