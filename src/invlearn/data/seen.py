"""Index of the items that each user has seen."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.data.parts import Part
from invlearn.data.types import IntegerIds

Integers = npt.NDArray[np.int64]


class SeenItems(NamedTuple):
    """Seen items by user, as two columns of shape `(rows,)`.

    Example:
        >>> users, items = np.array([0, 2, 2], np.int32), np.array([5, 1, 4], np.int32)
        >>> seen = SeenItems.of([Part(users, items, np.ones(3, np.int8))])
        >>> seen.lengths(np.array([2, 1]))
        array([2, 0])
    """

    users: IntegerIds
    """Dense user ids, ascending."""
    items: Integers
    """Dense item id of each row."""

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "SeenItems":
        """Collect all pairs of some parts of a dataset."""
        none = np.empty(0, np.int32)
        users = np.concatenate([none, *(part.users for part in parts)])
        items = np.concatenate([none, *(part.items for part in parts)]).astype(np.int64)
        order = np.argsort(users, kind="stable")
        return cls(users[order], items[order])

    def lengths(self, users: IntegerIds) -> Integers:
        """Return the number of seen items per user, shape `(len(users),)`; 0 for unknown users."""
        first, last = self._bounds(users)
        return last - first

    def cells(self, users: IntegerIds) -> tuple[Integers, Integers]:
        """Return row and column indices of seen items in a `(len(users), n_items)` matrix."""
        first, last = self._bounds(users)
        picked = [self.items[a:b] for a, b in zip(first, last, strict=True)]
        columns = np.concatenate([np.empty(0, np.int64), *picked])
        return np.repeat(np.arange(len(users)), last - first), columns

    def _bounds(self, users: IntegerIds) -> tuple[Integers, Integers]:
        users = users.astype(self.users.dtype)  # otherwise every search converts the whole column
        first = np.searchsorted(self.users, users, side="left")
        return first, np.searchsorted(self.users, users, side="right")
