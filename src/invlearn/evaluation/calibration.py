"""Calibration error of probabilities."""

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.runtime.errors import DataError


class ReliabilityBin(NamedTuple):
    """Rows with similar probabilities, and their fraction of positives."""

    low: float
    """Lower edge of the bin."""
    high: float
    """Upper edge; it belongs to the next bin, except 1."""
    rows: int
    """Rows in the bin, at least one."""
    mean_probability: float
    """Mean predicted probability."""
    positive_fraction: float
    """Fraction of positive labels."""


class Calibration(NamedTuple):
    """Calibration of predicted probabilities."""

    ece: float
    """Expected calibration error: mean of |predicted - observed| over bins, by rows."""
    brier: float
    """Mean squared difference of probability and label."""
    table: tuple[ReliabilityBin, ...]
    """Nonempty bins of equal width, ascending."""


def calibration(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, n_bins: int = 10
) -> Calibration:
    """Compute the calibration of probabilities on labels.

    Args:
        labels: 1 or 0, shape `(rows,)`, at least one.
        probabilities: Probabilities of label 1, in [0, 1], shape `(rows,)`.
        n_bins: Bins of equal width (Naeini et al., AAAI 2015).

    Raises:
        DataError: There are no rows, or a probability is NaN or outside [0, 1].

    Example:
        >>> calibration([1, 0, 1, 1], [0.75, 0.25, 0.75, 0.25], n_bins=2).ece
        0.25
    """
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    _check(p)
    place = np.minimum((p * n_bins).astype(np.int64), n_bins - 1)
    tally = partial(np.bincount, place, minlength=n_bins)
    rows, claimed, true = tally(), tally(weights=p), tally(weights=y)
    table = tuple(
        ReliabilityBin(
            i / n_bins, (i + 1) / n_bins, int(n), float(claimed[i] / n), float(true[i] / n)
        )
        for i, n in enumerate(rows)
        if n
    )
    ece = np.abs(claimed - true).sum() / len(y)
    return Calibration(float(ece), float(np.mean((p - y) ** 2)), table)


def _check(probabilities: npt.NDArray[np.float64]) -> None:
    if not len(probabilities):
        raise DataError("there are no rows to calibrate on; give labelled rows with probabilities")
    wrong = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1)))
    if len(wrong):
        raise DataError(
            f"{len(wrong)} of {len(probabilities)} probabilities are not in [0, 1] "
            f"(row {wrong[0]}: {probabilities[wrong[0]]}); pass probabilities, not logits"
        )
