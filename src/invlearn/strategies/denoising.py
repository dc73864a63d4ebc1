"""Adaptive denoising training: T-CE and R-CE of DenoisingRec, with negative sampling.

Wang et al., Denoising Implicit Feedback for Recommendation, WSDM 2021
(https://doi.org/10.1145/3437963.3441800). Unlabelled pairs are used as negatives. Suspect
pairs with a large loss are dropped (T-CE) or get a small weight (R-CE). The original suspects
positives; the inverse-learning paper adapts it to false negatives, hence `target`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from invlearn.data.types import Batch, Params, Score
from invlearn.strategies.losses import cross_entropy, mean_where, reweighting, truncation
from invlearn.strategies.strategy import LossStrategy, all_logits

Target = Literal["positives", "negatives", "both"]
"""Suspect pairs: labelled positives, unlabelled pairs used as negatives, or both.
A labelled negative is clear feedback and never a suspect."""


@final
@dataclass(frozen=True, slots=True)
class TruncatedCrossEntropy(LossStrategy):
    """`t-ce`: a growing fraction of the suspects, those of largest loss, is dropped per batch."""

    target: Target = "positives"
    """Pairs that may be dropped."""
    drop_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Fraction dropped after the ramp (`drop_rate` of the authors)."""
    share_of: Literal["batch", "suspects"] = "batch"
    """Total of which the fraction is taken. The authors use the whole batch, half of which is
    suspects there. With few suspects this can drop all of them; `suspects` is then safer."""
    ramp_steps: PositiveInt = 30_000
    """Steps over which the dropped fraction grows from 0 (`num_gradual` of the authors)."""
    exponent: PositiveFloat = 1.0
    """The ramp ends at `drop_fraction ** exponent`, as in the authors' code."""

    def dropped_fraction(self, step: int) -> float:
        """Return the fraction dropped at a step: linear from 0, then `drop_fraction`.

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
        """Return the mean log loss of the kept pairs."""
        losses, suspects = _losses_and_suspects(self.target, score, params, batch)
        whole = suspects if self.share_of == "suspects" else torch.ones_like(suspects)
        n_pairs = whole.sum().double()  # float64, to match Python's arithmetic
        n_kept = torch.floor((1 - self.dropped_fraction(batch.step)) * n_pairs)
        kept = truncation(losses, suspects, n_pairs - n_kept)
        return mean_where(kept, losses)


@final
@dataclass(frozen=True, slots=True)
class ReweightedCrossEntropy(LossStrategy):
    """`r-ce`: a suspect's weight is the probability of its label, to the power `alpha`."""

    target: Target = "both"
    """Pairs that are reweighted; the others have weight 1."""
    alpha: NonNegativeFloat = 0.2
    """Strength of the reweighting; 0 is plain negative sampling."""

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Return the mean over all pairs of weight times log loss."""
        losses, suspects = _losses_and_suspects(self.target, score, params, batch)
        return (torch.where(suspects, reweighting(losses, self.alpha), 1.0) * losses).mean()


def ramped(step: int, ramp_steps: int, end: float) -> float:
    """Return a value that grows linearly from 0 to `end` in `ramp_steps` steps."""
    return end * min(step / max(ramp_steps - 1, 1), 1.0)


def _losses_and_suspects(
    target: Target, score: Score, params: Params, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Return the log loss of every pair, unlabelled as negative, and a mask of suspects."""
    labels, suspects = with_assumed_negatives(target, batch)
    return cross_entropy(all_logits(score, params, batch), labels), suspects


def with_assumed_negatives(target: Target, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the labels of all pairs, 0 for unlabelled ones, and a mask of suspects."""
    unlabelled = torch.zeros(len(batch.unlabelled.users), device=batch.labels.device)
    labels = torch.cat([batch.labels, unlabelled])
    positive = labels > 0
    assumed = torch.arange(len(labels), device=labels.device) >= len(batch.labels)
    suspects = {"positives": positive, "negatives": assumed, "both": positive | assumed}[target]
    return labels, suspects
