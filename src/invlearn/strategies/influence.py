"""The inverse gradient for each pair: labelled pairs judge every unlabelled pair by itself.

An extension of Lin et al., Inverse Learning with Extremely Sparse Feedback for Recommendation,
WSDM 2024 (https://doi.org/10.1145/3616855.3635797), whose Algorithm 1 (`ig`) judges a whole batch
of unlabelled pairs with one sign.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.func import jvp

from invlearn.data.types import Batch, Feed, Pairs, Params, Proposal, Score
from invlearn.strategies.gradients import gradients_and_loss, rows_with_gradient
from invlearn.strategies.losses import belief_in_positive, cross_entropy, soft_gradient
from invlearn.strategies.strategy import Strategy

Policy = Literal["pass", "invert", "relabel", "evidence"]
"""What follows from a pair's influence; see `InverseGradientPerPair`."""


@final
@dataclass(frozen=True, slots=True)
class InverseGradientPerPair(Strategy):
    """`ig-sample`: each unlabelled pair is judged by its own influence on the judges.

    Let `G` be the gradient of the judges' log loss, and `a = <grad z, G>` the influence of an
    unlabelled pair with logit `z`: a small step that raises `z` by the pair's own gradient changes
    the judges' loss in proportion to `a`, so raising `z` helps them where `a < 0`. One
    forward-mode product (the derivative of the logits along `G`) gives `a` for all pairs at once.
    The derivative of the inverse dual loss by the logit is `c = sigmoid(z) - w1`; the step
    follows `G` and, from each unlabelled pair, a derivative `d` by its logit.

    * `pass`: `d = c` where that helps the judges (`c a > 0`), else 0.
    * `invert`: `d = c` where that helps, else `-c`.
    * `relabel`: the pair is taken for positive where `a < 0`, for negative where `a > 0`.
    * `evidence`: the influence shifts the belief: `w1 = sigmoid(2 log(l0 / l1) - beta a / s)`,
      `s` the root mean square of `a` in the batch, and `d = sigmoid(z) - w1`.

    Adam steps by the direction of a gradient, whatever its length. So a small `weight` spares rows
    that labelled and unlabelled pairs share, but not those that unlabelled pairs alone look up:
    they go as far as any. With `moves="labelled"` those rest, and the smaller the weight, the
    nearer is the training to `none`.
    """

    policy: Policy = "pass"
    """What follows from a pair's influence."""
    weight: NonNegativeFloat = 1.0
    """Weight of the unlabelled pairs' mean beside the labelled pairs' mean; 0 leaves them out."""
    beta: PositiveFloat = 3.0
    """Weight of the influence in `evidence`."""
    moves: Literal["every", "labelled"] = "every"
    """Rows that unlabelled pairs may move: every one, or those that labelled pairs of the batch
    move, too."""
    judge_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Part of the labelled training rows that judges and is held out from the rest of an epoch, as
    for `ig`; with 0, the labelled pairs of every batch judge the unlabelled ones beside them."""

    @property
    def feed(self) -> Feed:
        """Unlabelled pairs beside the judges, whoever they are."""
        return Feed(unlabelled=self.weight > 0, judge_fraction=self.judge_fraction)

    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Propose the gradient of the labelled pairs, and what the judged ones add to it."""

        def labelled_loss(weights: Params) -> Tensor:
            return cross_entropy(score(weights, batch.labelled), batch.labels).mean()

        gradients, loss = gradients_and_loss(labelled_loss, params)
        if self.weight == 0 or (self.judge_fraction > 0 and not batch.is_meta_batch):
            return Proposal(params, gradients, {"loss": loss})
        logits, influence = influences(score, params, batch.unlabelled, gradients)
        pulls = PULLS[self.policy](logits, influence, self.beta)

        def pulled(weights: Params) -> Tensor:
            return (pulls * score(weights, batch.unlabelled)).mean()

        added = gradients_and_loss(pulled, params)[0]
        skip_zero_grad_rows = self.moves == "labelled"
        if skip_zero_grad_rows:
            added = {
                name: value * rows_with_gradient(gradients[name]) for name, value in added.items()
            }
        gradients = {name: value + self.weight * added[name] for name, value in gradients.items()}
        helpful = (soft_gradient(logits, belief_in_positive(logits)) * influence > 0).float().mean()
        return Proposal(
            params,
            gradients,
            {"loss": loss, "helpful": helpful},
            skip_zero_grad_rows=skip_zero_grad_rows,
        )


def influences(
    score: Score, params: Params, pairs: Pairs, gradients: Params
) -> tuple[Tensor, Tensor]:
    """Logits of pairs, and their derivatives along a gradient: `<grad z, gradient>` for each.

    Args:
        score: `(weights, pairs) -> logits`.
        params: Where to look.
        pairs: Whose logits.
        gradients: By the names of `point`.

    Returns:
        Two tensors of shape `(pairs,)`, detached.
    """

    def logits(weights: Params) -> Tensor:
        return score(weights, pairs)

    with torch.no_grad():
        found, along = jvp(logits, (params,), (gradients,))[:2]
    return found.detach(), along.detach()


def passed(logits: Tensor, influence: Tensor, _: float) -> Tensor:
    """Derivatives of the inverse dual loss, those left out that would hurt the judges."""
    dual = soft_gradient(logits, belief_in_positive(logits))
    return torch.where(dual * influence > 0, dual, 0.0)


def inverted(logits: Tensor, influence: Tensor, _: float) -> Tensor:
    """Derivatives of the inverse dual loss, those turned round that would hurt the judges."""
    dual = soft_gradient(logits, belief_in_positive(logits))
    return torch.where(dual * influence > 0, dual, -dual)


def relabelled(logits: Tensor, influence: Tensor, _: float) -> Tensor:
    """Derivatives of the log loss under the label that helps the judges; 0.5 if neither does."""
    return soft_gradient(logits, 0.5 - 0.5 * influence.sign())


def evident(logits: Tensor, influence: Tensor, beta: float) -> Tensor:
    """Derivatives of the soft loss whose belief the influence has shifted."""
    spread = influence.square().mean().sqrt().clamp_min(torch.finfo(influence.dtype).tiny)
    return soft_gradient(logits, belief_in_positive(logits, -beta * influence / spread))


PULLS: dict[Policy, Callable[[Tensor, Tensor, float], Tensor]] = {
    "pass": passed,
    "invert": inverted,
    "relabel": relabelled,
    "evidence": evident,
}
"""`(logits, influence, beta) -> derivative by each logit`, all of shape `(pairs,)`, by policy."""
