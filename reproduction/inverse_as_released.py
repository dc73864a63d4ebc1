"""The inverse gradient of the authors' released code, for reproduction only.

Lin et al., Inverse Learning with Extremely Sparse Feedback for Recommendation, WSDM 2024
(https://doi.org/10.1145/3616855.3635797). The published numbers of IG came from code that differs
from the paper's Algorithm 1 as listed below; `invlearn.strategies.inverse` has the algorithm.
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
"""Settings of every Adam optimizer in the released code."""

Sums = dict[str, Params]
"""Accumulated gradients by choice: of the copies, and of the model as `stay`."""


@final
@dataclass(frozen=True, slots=True)
class InverseGradientAsReleased(Strategy):
    """The authors' released code in every detail, for reproduction only.

    To learn from unlabelled pairs use `ig`. An epoch with learning rate `gamma` has three parts.

    1. Training-train: gradients are never cleared, so every step uses the *sum* of all gradients
       since the start of the epoch, with a new Adam in each epoch.
    2. Judges, trial: two copies of the model step along the gradient of the inverse dual loss,
       *direct* downwards, *inverse* upwards. Their gradients are never cleared either, not even
       between epochs, and their Adam is new in every step. So each copy moves by
       `alpha g / (|g| + eps)`, about `alpha` times the sign of `g` in every weight, where `g` is
       the sum of its trial gradients and of its gradients from 3.
    3. Judges, step: they choose between both copies and *stay*, as in `ig`. The model becomes the
       chosen copy, adds the gradient of the judges' loss to that copy's sum and takes a step along
       the sum with a new Adam of rate `gamma`. If they stay, the model steps along the judges'
       gradient alone: with the Adam of 1 in their first step of an epoch, with a new one in the
       others. If they stay in the last step, the next epoch's sum starts with that gradient.

    The code's judges are the last tenth of a training file that was never published. The files of
    the other parts were published, in random order; so judges are drawn at random here.

    The strategy computes its own steps; it uses only the learning rate of the optimizer settings.
    It works on whole tables, which only the dense store provides.
    """

    alpha_ratio: PositiveFloat = 0.1
    """Trial learning rate `alpha` as a fraction of the current learning rate `gamma`."""
    judge_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of the labelled training rows that are judges (the paper's training-test)."""
    unlabelled_step: bool = True
    """Whether the copies take trial steps; if not, no unlabelled pair is used, and the judges
    always stay."""
    clear_gradients: bool = False
    """Whether to clear gradients after every step; the released code does not."""

    @property
    def choices(self) -> tuple[str, ...]:
        """Stay, inverse, direct."""
        return CHOICES

    @property
    def feed(self) -> Feed:
        """Judges at the end of each epoch, with unlabelled pairs if these are used."""
        return Feed(self.unlabelled_step, self.judge_fraction, whole_tables=True)

    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Return the parameters after the released code's step; sums and Adam as state."""

        def labelled_loss(weights: Params) -> Tensor:
            return cross_entropy(score(weights, batch.labelled), batch.labels).mean()

        def unlabelled_loss(weights: Params) -> Tensor:
            return inverse_dual_loss(score(weights, batch.unlabelled)).mean()

        sums, adam = read_state(batch.state)
        candidates = {"stay": params}
        if batch.is_meta_batch:
            sums.pop("stay", None)
        if batch.is_meta_batch and self.unlabelled_step:
            trial = gradients_and_loss(unlabelled_loss, params)[0]
            self._add(sums, "direct", trial)
            self._add(sums, "inverse", {name: -g for name, g in trial.items()})
            alpha = self.alpha_ratio * batch.lr
            candidates |= {way: Adam().step(params, g, alpha)[0] for way, g in sums.items()}
        choice, verdict = best_candidate(candidates, labelled_loss)
        gradients, loss = gradients_and_loss(labelled_loss, candidates[choice])
        self._add(sums, choice, gradients)
        stepper = adam if choice == "stay" else Adam()
        params, adam = stepper.step(candidates[choice], sums[choice], batch.lr)
        state = state_of(sums, Adam() if batch.is_meta_batch else adam)
        return Proposal(params, {}, {"loss": loss, **verdict}, state)

    def _add(self, sums: Sums, choice: str, gradients: Params) -> None:
        """Add gradients to a choice's sum, or replace the sum if gradients are cleared."""
        if choice in sums and not self.clear_gradients:
            gradients = {name: total + gradients[name] for name, total in sums[choice].items()}
        sums[choice] = gradients


class Adam(NamedTuple):
    """Moments of Adam (Kingma and Ba, ICLR 2015, Algorithm 1); empty at first."""

    first: Params = NO_TENSORS
    second: Params = NO_TENSORS
    n_steps: int = 0

    def step(self, params: Params, gradients: Params, lr: float) -> tuple[Params, "Adam"]:
        """Return the parameters and the Adam state after a step along `gradients`.

        Example:
            >>> start, gradients = {"z": torch.tensor([1.0])}, {"z": torch.tensor([-3.0])}
            >>> params, adam = Adam().step(start, gradients, 0.1)
            >>> params["z"], adam.n_steps
            (tensor([1.1000]), 1)
        """
        n_steps = self.n_steps + 1
        squares = {name: g.square() for name, g in gradients.items()}
        first = decayed(self.first, gradients, FIRST_DECAY)
        second = decayed(self.second, squares, SECOND_DECAY)
        rate = lr / (1 - FIRST_DECAY**n_steps)
        correction = 1 - SECOND_DECAY**n_steps
        moved = {
            name: weight - rate * first[name] / ((second[name] / correction).sqrt() + EPSILON)
            for name, weight in params.items()
        }
        return moved, Adam(first, second, n_steps)


def decayed(mean: Params, new: Params, decay: float) -> Params:
    """Return exponential moving means updated by `new`; empty means count as zeros."""
    if not mean:
        return {name: (1 - decay) * value for name, value in new.items()}
    return {name: decay * mean[name] + (1 - decay) * value for name, value in new.items()}


def best_candidate(
    candidates: dict[str, Params], loss: Callable[[Params], Tensor]
) -> tuple[str, dict[str, Tensor]]:
    """Return the judges' choice and its log, which is empty for a single candidate."""
    if len(candidates) == 1:
        return "stay", {}
    losses = torch.stack([loss(candidates[choice]).detach() for choice in CHOICES])
    number = best_choice(losses)
    return CHOICES[number], {"judge_losses": losses, "choice": number}


def state_of(sums: Sums, adam: Adam) -> Params:
    """Return sums and Adam as strategy state by `part/weight`."""
    parts = sums | {"first": adam.first, "second": adam.second}
    state = {f"{part}/{name}": t for part, tensors in parts.items() for name, t in tensors.items()}
    return state | {"n_steps": torch.tensor(adam.n_steps)}


def read_state(state: Params) -> tuple[Sums, Adam]:
    """Return sums and Adam from strategy state; both are empty for an empty state."""
    parts: dict[str, Params] = {}
    for key, tensor in state.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = tensor
    n_steps = parts.pop("n_steps", {"": 0})[""]
    return parts, Adam(parts.pop("first", {}), parts.pop("second", {}), int(n_steps))
