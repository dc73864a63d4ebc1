"""Answers to requests, computed by a run: no network here."""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import polars as pl

from invlearn.data.ids import UNKNOWN, IdMap, Integers
from invlearn.data.types import IntegerIds
from invlearn.inference.recommend.recommendation import Recommender
from invlearn.inference.serving.schemas import (
    Health,
    Id,
    ItemList,
    RecommendAnswer,
    RecommendRequest,
    ScoreAnswer,
    ScoreRequest,
)


class Answering:
    """A recommender that answers requests and counts them; for one thread at a time.

    Args:
        recommender: The run, made ready.
    """

    def __init__(self, recommender: Recommender) -> None:
        self._ready = recommender
        self._requests = self._unknown_pairs = self._unknown_users = self._unknown_items = 0

    def score(self, request: ScoreRequest) -> ScoreAnswer:
        """Logits of pairs."""
        users = _dense(self._ready.users, [user for user, _ in request.pairs])
        items = _dense(self._ready.items, [item for _, item in request.pairs])
        known = (users != UNKNOWN) & (items != UNKNOWN)
        found: list[float | None] = [None] * len(users)
        logits = self._ready.run.score(users[known], items[known])
        self._requests += 1
        self._unknown_pairs += int((~known).sum())
        for place, logit in zip(np.flatnonzero(known).tolist(), logits.tolist(), strict=True):
            found[place] = logit
        return ScoreAnswer(logits=found, unknown_pairs=int((~known).sum()))

    def recommend(self, request: RecommendRequest) -> RecommendAnswer:
        """Lists of items for some users."""
        users = _dense(self._ready.users, request.users)
        excluded, n_unknown_items = self._excluded(request)
        lists = [ItemList(user=user, source=None, items=[], scores=[]) for user in request.users]
        n_unknown = int((users == UNKNOWN).sum())
        for block in self._ready.lists(
            users, k=request.k, excluded=excluded, with_seen=not request.exclude_seen
        ):
            for place, row, scores in zip(
                block.places.tolist(), block.top.items, block.top.scores, strict=True
            ):
                there = row != UNKNOWN
                lists[place].source = block.source
                lists[place].items = self._ready.items.original(row[there]).to_list()
                lists[place].scores = scores[there].tolist()
        self._requests += 1
        self._unknown_users += n_unknown
        self._unknown_items += n_unknown_items
        return RecommendAnswer(lists=lists, unknown_users=n_unknown, unknown_items=n_unknown_items)

    def health(self) -> Health:
        """What was answered so far."""
        return Health(
            version=version("invlearn"),
            requests=self._requests,
            unknown_pairs=self._unknown_pairs,
            unknown_users=self._unknown_users,
            unknown_items=self._unknown_items,
        )

    def _excluded(self, request: RecommendRequest) -> tuple[IntegerIds, int]:
        """Items that nobody is to get, and how many different ids the run does not have."""
        allowed = np.full(len(self._ready.items), request.items is None)
        n_unknown = 0
        for ids, value in ((request.items or [], True), (request.exclude_items, False)):
            dense = _dense(self._ready.items, list(dict.fromkeys(ids)))
            n_unknown += int((dense == UNKNOWN).sum())
            allowed[dense[dense != UNKNOWN]] = value
        return np.flatnonzero(~allowed), n_unknown


def _dense(known: IdMap, ids: Sequence[Id]) -> Integers:
    return known.dense(pl.Series([str(one) for one in ids], dtype=pl.String))
