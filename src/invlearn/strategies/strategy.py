"""What every strategy is: a pure function from weights and a batch to a proposal."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from invlearn.data.types import (
    NO_TENSORS,
    Batch,
    Feed,
    LabelledRows,
    Pairs,
    Params,
    Proposal,
    Score,
)
from invlearn.strategies.gradients import gradients_and_loss
from invlearn.strategies.losses import cross_entropy


class Strategy(ABC):
    """All that differs between the methods under comparison.

    A concrete strategy is a frozen dataclass of its hyper-parameters. It looks at a batch from a
    point and proposes where to step from and along which slope; the store of the weights acts.
    """

    @property
    def choices(self) -> tuple[str, ...]:
        """Names of the values of `choice` in the log of its proposals; none by default."""
        return ()

    @property
    @abstractmethod
    def feed(self) -> Feed:
        """The pairs that the sampler must put into this strategy's batches."""

    @abstractmethod
    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Look at `batch` from `point`; change nothing.

        Args:
            score: `(weights, pairs) -> logits` of shape `(pairs,)`, without side effects.
            params: The weights in play, by parameter name.
            batch: Labelled pairs, and unlabelled ones if `feed` asked for them.
        """

    def init_row_state(self, rows: LabelledRows) -> Params:
        """The ledger before the first step: tensors by name, kept with the weights; none here.

        Args:
            rows: The labelled rows of training.
        """
        return NO_TENSORS

    def on_epoch_end(self, row_state: Params) -> Params:
        """The ledger after an epoch, from what it was at the end of it; the same here."""
        return row_state


class LossStrategy(Strategy):
    """A strategy that is nothing but a loss."""

    @abstractmethod
    def loss(self, score: Score, params: Params, batch: Batch) -> Tensor:
        """Mean loss of the batch at `point`, a scalar."""

    def propose(self, score: Score, params: Params, batch: Batch) -> Proposal:
        """Propose the slope of the loss at the point as it is."""

        def objective(weights: Params) -> Tensor:
            return self.loss(score, weights, batch)

        gradients, loss = gradients_and_loss(objective, params)
        return Proposal(params, gradients, {"loss": loss})


def all_logits(score: Score, params: Params, batch: Batch) -> Tensor:
    """Logits of the labelled pairs, then of the unlabelled ones, from one call of the backbone."""
    pairs = Pairs(
        torch.cat([batch.labelled.users, batch.unlabelled.users]),
        torch.cat([batch.labelled.items, batch.unlabelled.items]),
    )
    return score(params, pairs)


def split_logits(score: Score, params: Params, batch: Batch) -> tuple[Tensor, Tensor]:
    """The same, the labelled pairs' and the unlabelled ones' apart."""
    sizes = [len(batch.labels), len(batch.unlabelled.users)]
    labelled, unlabelled = all_logits(score, params, batch).split(sizes)
    return labelled, unlabelled


def mean_loss(
    score: Score, params: Params, batch: Batch, of_unlabelled: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean over all pairs: log loss of the labelled ones, a loss of their logits of the others."""
    labelled, unlabelled = split_logits(score, params, batch)
    losses = [cross_entropy(labelled, batch.labels), of_unlabelled(unlabelled)]
    return torch.cat(losses).mean()
