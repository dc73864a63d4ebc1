"""Approximate search: an index that finds nearly all top items without scoring every item.

For backbones whose logits are inner products, and for catalogues of a million items and more.
Shapes: `width` is the width of the factors.
"""

from collections.abc import Iterator
from importlib import import_module
from math import ceil, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from invlearn.backbones.backbone import Factors, InnerProduct
from invlearn.data.seen import Integers, SeenItems
from invlearn.data.types import IntegerIds
from invlearn.evaluation.ranking import TopItems
from invlearn.runtime.environment import require_extra
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.progress import Progress, silent

BLOCK_USERS = 256
BLOCK_CELLS = 1 << 24
"""Numbers in the vectors that are scored at once, unless one user needs more."""
SAMPLE = 64
"""Items per cell that the cells are fitted to."""


class ItemIndex:
    """Items in cells of neighbors; a search scores only the items of the cells nearest to a user.

    One more column makes the highest inner product the nearest neighbor: with the largest length
    `m` of all items, `|(u, 0) - (v, sqrt(m^2 - |v|^2))|^2 = |u|^2 + m^2 - 2 u v`. The number of
    cells is about the square root of the number of items.

    Args:
        factors: Factors of the backbone.
        probed: Fraction of the cells to search, above 0 and at most 1; with 1 it is exact.
        excluded: Dense ids of items to leave out.

    Raises:
        ConfigError: `probed` is out of range, or the extra `ann` is not installed.
    """

    def __init__(
        self, factors: Factors, *, probed: float, excluded: IntegerIds | None = None
    ) -> None:
        if not 0 < probed <= 1:
            raise ConfigError(
                f"the part of the index to look at must be above 0 and at most 1; found {probed}"
            )
        require_extra("ann", ["faiss"], "an index")
        faiss: Any = import_module("faiss")
        self._users, self._items = factors
        allowed = np.ones(len(self._items), np.bool_)
        if excluded is not None:
            allowed[excluded] = False
        self._ids: Integers = np.flatnonzero(allowed)
        raised = _raised(self._items[torch.from_numpy(self._ids)])
        cells = max(1, round(sqrt(len(raised))))
        quantizer = faiss.IndexFlatL2(raised.shape[1])
        self._index: Any = faiss.IndexIVFFlat(quantizer, raised.shape[1], cells)
        self._index.cp.max_points_per_centroid = SAMPLE
        self._index.cp.min_points_per_centroid = 1  # no warning on standard output of few items
        self._index.nprobe = ceil(probed * cells)
        if len(raised):
            self._index.train(raised)
            self._index.add(raised)

    def top_k(
        self, users: IntegerIds, *, k: int, seen: SeenItems, progress: Progress = silent
    ) -> Iterator[TopItems]:
        """Find nearly the top `k` items of each user, as `ranking.catalogue_top_k` does exactly.

        Args:
            users: Dense ids, shape `(users,)`.
            k: Length of the lists, at least 1.
            seen: Pairs to leave out.
            progress: Called for each block.
        """
        k = min(k, len(self._ids))
        wanted = np.minimum(k + seen.lengths(users), len(self._ids))
        for block in blocks(wanted, BLOCK_CELLS // self._items.shape[1]):
            some = users[block]
            yield TopItems(some, *self._found(some, k, int(wanted[block].max()), seen))
            progress("search the index", block.stop, len(users))

    def _found(
        self, users: IntegerIds, k: int, wanted: int, seen: SeenItems
    ) -> tuple[Integers, npt.NDArray[np.float32]]:
        """Return items and scores; searches for `wanted` items, of which `k` are not seen."""
        own = self._users[torch.from_numpy(users.astype(np.int64))]
        raised = torch.cat([own, torch.zeros_like(own[:, :1])], dim=1)
        found = self._index.search(raised.cpu().numpy(), wanted)[1] if wanted else None
        places = np.empty((len(users), 0), np.int64) if found is None else found
        items = np.where(places >= 0, self._ids[places], -1)
        scores = self._scores(own, items)
        scores[_is_seen(items, *seen.cells(users))] = -np.inf
        scores[items < 0] = -np.inf
        first = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        items, scores = (np.take_along_axis(column, first, axis=1) for column in (items, scores))
        return np.where(scores == -np.inf, -1, items), scores

    def _scores(self, own: torch.Tensor, items: Integers) -> npt.NDArray[np.float32]:
        """Return inner products, which are more precise than those from the distances."""
        vectors = self._items[torch.from_numpy(items.clip(0))]
        return torch.einsum("uw,ukw->uk", own, vectors).cpu().numpy()


def blocks(wanted: Integers, most: int) -> Iterator[slice]:
    """Split users into blocks that search for at most `most` items, or contain a single user.

    The search of a block finds the same number of items for all its users: the largest.

    Args:
        wanted: Items to find for each user, shape `(users,)`.
        most: Maximum number of users of a block times items per user.

    Example:
        >>> [(b.start, b.stop) for b in blocks(np.array([2, 2, 2, 9, 1, 1]), 6)]
        [(0, 3), (3, 4), (4, 6)]
    """
    start = widest = 0
    for at, own in enumerate(wanted.tolist()):
        widest, users = max(widest, own), at + 1 - start
        if at > start and (users * widest > most or users > BLOCK_USERS):
            yield slice(start, at)
            start, widest = at, own
    if len(wanted):
        yield slice(start, len(wanted))


def factors_of(module: nn.Module, name: str) -> Factors:
    """Return the factors of a backbone, without dropout and autograd.

    Raises:
        ConfigError: Its logits are not inner products.
    """
    if not isinstance(module, InnerProduct):
        raise ConfigError(
            f"an index needs a backbone whose logits are inner products, and {name} is none; "
            "leave the approximation away, or train gmf, mf, two-tower, lightgcn or exposure-hybrid"
        )
    module.eval()
    with torch.no_grad():
        return module.as_factors()


def _raised(items: torch.Tensor) -> npt.NDArray[np.float32]:
    """Return items with a column that makes their lengths equal, `(items, width + 1)`."""
    squares = items.square().sum(dim=1)
    rest = (squares.max() - squares).clamp_min(0).sqrt() if len(items) else squares
    return torch.cat([items, rest[:, None]], dim=1).cpu().numpy().astype(np.float32)


def _is_seen(items: Integers, row: Integers, column: Integers) -> npt.NDArray[np.bool_]:
    """Return whether each item of each row is among the cells given by `row` and `column`."""
    size = 1 + max(int(items.max(initial=0)), int(column.max(initial=0)))
    keys = np.arange(len(items))[:, None] * size + items
    return np.isin(keys, row * size + column) & (items >= 0)
