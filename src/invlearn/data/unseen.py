"""Uniform draws from the items that no row of the given parts shows to a user."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from invlearn.data.dataset import Part
from invlearn.errors import ConfigError

Ids = npt.NDArray[np.integer]


class UnseenItems:
    """Draws unseen items exactly uniformly, without rejection, in memory linear in the rows.

    Let a user's seen items be `s_0 < s_1 < ...`. Before `s_j` lie `s_j - j` unseen ones, a number
    that never falls as `j` grows. So the `k`-th unseen item (from 0) is `k + c`, where `c` counts
    the seen items with `s_j - j <= k`; one binary search in all users' numbers laid end to end,
    each offset by its user, finds every `c` of a batch.
    """

    def __init__(self, seen: Sequence[Part], n_items: int) -> None:
        """Index what was shown.

        Args:
            seen: Parts without a pair in common.
            n_items: Number of items.

        Raises:
            ConfigError: Every user has seen every item.
        """
        stride = np.int64(n_items + 1)
        keys = np.sort(
            np.concatenate([part.users.astype(np.int64) * stride + part.items for part in seen])
        )
        users = keys // stride
        n_users = int(users[-1]) + 1 if len(users) else 0
        self._starts = np.searchsorted(users, np.arange(n_users + 1))
        self._stride = stride
        self._keys = keys - (np.arange(len(keys)) - self._starts[users])
        self._n_unseen = n_items - np.diff(self._starts)
        self._eligible = np.flatnonzero(self._n_unseen)
        if not len(self._eligible):
            raise ConfigError(
                "every user was shown every item, so none can be sampled; "
                "pass --unlabelled.source exposed"
            )

    def draw(self, users: Ids, rng: np.random.Generator) -> tuple[Ids, Ids]:
        """Draw one unseen item for each user.

        A user who has seen everything gives the place to a random other user.

        Args:
            users: Dense ids of users with seen items, shape `(pairs,)`.
            rng: Source of two numbers per pair.

        Returns:
            Users and items, int64 of shape `(pairs,)`.
        """
        spare = self._eligible[rng.integers(len(self._eligible), size=len(users))]
        users = np.where(self._n_unseen[users] > 0, users, spare)
        k = rng.integers(self._n_unseen[users])
        n_before = np.searchsorted(self._keys, users * self._stride + k, side="right")
        return users, k + n_before - self._starts[users]
