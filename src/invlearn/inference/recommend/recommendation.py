"""The highest-scoring items of each user.

The model makes the lists of users known to training. Other users get the same list from a fallback,
because the scores of untrained weights are noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from invlearn.backbones.backbone import FitsExposures, ReadsFeatures
from invlearn.data.dataset import Dataset
from invlearn.data.ids import UNKNOWN, IdMap, Integers
from invlearn.data.parts import PARTS, Part
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
"""Source of lists for users unknown to training: the shrunk positive rate of each item as a logit,
its number of positive training rows, or nothing."""
MODEL = "model"
"""Source of the model's lists."""


class Lists(NamedTuple):
    """Lists of a block of users, best item first."""

    places: Integers
    """Positions of the users among the requested ones, shape `(block,)`."""
    top: TopItems
    """Their lists; an unknown user has the dense id -1."""
    source: str
    """`model`, or the name of the fallback."""


@dataclass(frozen=True, slots=True)
class Recommender:
    """A loaded run that makes lists of items."""

    run: Run
    users: IdMap = field(repr=False)
    items: IdMap = field(repr=False)
    scorer: BlockScorer = field(repr=False)
    fallback: "SameForAll | None" = field(repr=False)
    seen: SeenItems = field(repr=False)
    is_new: npt.NDArray[np.bool_] = field(repr=False)
    """Whether a user of the run is unknown to the model, shape `(n_users,)`."""
    columns: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """Names of the columns `user` and `item` in the dataset's log, if the dataset was opened."""

    @classmethod
    def of(
        cls,
        run: Run,
        *,
        leave_out: LeaveOut = "labelled",
        fallback: Fallback = "item-rate",
        dataset: str | Path | None = None,
    ) -> "Recommender":
        """Load a run.

        Without a fallback and with nothing to leave out the dataset is not needed, and every user
        of the run counts as known.

        Args:
            run: The run.
            leave_out: Pairs that are not recommended.
            fallback: Source of lists for users unknown to training.
            dataset: Path of the run's dataset, if it was moved.

        Raises:
            ConfigError: A choice does not exist.
            DataError: The dataset is missing or damaged.
            RunError: The dataset is not the run's own.
        """
        for kind, value, choices in (
            ("choice of what to leave out", leave_out, get_args(LeaveOut)),
            ("fallback", fallback, get_args(Fallback)),
        ):
            if value not in choices:
                raise unknown(kind, value, choices)
        files = ("users.parquet", "items.parquet")
        users, items = (IdMap.open(run.folder / file, run.card.ids.get(file)) for file in files)
        is_needed = leave_out != "nothing" or fallback != "none"
        data = run.dataset(dataset) if is_needed else None
        return cls(
            run,
            users,
            items,
            CatalogueScorer(run.module, run.card.n_items),
            SameForAll.of(fallback, data) if data and fallback != "none" else None,
            SeenItems.of(_left_out(data, leave_out) if data else ()),
            _is_new(run, data) if data else np.zeros(run.card.n_users, np.bool_),
            dict(data.card.columns) if data else {},
        )

    def known(self, users: IntegerIds) -> npt.NDArray[np.bool_]:
        """Return whether the model knows each dense user id; -1 is unknown."""
        return (users != UNKNOWN) & ~self.is_new[users]

    def excluded(self, only: Integers | None, never: Integers | None) -> tuple[Integers, int]:
        """Return the items to exclude, and how many of the given ids are unknown.

        Args:
            only: Dense ids of the items to recommend; none for all.
            never: Dense ids of items to exclude.
        """
        allowed, n_unknown = np.full(len(self.items), only is None), 0
        for dense, value in ((only, True), (never, False)):
            if dense is not None:
                n_unknown += int((dense == UNKNOWN).sum())
                allowed[dense[dense != UNKNOWN]] = value
        return np.flatnonzero(~allowed), n_unknown

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
        """Find the `k` highest-scoring items of each user, block by block.

        Args:
            users: Dense ids, -1 for a user that the run does not have; shape `(users,)`.
            k: Length of the lists; those of users with fewer items left end in -1.
            excluded: Dense ids of items to exclude for all users.
            with_seen: Also recommend seen pairs.
            index: Index to search for the model's lists; it must not contain excluded items.
            progress: Called for each block.

        Yields:
            First the lists of the model, then those of the fallback if there is one.
        """
        known, seen = self.known(users), SeenItems.of(()) if with_seen else self.seen
        groups = [(MODEL, self.scorer, np.flatnonzero(known))]
        if self.fallback:
            groups.append((self.fallback.name, self.fallback, np.flatnonzero(~known)))
        given: Any = {"k": k, "seen": seen, "progress": progress}
        for source, scorer, places in groups:
            some, name = users[places], str(self.run.folder)
            if index and source == MODEL:
                blocks = index.top_k(some, **given)
            else:
                blocks = catalogue_top_k(scorer, some, excluded=excluded, name=name, **given)
            done = 0
            for top in blocks:
                yield Lists(places[done : done + len(top.users)], top, source)
                done += len(top.users)


class SameForAll:
    """Scores items, the same for all users."""

    def __init__(self, name: str, scores: npt.NDArray[np.floating]) -> None:
        self.name, self.n_items = name, len(scores)
        self._scores = torch.from_numpy(scores.astype(np.float32))

    @classmethod
    def of(cls, name: str, dataset: Dataset) -> "SameForAll":
        """Return a baseline of `invlearn.evaluation.baselines`, fitted to the training labels."""
        items = np.arange(dataset.n_items)
        shape = dataset.n_users, dataset.n_items
        users = np.zeros_like(items)
        return cls(name, baseline_scores(name, dataset.train, users, items, shape=shape))

    def __call__(self, users: IntegerIds, *, out: Tensor | None = None) -> Tensor:
        """Return scores of shape `(users, n_items)`."""
        out = (self.empty(len(users)) if out is None else out)[: len(users)]
        return out.copy_(self._scores.expand_as(out))

    def empty(self, n_users: int) -> Tensor:
        """Return an uninitialized tensor for the scores of `n_users` users."""
        return torch.empty(n_users, self.n_items)


def _left_out(dataset: Dataset, leave_out: LeaveOut) -> tuple[Part, ...]:
    names = {"nothing": (), "labelled": ("train",), "shown": ("train", "unlabelled"), "all": PARTS}
    return tuple(getattr(dataset, name) for name in names[leave_out])


def _is_new(run: Run, dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Return whether a user has no training label, and no other data that the backbone reads."""
    parts = [dataset.train]
    if isinstance(run.module, FitsExposures):
        parts.append(dataset.unlabelled)
    is_new = np.ones(dataset.n_users, np.bool_)
    for part in parts:
        is_new[part.users] = False
    has_features = dataset.feature_card.user.categorical or dataset.feature_card.user.numeric
    reads = isinstance(run.module, ReadsFeatures) and run.config.model.get("use_features", True)
    return is_new & (not (has_features and reads))
