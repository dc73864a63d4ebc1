"""Means, spread and intervals over several runs that differ only by their seed.

Results vary with the tested users and with the seed of the training. The bootstrap over users
covers only the first. The mean over n seeds adds the error of a mean of n numbers, Student's t with
n - 1 degrees of freedom times their standard deviation over the root of n, and an interval is taken
from draws of the sum of both. The effect of a seed on single users is counted in both parts, so
intervals are too wide rather than too narrow if seeds change little else.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.evaluation.bootstrap import interval
from invlearn.evaluation.evaluation import Difference, Evaluation
from invlearn.runtime.errors import DataError
from invlearn.runtime.random import stream

Floats = npt.NDArray[np.float64]

NOISE_DRAWS = 100
"""Draws of the seeds' error per draw of users; its heavy tails need many."""


class Mean(NamedTuple):
    """A metric over several seeds."""

    value: float
    """Mean over the seeds."""
    spread: float
    """Standard deviation over the seeds (n - 1); NaN for one seed."""
    low: float
    """Lower end of the 95 % interval for other users and other seeds."""
    high: float
    """Upper end of the interval."""


def mean_over_seeds(runs: Sequence[Evaluation]) -> dict[str, Mean]:
    """Compute means of each metric over runs of one method.

    Args:
        runs: Evaluations on the same rows, with the same draws; one per seed.

    Raises:
        DataError: Rows or draws differ, or there is no run.
    """
    _check_basis(runs)
    return {
        name: _mean(
            np.array([run.values[name] for run in runs]),
            np.mean([run.draws[name] for run in runs], axis=0),
        )
        for name in runs[0].values
    }


def paired_over_seeds(
    runs: Mapping[int, Evaluation], references: Mapping[int, Evaluation]
) -> dict[str, Difference]:
    """Compare two methods, paired by user and by seed.

    Args:
        runs: Evaluations of a method by seed. A method without seeds (a trivial baseline) may be
            repeated for each seed of the reference.
        references: Evaluations of the reference by seed; only common seeds are used.

    Returns:
        `run - reference` for every metric that both have, with its 95 % interval.

    Raises:
        DataError: Rows or draws differ, or there is no common seed.
    """
    seeds = [seed for seed in runs if seed in references]
    _check_basis([*(runs[s] for s in seeds), *(references[s] for s in seeds)])

    def difference(name: str) -> Difference:
        values = [runs[s].values[name] - references[s].values[name] for s in seeds]
        draws = [runs[s].draws[name] - references[s].draws[name] for s in seeds]
        found = _mean(np.array(values), np.mean(draws, axis=0))
        return Difference(found.value, found.low, found.high)

    known = references[seeds[0]].values
    return {name: difference(name) for name in runs[seeds[0]].values if name in known}


def _mean(values: Floats, draws: Floats) -> Mean:
    """Return the mean of a metric over seeds, with its interval.

    Args:
        values: Value per seed, shape `(seeds,)`.
        draws: Mean over seeds per draw of users, shape `(draws,)`.
    """
    n_seeds = len(values)
    spread = float(values.std(ddof=1)) if n_seeds > 1 else float("nan")
    if n_seeds > 1:
        noise = stream(0, "seeds").standard_t(n_seeds - 1, (NOISE_DRAWS, len(draws)))
        draws = (draws + noise * spread / n_seeds**0.5).ravel()
    return Mean(float(values.mean()), spread, *interval(draws))


def _check_basis(runs: Sequence[Evaluation]) -> None:
    if not runs:
        raise DataError("there is no run to average, or no seed that both methods have")
    if len({run.basis for run in runs}) > 1:
        raise DataError(
            "the runs use different rows or draws, so they cannot be averaged; evaluate all "
            "on the same part of the same dataset with one seed of the draws"
        )
