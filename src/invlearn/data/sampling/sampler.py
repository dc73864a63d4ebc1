"""Batches of labelled and unlabelled pairs; a batch is a function of (seed, epoch, step)."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from invlearn.data.dataset import Dataset
from invlearn.data.parts import Part
from invlearn.data.sampling.order import BUCKET_ROWS, Longs, Positions, Sample, grouped, shuffled
from invlearn.data.sampling.scratch import MEMORY, Scratch
from invlearn.data.sampling.unseen import Ids, UnseenItems
from invlearn.data.types import Batch, Feed, LabelledRows, Pairs
from invlearn.runtime.errors import ConfigError, InvlearnWarning
from invlearn.runtime.random import stream
from invlearn.runtime.text import counted

Packed = npt.NDArray[np.int64]
MOST_HELD_OUT = 0.1
"""Share of held-out pairs among sampled ones above which there is a warning."""
_BLOCK_PAIRS = 2**17
"""Pairs per block: enough to amortise the call overhead; about 2 MB of tensors."""


@dataclass(frozen=True, slots=True)
class UnlabelledSource:
    """Where the unlabelled pairs of a batch come from."""

    exposed_fraction: float
    """Fraction drawn from exposed rows (shown, reaction unclear), uniformly with replacement. The
    others are sampled: for the user of a labelled row, uniformly over the items of no training or
    unlabelled row of that user; they can include pairs of the validation or test part."""
    per_labelled: int = 1
    """Number of unlabelled pairs per labelled pair."""


class Sampler:
    """Cuts the training rows into the batches that a strategy's feed requires.

    An epoch visits all training-train rows in a new order, then the judges (if the feed requires
    any). Unlabelled pairs accompany the judges, or every labelled row if there are no judges.
    Memory holds a block of batches, one integer per row in the epoch's order for up to
    `BUCKET_ROWS` rows (otherwise on disk) and, if pairs are sampled, the index of the seen pairs;
    no array has the size users x items.

    Exposed pairs are also drawn with replacement. If there are more than `BUCKET_ROWS`, an epoch
    takes them in a random order, and starts over only after all were used.
    """

    def __init__(
        self,
        dataset: Dataset,
        feed: Feed,
        source: UnlabelledSource,
        *,
        batch_size: int,
        seed: int,
        by_user: bool = False,
        scratch: Scratch = MEMORY,
    ) -> None:
        """Initialise the sampler.

        Args:
            dataset: Dataset; its training and unlabelled parts are used.
            feed: Batch requirements of the strategy.
            source: Source of unlabelled pairs; ignored if the feed requires none.
            batch_size: Labelled pairs per batch; the last batch of an epoch may be smaller.
            seed: Determines judges, order and draws.
            by_user: Keep the rows of each user together, with users in a new order each epoch;
                for backbones whose cost grows with the number of users in a batch.
            scratch: Storage for the order of many rows; its folder need not exist yet.

        Raises:
            ConfigError: The dataset cannot satisfy the feed.
        """
        self._train, self._exposed = dataset.train, dataset.unlabelled
        self._n_users = dataset.n_users
        self._feed, self._source = feed, source
        self._batch_size, self._seed, self._by_user = batch_size, seed, by_user
        self._split, self._scratch = _judge_split(len(dataset.train), feed, seed), scratch
        self._n_judges = self._split.n_drawn
        self._n_train_steps = -(-(self._split.n - self._n_judges) // batch_size)
        self._order: tuple[int, list[Packed]] = (-1, [])
        self._exposed_order: tuple[int, Packed] = (-1, np.empty(0, np.int64))
        pairs_per_row = 1 + source.per_labelled if feed.unlabelled else 1
        self._block_steps = max(1, _BLOCK_PAIRS // (batch_size * pairs_per_row))
        self._block: tuple[tuple[int, bool, int] | None, list[Batch]] = (None, [])
        self._unseen: UnseenItems | None = None
        if feed.unlabelled:
            check_source(source, dataset)
            if source.exposed_fraction < 1:
                seen = [self._train, self._exposed]
                self._unseen = UnseenItems(seen, dataset.n_items, scratch=scratch)
                _warn_of_held_out(dataset, self._unseen.n_unseen)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return self._n_train_steps - (-self._n_judges // self._batch_size)

    def batch(self, epoch: int, step: int, *, lr: float) -> Batch:
        """Return one batch.

        Consecutive batches are cut together in blocks, and the last block is cached, so access in
        order is fast. The tensors are views of the block: do not modify them.

        Args:
            epoch: From 0.
            step: Within the epoch, from 0, below `steps_per_epoch`.
            lr: Learning rate to pass to the strategy.
        """
        is_meta_batch = step >= self._n_train_steps
        block, place = divmod(step - is_meta_batch * self._n_train_steps, self._block_steps)
        if self._block[0] != (epoch, is_meta_batch, block):
            self._block = ((epoch, is_meta_batch, block), self._cut(epoch, is_meta_batch, block))
        return self._block[1][place]._replace(step=epoch * self.steps_per_epoch + step, lr=lr)

    @property
    def labelled_rows(self) -> LabelledRows:
        """All labelled training rows, including judges, in row order."""
        pairs = as_pairs(self._train.users, self._train.items)
        return LabelledRows(pairs, torch.from_numpy(self._train.labels.astype(np.float32)))

    def unlabelled(self, users: Ids, rng: np.random.Generator) -> Pairs:
        """Draw the unlabelled pairs for labelled rows of `users`."""
        return self._draw(users, len(users), rng, None)

    def _draw(
        self, users: Ids, n_rows: int, rng: np.random.Generator, at: tuple[int, int] | None
    ) -> Pairs:
        """Draw unlabelled pairs for several batches of `n_rows` rows, exposed pairs first in each.

        `at` is the epoch, and the number of its preceding batches with unlabelled pairs.
        """
        per_labelled, fraction = self._source.per_labelled, self._source.exposed_fraction
        users = np.repeat(users, per_labelled).astype(np.int64)
        items = np.empty_like(users)
        exposed = _first_of_each(len(users), n_rows * per_labelled, fraction)
        if fraction > 0:
            n_exposed = int(np.count_nonzero(exposed))
            if at is None or len(self._exposed) <= BUCKET_ROWS:
                rows = rng.integers(len(self._exposed), size=n_exposed)
                drawn = self._exposed.users[rows], self._exposed.items[rows]
            else:
                drawn = self._next_exposed(*at, n_rows, n_exposed)
            users[exposed], items[exposed] = drawn
        if self._unseen is not None:
            users[~exposed], items[~exposed] = self._unseen.draw(users[~exposed], rng)
        return as_pairs(users, items)

    def _cut(self, epoch: int, is_meta_batch: bool, block: int) -> list[Batch]:
        """Cut the batches of a block, from training-train rows or from judges."""
        n, n_unlabelled = self._batch_size, self._batch_size * self._source.per_labelled
        size = n * self._block_steps
        rows = self._rows(epoch, is_meta_batch)[block * size :][:size]
        numbers = None
        if self._feed.row_state:
            numbers, rows = torch.from_numpy(rows), _pack(self._train, rows)
        users, items = _ids(rows)
        labelled, unlabelled = as_pairs(users, items), as_pairs(users[:0], users[:0])
        labels = torch.from_numpy((rows & 1).astype(np.float32))
        if self._feed.unlabelled and (is_meta_batch or not self._n_judges):
            rng = stream(self._seed, "unlabelled", epoch, is_meta_batch, block)
            unlabelled = self._draw(users, n, rng, (epoch, block * self._block_steps))
        batches: list[Batch] = []
        for k in range(-(-len(rows) // n)):
            pairs = Pairs(*(column[k * n :][:n] for column in labelled))
            others = Pairs(*(column[k * n_unlabelled :][:n_unlabelled] for column in unlabelled))
            state = (None, None) if numbers is None else (numbers[k * n :][:n], others)
            batch = Batch(pairs, labels[k * n :][:n], others, is_meta_batch, step=0, lr=0.0)
            batches.append(batch._replace(rows=state[0], origin=state[1]))
        return batches

    def _rows(self, epoch: int, is_meta_batch: bool) -> Packed:
        """Return packed rows (row numbers for row state), train or judges, in epoch order."""
        if self._order[0] != epoch:
            self._order = (-1, [])  # free the old order first
            rng = stream(self._seed, "order", epoch)
            orders = [self._shuffled(drawn, rng) for drawn in (False, True)]
            if self._by_user:
                rank, has_numbers = rng.permutation(self._n_users), self._feed.row_state

                def rank_of(rows: Packed) -> Longs:
                    return rank[self._train.users[rows] if has_numbers else rows >> 32]

                orders = [grouped(rows, rank_of, len(rank), self._scratch) for rows in orders]
            self._order = (epoch, orders)
        return self._order[1][is_meta_batch]

    def _shuffled(self, is_meta_batch: bool, rng: np.random.Generator) -> Packed:
        def blocks() -> Iterator[Packed]:
            found = self._split.positions(drawn=is_meta_batch)
            is_plain = self._feed.row_state
            return (at.astype(np.int64) if is_plain else _pack(self._train, at) for at in found)

        n_rows = self._n_judges if is_meta_batch else self._split.n - self._n_judges
        return shuffled(blocks, n_rows, rng, self._scratch)

    def _next_exposed(self, epoch: int, n_before: int, n_rows: int, n: int) -> tuple[Ids, Ids]:
        """Return the next `n` exposed pairs in the epoch's order."""
        per_batch = round(self._source.exposed_fraction * n_rows * self._source.per_labelled)
        if self._exposed_order[0] != epoch:
            self._exposed_order = (-1, np.empty(0, np.int64))
            n_steps = self._n_train_steps if not self._n_judges else -(-self._n_judges // n_rows)
            wanted = min(n_steps * per_batch, len(self._exposed))
            seed = int(stream(self._seed, "exposed", epoch).integers(2**63))
            sample = Sample(len(self._exposed), wanted, seed, "exposed")

            def blocks() -> Iterator[Packed]:
                return (_pack(self._exposed, rows) for rows in sample.positions(drawn=True))

            rng = stream(self._seed, "exposed order", epoch)
            self._exposed_order = (epoch, shuffled(blocks, wanted, rng, self._scratch))
        order = self._exposed_order[1]
        return _ids(order[(n_before * per_batch + np.arange(n)) % len(order)])


def _pack(part: Part, rows: Positions) -> Packed:
    """Pack each row into one integer, so that no gather is needed after shuffling."""
    packed = part.users[rows].astype(np.int64)
    packed <<= 31
    packed |= part.items[rows]
    packed <<= 1
    if len(part.labels):
        packed |= part.labels[rows]
    return packed


def _ids(packed: Packed) -> tuple[Packed, Packed]:
    """Return users and items of packed rows."""
    return packed >> 32, (packed >> 1) & (2**31 - 1)


def _first_of_each(n: int, n_batch: int, fraction: float) -> npt.NDArray[np.bool_]:
    """Mark the first `fraction` of each batch of `n_batch`; the last batch may be shorter."""
    sizes = (min(n_batch, n - start) for start in range(0, n, max(1, n_batch)))
    return np.concatenate([np.arange(size) < round(fraction * size) for size in sizes])


def as_pairs(users: npt.NDArray[np.integer], items: npt.NDArray[np.integer]) -> Pairs:
    """Return pairs as int64 tensors, from columns of dense ids of shape `(pairs,)`."""
    return Pairs(torch.from_numpy(users.astype(np.int64)), torch.from_numpy(items.astype(np.int64)))


def _judge_split(n_rows: int, feed: Feed, seed: int) -> Sample:
    """Draw the positions of the judges, once for the whole run."""
    n_judges = round(feed.judge_fraction * n_rows)
    if feed.judge_fraction > 0 and not 0 < n_judges < n_rows:
        raise ConfigError(
            f"{counted(n_rows, 'labelled training row')} would leave "
            f"{counted(n_judges, 'judge')} at judge_fraction {feed.judge_fraction}; label more "
            "rows or take another fraction"
        )
    return Sample(n_rows, n_judges, seed, "judges")


def _warn_of_held_out(dataset: Dataset, n_unseen: Longs) -> None:
    """Warn if many sampled pairs would be of the validation or test part.

    Sampled pairs may be held-out ones, since a method must not know which these are. Where users
    were shown nearly every item, most pairs left to sample are held out: a model then learns that
    what it is tested on is disliked.
    """
    held_out, n_drawn = np.zeros_like(n_unseen), np.zeros_like(n_unseen)
    for part in (dataset.valid, dataset.test):
        held_out += np.bincount(part.users, minlength=len(n_unseen))
    n_drawn += np.bincount(dataset.train.users, minlength=len(n_unseen))
    n_drawn[n_unseen == 0] = 0
    share = float((n_drawn * held_out / np.maximum(n_unseen, 1)).sum() / max(n_drawn.sum(), 1))
    if share > MOST_HELD_OUT:
        warnings.warn(
            f"{share:.0%} of the pairs that are sampled as never shown are pairs of the validation "
            "or test part, since users were shown nearly every item; methods that sample such "
            "pairs learn to rank them low, so use --unlabelled.source exposed or a method without "
            "sampled pairs",
            InvlearnWarning,
            stacklevel=3,
        )


def check_source(source: UnlabelledSource, dataset: Dataset) -> None:
    """Check that a dataset has the requested unlabelled pairs.

    Raises:
        ConfigError: It has no exposed rows, but exposed pairs are requested.
    """
    if source.exposed_fraction > 0 and not len(dataset.unlabelled):
        raise ConfigError(
            f"{dataset.folder} has no exposed-unlabelled rows; pass --unlabelled.source sampled, "
            "or prepare it with a rule that leaves unclear rows unlabelled"
        )
