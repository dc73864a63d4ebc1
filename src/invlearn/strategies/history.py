"""Denoising by past losses: strategies that keep row state of the labelled rows.

Each weights the labelled pairs of an epoch by the losses of the pairs, their users or their items
in the previous epoch. A pair's loss is taken in the step that uses it, before the update. As in
the methods' own programs, unlabelled pairs are used as negatives. Labelled negatives are treated
like other pairs that are not positive.
"""

from abc import abstractmethod
from dataclasses import dataclass
from math import log
from typing import final

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from invlearn.data.types import Batch, Feed, LabelledRows, Params, Proposal, Score
from invlearn.runtime.random import torch_seed
from invlearn.strategies.denoising import with_assumed_negatives
from invlearn.strategies.gradients import gradients_and_aux
from invlearn.strategies.losses import cross_entropy
from invlearn.strategies.ranks import group_means, ranks
from invlearn.strategies.strategy import Strategy, all_logits


class WeightedByHistory(Strategy):
    """Weighted mean log loss over all pairs; the weights change between epochs."""

    @property
    def feed(self) -> Feed:
        """Labelled and unlabelled pairs, and row state."""
        return Feed(unlabelled=True, row_state=True)

    def init_row_state(self, rows: LabelledRows) -> Params:
        """Return weight 1 and the loss of a logit of 0 for each row."""
        return {
            "users": rows.pairs.users,
            "items": rows.pairs.items,
            "labels": rows.labels,
            "weights": torch.ones_like(rows.labels),
            "losses": torch.full_like(rows.labels, log(2)),
            "epochs": torch.zeros((), dtype=torch.int64, device=rows.labels.device),
        }

    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Propose the gradient of the weighted mean loss; record the labelled pairs' losses."""
        assert batch.rows is not None, "the feed says that there is row state"
        labels, _ = with_assumed_negatives("both", batch)
        known, assumed = batch.row_state["weights"][batch.rows], self.unlabelled_weights(batch)
        weights = torch.cat([known, assumed])

        def objective(at: Params) -> tuple[Tensor, Tensor]:
            losses = cross_entropy(all_logits(score, at, batch), labels)
            return (weights * losses).mean(), losses

        gradients, losses = gradients_and_aux(objective, params)
        loss = (weights * losses).mean()
        updates = {"losses": losses[: len(known)]}
        return Proposal(params, gradients, {"loss": loss}, row_updates=updates)

    def unlabelled_weights(self, batch: Batch) -> Tensor:
        """Return the weights of the unlabelled pairs, shape `(pairs,)`; 1 by default."""
        return torch.ones_like(batch.unlabelled.users).to(batch.labels)

    def on_epoch_end(self, row_state: Params) -> Params:
        """Update the weights of the rows by the losses of the finished epoch."""
        row_state = {**row_state, "epochs": row_state["epochs"] + 1}
        return {**row_state, **self.weigh(row_state)}

    @abstractmethod
    def weigh(self, row_state: Params) -> Params:
        """Return the changed entries of the row state; `weights` has shape `(rows,)`."""


@final
@dataclass(frozen=True, slots=True)
class RankWeighted(WeightedByHistory):
    """`eard`: a pair is weighted by the ranks of its own, its user's and its item's loss.

    EARD, The Web Conference 2026, as in its authors' program
    (https://github.com/Fammia/EARD): the weight is `F w_user w_item`. `F` is the fraction of rows
    with a larger loss, `(rank of -loss - 1/2) / rows`; `w` falls linearly from `high` to `low` over
    the users (items) in ascending order of mean loss. The authors also rank the sampled negatives
    of each pair; here unlabelled pairs, drawn again each time, have weight 1.
    """

    high: PositiveFloat = 1.5
    """Weight of the user or item with the least mean loss (`beta` of the authors)."""
    low: PositiveFloat = 0.5
    """Weight of the one with the largest mean loss (`alpha` of the authors)."""

    def weigh(self, row_state: Params) -> Params:
        """Return weights by ranks within the whole epoch; ties go to the earlier row."""
        losses = row_state["losses"]
        weights = 1 - (ranks(losses) + 0.5) / len(losses)
        for key in ("users", "items"):
            place = places(losses, row_state[key])
            weights = weights * (self.high + (self.low - self.high) * place)[row_state[key]]
        return {"weights": weights}


