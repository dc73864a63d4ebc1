"""Positive-unlabelled learning: the unlabelled pairs are a mixture of both classes.

With the share `pi` of positives among them known, the risk of the negatives nobody labelled is
that of the unlabelled pairs less that of the positives hidden in them.
"""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from invlearn.data.types import Batch, Feed, LabelledRows, Params, Score
from invlearn.strategies.losses import negative_loss, positive_loss
from invlearn.strategies.strategy import LossStrategy, all_logits, split_logits

Prior = Annotated[float, Field(gt=0, lt=1)]


@final
@dataclass(frozen=True, slots=True)
class NonNegativePU(LossStrategy):
    """`nnpu`: the positive-unlabelled risk, kept from going negative, beside the labelled risk.

    Kiryo et al., Positive-Unlabeled Learning with Non-Negative Risk Estimator, NeurIPS 2017
    (https://arxiv.org/abs/1703.00593), Section 3 and Algorithm 1, with the log loss; mixed with the
    risk of labelled positives and negatives as in Sakai et al., Semi-Supervised Classification
    Based on Classification from Positive and Unlabeled Data, ICML 2017
    (https://arxiv.org/abs/1605.06955), their PNU risk.
    """

    prior: Prior | None = None
    """Share `pi` of positives among the unlabelled pairs; none: that among the labelled pairs of
    the batch, which is right where labels fell on pairs at random."""
    unlabelled_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the positive-unlabelled risk (`eta` of Sakai et al., who choose it by validation;
    the default is ours); the labelled risk has the rest. With 1 labelled negatives are not looked
    at: nnPU as printed."""
    gamma: PositiveFloat = 1.0
    """Length of the step back, in units of a step, where the negative part falls below `-beta`
    (the authors' code: 1)."""
    beta: NonNegativeFloat = 0.0
    """How far below 0 the negative part may fall (the authors' code: 0)."""

    @property
    def feed(self) -> Feed:
        """Unlabelled pairs beside the labelled ones."""
        return Feed(unlabelled=True)

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """The risk; where its negative part is too low, with the gradient of Algorithm 1."""
        labels = batch.labels
        labelled, unlabelled = split_logits(score, params, batch)
        prior = labels.mean() if self.prior is None else self.prior
        of_positives = prior * mean_where(labels, positive_loss(labelled))
        hidden = negative_loss(unlabelled).mean() - prior * mean_where(
            labels, negative_loss(labelled)
        )
        of_negatives = (1 - prior) * mean_where(1 - labels, negative_loss(labelled))
        clear = of_positives + of_negatives
        return torch.lerp(clear, self._guarded(of_positives, hidden), self.unlabelled_weight)

    def _guarded(self, of_positives: Tensor, hidden: Tensor) -> Tensor:
        """The positive-unlabelled risk, whose gradient is `-gamma` times that of `hidden` if low.

        Its value is never negative: that of the positives alone stands in where `hidden` is low.
        """
        back = of_positives.detach() - self.gamma * (hidden - hidden.detach())
        return torch.where(hidden >= -self.beta, of_positives + hidden, back)


def mean_where(weights: Tensor, values: Tensor) -> Tensor:
    """Mean of values by weights of 0 and 1; 0 where all weights are 0.

    Example:
        >>> mean_where(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 5.0, 3.0]))
        tensor(2.)
    """
    return (weights * values).sum() / weights.sum().clamp_min(1)


@final
@dataclass(frozen=True, slots=True)
class RelevanceMF(LossStrategy):
    """`rel-mf`: squared losses, a positive weighing the more, the less its item is shown.

    Saito et al., Unbiased Recommender Learning from Missing-Not-At-Random Implicit Feedback,
    WSDM 2020 (https://doi.org/10.1145/3336191.3371783): their unbiased estimator with clipped
    propensities `theta_i = (positives of i / most positives of any item) ** power`. Whatever is
    not labelled positive counts as not clicked.
    """

    power: NonNegativeFloat = 0.5
    """Power of the propensity (`eta` of the authors)."""
    least_propensity: Annotated[float, Field(gt=0, le=1)] = 0.009
    """Propensities below it are raised to it, against weights without bound (the authors' clip)."""

    @property
    def feed(self) -> Feed:
        """Unlabelled pairs beside labelled ones, and row state."""
        return Feed(unlabelled=True, row_state=True)

    def init_row_state(self, rows: LabelledRows) -> Params:
        """The inverse propensity of the item of each row."""
        counts = torch.bincount(rows.pairs.items, weights=rows.labels.double())
        theta = (counts / counts.max().clamp_min(1)) ** self.power
        theta = theta.clamp_min(self.least_propensity)
        return {"inverse propensity": (1 / theta)[rows.pairs.items].to(rows.labels)}

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Mean over all pairs of `v (1 - p)^2 + (1 - v) p^2`, `v = y / theta`."""
        assert batch.rows is not None, "the feed says that there is row state"
        p = torch.sigmoid(all_logits(score, params, batch))
        clicked = batch.labels * batch.row_state["inverse propensity"][batch.rows]
        v = torch.cat([clicked, torch.zeros_like(p[len(clicked) :])])
        return (v * (1 - p).square() + (1 - v) * p.square()).mean()
