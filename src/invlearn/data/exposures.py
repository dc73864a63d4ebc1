"""Training exposures: the (user, item) pairs shown in training, with their labels."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from invlearn.data.parts import Part
from invlearn.runtime.random import stream

Ids = npt.NDArray[np.int64]
Shape = tuple[int, int]
"""Numbers of users and of items."""


class Exposures(NamedTuple):
    """Pairs shown in training; columns of shape `(rows,)`."""

    users: Ids
    """Dense user ids."""
    items: Ids
    """Dense item ids."""
    labels: npt.NDArray[np.int8]
    """1, 0, or -1 (unlabelled)."""

    @classmethod
    def of(cls, train: Part, unlabelled: Part) -> "Exposures":
        """Concatenate labelled and unlabelled rows, in this order."""
        return cls(
            np.concatenate([train.users, unlabelled.users]).astype(np.int64),
            np.concatenate([train.items, unlabelled.items]).astype(np.int64),
            np.concatenate([train.labels, np.full(len(unlabelled.users), -1, np.int8)]),
        )

    @property
    def labelled(self) -> "Exposures":
        """The rows with a label."""
        known = self.labels >= 0
        return Exposures(self.users[known], self.items[known], self.labels[known])


def histories(users: Ids, *, here: slice, length: int, seed: int = 0) -> Ids:
    """Return up to `length` row numbers per user, a random subset if the user has more.

    Args:
        users: User of each row, shape `(rows,)`.
        here: Range of user ids.
        length: Maximum number of rows per user, at least 1.
        seed: Seed of the draw.

    Returns:
        Row numbers per user, ascending, padded with -1, shape `(users, length)`.

    Example:
        >>> histories(np.array([0, 2, 0]), here=slice(0, 3), length=2)
        array([[ 0,  2],
               [-1, -1],
               [ 1, -1]])
    """
    shuffled = stream(seed, "histories").permutation(len(users))
    kept = np.sort(shuffled[_place_within(users[shuffled]) < length])
    kept = kept[(users[kept] >= here.start) & (users[kept] < here.stop)]
    table = np.full((here.stop - here.start, length), -1)
    table[users[kept] - here.start, _place_within(users[kept])] = kept
    return table


def _place_within(groups: Ids) -> Ids:
    """Return the position (from 0) of each row within its group, in row order."""
    places = pl.DataFrame({"group": groups}).select(pl.int_range(pl.len()).over("group"))
    return places.to_series().to_numpy()
