"""Find the best-ranking mix of several models, on held-out labelled rows.

Shapes: `members` is `(models, rows)`, logits of at least two models; `labels` is `(rows,)`, 1 or 0;
`parts` is `(models,)`, integers that add up to `PARTS`.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement, permutations

import numpy as np
import numpy.typing as npt

from invlearn.backbones.rates import Floats
from invlearn.data.types import IntegerIds

PARTS = 12
"""Number of parts; weights are multiples of `1 / PARTS`."""
COARSE = 3
"""Equal shares of the initial grid."""

LEVELS, TAIL = 1 << 16, 1e-3
"""Distinct score levels, and the fraction clipped at either end."""

Parts = npt.NDArray[np.int64]


def best_parts(members: Floats, labels: IntegerIds, *, start: Parts) -> Parts:
    """Find the mix of highest AUC: the best of a grid and `start`, then a local search.

    The grid gives every third of the mix to some model, so it includes each model alone. The search
    moves single parts between models while that helps. So the result ranks these rows no worse than
    any model alone, up to the precision of `_area`. For non-finite scores `start` is returned.

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
        parts = max(_neighbors(best), key=lambda parts: _area(parts @ scores, positive))
        if not (area := _area(parts @ scores, positive)) > reached:
            return best
        best, reached = parts, area


def _grid(n_models: int) -> Iterator[Parts]:
    """Yield every assignment of `COARSE` equal shares to models."""
    for owners in combinations_with_replacement(range(n_models), COARSE):
        yield PARTS // COARSE * np.bincount(owners, minlength=n_models)


def _neighbors(parts: Parts) -> Iterator[Parts]:
    """Yield every mix that differs by one part."""
    unit = np.eye(len(parts), dtype=np.int64)
    for to, giver in permutations(range(len(parts)), 2):
        if parts[giver] > 0:
            yield parts + unit[to] - unit[giver]


def _area(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Return the AUC of scores rounded to `LEVELS` levels, ties 1/2: error about 1e-6.

    The outermost thousandth on either side counts as tied, so that outliers do not use up the
    levels. Needs no sorting.
    """
    low, high = np.quantile(scores, [TAIL, 1 - TAIL])
    within = np.clip(scores, low, high) - low
    levels = (within * (LEVELS / max(high - low, 1e-30))).astype(np.int32)
    rows = np.bincount(levels, minlength=LEVELS + 1)
    positives = np.bincount(levels[positive], minlength=LEVELS + 1)
    negatives = rows - positives
    below = negatives.cumsum() - negatives / 2
    return float(positives @ below / (positives.sum() * negatives.sum()))
