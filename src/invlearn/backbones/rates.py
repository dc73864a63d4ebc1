"""Positive rates, shrunk towards the mean, and their logits."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PSEUDO_ROWS = 10.0
"""Rows of average outcome added to every item and user."""


def shrunk_logit(positives: npt.NDArray[Any], rows: npt.NDArray[Any], mean: float) -> Floats:
    """Logit of positive rates, as if there were `PSEUDO_ROWS` more rows with the rate `mean`.

    Args:
        positives: Number of positive rows, of any shape.
        rows: Number of rows, of the same shape.
        mean: Between 0 and 1, both excluded.
    """
    return logit((positives + PSEUDO_ROWS * mean) / (rows + PSEUDO_ROWS))


def mean_rate(labels: npt.NDArray[Any]) -> float:
    """Positive rate of all rows, kept off 0 and 1 by one more row of each class."""
    return (float(labels.sum(dtype=np.int64)) + 1) / (len(labels) + 2)


def logit(rate: npt.ArrayLike) -> Floats:
    """Log odds of rates between 0 and 1, both excluded."""
    rate = np.asarray(rate, np.float64)
    return np.log(rate) - np.log1p(-rate)
