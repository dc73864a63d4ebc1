"""Suggest labels of a stated precision from probabilities.

A label is suggested if its probability is beyond a threshold, chosen so that enough of the labelled
rows beyond it have the label. Legend of shapes: `rows` labelled rows, `pairs` any pairs.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.runtime.errors import ConfigError

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int8]
UNCLEAR = -1
"""Suggestion if neither label is likely enough."""
LEAST_ROWS = 100
"""Minimum of rows beyond a threshold."""
STANDARD_ERRORS = 2.0
"""Standard errors by which the precision beyond a threshold must be reached. The furthest passing
threshold is used, which often passes by chance, so one standard error is too few."""


class Reach(NamedTuple):
    """Threshold of one label at a stated precision."""

    threshold: float | None
    """Minimum (label 1) or maximum (label 0) probability of label 1 at which the label is
    suggested; none if the precision is not reached, and the label is never suggested."""
    rows: int = 0
    """Labelled rows beyond the threshold."""
    precision: float | None = None
    """Fraction of them with the label."""


class Thresholds(NamedTuple):
    """Thresholds of both labels at a stated precision."""

    positive: Reach
    negative: Reach


def find_thresholds(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, precision: float
) -> Thresholds:
    """Find the threshold of each label with the most rows at the precision.

    The probability of a suggested label is also at least 0.5. A threshold needs `LEAST_ROWS` rows
    beyond it, and its precision is the lower end of Wilson's interval of `STANDARD_ERRORS` (Wilson
    1927): it costs 8 points with 100 rows at 90 %, one point with 4,000.

    Args:
        labels: 1 or 0, shape `(rows,)`.
        probabilities: Of label 1, from a model not fitted to these labels, shape `(rows,)`.
        precision: Required precision, above 0.5 and below 1.

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
    """Check the range of a precision.

    Raises:
        ConfigError: It is not between 0.5 and 1.
    """
    if not 0.5 < precision < 1:
        raise ConfigError(f"precision must be above 0.5 and below 1; found {precision}")


def _reach(bears: npt.NDArray[np.bool_], order: Floats, precision: float) -> Reach:
    """Return the last value of ascending `order` up to which enough rows have the label."""
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
    """Return the lower end of Wilson's interval for `hits` of `rows`, both `(n,)`.

    Example:
        >>> wilson_lower([90, 3600], [100, 4000]).round(3).tolist()
        [0.824, 0.89]
    """
    n = np.asarray(rows, np.float64)
    share = np.asarray(hits, np.float64) / n
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (share + z**2 / (2 * n) - half) / (1 + z**2 / n)


def suggested(probabilities: Floats, thresholds: Thresholds) -> Labels:
    """Return the suggested label of each pair: 1, 0 or `UNCLEAR`.

    Args:
        probabilities: Of label 1, shape `(pairs,)`; NaN is unclear.
        thresholds: Thresholds of both labels.
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
    """Compute the precision of suggested labels for several promised precisions.

    Args:
        labels: 1 or 0, shape `(rows,)`.
        probabilities: Of label 1, shape `(rows,)`.
        promises: Thresholds for each promised precision.

    Returns:
        For each promise and class, the number of suggested rows and the fraction with that label
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
