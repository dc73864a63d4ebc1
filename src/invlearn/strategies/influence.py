"""Per-pair inverse gradient: labelled pairs judge every unlabelled pair separately.

An extension of Lin et al., Inverse Learning with Extremely Sparse Feedback for Recommendation,
WSDM 2024 (https://doi.org/10.1145/3616855.3635797), whose Algorithm 1 (`ig`) judges a whole batch
of unlabelled pairs with one sign.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, final

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.func import jvp

from invlearn.data.types import Batch, Feed, Pairs, Params, Proposal, Score
from invlearn.strategies.gradients import gradients_and_loss, rows_with_gradient
from invlearn.strategies.losses import belief_in_positive, soft_gradient
from invlearn.strategies.strategy import Strategy, labelled_loss

Policy = Literal["pass", "invert", "relabel", "evidence"]
"""How a pair's influence is used; see `InverseGradientPerPair`."""


@final
@dataclass(frozen=True, slots=True)
class InverseGradientPerPair(Strategy):
    """`ig-sample`: each unlabelled pair is judged by its own influence on the judges.

    Let `G` be the gradient of the judges' log loss, and `a = <grad z, G>` the influence of an
    unlabelled pair with logit `z`: a small step along `grad z` changes the judges' loss in
    proportion to `a`, so raising `z` helps them where `a < 0`. One forward-mode product (the
    derivative of the logits along `G`) gives `a` for all pairs at once. The derivative of the
    inverse dual loss by the logit is `c = sigmoid(z) - w1`. The step follows `G` plus the
    unlabelled pairs' gradient, which uses a derivative `d` by each pair's logit:

    * `pass`: `d = c` where that helps the judges (`c a > 0`), else 0.
    * `invert`: `d = c` where that helps, else `-c`.
    * `relabel`: the pair counts as positive where `a < 0`, as negative where `a > 0`.
    * `evidence`: the influence shifts the belief: `w1 = sigmoid(2 log(l0 / l1) - beta a / s)`,
      `s` the root mean square of `a` in the batch, and `d = sigmoid(z) - w1`.

    Adam's step does not depend on the length of a gradient. So a small `weight` has little effect
    on rows used by both labelled and unlabelled pairs, but rows used by unlabelled pairs alone
    move as far as any. With `moves="labelled"` those rows are skipped, and training approaches
    `none` as the weight decreases.
    """

    policy: Policy = "pass"
    """How a pair's influence is used."""
    weight: NonNegativeFloat = 1.0
    """Weight of the unlabelled pairs' mean; the labelled pairs' mean has 1. 0: not used."""
    beta: PositiveFloat = 3.0
    """Weight of the influence in `evidence`."""
    moves: Literal["every", "labelled"] = "every"
    """Rows that unlabelled pairs may move: all, or only those that labelled pairs of the batch
    also move."""
    judge_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the labelled training rows that are judges, held out from the other batches of
    an epoch as for `ig`; with 0, the labelled pairs of each batch judge its unlabelled pairs."""

    @property
    def feed(self) -> Feed:
        """Judges and unlabelled pairs."""
        return Feed(unlabelled=self.weight > 0, judge_fraction=self.judge_fraction)

    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Propose the labelled pairs' gradient plus that of the judged unlabelled pairs."""
        gradients, loss = gradients_and_loss(partial(labelled_loss, score, batch), params)
        if self.weight == 0 or (self.judge_fraction > 0 and not batch.is_meta_batch):
            return Proposal(params, gradients, {"loss": loss})
        logits, influence = influences(score, params, batch.unlabelled, gradients)
        pulls = PULLS[self.policy](logits, influence, self.beta)

        def pulled(weights: Params) -> Tensor:
            return (pulls * score(weights, batch.unlabelled)).mean()

        added = gradients_and_loss(pulled, params)[0]
        skip_zero_grad_rows = self.moves == "labelled"
        if skip_zero_grad_rows:
            rows = {name: rows_with_gradient(gradient) for name, gradient in gradients.items()}
            added = {name: value * rows[name] for name, value in added.items()}
        gradients = {name: value + self.weight * added[name] for name, value in gradients.items()}
        helpful = (soft_gradient(logits, belief_in_positive(logits)) * influence > 0).float().mean()
        log = {"loss": loss, "helpful": helpful}
        return Proposal(params, gradients, log, skip_zero_grad_rows=skip_zero_grad_rows)


def influences(
    score: Score, params: Params, pairs: Pairs, gradients: Params
) -> tuple[Tensor, Tensor]:
    """Return the logits of pairs and their derivatives along a gradient, `<grad z, gradient>`.

    Args:
        score: `(params, pairs) -> logits`.
        params: Parameters at which to differentiate.
        pairs: The pairs.
        gradients: The direction, by the names of `params`.

    Returns:
        Two tensors of shape `(pairs,)`, detached.
    """

    def logits(weights: Params) -> Tensor:
        return score(weights, pairs)

    with torch.no_grad():
        found, along = jvp(logits, (params,), (gradients,))[:2]
    return found.detach(), along.detach()


def passed(logits: Tensor, influence: Tensor, _: float) -> Tensor:
    """Return derivatives of the inverse dual loss, 0 where they would hurt the judges."""
    dual = soft_gradient(logits, belief_in_positive(logits))
    return torch.where(dual * influence > 0, dual, 0.0)


def inverted(logits: Tensor, influence: Tensor, _: float) -> Tensor:
    """Return derivatives of the inverse dual loss, negated where they would hurt the judges."""
    dual = soft_gradient(logits, belief_in_positive(logits))
    return torch.where(dual * influence > 0, dual, -dual)


def relabelled(logits: Tensor, influence: Tensor, _: float) -> Tensor:
    """Return derivatives of the log loss for the helpful label; 0.5 if neither helps."""
    return soft_gradient(logits, 0.5 - 0.5 * influence.sign())


def evident(logits: Tensor, influence: Tensor, beta: float) -> Tensor:
    """Return derivatives of the soft loss at beliefs shifted by the influence."""
    spread = influence.square().mean().sqrt().clamp_min(torch.finfo(influence.dtype).tiny)
    return soft_gradient(logits, belief_in_positive(logits, -beta * influence / spread))


PULLS = {"pass": passed, "invert": inverted, "relabel": relabelled, "evidence": evident}
"""`(logits, influence, beta) -> derivative by each logit`, all of shape `(pairs,)`, by policy."""
