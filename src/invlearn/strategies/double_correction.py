"""Double correction: pairs with persistently large losses are dropped, some are relabelled.

He et al., Double Correction Framework for Denoising Recommendation, KDD 2024
(https://doi.org/10.1145/3637528.3671692). Two bugs of the authors' program are fixed: it stores
loss histories by position in a shuffled file, so pairs swap histories; and it reads labels from a
source that relabelling never changes.
"""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from invlearn.data.types import Batch, Feed, LabelledRows, Params, Proposal, Score
from invlearn.strategies.denoising import ramped
from invlearn.strategies.gradients import gradients_and_loss
from invlearn.strategies.losses import cross_entropy, mean_where
from invlearn.strategies.ranks import ranks
from invlearn.strategies.strategy import Strategy, all_logits


@final
@dataclass(frozen=True, slots=True)
class DoubleCorrection(Strategy):
    """`dcf`: positives whose mean damped loss stays high are dropped, the highest relabelled.

    The damped loss of a positive is `q = log(1 + L + L^2 / 2)`. Its mean `m` over the epochs of a
    window is lowered to `m - b`, a confidence bound where `b` shrinks the more often the pair was
    kept. The fraction `r` of each batch with the largest values is dropped, except for the largest
    `relabel_fraction` of those: they are kept, and get the label 0 from the next epoch on.
    Unlabelled pairs are used as negatives and are never suspects.
    """

    drop_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Fraction of a batch, unlabelled pairs included, that is dropped after the ramp
    (`drop_rate` of the authors)."""
    ramp_steps: PositiveInt = 30_000
    """Steps over which the fraction grows from 0 (`num_gradual` of the authors)."""
    confidence: NonNegativeFloat = 1e-4
    """Weight of the correction in the first epoch (`co_lambda` of the authors)."""
    decay_epochs: PositiveInt = 10
    """Epochs over which that weight falls linearly to 0 (the authors: all epochs)."""
    relabel_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Fraction of the dropped pairs relabelled instead (`relabel_ratio` of the authors)."""
    window: PositiveInt = 3
    """Epochs after which means and counts are reset (`time_step` of the authors)."""

    @property
    def feed(self) -> Feed:
        """Labelled and unlabelled pairs, and row state."""
        return Feed(unlabelled=True, row_state=True)

    def init_row_state(self, rows: LabelledRows) -> Params:
        """Return the given labels and an empty history."""
        nothing = torch.zeros_like(rows.labels)
        return {
            "labels": rows.labels.clone(),
            "turned": rows.labels.clone(),
            "means": nothing,
            "kept": nothing.clone(),
            "epochs": torch.zeros_like(nothing[:1]).squeeze(0),
        }

    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Propose the gradient of the kept pairs' mean loss."""
        assert batch.rows is not None, "the feed says that there is row state"
        row_state, rows = batch.row_state, batch.rows
        known = row_state["labels"][rows]
        labels = torch.cat([known, torch.zeros_like(batch.unlabelled.users).to(known)])
        logits = all_logits(score, {n: w.detach() for n, w in params.items()}, batch).detach()
        losses = cross_entropy(logits, labels)[: len(known)] * known
        means = self.mean(row_state["means"][rows], losses, row_state["epochs"])
        lower = (means - self.bound(row_state["kept"][rows], row_state["epochs"])).clamp_min(0)
        n_pairs = torch.ones_like(labels).sum()
        fraction = ramped(batch.step, self.ramp_steps, self.drop_fraction)
        n_dropped = torch.floor(fraction * n_pairs)
        n_turned = torch.floor(self.relabel_fraction * n_dropped)
        from_top = len(known) - 1 - ranks(torch.where(known > 0, lower, -1.0))
        dropped = (known > 0) & (from_top < n_dropped)
        turned = dropped & (from_top < n_turned)
        kept = (~dropped | turned).to(known)
        weights = torch.cat([kept, torch.ones_like(labels[len(known) :])])

        def objective(at: Params) -> Tensor:
            return mean_where(weights, cross_entropy(all_logits(score, at, batch), labels))

        gradients, loss = gradients_and_loss(objective, params)
        next_labels, n_kept = torch.where(turned, 0.0, known), row_state["kept"][rows] + kept
        row_updates = {"means": means, "kept": n_kept, "turned": next_labels}
        return Proposal(params, gradients, {"loss": loss}, row_updates=row_updates)

    def on_epoch_end(self, row_state: Params) -> Params:
        """Apply the changed labels, and reset the history at the end of a window."""
        row_state = {**row_state, "epochs": row_state["epochs"] + 1}
        row_state["labels"] = row_state["turned"].clone()
        if row_state["epochs"] % self.window:
            return row_state
        nothing = {name: torch.zeros_like(row_state[name]) for name in ("means", "kept")}
        return {**row_state, **nothing}

    def mean(self, before: Tensor, losses: Tensor, epochs: Tensor) -> Tensor:
        """Return the mean damped losses including this epoch: `(s m + q) / (s + 1)`.

        Args:
            before: Means of this window so far, shape `(pairs,)`.
            losses: Log losses, shape `(pairs,)`.
            epochs: Epochs finished, a scalar; `s` is 1 in the first epoch of a window.
        """
        damped = torch.log1p(losses + losses.square() / 2)
        s = epochs % self.window + 1
        return (s * before + damped) / (s + 1)

    def bound(self, kept: Tensor, epochs: Tensor) -> Tensor:
        """Return the bound `b` on mean losses: `c (s + c log(2 s) / s^2) / (n + 1 - c)`.

        Args:
            kept: Times `n` that each pair was kept in this window, shape `(pairs,)`.
            epochs: Epochs finished, a scalar.
        """
        s = epochs % self.window + 1
        c = self.confidence * (1 - epochs / self.decay_epochs).clamp_min(0)
        return c * (s + c * torch.log(2 * s) / s.square()) / (kept + 1 - c)
