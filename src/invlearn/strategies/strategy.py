"""What every strategy is: a pure function from weights and a batch to a proposal."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from invlearn.data.types import NOTHING, Batch, Feed, LabelledRows, Pairs, Proposal, Score, Weights
from invlearn.strategies.losses import cross_entropy
from invlearn.strategies.slopes import slope_and_loss


class Strategy(ABC):
    """All that differs between the methods under comparison.

    A concrete strategy is a frozen dataclass of its hyper-parameters. It looks at a batch from a
    point and proposes where to step from and along which slope; the store of the weights acts.
    """

    @property
    @abstractmethod
    def feed(self) -> Feed:
        """The pairs that the sampler must put into this strategy's batches."""

    @abstractmethod
    def propose(self, score: Score, point: Weights, batch: Batch) -> Proposal:
        """Look at `batch` from `point`; change nothing.

        Args:
            score: `(weights, pairs) -> logits` of shape `(pairs,)`, without side effects.
            point: The weights in play, by parameter name.
            batch: Labelled pairs, and unlabelled ones if `feed` asked for them.
        """

    def opening(self, rows: LabelledRows) -> Weights:
        """The ledger before the first step: tensors by name, kept with the weights; none here.

        Args:
            rows: The labelled rows of training.
        """
        return NOTHING

    def balance(self, ledger: Weights) -> Weights:
        """The ledger after an epoch, from what it was at the end of it; the same here."""
        return ledger


class LossStrategy(Strategy):
    """A strategy that is nothing but a loss."""

    @abstractmethod
    def loss(self, score: Score, point: Weights, batch: Batch) -> Tensor:
        """Mean loss of the batch at `point`, a scalar."""

    def propose(self, score: Score, point: Weights, batch: Batch) -> Proposal:
        """Propose the slope of the loss at the point as it is."""

        def objective(weights: Weights) -> Tensor:
            return self.loss(score, weights, batch)

        slope, loss = slope_and_loss(objective, point)
        return Proposal(point, slope, {"loss": loss})


def all_logits(score: Score, point: Weights, batch: Batch) -> Tensor:
    """Logits of the labelled pairs, then of the unlabelled ones, from one call of the backbone."""
    pairs = Pairs(
        torch.cat([batch.labelled.users, batch.unlabelled.users]),
        torch.cat([batch.labelled.items, batch.unlabelled.items]),
    )
    return score(point, pairs)


def split_logits(score: Score, point: Weights, batch: Batch) -> tuple[Tensor, Tensor]:
    """The same, the labelled pairs' and the unlabelled ones' apart."""
    sizes = [len(batch.labels), len(batch.unlabelled.users)]
    labelled, unlabelled = all_logits(score, point, batch).split(sizes)
    return labelled, unlabelled


def mean_loss(
    score: Score, point: Weights, batch: Batch, of_unlabelled: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean over all pairs: log loss of the labelled ones, a loss of their logits of the others."""
    labelled, unlabelled = split_logits(score, point, batch)
    losses = [cross_entropy(labelled, batch.labels), of_unlabelled(unlabelled)]
    return torch.cat(losses).mean()
