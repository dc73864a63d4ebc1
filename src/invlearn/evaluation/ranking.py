"""Ranking metrics and top-k lists over the whole catalogue.

Harder and coarser than the metrics of `evaluation.py`: every item without a test positive counts as
a miss, even if the user would like it. Legend of shapes: `block` users ranked at a time, `relevant`
test positives of those users.
"""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invlearn.data.parts import Part
from invlearn.data.seen import SeenItems
from invlearn.data.types import IntegerIds
from invlearn.evaluation.bootstrap import Ratio
from invlearn.evaluation.evaluation import Evaluation, check_finite, fingerprint, summarize
from invlearn.evaluation.metrics import Floats, Integers, discounts, expected_gain
from invlearn.evaluation.top_k import top_k
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.progress import Progress, silent

Matrix = npt.NDArray[np.floating[Any]]
BLOCK_USERS, BLOCK_SCORES = 256, 8_000_000
"""Maximum of users ranked, and of scores in memory, at a time."""
CACHED_SCORES = 2_000_000
"""Scores per block that fit a processor's cache for the second pass."""
ScoreUsers = Callable[[IntegerIds], Matrix]
"""From users to scores of every item, shape `(len(users), n_items)`."""


def rank_catalogue(
    score_users: ScoreUsers,
    train: Part,
    test: Part,
    *,
    n_items: int,
    users: IntegerIds,
    ks: Sequence[int] = (10, 20),
    block: int | None = None,
    also_masked: Sequence[Part] = (),
    draws: int = 1000,
    seed: int = 0,
    name: str = "run",
    progress: Progress = silent,
) -> Evaluation:
    """Compute Recall@k and NDCG@k of all items ranked for each user.

    The user's test positives are relevant; the user's training pairs are masked out. Ties count as
    their expected value under a random order, so a constant score gets the value of chance. Recall
    is divided by all relevant items, even if they are more than `k`.

    Args:
        score_users: Scores of every item for a block of users, `(block, n_items)`; they are
            ranked as float32.
        train: Pairs to mask, liked or not.
        test: Rows whose positives are relevant.
        n_items: Number of items; ids are below it.
        users: Distinct dense ids of the users, shape `(users,)`.
        ks: Lengths of the list.
        block: Users ranked at a time; by default at most 256, with `block * n_items` at most
            8 million scores, which are in memory three times.
        also_masked: Further parts to mask, such as the validation or the unlabelled part.
        draws: Bootstrap draws over users for the intervals; 0 for none.
        seed: Seed of the draws.
        name: Name of the scores in error messages.
        progress: Called for each block.

    Returns:
        `catalogue_recall@k` and `catalogue_ndcg@k`, means over the users with test positives;
        other users are counted as `users_without_positives`.

    Raises:
        ConfigError: A length is below 1.
        DataError: A score is not finite.
    """
    gains = _gains(ks)
    block = block or max(1, min(BLOCK_USERS, BLOCK_SCORES // n_items))
    liked = SeenItems.of([_positives(test)])
    masked = SeenItems.of([train, *also_masked])
    relevant = liked.lengths(users)
    ranked, wanted = users[relevant > 0], relevant[relevant > 0]
    sums = np.zeros((len(gains), len(ranked)))
    for start in range(0, len(ranked), block):
        some = ranked[start : start + block]
        scores = np.array(score_users(some), np.float32)
        check_finite(scores, name=name)
        scores[masked.cells(some)] = -inf
        sums[:, start : start + len(some)] = _earned(scores, liked.cells(some), gains)
        progress("rank the catalogue", start + len(some), len(ranked))
    found = {
        key: (Ratio(earned / gain.ideal(wanted), np.ones(len(ranked))),)
        for (key, gain), earned in zip(gains.items(), sums, strict=True)
    }
    basis = fingerprint(ranked, wanted, np.array([n_items]))
    return summarize(found, _counts(relevant, n_items), basis=basis, draws=draws, seed=seed)


class BlockScorer(Protocol):
    """Scores every item for a block of users, as `scoring.CatalogueScorer` does."""

    n_items: int
    """Number of items; ids are below it."""

    def __call__(self, users: IntegerIds, *, out: Tensor | None = None) -> Tensor:
        """Return float32 scores, shape `(users, n_items)`, in the first rows of `out` if given."""
        ...

    def empty(self, n_users: int) -> Tensor:
        """Return an uninitialized tensor for the scores of `n_users` users."""
        ...


class TopItems(NamedTuple):
    """Top items of a block of users."""

    users: IntegerIds
    """Dense user ids, shape `(block,)`."""
    items: Integers
    """Dense item ids, best first, lowest id first among ties; -1 where no item is left. Shape
    `(block, min(k, n_items))`."""
    scores: npt.NDArray[np.float32]
    """Scores of `items`, same shape; `-inf` where no item is left."""


def catalogue_top_k(
    score_users: BlockScorer,
    users: IntegerIds,
    *,
    k: int,
    seen: Sequence[Part] | SeenItems = (),
    excluded: IntegerIds | None = None,
    block: int | None = None,
    name: str = "run",
    progress: Progress = silent,
) -> Iterator[TopItems]:
    """Yield the `k` items with the highest scores for each user, without seen items.

    At most one block of scores is in memory, on the device of the weights.

    Args:
        score_users: Scores of every item for a block of users.
        users: Dense ids of the users, shape `(users,)`.
        k: Length of the lists.
        seen: Parts whose pairs are left out, or their sorted form.
        excluded: Dense ids of items excluded for all users, shape `(items,)`.
        block: Users at a time; by default at most 256, and at most 2 million scores.
        name: Name of the scores in error messages.
        progress: Called for each block.

    Yields:
        The lists of a block of users, in the order of `users`.

    Raises:
        ConfigError: `k` is below 1.
        DataError: A score is not finite.
    """
    block = block or max(1, min(BLOCK_USERS, CACHED_SCORES // score_users.n_items))
    masked = seen if isinstance(seen, SeenItems) else SeenItems.of(seen)
    room = score_users.empty(min(block, len(users)))
    out = torch.from_numpy(np.empty(0, np.int64) if excluded is None else excluded.astype(np.int64))
    for start in range(0, len(users), block):
        some = users[start : start + block]
        scores = score_users(some, out=room)
        if not torch.stack(scores.aminmax()).isfinite().all():
            check_finite(scores.cpu().numpy(), name=name)
        row, item = (torch.from_numpy(ids).to(scores.device) for ids in masked.cells(some))
        scores.view(-1).index_fill_(0, row * score_users.n_items + item, -inf)
        scores.index_fill_(1, out.to(scores.device), -inf)
        items, highest = top_k(scores, k)
        items = items.masked_fill(highest == -inf, -1)
        progress("rank the catalogue", start + len(some), len(users))
        yield TopItems(some, items.cpu().numpy(), highest.cpu().numpy())


class _Gain(NamedTuple):
    """Gain of a relevant item by position, as cumulative sums."""

    cumulative: Floats
    capped: bool
    """Whether the ideal gain of a user is cut at the length of the list."""

    def ideal(self, relevant: Integers) -> Floats:
        if not self.capped:
            return relevant.astype(np.float64)
        return self.cumulative[np.minimum(relevant, len(self.cumulative) - 1)]


def _gains(ks: Sequence[int]) -> dict[str, _Gain]:
    wrong = [k for k in ks if k < 1]
    if wrong:
        raise ConfigError(f"a list cannot have the length {wrong[0]}; give k of at least 1")
    recall = {f"catalogue_recall@{k}": _Gain(np.arange(k + 1.0), capped=False) for k in ks}
    return recall | {f"catalogue_ndcg@{k}": _Gain(discounts(k), capped=True) for k in ks}


def _earned(scores: Matrix, relevant: tuple[Integers, Integers], gains: dict[str, _Gain]) -> Floats:
    """Return each gain summed over each user's relevant items, shape `(gains, block)`.

    Only the highest scores of a row are used: a relevant item below them has no gain, and all items
    above one among them are also among them. Only ties of the lowest may be outside.
    """
    length = min(max(len(gain.cumulative) - 1 for gain in gains.values()), scores.shape[1])
    top = top_k(torch.from_numpy(scores), length)[1].numpy()
    least = top[:, -1]
    equals_of_least = np.count_nonzero(scores == least[:, None], axis=1)
    row, item = relevant
    own = scores[row, item]
    inside = (own >= least[row]) & (own > -inf)
    row, own = row[inside], own[inside, None]
    above = (top[row] > own).sum(axis=1)
    tied = np.where(own[:, 0] == least[row], equals_of_least[row], (top[row] == own).sum(axis=1))
    earned = [expected_gain(above, tied, gain.cumulative) for gain in gains.values()]
    return np.array([np.bincount(row, e, minlength=len(scores)) for e in earned], np.float64)


def _positives(test: Part) -> Part:
    keep = np.flatnonzero(test.labels == 1)
    return Part(test.users[keep], test.items[keep], test.labels[keep])


def _counts(relevant: Integers, n_items: int) -> dict[str, int]:
    scored = int((relevant > 0).sum())
    return {
        "rows": int(relevant.sum()),
        "items": n_items,
        "users": len(relevant),
        "users_scored": scored,
        "users_without_positives": len(relevant) - scored,
    }
