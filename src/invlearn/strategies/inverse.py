"""Inverse learning: the inverse dual loss, and the inverse gradient that guides it.

Lin et al., Inverse Learning with Extremely Sparse Feedback for Recommendation, WSDM 2024
(https://doi.org/10.1145/3616855.3635797).
"""

from dataclasses import dataclass
from math import inf
from typing import Annotated, final

from pydantic import Field, PositiveFloat
from torch import Tensor

from invlearn.data.types import Batch, Feed, Params, Proposal, Score
from invlearn.strategies.gradients import gradients_and_loss, gradients_at_best
from invlearn.strategies.losses import cross_entropy, inverse_dual_loss
from invlearn.strategies.strategy import LossStrategy, Strategy, mean_loss

CHOICES = ("stay", "inverse", "direct")
"""What the judges can choose, in the order that decides ties: the earlier one wins."""
STRIDES = (0.0, 1.0, -1.0)
"""Where each choice goes along the trial gradient, in units of the trial step."""


@final
@dataclass(frozen=True, slots=True)
class InverseDual(LossStrategy):
    """`idl`: unlabelled pairs are learnt under both labels, weighted by belief (Eq. 4)."""

    @property
    def feed(self) -> Feed:
        """Unlabelled pairs beside the labelled ones."""
        return Feed(unlabelled=True)

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Mean over all pairs: log loss of labelled ones, inverse dual loss of the others."""
        return mean_loss(score, params, batch, inverse_dual_loss)


@final
@dataclass(frozen=True, slots=True)
class InverseGradient(Strategy):
    """`ig`: labelled pairs judge which way unlabelled pairs may pull (Algorithm 1).

    The gradient `g` of the inverse dual loss may rest on a wrong belief. So three points, `theta`
    (stay), `theta + alpha g` (inverse) and `theta - alpha g` (direct), are tried on labelled
    pairs held out of training-train, and the step starts from the best.
    """

    alpha_ratio: PositiveFloat = 0.1
    """Length `alpha` of the trial step in units of the learning rate `gamma` in force; below 1
    it cannot undo the step that follows (Section 3.2.3)."""
    judge_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Part of the labelled training rows that judges (the paper's training-test)."""

    @property
    def choices(self) -> tuple[str, ...]:
        """Stay, inverse, direct."""
        return CHOICES

    @property
    def feed(self) -> Feed:
        """Judges at the end of each epoch, with unlabelled pairs beside them."""
        return Feed(unlabelled=True, judge_fraction=self.judge_fraction)

    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Move to the point that the judges like best, and propose the gradient there."""

        def labelled_loss(weights: Params) -> Tensor:
            return cross_entropy(score(weights, batch.labelled), batch.labels).mean()

        def unlabelled_loss(weights: Params) -> Tensor:
            return inverse_dual_loss(score(weights, batch.unlabelled)).mean()

        if not batch.is_meta_batch:
            gradients, loss = gradients_and_loss(labelled_loss, params)
            return Proposal(params, gradients, {"loss": loss})
        trial = gradients_and_loss(unlabelled_loss, params)[0]
        alpha = self.alpha_ratio * batch.lr
        points = [shifted(params, trial, alpha * stride) for stride in STRIDES]
        best = gradients_at_best(labelled_loss, points, best_choice)
        verdict = {"judge_losses": best.losses, "choice": best.choice}
        return Proposal(best.params, best.gradients, {"loss": best.loss, **verdict})


def shifted(params: Params, gradients: Params, length: float) -> Params:
    """Weights `length` times `gradient` away from `point`; for 0, `point` itself."""
    if length == 0:
        return params
    return {name: weight + length * gradients[name] for name, weight in params.items()}


def best_choice(losses: Tensor) -> Tensor:
    """Index into `CHOICES` of the smallest loss; the earlier wins a tie, NaN never wins.

    Args:
        losses: Judges' losses at stay, inverse and direct, shape `(3,)`.

    Example:
        >>> CHOICES[best_choice(Tensor([0.7, 0.5, 0.5]))]
        'inverse'
    """
    return losses.nan_to_num(nan=inf, posinf=inf).argmin()
