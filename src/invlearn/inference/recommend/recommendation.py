"""The items that come first for each user: what a trained run is for.

The model answers for the users that its training knew. For all others there is a stated fallback,
the same list for everybody, so that nobody takes the noise of untrained weights for taste.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invlearn.backbones.backbone import FitsExposures, ReadsFeatures
from invlearn.data.dataset import Dataset
from invlearn.data.ids import UNKNOWN, IdMap, Integers
from invlearn.data.parts import Part
from invlearn.data.seen import SeenItems
from invlearn.data.types import IntegerIds
from invlearn.evaluation.baselines import baseline_scores
from invlearn.evaluation.ranking import BlockScorer, TopItems, catalogue_top_k
from invlearn.evaluation.scoring import CatalogueScorer
from invlearn.inference.recommend.ann import ItemIndex
from invlearn.runtime.errors import unknown
from invlearn.runtime.progress import Progress, silent
from invlearn.training.run import Run

LeaveOut = Literal["labelled", "shown", "all", "nothing"]
"""Pairs that are not recommended: those with a training label, all of training, all of the
dataset (validation and test as well), or none."""
Fallback = Literal["item-rate", "popularity", "none"]
"""What answers for users that training did not know: items by their shrunk positive rate, as a
logit, or by their number of positive training rows; or nothing."""
MODEL = "model"
"""Source of the lists that the model made."""


class Lists(NamedTuple):
    """Lists of a block of users, best item first."""

    places: Integers
    """Where the users stand among those who were asked for, shape `(block,)`."""
    top: TopItems
    """Their lists; a user that the run does not have has the dense id -1."""
    source: str
    """`model`, or the name of the fallback."""


@dataclass(frozen=True, slots=True)
class Recommender:
    """A run, ready to answer with lists of items."""

    run: Run
    users: IdMap = field(repr=False)
    items: IdMap = field(repr=False)
    scorer: BlockScorer = field(repr=False)
    fallback: "SameForAll | None" = field(repr=False)
    seen: SeenItems = field(repr=False)
    is_new: npt.NDArray[np.bool_] = field(repr=False)
    """Whether the model knows nothing of a user of the run, shape `(n_users,)`."""
    columns: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """Names of the columns `user` and `item` in the dataset's log, where it is at hand."""

    @classmethod
    def of(
        cls,
        run: Run,
        *,
        leave_out: LeaveOut = "labelled",
        fallback: Fallback = "item-rate",
        dataset: str | Path | None = None,
    ) -> "Recommender":
        """Make a run ready.

        Only with nothing to leave out and no fallback is the dataset not needed; every user of the
        run is then taken for known.

        Args:
            run: The run.
            leave_out: Pairs that are not recommended.
            fallback: What answers for users that training did not know.
            dataset: Where the run's dataset is now, if it was moved.

        Raises:
            ConfigError: There is no such choice.
            DataError: The dataset is missing or damaged.
            RunError: It is not the run's own.
        """
        for kind, value, choices in (
            ("choice of what to leave out", leave_out, get_args(LeaveOut)),
            ("fallback", fallback, get_args(Fallback)),
        ):
            if value not in choices:
                raise unknown(kind, value, choices)
        ids = run.card.ids
        users, items = (
            IdMap.open(run.folder / name, ids.get(name))
            for name in ("users.parquet", "items.parquet")
        )
        needed = leave_out != "nothing" or fallback != "none"
        data = run.dataset(dataset) if needed else None
        n_users, n_items = run.card.n_users, run.card.n_items
        return cls(
            run,
            users,
            items,
            CatalogueScorer(run.module, n_items),
            SameForAll.of(fallback, data) if data and fallback != "none" else None,
            SeenItems.of(_left_out(data, leave_out) if data else ()),
            _is_new(run, data) if data else np.zeros(n_users, np.bool_),
            dict(data.card.columns) if data else {},
        )

    def known(self, users: IntegerIds) -> npt.NDArray[np.bool_]:
        """Whether the model can say something of dense user ids, -1 among them or not."""
        return (users != UNKNOWN) & ~self.is_new[users]

    def lists(
        self,
        users: IntegerIds,
        *,
        k: int,
        excluded: IntegerIds | None = None,
        with_seen: bool = False,
        index: ItemIndex | None = None,
        progress: Progress = silent,
    ) -> Iterator[Lists]:
        """Find the best `k` items of each user, block by block, exactly.

        Args:
            users: Dense ids, -1 for a user that the run does not have; shape `(users,)`.
            k: Length of the lists; those of users with fewer items left end in -1.
            excluded: Dense ids of items that nobody is to get.
            with_seen: Recommend also what would be left out.
            index: Search it for the model's lists, nearly exactly; made without the barred items.
            progress: Told of each block.

        Yields:
            First the lists that the model makes, then those of the fallback. Without a fallback
            nobody answers for the others.
        """
        known, seen = self.known(users), SeenItems.of(()) if with_seen else self.seen
        groups: tuple[tuple[str, BlockScorer | None, Integers], ...] = (
            (MODEL, self.scorer, np.flatnonzero(known)),
            (self.fallback.name if self.fallback else "", self.fallback, np.flatnonzero(~known)),
        )
        for source, scorer, places in groups:
            if scorer is None:
                continue
            some = users[places]
            if index and source == MODEL:
                blocks = index.top_k(some, k=k, seen=seen, progress=progress)
            else:
                blocks = catalogue_top_k(
                    scorer, some, k=k, seen=seen, excluded=excluded, name=str(self.run.folder),
                    progress=progress,
                )  # fmt: skip
            done = 0
            for top in blocks:
                yield Lists(places[done : done + len(top.users)], top, source)
                done += len(top.users)


