"""Positive rates, shrunk toward the mean, and their logits."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PSEUDO_ROWS = 10.0
"""Rows with the mean rate added to every item and user."""


def shrunk_logit(positives: npt.NDArray[Any], rows: npt.NDArray[Any], mean: float) -> Floats:
    """Return the logit of positive rates with `PSEUDO_ROWS` more rows at the rate `mean`.

    Args:
        positives: Number of positive rows, of any shape.
        rows: Number of rows, of the same shape.
        mean: Mean rate, strictly between 0 and 1.
    """
    return logit((positives + PSEUDO_ROWS * mean) / (rows + PSEUDO_ROWS))


def mean_rate(labels: npt.NDArray[Any]) -> float:
    """Return the positive rate with one more row per class, so never 0 or 1."""
    return (float(labels.sum(dtype=np.int64)) + 1) / (len(labels) + 2)


def logit(rate: npt.ArrayLike) -> Floats:
    """Return the log odds of rates strictly between 0 and 1."""
    rate = np.asarray(rate, np.float64)
    return np.log(rate) - np.log1p(-rate)


def rate_of(logits: Floats) -> Floats:
    """Return the sigmoid of logits, without overflow."""
    return 0.5 + 0.5 * np.tanh(logits / 2)
