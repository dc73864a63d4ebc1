"""Denoising by what the losses were: strategies that keep row state of the labelled rows.

Each weighs the labelled pairs of an epoch by the losses that they, their users or their items had
in the epoch before; a loss is taken at the step that uses the pair, before it. As in the methods'
own programs, unlabelled pairs stand in as negatives. A labelled negative counts like any other
pair that is not positive.
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
    """Mean over all pairs of weight times log loss; the weights change between epochs."""

    @property
    def feed(self) -> Feed:
        """Unlabelled pairs beside labelled ones, and row state."""
        return Feed(unlabelled=True, row_state=True)

    def init_row_state(self, rows: LabelledRows) -> Params:
        """Weight 1 for each row; until its loss is known, that of a logit of 0."""
        return {
            "users": rows.pairs.users,
            "items": rows.pairs.items,
            "labels": rows.labels,
            "weights": torch.ones_like(rows.labels),
            "losses": torch.full_like(rows.labels, log(2)),
            "epochs": torch.zeros((), dtype=torch.int64, device=rows.labels.device),
        }

    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Propose the gradient of the weighted mean loss; note the losses of the labelled pairs."""
        assert batch.rows is not None, "the feed says that there is row state"
        labels, _ = with_assumed_negatives("both", batch)
        known, assumed = batch.row_state["weights"][batch.rows], self.unlabelled_weights(batch)
        weights = torch.cat([known, assumed])

        def objective(at: Params) -> tuple[Tensor, Tensor]:
            losses = cross_entropy(all_logits(score, at, batch), labels)
            return (weights * losses).mean(), losses

        gradients, losses = gradients_and_aux(objective, params)
        loss = (weights * losses).mean()
        return Proposal(
            params, gradients, {"loss": loss}, row_updates={"losses": losses[: len(known)]}
        )

    def unlabelled_weights(self, batch: Batch) -> Tensor:
        """Weights of the unlabelled pairs, shape `(pairs,)`; 1 unless a method says otherwise."""
        return torch.ones_like(batch.unlabelled.users).to(batch.labels)

    def on_epoch_end(self, row_state: Params) -> Params:
        """Weigh the rows again by the losses of the epoch that has passed."""
        row_state = {**row_state, "epochs": row_state["epochs"] + 1}
        return {**row_state, **self.weigh(row_state)}

    @abstractmethod
    def weigh(self, row_state: Params) -> Params:
        """Entries of the row state that an epoch changes; `weights` has shape `(rows,)`."""


@final
@dataclass(frozen=True, slots=True)
class RankWeighted(WeightedByHistory):
    """`eard`: a pair counts by the rank of its loss, and by those of its user and its item.

    EARD, The Web Conference 2026, as its authors' program has it
    (https://github.com/Fammia/EARD): the weight is `F w_user w_item`. `F` is the share of rows of
    larger loss, `(rank of -loss - 1/2) / rows`; `w` falls in a line from `high` to `low` over the
    users, or the items, in the order of their mean loss. The authors rank sampled negatives, too,
    under their pair; here unlabelled pairs, drawn again each time, weigh 1.
    """

    high: PositiveFloat = 1.5
    """Weight of the user, or item, of least mean loss (`beta` of the authors)."""
    low: PositiveFloat = 0.5
    """Weight of that of largest mean loss (`alpha` of the authors)."""

    def weigh(self, row_state: Params) -> Params:
        """Weights by ranks within the whole epoch; among equals the earlier row comes first."""
        losses = row_state["losses"]
        weights = 1 - (ranks(losses) + 0.5) / len(losses)
        for key in ("users", "items"):
            place = places(losses, row_state[key])
            weights = weights * (self.high + (self.low - self.high) * place)[row_state[key]]
        return {"weights": weights}


@final
@dataclass(frozen=True, slots=True)
class UserTemperature(WeightedByHistory):
    """`udt`: a user's positives share that user's weight by a softmax of minus their losses.

    Chua et al., Unified Denoising Training for Recommendation, RecSys 2024
    (https://doi.org/10.1145/3640457.3688109), with the defaults of its authors' program. Users are
    put in the order of their mean loss; over them the temperature rises and the factor falls.
    A positive weighs `n_u f_u softmax(-loss / T_u)` over the `n_u` positives of its user, every
    other pair `f_u`.
    """

    coolest: PositiveFloat = 0.2
    """Temperature `T_u` of the user of least mean loss."""
    hottest: PositiveFloat = 0.5
    """Temperature of the user of largest mean loss."""
    most: NonNegativeFloat = 0.5
    """Factor `f_u` of the user of least mean loss."""
    least: NonNegativeFloat = 0.0
    """Factor of the user of largest mean loss."""
    warmup_epochs: NonNegativeInt = 2
    """Epochs in which every pair weighs 1."""

    def init_row_state(self, rows: LabelledRows) -> Params:
        """Weight 1 for each row, factor 1 for each user."""
        row_state = WeightedByHistory.init_row_state(self, rows)
        n_users = int(rows.pairs.users.max()) + 1
        return {**row_state, "factors": torch.ones(n_users).to(rows.labels)}

    def unlabelled_weights(self, batch: Batch) -> Tensor:
        """The factor of each pair's user; 1 for users without a label."""
        assert batch.origin is not None, "the feed says that there is row state"
        factors = batch.row_state["factors"]
        known = batch.origin.users < len(factors)
        return torch.where(known, factors[torch.where(known, batch.origin.users, 0)], 1.0)

    def weigh(self, row_state: Params) -> Params:
        """Weights and factors, once the warm-up is over."""
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
    """`pld`: among some positives of one user, the one that fits best is the likeliest to count.

    Zhang et al., Personalized Denoising Implicit Feedback for Robust Recommender System, The Web
    Conference 2025 (https://doi.org/10.1145/3696410.3714932). The authors draw `candidates`
    positives of a user and train on one of them, drawn by a softmax of minus its loss, by BPR.
    Here every positive stays in its batch and weighs how many times likelier it is to be drawn
    than by chance: `candidates` times its softmax among itself and others of its user, drawn again
    after every epoch. The loss is the log loss.
    """

    candidates: PositiveInt = 5
    """Positives among which one is drawn (`k` of the authors)."""
    temperature: PositiveFloat = 0.1
    """Of the softmax (`tau` of the authors)."""
    warmup_epochs: NonNegativeInt = 5
    """Epochs in which every pair weighs 1."""

    def weigh(self, row_state: Params) -> Params:
        """Weights of positives, once the warm-up is over; every other pair weighs 1."""
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
    """Place of each group, from 0 for the least mean loss to 1 for the largest.

    Args:
        losses: Shape `(rows,)`.
        groups: Id of the group of each row, shape `(rows,)`.

    Returns:
        By group id, NaN for those without rows; equal steps between neighbours.

    Example:
        >>> places(torch.tensor([5.0, 1.0, 3.0, 2.0]), torch.tensor([0, 1, 1, 3]))
        tensor([1.0000, 0.0000,    nan, 0.5000])
    """
    means = group_means(losses, groups)
    there = ~means.isnan()
    place = torch.full_like(means, torch.nan)
    place[there] = ranks(means[there]).to(means) / max(int(there.sum()) - 1, 1)
    return place
