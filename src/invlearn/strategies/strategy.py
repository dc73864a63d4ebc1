"""Strategy interface: pure functions from parameters and a batch to a proposal."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from invlearn.data.types import Batch, Feed, LabelledRows, Pairs, Params, Proposal, Score
from invlearn.strategies.gradients import gradients_and_loss
from invlearn.strategies.losses import cross_entropy


class Strategy(ABC):
    """Base class of the learning methods under comparison.

    A concrete strategy is a frozen dataclass of its hyperparameters. Given parameters and a batch,
    it proposes parameters to step from and gradients there; the store applies the update.
    """

    @property
    def choices(self) -> tuple[str, ...]:
        """Names of the values of `choice` in the proposals' log; empty by default."""
        return ()

    @property
    @abstractmethod
    def feed(self) -> Feed:
        """Pairs that the sampler must put into the batches."""

    @abstractmethod
    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Propose an update for `batch`; change nothing.

        Args:
            score: `(params, pairs) -> logits` of shape `(pairs,)`, without side effects.
            params: The gathered parameters, by name.
            batch: Labelled pairs, and unlabelled ones if `feed` asks for them.
        """

    def init_row_state(self, rows: LabelledRows) -> Params:
        """Return the initial state of the labelled rows by name; empty by default.

        Args:
            rows: The labelled training rows.
        """
        return {}

    def on_epoch_end(self, row_state: Params) -> Params:
        """Return the row state for the next epoch; unchanged by default."""
        return row_state


class LossStrategy(Strategy):
    """A strategy defined by a loss; by default it uses labelled and unlabelled pairs."""

    @property
    def feed(self) -> Feed:
        """Labelled and unlabelled pairs."""
        return Feed(unlabelled=True)

    @abstractmethod
    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Return the mean loss of the batch at `params`, a scalar."""

    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Propose the gradients of the loss at `params`."""
        gradients, loss = gradients_and_loss(lambda at: self.loss(score, at, batch), params)
        return Proposal(params, gradients, {"loss": loss})


def all_logits(score: Score, params: Params, batch: Batch) -> Tensor:
    """Return the labelled, then the unlabelled pairs' logits, by one call of the backbone."""
    pairs = Pairs(
        torch.cat([batch.labelled.users, batch.unlabelled.users]),
        torch.cat([batch.labelled.items, batch.unlabelled.items]),
    )
    return score(params, pairs)


def split_logits(score: Score, params: Params, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the labelled and the unlabelled pairs' logits, by one call of the backbone."""
    sizes = [len(batch.labels), len(batch.unlabelled.users)]
    labelled, unlabelled = all_logits(score, params, batch).split(sizes)
    return labelled, unlabelled


def labelled_loss(score: Score, batch: Batch, params: Params) -> Tensor:
    """Return the mean log loss of the labelled pairs (Eq. 1)."""
    return cross_entropy(score(params, batch.labelled), batch.labels).mean()


def mean_loss(
    score: Score, params: Params, batch: Batch, of_unlabelled: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the mean over all pairs of log loss (labelled) or `of_unlabelled` (others)."""
    labelled, unlabelled = split_logits(score, params, batch)
    losses = [cross_entropy(labelled, batch.labels), of_unlabelled(unlabelled)]
    return torch.cat(losses).mean()
