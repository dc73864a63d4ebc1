"""Trivial baselines: scores without a trained model, which any model has to beat.

All except `random` count labels of training rows. Rates are shrunk toward the mean of all training
rows, as if each item or user had `PSEUDO_ROWS` more rows at the mean rate; ids without training
rows get the mean.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from invlearn.backbones.rates import Floats, logit, mean_rate, shrunk_logit
from invlearn.data.exposures import Shape
from invlearn.data.parts import Part
from invlearn.data.types import IntegerIds
from invlearn.runtime.errors import unknown
from invlearn.runtime.random import stream


def baseline_scores(
    name: str, train: Part, users: IntegerIds, items: IntegerIds, *, shape: Shape, seed: int = 0
) -> Floats:
    """Return the scores of a baseline for pairs.

    * `random`: uniform noise.
    * `popularity`: positive training rows of the item.
    * `item-rate`: logit of the item's positive rate.
    * `item+user-rate`: logit of the item's rate plus that of the user's, minus the mean's;
      a logistic model with biases only, fitted in one pass.

    Args:
        name: One of `BASELINES`.
        train: Labelled training rows.
        users: Dense user ids of the pairs to score, shape `(rows,)`.
        items: Dense item ids of the pairs to score, shape `(rows,)`.
        shape: Numbers of users and of items; ids are below them.
        seed: Seed of `random`.

    Returns:
        Scores of shape `(rows,)`; the two rates are logits, the others define only an order.

    Raises:
        ConfigError: The baseline does not exist.
    """

    def item_logit() -> Floats:
        return _rate_logits(train.items, train.labels, shape[1])[items]

    def user_logit() -> Floats:
        return _rate_logits(train.users, train.labels, shape[0])[users]

    scores: dict[str, Callable[[], Floats]] = {
        "random": lambda: stream(seed, "random baseline").random(len(items)),
        "popularity": lambda: _counted(train.items, train.labels, shape[1])[items],
        "item-rate": item_logit,
        "item+user-rate": lambda: item_logit() + user_logit() - logit(mean_rate(train.labels)),
    }
    if name not in scores:
        raise unknown("baseline", name, BASELINES)
    return scores[name]()


BASELINES = ("random", "popularity", "item-rate", "item+user-rate")
"""Names for `baseline_scores`, usually from weakest to strongest."""

SLOW_BASELINES = ("exposure-factors",)
"""Stronger baselines that take seconds or minutes; see `assessment.measure_baselines`."""

ALL_BASELINES = BASELINES + SLOW_BASELINES

BLOCK_ROWS = 1 << 22
"""Training rows counted at a time."""

NO_LOSS = ("random", "popularity")
"""Baselines whose scores define only an order, without a meaningful log loss."""


def is_meaningless(metric: str, method: str) -> bool:
    """Return whether a metric is the log loss of a baseline in `NO_LOSS`."""
    return metric == "log_loss" and method in NO_LOSS


def _rate_logits(ids: IntegerIds, labels: npt.NDArray[Any], n_ids: int) -> Floats:
    """Return the logit of each id's shrunk positive rate, shape `(n_ids,)`."""
    positives, rows = _counted(ids, labels, n_ids), _counted(ids, None, n_ids)
    return shrunk_logit(positives, rows, mean_rate(labels))


def _counted(ids: IntegerIds, weights: npt.NDArray[Any] | None, n_ids: int) -> Floats:
    """Return the rows of each id, or their summed weights, computed block by block."""
    counts = np.zeros(n_ids)
    for start in range(0, len(ids), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        weigh = None if weights is None else weights[rows]
        counts += np.bincount(ids[rows], weights=weigh, minlength=n_ids)
    return counts
