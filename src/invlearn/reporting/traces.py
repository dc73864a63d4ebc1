"""Beliefs and judged steps of a run, from its records, as small plain values.

Counts are over all records; points for charts are a subset.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from invlearn.runtime.errors import RunError
from invlearn.runtime.safe_load import column_of
from invlearn.strategies.inverse import CHOICES
from invlearn.training.metrics_log import read_lines

BINS = 50
"""Equal bins over [0, 1] in which weights are counted."""
MAX_POINTS = 250
"""Maximum number of points of one series."""
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Relative difference below which two mean losses in float32 count as equal."""


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Distributions of the weights of both labels, at the first and the last epoch."""

    title: str
    """Title of the panel."""
    n_pairs: int
    """Unlabelled pairs counted."""
    counts: dict[str, dict[str, tuple[int, ...]]]
    """Pairs in each of `BINS` equal bins over [0, 1], by epoch (`first`, `last`), then by weight
    (`w1`, `w0`)."""
    positive_fraction: dict[str, float]
    """Fraction of the pairs with w1 above one half, by epoch."""


@dataclass(frozen=True, slots=True)
class Judges:
    """Losses of training-test batches at the chosen candidates, and the choices."""

    title: str
    """Title of the panel."""
    n_steps: int
    """Judged steps of the run."""
    every: int
    """The points are every so many judged steps, from the first on."""
    steps: tuple[int, ...]
    """Numbers of the points among the judged steps, from 1."""
    losses: tuple[float, ...]
    """Mean log loss of the training-test batch at the chosen candidate of each point."""
    choices: tuple[str, ...]
    """Choice of each point: direct, inverse or stay."""
    counts: dict[str, int]
    """Number of each choice, over all judged steps."""
    n_rounding: int
    """Judged steps whose three losses agree to within rounding, so that chance decided."""


def read_beliefs(run: Path, title: str) -> Beliefs:
    """Return distributions of w1 and w0 from the beliefs in a run folder (Figures 3 and 4).

    Raises:
        RunError: The folder has no beliefs.
    """
    w1: dict[str, npt.NDArray[np.float64]] = {}
    for epoch in ("first", "last"):
        file = run / f"beliefs-{epoch}.npy"
        try:
            w1[epoch] = column_of(file).astype(np.float64)
        except (OSError, ValueError) as error:
            raise RunError(
                f"{file} is missing or damaged ({error}); this figure needs a run with a strategy "
                "that uses unlabelled pairs"
            ) from error
    return Beliefs(
        title,
        n_pairs=len(w1["last"]),
        counts={epoch: {"w1": binned(w), "w0": binned(1 - w)} for epoch, w in w1.items()},
        positive_fraction={epoch: float((w > 0.5).mean()) for epoch, w in w1.items()},
    )


def binned(weights: npt.NDArray[np.floating[Any]]) -> tuple[int, ...]:
    """Count weights of shape `(pairs,)` in `BINS` equal bins over [0, 1].

    Example:
        >>> binned(np.array([0.0, 0.01, 1.0]))[::49]
        (2, 1)
    """
    return tuple(np.histogram(weights, bins=BINS, range=(0.0, 1.0))[0].tolist())


def read_judges(run: Path, title: str) -> Judges:
    """Return losses and choices of judged steps from the records of a run (Figures 5 and 6).

    Raises:
        RunError: No step of the run was judged, or a record of one is damaged.
    """
    lines = [line for line in read_lines(run / "steps.jsonl") if "choice" in line]
    if not lines:
        raise RunError(
            f"{run} has no judged step in steps.jsonl; this figure needs a run of a strategy "
            "that judges, such as ig"
        )
    try:
        losses = np.array([line["judge_losses"] for line in lines], np.float64)
        choices = np.array([line["choice"] for line in lines], np.uint8)
        best = losses.reshape(len(lines), len(CHOICES))[np.arange(len(choices)), choices]
    except (IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise RunError(
            f"a line of {run / 'steps.jsonl'} is damaged ({error!r}); train the run again"
        ) from error
    every = -(-len(lines) // MAX_POINTS)
    times = np.bincount(choices, minlength=len(CHOICES)).tolist()
    return Judges(
        title,
        n_steps=len(lines),
        every=every,
        steps=tuple(range(1, len(lines) + 1, every)),
        losses=tuple(round(float(loss), 6) for loss in best[::every]),
        choices=tuple(CHOICES[choice] for choice in choices[::every]),
        counts=dict(zip(CHOICES, times, strict=True)),
        n_rounding=int((np.ptp(losses, axis=1) <= ROUNDING * losses.min(axis=1)).sum()),
    )
