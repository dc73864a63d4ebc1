"""Which mix of several models ranks best, by labelled rows that none of them was fitted to.

Shapes: `members` is `(models, rows)`, logits of two models or more; `labels` is `(rows,)`, 1 or 0;
`parts` is `(models,)`, whole numbers that add up to `PARTS`.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement, permutations

import numpy as np
import numpy.typing as npt

from invlearn.backbones.rates import Floats
from invlearn.data.types import IntegerIds

PARTS = 12
"""Parts that models are weighed in."""
COARSE = 3
"""Models among which the parts are shared out evenly at first: every such mix is tried."""

LEVELS, TAIL = 1 << 16, 1e-3
"""Scores that are told apart, and the part on either side that is not."""

Parts = npt.NDArray[np.int64]


def best_parts(members: Floats, labels: IntegerIds, *, start: Parts) -> Parts:
    """Find the mix of highest AUC: the best of a coarse grid and of `start`, then a climb.

    The grid gives every third of the mix to some model, so it holds each model alone, and the climb
    moves a part from one model to another while that helps: what is found ranks these rows no
    worse than any model alone, as far as `_area` can tell. With scores that are no numbers `start`
    stays.

    Example:
        >>> labels = np.array([1, 0, 1, 0])
        >>> best_parts(np.array([[0.0, 1, 1, 0], [4.0, 0, 3, 2]]), labels, start=np.array([12, 0]))
        array([8, 4])
    """
    scores = np.asarray(members, np.float64)
    if not np.isfinite(scores).all():
        return start
    positive = np.asarray(labels) > 0
    best = max((start, *_grid(len(members))), key=lambda parts: _area(parts @ scores, positive))
    reached = _area(best @ scores, positive)
    while True:
        parts = max(_neighbours(best), key=lambda parts: _area(parts @ scores, positive))
        if not (area := _area(parts @ scores, positive)) > reached:
            return best
        best, reached = parts, area


def _grid(n_models: int) -> Iterator[Parts]:
    """Every way to give `COARSE` equal shares to models."""
    for owners in combinations_with_replacement(range(n_models), COARSE):
        yield PARTS // COARSE * np.bincount(owners, minlength=n_models)


def _neighbours(parts: Parts) -> Iterator[Parts]:
    """Every mix that differs by one part."""
    unit = np.eye(len(parts), dtype=np.int64)
    for to, giver in permutations(range(len(parts)), 2):
        if parts[giver] > 0:
            yield parts + unit[to] - unit[giver]


def _area(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """AUC of the scores rounded to `LEVELS` levels, ties 1/2: no sorting, off by some 1e-6.

    The outermost thousandth on either side counts as tied, or one score far out would leave no
    levels to the others.
    """
    low, high = np.quantile(scores, [TAIL, 1 - TAIL])
    within = np.clip(scores, low, high) - low
    levels = (within * (LEVELS / max(high - low, 1e-30))).astype(np.int32)
    rows = np.bincount(levels, minlength=LEVELS + 1)
    positives = np.bincount(levels[positive], minlength=LEVELS + 1)
    negatives = rows - positives
    below = negatives.cumsum() - negatives / 2
    return float(positives @ below / (positives.sum() * negatives.sum()))
