"""The inverse gradient as the authors' released program computes it: for reproduction only.

Lin et al., Inverse Learning with Extremely Sparse Feedback for Recommendation, WSDM 2024
(https://doi.org/10.1145/3616855.3635797). The published numbers of IG came from a program that
differs from the paper's Algorithm 1 in the habits listed below; `invlearn.strategies.inverse` has
the algorithm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple, final

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from invlearn.data.types import NO_TENSORS, Batch, Feed, Params, Proposal, Score
from invlearn.strategies.gradients import gradients_and_loss
from invlearn.strategies.inverse import CHOICES, best_choice
from invlearn.strategies.losses import cross_entropy, inverse_dual_loss
from invlearn.strategies.strategy import Strategy

FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""Settings of every Adam in the program."""

Sums = dict[str, Params]
"""Slopes not cleared yet, by choice: those of the copies, and under `stay` the model's own."""


@final
@dataclass(frozen=True, slots=True)
class InverseGradientAsReleased(Strategy):
    """`ig-as-released`: the authors' program with all its habits, for reproduction only.

    To learn from unlabelled pairs take `ig`. Here, an epoch of rate `gamma` goes as follows.

    1. Training-train: slopes are never cleared, so every step follows the *sum* of all slopes
       since the epoch began, by an Adam made anew for the epoch.
    2. Judges, trial: two copies of the model try the slope of the inverse dual loss, *direct*
       downwards, *inverse* upwards. Their slopes are never cleared either, not even between
       epochs, and their Adam is made anew for every step. So each follows `g`, the sum of its
       trial slopes and of those from 3, by `alpha g / (|g| + eps)`: about `alpha` times the sign,
       in every weight.
    3. Judges, step: they choose between both copies and *stay*, as in `ig`. The model becomes the
       chosen copy, which adds the slope of the judges' loss to its sum and follows that by a new
       Adam of rate `gamma`. If they stay, the model follows the judges' slope alone: by the Adam
       of 1 in their first step of an epoch, by a new one in the others. If they stay in their
       last, the sum of the next epoch begins with that slope.

    The program's judges are the last tenth of a training file that was never published. The files
    of the other parts were, and are in random order; so judges are drawn at random here.

    The strategy takes its steps itself: the learning rate is all that it uses of an optimizer's
    settings. It works on whole tables, which the dense store alone shows.
    """

    alpha_ratio: PositiveFloat = 0.1
    """Rate `alpha` of the trial step in units of the learning rate `gamma` in force."""
    judge_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Part of the labelled training rows that judges (the paper's training-test)."""
    unlabelled_step: bool = True
    """Whether the copies try anything; without it nothing unlabelled is used, and every step of
    the judges stays."""
    clear_gradients: bool = False
    """Whether to clear every slope after its step, as the program does not."""

    @property
    def choices(self) -> tuple[str, ...]:
        """Stay, inverse, direct."""
        return CHOICES

    @property
    def feed(self) -> Feed:
        """Judges at the end of each epoch, with unlabelled pairs beside them if they are used."""
        return Feed(self.unlabelled_step, self.judge_fraction, whole_tables=True)

    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Take the step that the program would take; remember the sums and the Adam behind it."""

        def labelled_loss(weights: Params) -> Tensor:
            return cross_entropy(score(weights, batch.labelled), batch.labels).mean()

        def unlabelled_loss(weights: Params) -> Tensor:
            return inverse_dual_loss(score(weights, batch.unlabelled)).mean()

        sums, adam = recalled(batch.state)
        points = {"stay": params}
        if batch.is_meta_batch:
            sums.pop("stay", None)
        if batch.is_meta_batch and self.unlabelled_step:
            trial = gradients_and_loss(unlabelled_loss, params)[0]
            self._add(sums, "direct", trial)
            self._add(sums, "inverse", {name: -gradients for name, gradients in trial.items()})
            alpha = self.alpha_ratio * batch.lr
            points |= {way: Adam().step(params, g, alpha)[0] for way, g in sums.items()}
        choice, verdict = best_point(points, labelled_loss)
        gradients, loss = gradients_and_loss(labelled_loss, points[choice])
        self._add(sums, choice, gradients)
        stepper = adam if choice == "stay" else Adam()
        params, adam = stepper.step(points[choice], sums[choice], batch.lr)
        state = remembered(sums, Adam() if batch.is_meta_batch else adam)
        return Proposal(params, {}, {"loss": loss, **verdict}, state)

    def _add(self, sums: Sums, choice: str, gradients: Params) -> None:
        """Add a slope to the sum of a choice, or put it in its place if slopes are cleared."""
        if choice in sums and not self.clear_gradients:
            gradients = {name: total + gradients[name] for name, total in sums[choice].items()}
        sums[choice] = gradients


class Adam(NamedTuple):
    """Moments of an Adam (Kingma and Ba, ICLR 2015, Algorithm 1); one made anew has none."""

    first: Params = NO_TENSORS
    second: Params = NO_TENSORS
    n_steps: int = 0

    def step(self, params: Params, gradients: Params, lr: float) -> tuple[Params, "Adam"]:
        """The point after a step along `slope`, and the moments then.

        Example:
            >>> start, slope = {"z": torch.tensor([1.0])}, {"z": torch.tensor([-3.0])}
            >>> point, adam = Adam().step(start, slope, 0.1)
            >>> point["z"], adam.n_steps
            (tensor([1.1000]), 1)
        """
        n_steps = self.n_steps + 1
        squares = {name: g.square() for name, g in gradients.items()}
        first = decayed(self.first, gradients, FIRST_DECAY)
        second = decayed(self.second, squares, SECOND_DECAY)
        length = lr / (1 - FIRST_DECAY**n_steps)
        spread = 1 - SECOND_DECAY**n_steps
        moved = {
            name: weight - length * first[name] / ((second[name] / spread).sqrt() + EPSILON)
            for name, weight in params.items()
        }
        return moved, Adam(first, second, n_steps)


def decayed(mean: Params, new: Params, decay: float) -> Params:
    """Decaying means with a new value; no means stand for zeros."""
    if not mean:
        return {name: (1 - decay) * value for name, value in new.items()}
    return {name: decay * mean[name] + (1 - decay) * value for name, value in new.items()}


def best_point(
    points: dict[str, Params], loss: Callable[[Params], Tensor]
) -> tuple[str, dict[str, Tensor]]:
    """The point that the judges choose, and what to record of it; nothing if there is but one."""
    if len(points) == 1:
        return "stay", {}
    losses = torch.stack([loss(points[choice]).detach() for choice in CHOICES])
    number = best_choice(losses)
    return CHOICES[number], {"judge_losses": losses, "choice": number}


def remembered(sums: Sums, adam: Adam) -> Params:
    """Sums and Adam as one memory, by `part/weight`."""
    parts = sums | {"first": adam.first, "second": adam.second}
    state = {f"{part}/{name}": t for part, tensors in parts.items() for name, t in tensors.items()}
    return state | {"n_steps": torch.tensor(adam.n_steps)}


def recalled(state: Params) -> tuple[Sums, Adam]:
    """Sums and Adam out of a memory; none out of an empty one."""
    parts: dict[str, Params] = {}
    for key, tensor in state.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = tensor
    n_steps = parts.pop("n_steps", {"": 0})[""]
    return parts, Adam(parts.pop("first", {}), parts.pop("second", {}), int(n_steps))