@final
@dataclass(frozen=True, slots=True)
class UserTemperature(WeightedByHistory):
    """`udt`: a user's positives are weighted by a softmax of minus their losses.

    Chua et al., Unified Denoising Training for Recommendation, RecSys 2024
    (https://doi.org/10.1145/3640457.3688109), with the defaults of its authors' program. Over the
    users in ascending order of mean loss, the temperature `T_u` rises and the factor `f_u` falls.
    A positive has weight `n_u f_u softmax(-loss / T_u)`, over the `n_u` positives of its user;
    every other pair has weight `f_u`.
    """

    coolest: PositiveFloat = 0.2
    """Temperature `T_u` of the user with the least mean loss."""
    hottest: PositiveFloat = 0.5
    """Temperature of the user with the largest mean loss."""
    most: NonNegativeFloat = 0.5
    """Factor `f_u` of the user with the least mean loss."""
    least: NonNegativeFloat = 0.0
    """Factor of the user with the largest mean loss."""
    warmup_epochs: NonNegativeInt = 2
    """Epochs in which every pair has weight 1."""

    def init_row_state(self, rows: LabelledRows) -> Params:
        """Return weight 1 for each row and factor 1 for each user."""
        row_state = WeightedByHistory.init_row_state(self, rows)
        n_users = int(rows.pairs.users.max()) + 1
        return {**row_state, "factors": torch.ones(n_users).to(rows.labels)}

    def unlabelled_weights(self, batch: Batch) -> Tensor:
        """Return the factor of each pair's user; 1 for users without a label."""
        assert batch.origin is not None, "the feed says that there is row state"
        factors = batch.row_state["factors"]
        known = batch.origin.users < len(factors)
        return torch.where(known, factors[torch.where(known, batch.origin.users, 0)], 1.0)

    def weigh(self, row_state: Params) -> Params:
        """Return weights and factors; nothing during the warm-up."""
        if row_state["epochs"] < self.warmup_epochs:
            return {}
        losses, users, positive = row_state["losses"], row_state["users"], row_state["labels"] > 0
        place = places(losses, users)
        factors = self.most + (self.least - self.most) * place
        temperatures = self.coolest + (self.hottest - self.coolest) * place
        scaled = torch.where(positive, -losses / temperatures[users], -torch.inf)
        top = torch.full_like(place, -torch.inf).scatter_reduce(0, users, scaled, "amax")
        raised = torch.where(positive, torch.exp(scaled - top[users]), 0.0)
        means = group_means(raised, users, positive)
        shares = torch.where(positive, raised / means[users], 1.0)
        return {"weights": factors[users] * shares, "factors": factors.nan_to_num(1.0)}


@final
@dataclass(frozen=True, slots=True)
class ResampledPositives(WeightedByHistory):
    """`pld`: among some positives of a user, those with smaller loss get larger weights.

    Zhang et al., Personalized Denoising Implicit Feedback for Robust Recommender System, The Web
    Conference 2025 (https://doi.org/10.1145/3696410.3714932). The authors draw `candidates`
    positives of a user, then one of them by a softmax of minus the losses, and train on it by BPR.
    Here every positive stays in its batch, weighted by its probability of being drawn relative to
    chance: `candidates` times its softmax among itself and other positives of its user, drawn again
    after every epoch. The loss is the log loss.
    """

    candidates: PositiveInt = 5
    """Positives among which one is drawn (`k` of the authors)."""
    temperature: PositiveFloat = 0.1
    """Temperature of the softmax (`tau` of the authors)."""
    warmup_epochs: NonNegativeInt = 5
    """Epochs in which every pair has weight 1."""

    def weigh(self, row_state: Params) -> Params:
        """Return the weights of positives, 1 for other pairs; nothing during the warm-up."""
        if row_state["epochs"] < self.warmup_epochs:
            return {}
        positives = torch.nonzero(row_state["labels"] > 0).squeeze(1)
        users, losses = row_state["users"][positives], row_state["losses"][positives]
        order = torch.argsort(users, stable=True)
        users, losses, positives = users[order], losses[order], positives[order]
        counts = torch.bincount(users)
        first = counts.cumsum(0) - counts
        generator = torch.Generator(users.device)
        generator.manual_seed(torch_seed(0, "pld", int(row_state["epochs"])))
        shape = (len(users), self.candidates - 1)
        draws = torch.rand(shape, generator=generator, device=users.device, dtype=torch.float64)
        others = first[users, None] + (draws * counts[users, None]).long()
        group = torch.cat([losses[:, None], losses[others]], dim=1)
        likely = self.candidates * torch.softmax(-group / self.temperature, dim=1)[:, 0]
        return {"weights": torch.ones_like(row_state["weights"]).index_copy(0, positives, likely)}


def places(losses: Tensor, groups: Tensor) -> Tensor:
    """Return each group's relative rank, from 0 for the least mean loss to 1 for the largest.

    Args:
        losses: Losses, shape `(rows,)`.
        groups: Id of the group of each row, shape `(rows,)`.

    Returns:
        Equally spaced ranks by group id; NaN for groups without rows.

    Example:
        >>> places(torch.tensor([5.0, 1.0, 3.0, 2.0]), torch.tensor([0, 1, 1, 3]))
        tensor([1.0000, 0.0000,    nan, 0.5000])
    """
    means = group_means(losses, groups)
    there = ~means.isnan()
    place = torch.full_like(means, torch.nan)
    place[there] = ranks(means[there]).to(means) / max(int(there.sum()) - 1, 1)
    return place
