"""Request handlers: compute answers from a run, without any HTTP."""

from collections.abc import Sequence
from importlib.metadata import version

import polars as pl

from invlearn.data.ids import UNKNOWN, IdMap, Integers
from invlearn.inference.recommend.recommendation import Recommender
from invlearn.inference.serving import schemas


class Handlers:
    """Answers requests with a recommender and counts them; use it from one thread at a time.

    Args:
        recommender: The loaded run.
    """

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        counts = dict.fromkeys(("requests", "unknown_pairs", "unknown_users", "unknown_items"), 0)
        self._health = schemas.Health(version=version("invlearn"), **counts)

    def score(self, request: schemas.ScoreRequest) -> schemas.ScoreAnswer:
        """Return the logits of pairs."""
        users = _dense(self._recommender.users, [user for user, _ in request.pairs])
        items = _dense(self._recommender.items, [item for _, item in request.pairs])
        known = (users != UNKNOWN) & (items != UNKNOWN)
        scores = iter(self._recommender.run.score(users[known], items[known]).tolist())
        n_unknown = int((~known).sum())
        self._health.requests += 1
        self._health.unknown_pairs += n_unknown
        logits = [next(scores) if is_known else None for is_known in known]
        return schemas.ScoreAnswer(logits=logits, unknown_pairs=n_unknown)

    def recommend(self, request: schemas.RecommendRequest) -> schemas.RecommendAnswer:
        """Return the highest-scoring items of each user."""
        users = _dense(self._recommender.users, request.users)
        known = self._recommender.items
        only, never = (
            None if ids is None else _dense(known, list(dict.fromkeys(ids)))
            for ids in (request.items, request.exclude_items)
        )
        excluded, n_unknown_items = self._recommender.excluded(only, never)
        lists = [
            schemas.ItemList(user=user, source=None, items=[], scores=[]) for user in request.users
        ]
        n_unknown = int((users == UNKNOWN).sum())
        for block in self._recommender.lists(
            users, k=request.k, excluded=excluded, with_seen=not request.exclude_seen
        ):
            places = block.places.tolist()
            for place, row, scores in zip(places, block.top.items, block.top.scores, strict=True):
                filled = row != UNKNOWN
                lists[place].source = block.source
                lists[place].items = known.original(row[filled]).to_list()
                lists[place].scores = scores[filled].tolist()
        self._health.requests += 1
        self._health.unknown_users += n_unknown
        self._health.unknown_items += n_unknown_items
        return schemas.RecommendAnswer(
            lists=lists, unknown_users=n_unknown, unknown_items=n_unknown_items
        )

    def health(self) -> schemas.Health:
        """Return the counts so far."""
        return self._health.model_copy()


def _dense(known: IdMap, ids: Sequence[schemas.Id]) -> Integers:
    return known.dense(pl.Series([str(one) for one in ids], dtype=pl.String))
