"""Adaptive denoising training: T-CE and R-CE of DenoisingRec, over negative sampling.

Wang et al., Denoising Implicit Feedback for Recommendation, WSDM 2021
(https://doi.org/10.1145/3437963.3441800). Unlabelled pairs stand in as negatives; pairs under
suspicion that fit their label badly are dropped (T-CE) or count little (R-CE). The original
suspects positives; the inverse-learning paper adapts it to false negatives, hence `target`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from invlearn.data.types import Batch, Feed, Params, Score
from invlearn.strategies.losses import cross_entropy, reweighting, truncation
from invlearn.strategies.strategy import LossStrategy, all_logits

Target = Literal["positives", "negatives", "both"]
"""Pairs under suspicion: labelled positives, unlabelled pairs taken for negatives, or both.
A labelled negative is clear feedback and never under suspicion."""


@final
@dataclass(frozen=True, slots=True)
class TruncatedCrossEntropy(LossStrategy):
    """`t-ce`: the suspects of largest loss are dropped from each batch, more and more of them."""

    target: Target = "positives"
    """Which pairs may be dropped."""
    drop_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Part dropped once the ramp is over (`drop_rate` of the authors)."""
    share_of: Literal["batch", "suspects"] = "batch"
    """What it is a part of. The authors take the whole batch, half of which is suspects there;
    where suspects are scarce that can drop every one of them, and `suspects` is the safe choice."""
    ramp_steps: PositiveInt = 30_000
    """Steps over which the dropped part grows from 0 (`num_gradual` of the authors)."""
    exponent: PositiveFloat = 1.0
    """The final part is `drop_fraction ** exponent` while the ramp lasts, as in the authors'
    code."""

    @property
    def feed(self) -> Feed:
        """Unlabelled pairs beside the labelled ones."""
        return Feed(unlabelled=True)

    def dropped_fraction(self, step: int) -> float:
        """Part that is dropped at a step: a line from 0, then `drop_fraction`.

        Example:
            >>> strategy = TruncatedCrossEntropy(drop_fraction=0.2, ramp_steps=11)
            >>> strategy.dropped_fraction(0), strategy.dropped_fraction(5)
            (0.0, 0.1)
            >>> strategy.dropped_fraction(1000)
            0.2
        """
        if step >= self.ramp_steps:
            return self.drop_fraction
        return ramped(step, self.ramp_steps, self.drop_fraction**self.exponent)

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Mean log loss of the pairs that are kept."""
        losses, suspects = _losses_and_suspects(self.target, score, params, batch)
        whole = suspects if self.share_of == "suspects" else torch.ones_like(suspects)
        n_pairs = whole.sum().double()  # in which a fraction is as exact as Python's
        n_kept = torch.floor((1 - self.dropped_fraction(batch.step)) * n_pairs)
        kept = truncation(losses, suspects, n_pairs - n_kept)
        return (kept * losses).sum() / kept.sum().clamp_min(1)


@final
@dataclass(frozen=True, slots=True)
class ReweightedCrossEntropy(LossStrategy):
    """`r-ce`: a suspect counts by how far the model agrees with its label, to the power `alpha`."""

    target: Target = "both"
    """Which pairs are reweighted; the others count 1."""
    alpha: NonNegativeFloat = 0.2
    """Strength of the reweighting; 0 is plain negative sampling."""

    @property
    def feed(self) -> Feed:
        """Unlabelled pairs beside the labelled ones."""
        return Feed(unlabelled=True)

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Mean over all pairs of weight times log loss."""
        losses, suspects = _losses_and_suspects(self.target, score, params, batch)
        return (torch.where(suspects, reweighting(losses, self.alpha), 1.0) * losses).mean()


def ramped(step: int, ramp_steps: int, end: float) -> float:
    """A value that grows from 0 in a line, and has reached `end` after `ramp_steps` steps."""
    return end * min(step / max(ramp_steps - 1, 1), 1.0)


def _losses_and_suspects(
    target: Target, score: Score, params: Params, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Log loss of every pair, unlabelled ones as negatives, and which are under suspicion."""
    labels, suspects = with_assumed_negatives(target, batch)
    return cross_entropy(all_logits(score, params, batch), labels), suspects


def with_assumed_negatives(target: Target, batch: Batch) -> tuple[Tensor, Tensor]:
    """Labels of all pairs, 0 for unlabelled ones, and which are under suspicion."""
    unlabelled = torch.zeros(len(batch.unlabelled.users), device=batch.labels.device)
    labels = torch.cat([batch.labels, unlabelled])
    positive = labels > 0
    assumed = torch.arange(len(labels), device=labels.device) >= len(batch.labels)
    suspects = {"positives": positive, "negatives": assumed, "both": positive | assumed}[target]
    return labels, suspects
