"""Positive-unlabelled learning: the unlabelled pairs are a mixture of both classes.

Given the fraction `pi` of positives among them, the risk of the unlabelled negatives is the risk of
the unlabelled pairs minus that of the positives among them.
"""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from invlearn.data.types import Batch, Feed, LabelledRows, Params, Score
from invlearn.strategies.losses import mean_where, negative_loss, positive_loss
from invlearn.strategies.strategy import LossStrategy, all_logits, split_logits

Prior = Annotated[float, Field(gt=0, lt=1)]


@final
@dataclass(frozen=True, slots=True)
class NonNegativePU(LossStrategy):
    """`nnpu`: the non-negative positive-unlabelled risk, mixed with the labelled risk.

    Kiryo et al., Positive-Unlabeled Learning with Non-Negative Risk Estimator, NeurIPS 2017
    (https://arxiv.org/abs/1703.00593), Section 3 and Algorithm 1, with the log loss; mixed with the
    risk of labelled positives and negatives as in Sakai et al., Semi-Supervised Classification
    Based on Classification from Positive and Unlabeled Data, ICML 2017
    (https://arxiv.org/abs/1605.06955), their PNU risk.
    """

    prior: Prior | None = None
    """Fraction `pi` of positives among the unlabelled pairs. None: the fraction among the labelled
    pairs of the batch, which is correct if pairs are labelled at random."""
    unlabelled_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the positive-unlabelled risk (`eta` of Sakai et al., who choose it by validation;
    the default is ours); the labelled risk has `1 - eta`. With 1, labelled negatives are not
    used: nnPU as published."""
    gamma: PositiveFloat = 1.0
    """Length of the backward step, in units of a step, taken if the negative part is below
    `-beta` (the authors' code: 1)."""
    beta: NonNegativeFloat = 0.0
    """The negative part may fall to `-beta` (the authors' code: 0)."""

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Return the risk, with the gradient of Algorithm 1 if its negative part is too low."""
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
        """Return the positive-unlabelled risk; if `hidden` is low, its gradient times `-gamma`.

        The value is never negative: if `hidden` is low, it is the risk of the positives alone.
        """
        back = of_positives.detach() - self.gamma * (hidden - hidden.detach())
        return torch.where(hidden >= -self.beta, of_positives + hidden, back)


@final
@dataclass(frozen=True, slots=True)
class RelevanceMF(LossStrategy):
    """`rel-mf`: squared losses, with positives weighted by inverse item propensity.

    Saito et al., Unbiased Recommender Learning from Missing-Not-At-Random Implicit Feedback,
    WSDM 2020 (https://doi.org/10.1145/3336191.3371783): their unbiased estimator with clipped
    propensities `theta_i = (positives of i / most positives of any item) ** power`. Every pair
    not labelled positive counts as not clicked.
    """

    power: NonNegativeFloat = 0.5
    """Exponent of the propensity (`eta` of the authors)."""
    least_propensity: Annotated[float, Field(gt=0, le=1)] = 0.009
    """Lower bound of propensities, which bounds the weights (the authors' clip)."""

    @property
    def feed(self) -> Feed:
        """Labelled and unlabelled pairs, and row state."""
        return Feed(unlabelled=True, row_state=True)

    def init_row_state(self, rows: LabelledRows) -> Params:
        """Return the inverse propensity of each row's item."""
        counts = torch.bincount(rows.pairs.items, weights=rows.labels.double())
        theta = (counts / counts.max().clamp_min(1)) ** self.power
        theta = theta.clamp_min(self.least_propensity)
        return {"inverse propensity": (1 / theta)[rows.pairs.items].to(rows.labels)}

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Return the mean over all pairs of `v (1 - p)^2 + (1 - v) p^2`, `v = y / theta`."""
        assert batch.rows is not None, "the feed says that there is row state"
        p = torch.sigmoid(all_logits(score, params, batch))
        clicked = batch.labels * batch.row_state["inverse propensity"][batch.rows]
        v = torch.cat([clicked, torch.zeros_like(p[len(clicked) :])])
        return (v * (1 - p).square() + (1 - v) * p.square()).mean()
