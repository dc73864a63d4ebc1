"""Uniform sampling of items that a user has not seen in the given parts."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from invlearn.data.parts import Part
from invlearn.data.sampling.order import BUCKET_ROWS, CHUNK_ROWS
from invlearn.data.sampling.scratch import MEMORY, Scratch
from invlearn.runtime.errors import ConfigError

Ids = npt.NDArray[np.integer]
Longs = npt.NDArray[np.int64]


class UnseenItems:
    """Draws unseen items exactly uniformly, in memory linear in the number of rows.

    The index is the sorted list of seen pairs; for more than `BUCKET_ROWS` rows it is on disk.

    Items are drawn from the whole catalogue by rejection sampling. For users who saw more than
    half of the catalogue, the unseen items are listed instead: so at most half of the draws are
    rejected in expectation, and the lists are shorter than the rows.
    """

    def __init__(self, seen: Sequence[Part], n_items: int, *, scratch: Scratch = MEMORY) -> None:
        """Build the index of seen pairs.

        Args:
            seen: Parts without common pairs; parts with many rows must be sorted by user, as in
                a dataset.
            n_items: Number of items.
            scratch: Storage for the index of many rows.

        Raises:
            ConfigError: Every user has seen every item.
        """
        n_seen = _counts(seen)
        self._n_items = n_items
        self.n_unseen = n_items - n_seen
        """Number of unseen items of each user, shape `(users,)`."""
        self._eligible = np.flatnonzero(self.n_unseen)
        if not len(self._eligible):
            raise ConfigError(
                "every user was shown every item, so none can be sampled; "
                "pass --unlabelled.source exposed"
            )
        is_big = n_seen.sum() > BUCKET_ROWS
        self._keys = _keys(seen, n_seen, n_items, scratch) if is_big else _keys_of(seen, n_items)
        self._list_unseen(np.cumsum(n_seen) - n_seen)

    def draw(self, users: Ids, rng: np.random.Generator) -> tuple[Longs, Longs]:
        """Draw one unseen item for each user.

        A user who has seen all items is replaced by a random other user.

        Args:
            users: Dense ids of users with seen items, shape `(pairs,)`.
            rng: Generator; one number per pair and one per rejection is drawn.

        Returns:
            Users and items, int64 of shape `(pairs,)`.
        """
        users = users.astype(np.int64)
        full = np.flatnonzero(self.n_unseen[users] == 0)
        users[full] = self._eligible[rng.integers(len(self._eligible), size=len(full))]
        items = rng.integers(self._n_items, size=len(users))
        dense = np.flatnonzero(self._is_dense[users])
        k = rng.integers(self.n_unseen[users[dense]])
        items[dense] = self._listed[self._first[users[dense]] + k]
        keys = users * self._n_items
        again = self._seen(keys + items)
        while len(again):
            items[again] = rng.integers(self._n_items, size=len(again))
            again = again[self._seen(keys[again] + items[again])]
        return users, items

    def _seen(self, asked: Longs) -> Longs:
        """Return the positions of the keys of seen pairs, ascending."""
        order = np.argsort(asked)  # searching in sorted order is cache-friendly
        asked = asked[order]
        at = np.searchsorted(self._keys, asked)
        return np.sort(order[self._keys.take(at, mode="clip") == asked])

    def _list_unseen(self, starts: Longs) -> None:
        """List the unseen items of users with many seen ones; their keys begin at `starts`."""
        self._is_dense = 2 * self.n_unseen < self._n_items
        dense = np.flatnonzero(self._is_dense)
        listed = [np.empty(0, np.int32)]
        for user in dense.tolist():
            unseen = np.ones(self._n_items, np.bool_)
            n_seen = self._n_items - self.n_unseen[user]
            unseen[self._keys[starts[user] :][:n_seen] - user * self._n_items] = False
            listed.append(np.flatnonzero(unseen).astype(np.int32))
        self._listed = np.concatenate(listed)
        self._first = np.zeros_like(self.n_unseen)
        self._first[dense] = np.cumsum(self.n_unseen[dense]) - self.n_unseen[dense]


def _counts(parts: Sequence[Part]) -> Longs:
    """Count the rows of each user in all parts, up to the last user with any."""
    n_users = 1 + max((int(part.users.max()) for part in parts if len(part)), default=-1)
    counts = np.zeros(n_users, np.int64)
    for part in parts:
        for start in range(0, len(part), CHUNK_ROWS):
            counts += np.bincount(part.users[start : start + CHUNK_ROWS], minlength=n_users)
    return counts


def _keys_of(parts: Sequence[Part], n_items: int) -> Longs:
    """Return all pairs as one integer each, ascending."""
    keys = [part.users.astype(np.int64) * n_items + part.items for part in parts]
    return np.sort(np.concatenate(keys), kind="stable")  # merges parts that are sorted already


def _keys(parts: Sequence[Part], counts: Longs, n_items: int, scratch: Scratch) -> Longs:
    """Return the same as `_keys_of` for parts sorted by user, in chunks of users."""
    keys = scratch.array(int(counts.sum()), np.int64)
    ends = np.cumsum(counts)
    users = np.unique(np.searchsorted(ends, np.arange(0, ends[-1], CHUNK_ROWS)))
    written = 0
    for first, end in pairwise([*users.tolist(), len(counts)]):
        ask = np.array([first, end])  # of the column's type, otherwise all of it is converted
        rows = [slice(*np.searchsorted(p.users, ask.astype(p.users.dtype))) for p in parts]
        some = [
            Part(part.users[own], part.items[own], part.labels[:0])
            for part, own in zip(parts, rows, strict=True)
        ]
        found = _keys_of(some, n_items)
        keys[written : written + len(found)] = found
        written += len(found)
    return keys
