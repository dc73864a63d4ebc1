"""Histories of users, as sums over rows of item tables."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from invlearn.data.exposures import Exposures

KINDS = ("shown", "liked", "disliked")
"""Kinds of items in a history: all shown items, likes and dislikes."""
BLOCK_ROWS = 1 << 20
"""Exposures per block when iterating over all users."""


class Kind(NamedTuple):
    """Items of one kind by user: those of `u` are `items[starts[u]:starts[u] + counts[u]]`."""

    items: Tensor
    starts: Tensor
    counts: Tensor
    scales: Tensor
    """Scale of each user's sum, one over a root of items, shape `(n_users,)`."""


class Shown(NamedTuple):
    """Items shown to every user, and the label of each pair."""

    kinds: tuple[Kind, ...]
    """In the order of `KINDS`."""
    keys: Tensor
    """`user * n_items + item` of every exposed pair, ascending; then a sentinel key."""
    labels: Tensor
    """Label of each key: 1, 0, or -1 for none."""
    n_items: int

    @classmethod
    def of(cls, exposures: Exposures, shape: tuple[int, int], device: torch.device) -> "Shown":
        """Sort exposures by user and item; `shape` is `(n_users, n_items)`."""
        keys = exposures.users * shape[1] + exposures.items
        order = np.argsort(keys, kind="stable")
        users, items, labels = (column[order] for column in exposures)
        every, labelled = labels >= -1, labels >= 0
        kinds: list[Kind] = []
        for rows, whole in ((every, every), (labels == 1, labelled), (labels == 0, labelled)):
            counts, total = (np.bincount(users[of], minlength=shape[0]) for of in (rows, whole))
            columns = (items[rows], counts.cumsum() - counts, counts)
            scales = np.maximum(total, 1).astype(np.float32) ** -0.5
            tensors = (torch.from_numpy(column).to(device) for column in (*columns, scales))
            kinds.append(Kind(*tensors))
        return cls(
            tuple(kinds),
            torch.from_numpy(np.append(keys[order], shape[0] * shape[1])).to(device),
            torch.from_numpy(np.append(labels, np.int8(-1))).to(device),
            shape[1],
        )

    def sums(self, users: Tensor, tables: Sequence[Tensor]) -> Tensor:
        """Return the sum over kinds of scaled sums of their items' table rows.

        Args:
            users: Dense ids, shape `(users,)`.
            tables: One table per kind, shape `(n_items, dim)`.

        Returns:
            Sums, shape `(users, dim)`.
        """
        total = torch.zeros(len(users), tables[0].shape[1], device=users.device)
        for kind, table in zip(self.kinds, tables, strict=True):
            counts = kind.counts[users]
            bags = torch.repeat_interleave(torch.arange(len(users), device=users.device), counts)
            before = counts.cumsum(0) - counts
            within = torch.arange(len(bags), device=users.device) - before[bags]
            items = kind.items[kind.starts[users][bags] + within]
            summed = torch.zeros_like(total).index_add(0, bags, table[items])
            total = total + summed * kind.scales[users][:, None]
        return total

    def own(self, users: Tensor, items: Tensor, tables: Sequence[Tensor]) -> Tensor:
        """Return the term of a pair's own item in its user's sums, shape `(pairs, dim)`."""
        keys = users * self.n_items + items
        place = torch.searchsorted(self.keys, keys)
        there, labels = self.keys[place] == keys, self.labels[place]
        marks = (there, there & (labels == 1), there & (labels == 0))
        total = torch.zeros(len(users), tables[0].shape[1], device=users.device)
        for kind, mark, table in zip(self.kinds, marks, tables, strict=True):
            total = total + (mark * kind.scales[users])[:, None] * table[items]
        return total

    def blocks(self) -> list[Tensor]:
        """Return all users in blocks of about `BLOCK_ROWS` exposures."""
        shown = self.kinds[0].counts
        _, sizes = torch.unique_consecutive(shown.cumsum(0) // BLOCK_ROWS, return_counts=True)
        return list(torch.arange(len(shown), device=shown.device).split(sizes.tolist()))
