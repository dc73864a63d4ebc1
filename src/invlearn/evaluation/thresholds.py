"""From probabilities to suggested labels of a stated precision.

A label is suggested where its probability lies beyond a threshold, such that the labelled rows
beyond it bear the label often enough. Legend of shapes: `rows` labelled rows, `pairs` any pairs.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.runtime.errors import ConfigError

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int8]
UNCLEAR = -1
"""The suggestion where neither label is likely enough."""
LEAST_ROWS = 100
"""Rows beyond a threshold that it takes to say anything of them."""
STANDARD_ERRORS = 2.0
"""By how many the rows beyond a threshold must keep their promise. Of all places the furthest that
passes is taken, which is often one that was lucky, so one standard error is too few."""


class Reach(NamedTuple):
    """How far one label reaches at a stated precision."""

    threshold: float | None
    """Probability of label 1 from which on (label 1) or down to which (label 0) the label is
    suggested; none if the precision is out of reach, and the label is never suggested."""
    rows: int = 0
    """Labelled rows beyond the threshold."""
    precision: float | None = None
    """Part of them that bears the label."""


class Thresholds(NamedTuple):
    """Both labels' reach at a stated precision."""

    positive: Reach
    negative: Reach


def find_thresholds(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, precision: float
) -> Thresholds:
    """Find how far each label reaches: as many rows as keep the precision.

    Each row that gets a label is also likelier to bear it than not. A threshold needs
    `LEAST_ROWS` rows beyond it, and what counts of their precision is the lower end of Wilson's
    interval of `STANDARD_ERRORS` (Wilson 1927): it costs 8 points with 100 rows at 90 %,
    one point with 4,000.

    Args:
        labels: 1 or 0, shape `(rows,)`.
        probabilities: Of label 1, from a model that was not fitted to these labels, `(rows,)`.
        precision: What is promised, above 0.5 and below 1.

    Raises:
        ConfigError: The precision is out of range.

    Example:
        >>> labels, claimed = [0] * 450 + [1] * 50 + [1] * 500, [0.1] * 500 + [0.8] * 500
        >>> find_thresholds(labels, claimed, 0.85).negative
        Reach(threshold=0.1, rows=500, precision=0.9)
        >>> find_thresholds(labels, claimed, 0.95).negative.threshold is None
        True
    """
    check_precision(precision)
    y, p = np.asarray(labels), np.asarray(probabilities)
    up, down = p >= 0.5, p < 0.5
    positive = _reach(y[up] == 1, -p[up], precision)
    negative = _reach(y[down] == 0, p[down], precision)
    if positive.threshold is not None:
        positive = positive._replace(threshold=-positive.threshold)
    return Thresholds(positive, negative)


def check_precision(precision: float) -> None:
    """Make sure that a precision can be promised.

    Raises:
        ConfigError: It is out of range.
    """
    if not 0.5 < precision < 1:
        raise ConfigError(f"precision must be above 0.5 and below 1; found {precision}")


def _reach(bears: npt.NDArray[np.bool_], order: Floats, precision: float) -> Reach:
    """The last place in rising `order` up to which enough rows bear the label."""
    by = order.argsort(kind="stable")
    order, hits = order[by], bears[by].cumsum()
    rows = np.arange(1, len(order) + 1)
    is_end = np.append(order[1:] > order[:-1], True)[: len(order)]
    is_good = wilson_lower(hits, rows) >= precision
    good = np.flatnonzero(is_end & is_good & (rows >= LEAST_ROWS))
    if not len(good):
        return Reach(None)
    last = good[-1]
    return Reach(float(order[last]), int(rows[last]), float(hits[last] / rows[last]))


def wilson_lower(hits: npt.ArrayLike, rows: npt.ArrayLike, *, z: float = STANDARD_ERRORS) -> Floats:
    """Lower end of Wilson's interval of a share, for `hits` of `rows`, both `(n,)`.

    Example:
        >>> wilson_lower([90, 3600], [100, 4000]).round(3).tolist()
        [0.824, 0.89]
    """
    n = np.asarray(rows, np.float64)
    share = np.asarray(hits, np.float64) / n
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (share + z**2 / (2 * n) - half) / (1 + z**2 / n)


def suggested(probabilities: Floats, thresholds: Thresholds) -> Labels:
    """Label of each pair: 1, 0 or `UNCLEAR`.

    Args:
        probabilities: Of label 1, shape `(pairs,)`; NaN is unclear.
        thresholds: Where the labels begin.
    """
    labels = np.full(len(probabilities), UNCLEAR, np.int8)
    above, below = (reach.threshold for reach in thresholds)
    if above is not None:
        labels[probabilities >= above] = 1
    if below is not None:
        labels[probabilities <= below] = 0
    return labels


def kept_promises(
    labels: npt.NDArray[Any], probabilities: Floats, promises: Sequence[Thresholds]
) -> list[dict[str, Any]]:
    """How often suggested labels are right, for each of several promises.

    Args:
        labels: 1 or 0, shape `(rows,)`.
        probabilities: Of label 1, shape `(rows,)`.
        promises: Thresholds of each.

    Returns:
        For each promise and class, rows that got the label and the part of them that bear it
        (none without rows).
    """
    return [_kept(labels, suggested(probabilities, thresholds)) for thresholds in promises]


def _kept(labels: npt.NDArray[Any], given: Labels) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, label in (("positive", 1), ("negative", 0)):
        rows = labels[given == label]
        right = float((rows == label).mean()) if len(rows) else None
        found[name] = {"rows": len(rows), "precision": right}
    return found
