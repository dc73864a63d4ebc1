"""Calibrators: maps from logits to probabilities, fitted on labelled rows.

Legend of shapes: `rows` labelled rows.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.runtime.errors import DataError
from invlearn.runtime.random import stream
from invlearn.runtime.text import counted

Floats = npt.NDArray[np.float64]
N_FOLDS = 5
"""Folds by user for comparing calibrators on held-out rows."""
_NEWTON_STEPS, _HALVINGS = 100, 10


@dataclass(frozen=True, slots=True)
class Temperature:
    """`sigmoid(scale * z + shift)`; `1 / scale` is a temperature (Platt 1999; Guo et al. 2017)."""

    scale: float
    shift: float

    def __call__(self, logits: npt.ArrayLike) -> Floats:
        """Return probabilities of label 1."""
        return sigmoid(self.scale * np.asarray(logits, np.float64) + self.shift)

    def to_json(self) -> dict[str, Any]:
        """Return scale and shift."""
        return {"scale": self.scale, "shift": self.shift}


@dataclass(frozen=True, slots=True, eq=False)
class Isotonic:
    """A non-decreasing, piecewise linear map (Zadrozny and Elkan 2002)."""

    logits: Floats = field(repr=False)
    """Start and end of each step, ascending."""
    probabilities: Floats = field(repr=False)
    """Probabilities there, ascending; constant beyond the ends."""

    def __call__(self, logits: npt.ArrayLike) -> Floats:
        """Return probabilities of label 1."""
        return np.interp(np.asarray(logits, np.float64), self.logits, self.probabilities)

    def to_json(self) -> dict[str, Any]:
        """Return the corners of the function."""
        return {"logits": self.logits.tolist(), "probabilities": self.probabilities.tolist()}


def fit_temperature(labels: npt.ArrayLike, logits: npt.ArrayLike) -> Temperature:
    """Fit a scale of at least 0 and a shift by log loss, with Newton's method.

    As in Platt (1999), labels are smoothed as if there were one more row of each class, so that the
    result is finite if the logits separate the classes. If a decreasing map fits better, all rows
    get the same probability.

    Args:
        labels: 1 or 0, shape `(rows,)`.
        logits: Finite logits, shape `(rows,)`.

    Example:
        >>> found = fit_temperature([0, 1, 0, 1] * 500, [-2.0, -2.0, 2.0, 2.0] * 500)
        >>> round(found.scale, 3), round(float(found(2.0)), 3)
        (0.0, 0.5)
    """
    y, z = np.asarray(labels, np.float64), np.asarray(logits, np.float64)
    center, spread = float(z.mean()), float(z.std()) or 1.0
    columns = np.stack([(z - center) / spread, np.ones(len(z))], axis=1)
    n_positive = float(y.sum())
    ends = 1 / (len(y) - n_positive + 2), (n_positive + 1) / (n_positive + 2)
    targets = np.where(y > 0, ends[1], ends[0])
    scale, shift = _least_log_loss(columns, targets)
    if scale < 0:
        mean = float(targets.mean())
        return Temperature(0.0, float(np.log(mean / (1 - mean))))
    return Temperature(scale / spread, shift - scale * center / spread)


def _least_log_loss(columns: Floats, targets: Floats) -> tuple[float, float]:
    """Return the two weights that minimize the mean log loss; bad steps are halved."""

    def loss(weights: Floats) -> float:
        scores = columns @ weights
        return float(np.mean(np.logaddexp(0, scores) - targets * scores))

    weights = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        p = sigmoid(columns @ weights)
        gradient = columns.T @ (p - targets) / len(p)
        curve = columns.T @ (columns * (p * (1 - p))[:, None]) / len(p)
        step = np.linalg.solve(curve + 1e-12 * np.eye(2), gradient)
        if np.abs(step).max() < 1e-9:
            break
        before = loss(weights)
        halves = (weights - step / 2**k for k in range(_HALVINGS))
        better = next((w for w in halves if loss(w) < before), None)
        if better is None:
            break
        weights = better
    return float(weights[0]), float(weights[1])


def fit_isotonic(labels: npt.ArrayLike, logits: npt.ArrayLike) -> Isotonic:
    """Fit the non-decreasing function of least squared error, by pooling adjacent violators.

    One more positive row at the lowest logit and one more negative row at the highest exclude the
    probabilities 0 and 1.

    Args:
        labels: 1 or 0, shape `(rows,)`.
        logits: Finite logits, shape `(rows,)`.

    Example:
        >>> found = fit_isotonic([0, 0, 1, 0, 1, 1], [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0])
        >>> found([-9.0, -0.5, 9.0]).round(3).tolist()
        [0.333, 0.5, 0.667]
    """
    y, z = np.asarray(labels, np.float64), np.asarray(logits, np.float64)
    levels, place = np.unique(z, return_inverse=True)
    sums = np.bincount(place, weights=y).astype(np.float64)
    rows = np.bincount(place).astype(np.float64)
    sums[0] += 1
    rows[0] += 1
    rows[-1] += 1
    means, first, last = _pooled(sums, rows)
    corners = np.stack([levels[first], levels[last]], axis=1).ravel()
    return Isotonic(corners, np.repeat(means, 2))


def _pooled(sums: Floats, rows: Floats) -> tuple[Floats, npt.NDArray[Any], npt.NDArray[Any]]:
    """Return ascending means with the first and last level of each; pools violators."""
    means = sums / rows
    starts = np.flatnonzero(np.concatenate([[True], means[1:] > means[:-1]]))
    stack: list[tuple[float, float, int]] = []
    totals, sizes = (np.add.reduceat(column, starts).tolist() for column in (sums, rows))
    for total, n, start in zip(totals, sizes, starts.tolist(), strict=True):
        while stack and stack[-1][0] * n >= total * stack[-1][1]:
            before = stack.pop()
            total, n, start = total + before[0], n + before[1], before[2]  # noqa: PLW2901
        stack.append((total, n, start))
    pooled, sizes, first = (np.array(column) for column in zip(*stack, strict=True))
    return pooled / sizes, first, np.append(first[1:] - 1, len(sums) - 1)


FITS = {"temperature": fit_temperature, "isotonic": fit_isotonic}
"""Fit functions by name; the first wins a tie."""


class Chosen(NamedTuple):
    """The best calibrator on rows of held-out users."""

    name: str
    """Name in `FITS`."""
    calibrator: Temperature | Isotonic
    """The calibrator, fitted on all rows."""
    probabilities: Floats
    """Out-of-fold probabilities of the same rows, shape `(rows,)`: the calibrator was fitted
    without rows of the same user, so they can be compared with the labels."""
    log_losses: dict[str, float]
    """Out-of-fold mean log loss of each calibrator, and that of the logits (`raw`)."""


def choose_calibrator(
    users: npt.ArrayLike, labels: npt.ArrayLike, logits: npt.ArrayLike, *, seed: int = 0
) -> Chosen:
    """Return the calibrator with the least log loss in folds by user.

    Args:
        users: User ids, shape `(rows,)`; rows of a user are similar, so they share a fold.
        labels: 1 or 0, shape `(rows,)`.
        logits: Finite logits, shape `(rows,)`.
        seed: Seed of the folds.

    Raises:
        DataError: There is only one user, or one class.
    """
    y, z = np.asarray(labels), np.asarray(logits, np.float64)
    ids, place = np.unique(np.asarray(users), return_inverse=True)
    if len(ids) < 2 or not 0 < y.sum() < len(y):
        raise DataError(
            "calibration needs rows of both classes from at least two users; found "
            f"{counted(len(ids), 'user')}, {int(y.sum())} positive and {int(len(y) - y.sum())} "
            "negative rows"
        )
    folds = stream(seed, "folds").permutation(len(ids))[place] % min(N_FOLDS, len(ids))
    found = {name: np.empty(len(y)) for name in FITS}
    for fold in np.unique(folds):
        seen = folds != fold
        for name, fit in FITS.items():
            found[name][~seen] = fit(y[seen], z[seen])(z[~seen])
    losses = {name: _log_loss(y, p) for name, p in found.items()}
    best = min(losses, key=lambda name: losses[name])
    raw = float(np.mean(np.logaddexp(0, z) - y * z))
    return Chosen(best, FITS[best](y, z), found[best], {"raw": raw} | losses)


def _log_loss(labels: npt.NDArray[Any], probabilities: Floats) -> float:
    p = np.where(labels > 0, probabilities, 1 - probabilities)
    return float(-np.log(np.maximum(p, np.finfo(np.float64).tiny)).mean())


def sigmoid(z: npt.ArrayLike) -> Floats:
    """Return `1 / (1 + exp(-z))`, without overflow."""
    return np.exp(-np.logaddexp(0, -np.asarray(z, np.float64)))
