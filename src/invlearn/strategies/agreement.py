"""Strategies that compare models: copies of the backbone, its auxiliary models, train beside it.

Each costs a model's training for each auxiliary model. What is kept at the end is the backbone
itself.
"""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from invlearn.backbones.auxiliary import as_auxiliary
from invlearn.data.types import Batch, Feed, LabelledRows, Params, Score
from invlearn.strategies.denoising import Target, with_assumed_negatives
from invlearn.strategies.losses import cross_entropy, truncation
from invlearn.strategies.strategy import LossStrategy, all_logits


@final
@dataclass(frozen=True, slots=True)
class CoTeaching(LossStrategy):
    """`co-teaching`: two models, each trained on the pairs that fit the other.

    Han et al., Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels,
    NeurIPS 2018 (https://arxiv.org/abs/1804.06872), Algorithm 1, with the defaults of its authors'
    program. Unlabelled pairs stand in as negatives.
    """

    target: Target = "both"
    """Which pairs may be left out; the authors suspect every pair, here a labelled negative is
    clear feedback and always stays."""
    forget_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Part of the suspects that is left out once the ramp is over: the share of wrong labels that
    is expected (`tau` of the paper, `forget_rate` of the program)."""
    ramp_epochs: PositiveInt = 10
    """Epochs over which it grows from 0 (`T_k`)."""

    @property
    def feed(self) -> Feed:
        """Unlabelled pairs beside the labelled ones, and one auxiliary model."""
        return Feed(unlabelled=True, row_state=True, n_auxiliary=1)

    def init_row_state(self, rows: LabelledRows) -> Params:
        """No epoch has passed."""
        return {"epochs": torch.zeros_like(rows.labels[:1]).squeeze(0)}

    def on_epoch_end(self, row_state: Params) -> Params:
        """Count the epoch."""
        return {"epochs": row_state["epochs"] + 1}

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Sum of both models' mean losses, each over the pairs that the other chose."""
        labels, suspects = with_assumed_negatives(self.target, batch)
        passed = (batch.row_state["epochs"].double() / self.ramp_epochs).clamp_max(1)
        n_left_out = torch.floor(self.forget_fraction * passed * suspects.sum())
        losses = [
            cross_entropy(all_logits(score, weights, batch), labels)
            for weights in (params, as_auxiliary(params, 1))
        ]
        kept = [truncation(fit, suspects, n_left_out) for fit in losses]
        pairs = zip(losses, reversed(kept), strict=True)
        return sum(((w * fit).sum() / w.sum().clamp_min(1) for fit, w in pairs), torch.zeros(()))


@final
@dataclass(frozen=True, slots=True)
class CrossModelAgreement(LossStrategy):
    """`deca`: clean pairs are those that unlike models agree on.

    Wang et al., Learning Robust Recommenders through Cross-Model Agreement, The Web Conference
    2022 (https://arxiv.org/abs/2105.09605), DeCA. The model `f` and an auxiliary model `g` are
    drawn together by their Kullback-Leibler divergence, while what was observed is to be likely:
    in even steps a true dislike was taken for a positive with probability `h`, in odd steps a true
    like was observed with probability `h'`. `g`, `h` and `h'` are auxiliary models of `f` here; the
    authors take factor models for them. Labelled negatives count as not observed, like unlabelled
    pairs, and the penalty of the authors' loss is left to the optimizer's `l2`.
    """

    alpha: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Weight of `KL(g, f)`; `KL(f, g)` has the rest (the authors' program: 1)."""
    c1: NonNegativeFloat = 1000.0
    """Price of a like that was not observed, in even steps, where there is none (`C_1`)."""
    c2: NonNegativeFloat = 10.0
    """Price of a dislike that was observed as a positive, in odd steps (`C_2`)."""

    @property
    def feed(self) -> Feed:
        """Unlabelled pairs beside the labelled ones, and three auxiliary models."""
        return Feed(unlabelled=True, n_auxiliary=3)

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Mean divergence of `f` and `g`, less the mean log likelihood of what was observed."""
        labels, _ = with_assumed_negatives("both", batch)
        even = batch.step % 2 == 0
        f = all_logits(score, params, batch)
        g = all_logits(score, as_auxiliary(params, 1), batch)
        h = all_logits(score, as_auxiliary(params, 2 if even else 3), batch)
        like = torch.sigmoid(f)
        if even:
            observed = -(1 - like) * cross_entropy(h, labels) - self.c1 * like * (1 - labels)
        else:
            observed = -like * cross_entropy(h, labels) - self.c2 * (1 - like) * labels
        apart = self.alpha * divergence(g, f) + (1 - self.alpha) * divergence(f, g)
        return (apart - observed).mean()


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the Bernoulli distributions of two logits, in nats.

    Args:
        first: Logits of the distribution that is averaged over, shape `(pairs,)`.
        second: Logits of the other.

    Example:
        >>> divergence(torch.tensor([0.0, 2.0]), torch.tensor([0.0, -1.0]))
        tensor([0.0000, 0.8287])
    """
    p = torch.sigmoid(first)
    return cross_entropy(second, p) - cross_entropy(first, p)
