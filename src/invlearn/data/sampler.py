"""Batches of labelled and unlabelled pairs; a batch is a function of (seed, epoch, step)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from invlearn.data.dataset import Dataset
from invlearn.data.unseen import Ids, UnseenItems
from invlearn.errors import ConfigError
from invlearn.pairs import Batch, Feed, Pairs
from invlearn.randomness import stream

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class UnlabelledSource:
    """Where the unlabelled pairs of a batch come from."""

    exposed_fraction: float
    """Part drawn from exposed rows (shown, reaction unclear), uniformly with replacement; the
    rest is sampled: for the user of a labelled row, uniform over the items that no training or
    unlabelled row shows to them; a pair of the validation or test part can come up."""
    per_labelled: int = 1
    """Unlabelled pairs beside each labelled one."""


class Sampler:
    """Cuts the training rows into batches as a strategy's feed asks.

    An epoch runs through all training-train rows in a new order, then through the judges (if the
    feed asks for any). Unlabelled pairs stand beside the judges, or beside every labelled row if
    there are no judges. Nothing of the size users x items is ever made.
    """

    def __init__(
        self, dataset: Dataset, feed: Feed, source: UnlabelledSource, *, batch_size: int, seed: int
    ) -> None:
        """Prepare to cut batches.

        Args:
            dataset: Its training and unlabelled parts are used.
            feed: What the strategy asks for.
            source: Where unlabelled pairs come from; not looked at unless the feed asks for them.
            batch_size: Labelled pairs in a batch; the last one of an epoch may be smaller.
            seed: Decides judges, order and draws.

        Raises:
            ConfigError: The dataset cannot give what the feed asks for.
        """
        self._train, self._exposed = dataset.train, dataset.unlabelled
        self._feed, self._source = feed, source
        self._batch_size, self._seed = batch_size, seed
        self._train_train, self._judges = _judge_split(len(dataset.train), feed, seed)
        self._n_train_steps = -(-len(self._train_train) // batch_size)
        self._order: tuple[int, Positions] = (-1, self._train_train)
        self._unseen: UnseenItems | None = None
        if feed.unlabelled:
            check_source(source, dataset)
            if source.exposed_fraction < 1:
                self._unseen = UnseenItems([dataset.train, dataset.unlabelled], dataset.n_items)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return self._n_train_steps - (-len(self._judges) // self._batch_size)

    def batch(self, epoch: int, step: int, *, rate: float) -> Batch:
        """Cut one batch.

        Args:
            epoch: From 0.
            step: Within the epoch, from 0, below `steps_per_epoch`.
            rate: Learning rate to hand to the strategy.
        """
        rows, judges = self._rows(epoch, step)
        rng = stream(self._seed, "unlabelled", epoch, step)
        wanted = self._feed.unlabelled and (judges or not len(self._judges))
        users = self._train.users[rows]
        return Batch(
            labelled=as_pairs(users, self._train.items[rows]),
            labels=torch.from_numpy(self._train.labels[rows].astype(np.float32)),
            unlabelled=self.unlabelled(users, rng) if wanted else as_pairs(rows[:0], rows[:0]),
            judges=judges,
            step=epoch * self.steps_per_epoch + step,
            rate=rate,
        )

    def unlabelled(self, users: npt.NDArray[np.integer], rng: np.random.Generator) -> Pairs:
        """Draw the unlabelled pairs that stand beside labelled rows of `users`."""
        users = np.repeat(users, self._source.per_labelled)
        n_exposed = round(self._source.exposed_fraction * len(users))
        rows = rng.integers(len(self._exposed), size=n_exposed) if n_exposed else slice(0, 0)
        parts: list[tuple[Ids, Ids]] = [(self._exposed.users[rows], self._exposed.items[rows])]
        if self._unseen is not None:
            parts.append(self._unseen.draw(users[n_exposed:], rng))
        return as_pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _rows(self, epoch: int, step: int) -> tuple[Positions, bool]:
        """Training rows of a batch, and whether they are judges."""
        judges = step >= self._n_train_steps
        start = (step - self._n_train_steps if judges else step) * self._batch_size
        if self._order[0] != epoch:
            rng = stream(self._seed, "order", epoch)
            order = np.concatenate(
                [rng.permutation(self._train_train), rng.permutation(self._judges)]
            )
            self._order = (epoch, order)
        first = len(self._train_train) if judges else 0
        end = len(self._order[1]) if judges else len(self._train_train)
        return self._order[1][first + start : min(first + start + self._batch_size, end)], judges


def as_pairs(users: npt.NDArray[np.integer], items: npt.NDArray[np.integer]) -> Pairs:
    """Pairs as int64 tensors, from columns of dense ids of shape `(pairs,)`."""
    return Pairs(torch.from_numpy(users.astype(np.int64)), torch.from_numpy(items.astype(np.int64)))


def _judge_split(n_rows: int, feed: Feed, seed: int) -> tuple[Positions, Positions]:
    """Positions of training-train rows and of judges, drawn once for the whole run."""
    n_judges = round(feed.judge_fraction * n_rows)
    if feed.judge_fraction > 0 and not 0 < n_judges < n_rows:
        raise ConfigError(
            f"{n_rows} labelled training rows leave {n_judges} judges at judge_fraction "
            f"{feed.judge_fraction}; label more rows or take another fraction"
        )
    order = stream(seed, "judges").permutation(n_rows) if n_judges else np.arange(n_rows)
    return np.sort(order[n_judges:]), np.sort(order[:n_judges])


def check_source(source: UnlabelledSource, dataset: Dataset) -> None:
    """Make sure that a dataset has the unlabelled pairs that are asked for.

    Raises:
        ConfigError: It has none.
    """
    if source.exposed_fraction > 0 and not len(dataset.unlabelled):
        raise ConfigError(
            f"{dataset.folder} has no exposed-unlabelled rows; pass --unlabelled.source sampled, "
            "or prepare it with a rule that leaves unclear rows unlabelled"
        )
