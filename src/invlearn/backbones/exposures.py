"""What a backbone may know of a dataset before it trains: who was shown what."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from invlearn.randomness import stream

Ids = npt.NDArray[np.int64]


class Exposures(NamedTuple):
    """Every pair that was shown in training, once; columns of shape `(rows,)`."""

    users: Ids
    """Dense user ids."""
    items: Ids
    """Dense item ids."""
    labels: npt.NDArray[np.int8]
    """1, 0, or -1 where nobody said."""


@runtime_checkable
class ReadsExposures(Protocol):
    """A backbone that reads exposures before its first step.

    What it keeps of them must be buffers whose shapes its constructor decides, so that they are
    saved and loaded with the weights, and a trained backbone needs no dataset.
    """

    def read(self, exposures: Exposures) -> None:
        """Take in who was shown what; called once, before training."""
        ...


def matrix(exposures: Exposures, shape: tuple[int, int]) -> csr_matrix:
    """Users x items, 1.0 where a pair was shown."""
    ones = np.ones(len(exposures.users))
    return csr_matrix((ones, (exposures.users, exposures.items)), shape=shape)


def histories(users: Ids, *, n_users: int, length: int, seed: int = 0) -> Ids:
    """Rows of each user, at most `length` of them, drawn at random where there are more.

    Args:
        users: User of each row, shape `(rows,)`.
        n_users: Number of users.
        length: Places of a user, at least 1.
        seed: Of the draw.

    Returns:
        Numbers of rows, ascending, shape `(n_users, length)`; places without a row hold -1.

    Example:
        >>> histories(np.array([0, 2, 0]), n_users=3, length=2)
        array([[ 0,  2],
               [-1, -1],
               [ 1, -1]])
    """
    shuffled = stream(seed, "histories").permutation(len(users))
    kept = np.sort(shuffled[_place_within(users[shuffled]) < length])
    table = np.full((n_users, length), -1)
    table[users[kept], _place_within(users[kept])] = kept
    return table


def _place_within(groups: Ids) -> Ids:
    """Place of each row among those of its group, from 0, in the order of the rows."""
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    places = np.empty(len(groups), np.int64)
    places[order] = np.arange(len(groups)) - (counts.cumsum() - counts)[groups[order]]
    return places