class SameForAll:
    """One score for each item, whoever the user is."""

    def __init__(self, name: str, scores: npt.NDArray[np.floating]) -> None:
        self.name, self.n_items = name, len(scores)
        self._scores = torch.from_numpy(scores.astype(np.float32))

    @classmethod
    def of(cls, name: str, dataset: Dataset) -> "SameForAll":
        """Count training labels, as `invlearn.evaluation.baselines` does."""
        items = np.arange(dataset.n_items)
        sizes = {"n_users": dataset.n_users, "n_items": dataset.n_items}
        return cls(name, baseline_scores(name, dataset.train, np.zeros_like(items), items, **sizes))

    def __call__(self, users: IntegerIds, *, out: Tensor | None = None) -> Tensor:
        """Scores of shape `(users, n_items)`."""
        out = (self.empty(len(users)) if out is None else out)[: len(users)]
        return out.copy_(self._scores.expand_as(out))

    def empty(self, n_users: int) -> Tensor:
        """Room for the scores of `n_users` users."""
        return torch.empty(n_users, self.n_items)


def _left_out(dataset: Dataset, leave_out: LeaveOut) -> tuple[Part, ...]:
    shown = dataset.train, dataset.unlabelled
    parts: dict[LeaveOut, tuple[Part, ...]] = {
        "labelled": shown[:1],
        "shown": shown,
        "all": (*shown, dataset.valid, dataset.test),
        "nothing": (),
    }
    return parts[leave_out]


def _is_new(run: Run, dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Whether a user has no training label, nor anything else that the backbone reads of them."""
    parts = [dataset.train]
    if isinstance(run.module, FitsExposures):
        parts.append(dataset.unlabelled)
    is_new = np.ones(dataset.n_users, np.bool_)
    for part in parts:
        is_new[part.users] = False
    has_features = dataset.feature_card.user.categorical or dataset.feature_card.user.numeric
    reads = isinstance(run.module, ReadsFeatures) and run.config.model.get("use_features", True)
    return is_new & (not (has_features and reads))
