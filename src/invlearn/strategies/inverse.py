"""Inverse learning: the inverse dual loss, and the inverse gradient that guides it.

Lin et al., Inverse Learning with Extremely Sparse Feedback for Recommendation, WSDM 2024
(https://doi.org/10.1145/3616855.3635797).
"""

from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Annotated, final

from pydantic import Field, PositiveFloat
from torch import Tensor

from invlearn.data.types import Batch, Feed, Params, Proposal, Score
from invlearn.strategies.gradients import gradients_and_loss, gradients_at_best
from invlearn.strategies.losses import inverse_dual_loss
from invlearn.strategies.strategy import LossStrategy, Strategy, labelled_loss, mean_loss

CHOICES = ("stay", "inverse", "direct")
"""The judges' choices; the earlier one wins a tie."""
STRIDES = (0.0, 1.0, -1.0)
"""Step of each choice along the trial gradient, in units of the trial step."""


@final
@dataclass(frozen=True, slots=True)
class InverseDual(LossStrategy):
    """`idl`: unlabelled pairs are trained under both labels, weighted by belief (Eq. 4)."""

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Return the mean over all pairs of log loss (labelled) or inverse dual loss (others)."""
        return mean_loss(score, params, batch, inverse_dual_loss)


@final
@dataclass(frozen=True, slots=True)
class InverseGradient(Strategy):
    """`ig`: labelled pairs judge the direction of the unlabelled gradient (Algorithm 1).

    The gradient `g` of the inverse dual loss may be based on a wrong belief. So three candidates,
    `theta` (stay), `theta + alpha g` (inverse) and `theta - alpha g` (direct), are evaluated on
    labelled pairs held out of training-train, and the step starts from the best one.
    """

    alpha_ratio: PositiveFloat = 0.1
    """Trial step size `alpha` as a fraction of the current learning rate `gamma`; below 1 it
    cannot undo the step that follows (Section 3.2.3)."""
    judge_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of the labelled training rows that are judges (the paper's training-test)."""

    @property
    def choices(self) -> tuple[str, ...]:
        """Stay, inverse, direct."""
        return CHOICES

    @property
    def feed(self) -> Feed:
        """Judges at the end of each epoch, with unlabelled pairs."""
        return Feed(unlabelled=True, judge_fraction=self.judge_fraction)

    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Propose the candidate with the least judges' loss, and the gradient there."""
        batch_loss = partial(labelled_loss, score, batch)

        def unlabelled_loss(weights: Params) -> Tensor:
            return inverse_dual_loss(score(weights, batch.unlabelled)).mean()

        if not batch.is_meta_batch:
            gradients, loss = gradients_and_loss(batch_loss, params)
            return Proposal(params, gradients, {"loss": loss})
        trial = gradients_and_loss(unlabelled_loss, params)[0]
        alpha = self.alpha_ratio * batch.lr
        points = [shifted(params, trial, alpha * stride) for stride in STRIDES]
        best = gradients_at_best(batch_loss, points, best_choice)
        verdict = {"judge_losses": best.losses, "choice": best.choice}
        return Proposal(best.params, best.gradients, {"loss": best.loss, **verdict})


def shifted(params: Params, gradients: Params, length: float) -> Params:
    """Return `params + length * gradients`; `params` itself for length 0."""
    if length == 0:
        return params
    return {name: weight + length * gradients[name] for name, weight in params.items()}


def best_choice(losses: Tensor) -> Tensor:
    """Return the index in `CHOICES` of the smallest loss; earlier wins a tie, NaN never wins.

    Args:
        losses: Judges' losses at stay, inverse and direct, shape `(3,)`.

    Example:
        >>> CHOICES[best_choice(Tensor([0.7, 0.5, 0.5]))]
        'inverse'
    """
    return losses.nan_to_num(nan=inf, posinf=inf).argmin()
