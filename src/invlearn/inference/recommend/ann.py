"""An index of items that finds nearly all of the best ones without looking at every item.

For backbones whose logits are inner products, and for catalogues so large (a million items and
more) that looking at every item is too slow. Shapes: `width` is that of the factors.
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
"""Numbers of the vectors that are looked at closely at once, unless one user alone needs more."""
SAMPLE = 64
"""Items of each cell that the cells are learnt from."""


class ItemIndex:
    """Items in cells of neighbours; of a user's, only the cells that lie nearest are looked at.

    The highest inner product is made the nearest neighbour by one more column: with the largest
    length `m` of all items, `|(u, 0) - (v, sqrt(m^2 - |v|^2))|^2 = |u|^2 + m^2 - 2 u v`.
    There are about as many cells as the root of the number of items.

    Args:
        factors: Of the backbone.
        probed: Part of the cells that is looked at, above 0 and at most 1; with 1 it is exact.
        excluded: Dense ids of items that nobody is to get.

    Raises:
        ConfigError: `probed` is not such a part, or the extra `ann` is not installed.
    """

    def __init__(
        self, factors: Factors, *, probed: float, excluded: IntegerIds | None = None
    ) -> None:
        if not 0 < probed <= 1:
            raise ConfigError(
                f"the part of the index to look at must be above 0 and at most 1; found {probed}"
            )
        faiss = _faiss()
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
        """Find nearly the best `k` items of each user, as `ranking.catalogue_top_k` does.

        Args:
            users: Dense ids, shape `(users,)`.
            k: Length of the lists; of at least 1.
            seen: Pairs that are left out.
            progress: Told of each block.
        """
        if k < 1:
            raise ConfigError(f"a list cannot have the length {k}; give k of at least 1")
        k = min(k, len(self._ids))
        wanted = np.minimum(k + seen.lengths(users), len(self._ids))
        for block in blocks(wanted, BLOCK_CELLS // self._items.shape[1]):
            some = users[block]
            yield TopItems(some, *self._found(some, k, int(wanted[block].max()), seen))
            progress("search the index", block.stop, len(users))

    def _found(
        self, users: IntegerIds, k: int, wanted: int, seen: SeenItems
    ) -> tuple[Integers, npt.NDArray[np.float32]]:
        """Items and scores; `wanted` are asked for, so that `k` are left without the seen ones."""
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
        """Inner products, which distances give up to `|u|^2 + m^2` only."""
        vectors = self._items[torch.from_numpy(items.clip(0))]
        return torch.einsum("uw,ukw->uk", own, vectors).cpu().numpy()


def blocks(wanted: Integers, most: int) -> Iterator[slice]:
    """Cut users into blocks of which none looks at more than `most` items, if one user does not.

    Every user of a block is given as many items as the one who wants most.

    Args:
        wanted: Items that each user wants, shape `(users,)`.
        most: Users of a block times the items of each.

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
    """Factors of a backbone, with dropout off and without autograd.

    Raises:
        ConfigError: Its logits are no inner products.
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
    """Items with the column that brings all of them to the same length, `(items, width + 1)`."""
    squares = items.square().sum(dim=1)
    rest = (squares.max() - squares).clamp_min(0).sqrt() if len(items) else squares
    return torch.cat([items, rest[:, None]], dim=1).cpu().numpy().astype(np.float32)


def _is_seen(items: Integers, row: Integers, column: Integers) -> npt.NDArray[np.bool_]:
    """Whether each item of each row is among those that are told as cells."""
    size = 1 + max(int(items.max(initial=0)), int(column.max(initial=0)))
    keys = np.arange(len(items))[:, None] * size + items
    return np.isin(keys, row * size + column) & (items >= 0)


def _faiss() -> Any:
    require_extra("ann", ["faiss"], "an index")
    return import_module("faiss")
