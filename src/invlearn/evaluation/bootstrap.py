"""Bootstrap over users: the sampling variation of metrics over users.

A metric is a ratio of sums over users, so one draw of users is a vector of counts times a few
columns, without recomputing a metric. Legend of shapes: `users` distinct users, `draws` bootstrap
draws.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.runtime.random import stream

Floats = npt.NDArray[np.float64]

TAILS = (0.025, 0.975)
"""Quantiles of the draws at the ends of a 95 % interval."""

DRAWS_AT_ONCE = 16
"""Draws in memory at a time, one byte per user."""
_BLOCK_USERS = 1 << 15
"""Users whose columns are stacked in memory at a time."""


class Ratio(NamedTuple):
    """A metric as a ratio of two sums over users."""

    part: npt.NDArray[Any]
    """Numerators, shape `(users,)`."""
    whole: npt.NDArray[Any]
    """Denominators, shape `(users,)`; 0 for users without the metric."""


Metric = tuple[Ratio, ...]
"""One ratio; or several with equal values, whose deviations under resampling are added."""


def value(metric: Metric) -> float:
    """Return the metric on all users; NaN if no user has it."""
    part, whole = metric[0]
    total = float(whole.sum())
    return float(part.sum()) / total if total else float("nan")


def resampled(found: Mapping[str, Metric], *, draws: int, seed: int) -> dict[str, Floats]:
    """Return each metric under each draw of users; NaN if no drawn user has it.

    All metrics use the same draws, as do other calls with the same number of users and seed.

    Args:
        found: Metrics by name, all over the same users in the same order.
        draws: Number of draws of users.
        seed: Seed of the draws.

    Returns:
        An array of shape `(draws,)` per metric.
    """
    ratios = [ratio for metric in found.values() for ratio in metric]
    columns = [ratio.part for ratio in ratios] + [ratio.whole for ratio in ratios]
    part, whole = np.hsplit(_drawn_sums(columns, draws=draws, seed=seed), 2)
    drawn = iter(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0).T)
    return {name: _joined(metric, [next(drawn) for _ in metric]) for name, metric in found.items()}


def interval(sample: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval of the draws, ignoring NaN.

    Example:
        >>> interval(np.arange(41.0))
        (1.0, 39.0)
    """
    finite = sample[np.isfinite(sample)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, TAILS)
    return float(low), float(high)


def _joined(metric: Metric, drawn: list[Floats]) -> Floats:
    """Return the draws of a metric: the sum of the deviations of its ratios."""
    first, *others = drawn
    return first + sum((other - value(metric) for other in others), np.zeros(len(first)))


def _drawn_sums(columns: Sequence[npt.NDArray[Any]], *, draws: int, seed: int) -> Floats:
    """Return sums of columns over users drawn with replacement, shape `(draws, columns)`.

    Several draws share one matrix product, since reading the columns dominates the time.
    """
    rng = stream(seed, "bootstrap")
    n_users = len(columns[0])
    out = np.zeros((draws, len(columns)))
    for start in range(0, draws if n_users else 0, DRAWS_AT_ONCE):
        sums = out[start : start + DRAWS_AT_ONCE]
        times = np.empty((len(sums), n_users), np.uint8)  # a user is never drawn 256 times
        for drawn in times:
            users = rng.integers(n_users, size=n_users, dtype=np.int32)
            drawn[:] = np.bincount(users, minlength=n_users)
        for first in range(0, n_users, _BLOCK_USERS):
            block = slice(first, first + _BLOCK_USERS)
            some = np.column_stack([column[block] for column in columns])
            sums += times[:, block].astype(np.float64) @ some
    return out
