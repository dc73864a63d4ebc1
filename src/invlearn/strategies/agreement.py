"""Strategies that compare models: auxiliary models train together with the backbone.

Each auxiliary model costs as much training as the backbone. Only the backbone is kept at the end.
"""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from invlearn.backbones.auxiliary import as_auxiliary
from invlearn.data.types import Batch, Feed, LabelledRows, Params, Score
from invlearn.strategies.denoising import Target, with_assumed_negatives
from invlearn.strategies.losses import cross_entropy, mean_where, truncation
from invlearn.strategies.strategy import LossStrategy, all_logits


@final
@dataclass(frozen=True, slots=True)
class CoTeaching(LossStrategy):
    """`co-teaching`: two models, each trained on the pairs that fit the other.

    Han et al., Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels,
    NeurIPS 2018 (https://arxiv.org/abs/1804.06872), Algorithm 1, with the defaults of its authors'
    program. Unlabelled pairs are used as negatives.
    """

    target: Target = "both"
    """Pairs that may be left out. The authors suspect every pair; here labelled negatives are
    clear feedback and always kept."""
    forget_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Fraction of the suspects left out after the ramp: the expected fraction of wrong labels
    (`tau` of the paper, `forget_rate` of the program)."""
    ramp_epochs: PositiveInt = 10
    """Epochs over which `forget_fraction` grows from 0 (`T_k`)."""

    @property
    def feed(self) -> Feed:
        """Labelled and unlabelled pairs, and one auxiliary model."""
        return Feed(unlabelled=True, row_state=True, n_auxiliary=1)

    def init_row_state(self, rows: LabelledRows) -> Params:
        """Return an epoch count of 0."""
        return {"epochs": torch.zeros_like(rows.labels[:1]).squeeze(0)}

    def on_epoch_end(self, row_state: Params) -> Params:
        """Return the epoch count plus 1."""
        return {"epochs": row_state["epochs"] + 1}

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Return the sum of both models' mean losses, each over the pairs the other chose."""
        labels, suspects = with_assumed_negatives(self.target, batch)
        passed = (batch.row_state["epochs"].double() / self.ramp_epochs).clamp_max(1)
        n_left_out = torch.floor(self.forget_fraction * passed * suspects.sum())
        losses = [
            cross_entropy(all_logits(score, weights, batch), labels)
            for weights in (params, as_auxiliary(params, 1))
        ]
        kept = [truncation(fit, suspects, n_left_out) for fit in losses]
        pairs = zip(losses, reversed(kept), strict=True)
        return sum((mean_where(w, fit) for fit, w in pairs), torch.zeros(()))


@final
@dataclass(frozen=True, slots=True)
class CrossModelAgreement(LossStrategy):
    """`deca`: pairs on which different models agree are taken to be clean.

    Wang et al., Learning Robust Recommenders through Cross-Model Agreement, The Web Conference
    2022 (https://arxiv.org/abs/2105.09605), DeCA. The loss is the Kullback-Leibler divergence of
    the model `f` and an auxiliary model `g`, minus the log likelihood of the observations. In even
    steps a dislike is observed as a positive with probability `h`, in odd steps a true like
    is observed with probability `h'`. `g`, `h` and `h'` are auxiliary models of `f`; the authors
    use factor models. Labelled negatives count as not observed, like unlabelled pairs. The
    optimizer's `l2` replaces the penalty in the authors' loss.
    """

    alpha: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Weight of `KL(g, f)`; `KL(f, g)` has weight `1 - alpha` (the authors' program: 1)."""
    c1: NonNegativeFloat = 1000.0
    """Penalty of an unobserved like in even steps, which assume there is none (`C_1`)."""
    c2: NonNegativeFloat = 10.0
    """Penalty of a dislike observed as a positive, in odd steps (`C_2`)."""

    @property
    def feed(self) -> Feed:
        """Labelled and unlabelled pairs, and three auxiliary models."""
        return Feed(unlabelled=True, n_auxiliary=3)

    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Return the mean divergence of `f` and `g` minus the observations' mean log likelihood."""
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
    """Compute the Kullback-Leibler divergence of two logits' Bernoulli distributions, in nats.

    Args:
        first: Logits of the distribution averaged over, shape `(pairs,)`.
        second: Logits of the other distribution, shape `(pairs,)`.

    Example:
        >>> divergence(torch.tensor([0.0, 2.0]), torch.tensor([0.0, -1.0]))
        tensor([0.0000, 0.8287])
    """
    p = torch.sigmoid(first)
    return cross_entropy(second, p) - cross_entropy(first, p)
