"""Random shuffling of rows, in memory or, if there are many, on disk.

Both give a uniformly random order: rows are assigned to buckets at random, each bucket is
shuffled, and the buckets are concatenated (Rao, Sankhya 1961; Sandelius, Journal of the Royal
Statistical Society B 1962). The order does not depend on the available memory.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from invlearn.data.sampling.scratch import Scratch
from invlearn.runtime.random import stream

BUCKET_ROWS = 1 << 24
"""Maximum number of rows shuffled in memory, 8 bytes each; more rows use the disk."""
CHUNK_ROWS = 1 << 20
"""Rows to read at a time."""

Longs = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32 | np.int64]
Blocks = Callable[[], Iterable[Longs]]
"""Function that yields the rows, packed as one integer each, in blocks; repeatable."""


@dataclass(frozen=True)
class Sample:
    """Random subset of the positions below `n`, drawn without replacement, and its complement."""

    n: int
    n_drawn: int
    seed: int
    purpose: str
    """Purpose of the draw (see `invlearn.runtime.random.stream`)."""

    def positions(self, *, drawn: bool) -> Iterator[Positions]:
        """Yield positions in ascending order, in blocks.

        Args:
            drawn: Yield the drawn positions; otherwise the others.
        """
        if self.n <= BUCKET_ROWS:
            yield self._all[drawn]
            return
        left = self.n_drawn
        for number, start in enumerate(range(0, self.n, CHUNK_ROWS)):
            size = min(CHUNK_ROWS, self.n - start)
            rng = stream(self.seed, self.purpose, number)
            n_here = _share(left, size, self.n - start, rng)
            left -= n_here
            is_drawn = np.zeros(size, np.bool_)
            is_drawn[rng.choice(size, n_here, replace=False)] = True
            yield start + np.flatnonzero(is_drawn == drawn)

    @cached_property
    def _all(self) -> tuple[Positions, Positions]:
        """The positions not drawn and those drawn, if there are few."""
        order = np.arange(self.n, dtype=np.int32)
        if self.n_drawn:
            order = stream(self.seed, self.purpose).permutation(order)
        return np.sort(order[self.n_drawn :]), np.sort(order[: self.n_drawn])


def _share(n_drawn: int, size: int, n: int, rng: np.random.Generator) -> int:
    """Draw how many of `n_drawn` positions out of `n` fall into a block of `size`.

    The last block gets the remainder. From 10^9 positions on, the limit of numpy's hypergeometric
    draw, a binomial draw is used; the difference is negligible.
    """
    if size == n:
        return n_drawn
    if n < 10**9:
        return int(rng.hypergeometric(n_drawn, n - n_drawn, size))
    return min(int(rng.binomial(size, n_drawn / n)), n_drawn)


def shuffled(blocks: Blocks, n_rows: int, rng: np.random.Generator, scratch: Scratch) -> Longs:
    """Return the rows in a uniformly random order.

    Args:
        blocks: The rows.
        n_rows: Number of rows.
        rng: Determines the order.
        scratch: Storage for many rows.
    """
    if n_rows <= BUCKET_ROWS:
        rows = np.concatenate([np.empty(0, np.int64), *blocks()])
        rng.shuffle(rows)
        return rows
    n_buckets, key = -(-n_rows // BUCKET_ROWS), rng.integers(2**63)

    def deal() -> Callable[[Longs], Longs]:
        again = np.random.Generator(np.random.Philox(key))
        return lambda rows: again.integers(n_buckets, size=len(rows))

    return _in_buckets(blocks, deal, n_rows, n_buckets, rng.permutation, scratch)


def grouped(
    rows: Longs, group_of: Callable[[Longs], Longs], n_groups: int, scratch: Scratch
) -> Longs:
    """Return the rows sorted by group number; the order within a group is arbitrary.

    Args:
        rows: Rows from `shuffled`.
        group_of: Returns the group numbers of some rows, from 0.
        n_groups: Number of groups.
        scratch: Storage for many rows.
    """

    def sort(some: Longs) -> Longs:
        return some[np.argsort(group_of(some))]

    n_rows = len(rows)
    if n_rows <= BUCKET_ROWS:
        return sort(rows)
    n_buckets = -(-n_rows // BUCKET_ROWS)

    def blocks() -> Iterator[Longs]:
        return (np.array(rows[at : at + CHUNK_ROWS]) for at in range(0, n_rows, CHUNK_ROWS))

    def deal() -> Callable[[Longs], Longs]:
        return lambda some: group_of(some) * n_buckets // n_groups

    return _in_buckets(blocks, deal, n_rows, n_buckets, sort, scratch)


def _in_buckets(
    blocks: Blocks,
    deal: Callable[[], Callable[[Longs], Longs]],
    n_rows: int,
    n_buckets: int,
    arrange: Callable[[Longs], Longs],
    scratch: Scratch,
) -> Longs:
    """Return the rows sorted by bucket, and within each bucket as `arrange` returns them.

    `deal` returns a new function that assigns buckets, the same in each of two passes.
    """
    sizes, bucket_of = np.zeros(n_buckets, np.int64), deal()
    for rows in blocks():
        sizes += np.bincount(bucket_of(rows), minlength=n_buckets)
    ends = np.cumsum(sizes)
    order, places, bucket_of = scratch.array(n_rows, np.int64), ends - sizes, deal()
    for rows in blocks():
        buckets = bucket_of(rows)
        counts = np.bincount(buckets, minlength=n_buckets)
        pieces = np.split(rows[np.argsort(buckets, kind="stable")], np.cumsum(counts)[:-1])
        for bucket in np.flatnonzero(counts).tolist():
            order[places[bucket] :][: counts[bucket]] = pieces[bucket]
        places += counts
    for start, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True):
        order[start:end] = arrange(np.array(order[start:end]))
    return order
