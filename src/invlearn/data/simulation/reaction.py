"""Reaction model of a simulated feed: watch time, likes and hates."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from invlearn.data.simulation.counters import Positions, Reals, normal, uniform
from invlearn.data.simulation.exposure import Audience, Exposures, key

FRACTIONS = np.fromstring(
    "0 0.01 0.05 0.1 0.16 0.2 0.3 0.4 0.5 0.6 0.666 0.7 0.8 0.9 0.95 0.98 0.99 1", sep=" "
)
RATIOS = np.fromstring(
    "0.01 0.02 0.097 0.182 0.301 0.381 0.539 0.662 0.779 0.91 1.001 1.053 1.24 1.586 1.994 2.78 "
    "3.67 12",
    sep=" ",
)
"""Quantiles of the watch ratio at these fractions of the rows, in KuaiRec's small matrix (Gao et
al. 2022)."""
LIKE_FRACTION, HATE_FRACTION, SKIP_FRACTION = 0.02, 0.002, 0.05
LIKING_WEIGHT, DURATION_WEIGHT, SKIP_WEIGHT = 0.4, 0.3, 4.0
"""Effects of liking, log duration and an accidental skip on the watch ratio, in standard
deviations of its noise."""
DURATION_MEDIAN_MS, DURATION_SPREAD = 30_000, 0.8
DURATION_RANGE_MS = (7_000, 300_000)
_PILOT_ROWS = 50_000


@dataclass(frozen=True, slots=True, eq=False)
class FeedbackModel:
    """Maps liking to watch time and events, with parameters fitted once per log."""

    seed: int
    duration_ms: Positions
    """Duration of each item, shape `(items,)`."""
    pull_quantiles: Reals
    """Quantiles of the watch utility, at `FRACTIONS`."""
    event_scale: tuple[float, float]
    """Rates of likes and hates per unit of `exp(z)` and `exp(-z)`, z = standardized liking."""
    liking_mean: float
    liking_spread: float

    def react(self, rows: Positions, shown: Exposures) -> dict[str, npt.NDArray[Any]]:
        """Return the user feedback in some rows of the log, and the hidden truth, as columns.

        `true_preference` is the probability that the user likes the item. `true_label` is drawn
        once per pair, so it is equal in all rows of the pair.

        Args:
            rows: Row numbers.
            shown: Exposures of these rows.
        """
        liking, pull = _utilities(self.seed, rows, shown, self.duration_ms)
        ratio = np.exp(np.interp(pull, self.pull_quantiles, np.log(RATIOS)))
        duration = self.duration_ms[shown.items]
        standard = (liking - self.liking_mean) / self.liking_spread
        like_scale, hate_scale = self.event_scale
        is_like = uniform(key(self.seed, "like"), rows) < like_scale * np.exp(standard)
        is_hate = uniform(key(self.seed, "hate"), rows) < hate_scale * np.exp(-standard)
        return {
            "duration_ms": duration,
            "play_time_ms": np.rint(ratio * duration).astype(np.int64),
            "is_like": is_like.astype(np.int8),
            "is_hate": is_hate.astype(np.int8),
            "true_preference": (1 / (1 + np.exp(-shown.preference))).astype(np.float32),
            "true_label": (liking > 0).astype(np.int8),
        }


def fit_feedback_model(audience: Audience) -> FeedbackModel:
    """Draw the item durations, and fit the other parameters to an evenly spaced sample of rows.

    Watch ratios then have the quantiles `RATIOS`, and likes and hates their rates,
    for any log size.
    """
    noise = normal(key(audience.seed, "duration"), np.arange(len(audience.by_rank)))
    duration = (DURATION_MEDIAN_MS * np.exp(DURATION_SPREAD * noise)).clip(*DURATION_RANGE_MS)
    duration = np.rint(duration).astype(np.int64)
    n_pilot = min(audience.n_rows, _PILOT_ROWS)
    rows = np.arange(n_pilot) * audience.n_rows // n_pilot
    liking, pull = _utilities(audience.seed, rows, audience.exposures(rows), duration)
    mean, spread = float(liking.mean()), float(liking.std()) or 1.0
    standard = (liking - mean) / spread
    return FeedbackModel(
        seed=audience.seed,
        duration_ms=duration,
        pull_quantiles=np.quantile(pull, FRACTIONS),
        event_scale=(
            LIKE_FRACTION / float(np.exp(standard).mean()),
            HATE_FRACTION / float(np.exp(-standard).mean()),
        ),
        liking_mean=mean,
        liking_spread=spread,
    )


def _utilities(
    seed: int, rows: Positions, shown: Exposures, duration_ms: Positions
) -> tuple[Reals, Reals]:
    """Return the liking of each (user, item) pair (positive: likes it), and the watch utility."""
    # liking is drawn once per pair, so the key is the pair and not the row
    doubt = uniform(key(seed, "mind"), shown.users * len(duration_ms) + shown.items)
    liking = shown.preference + np.log(doubt / (1 - doubt))
    lengths = np.log(duration_ms[shown.items] / DURATION_MEDIAN_MS)
    skipped = uniform(key(seed, "skip"), rows) < SKIP_FRACTION
    noise = normal(key(seed, "watch"), rows)
    pull = LIKING_WEIGHT * liking - DURATION_WEIGHT * lengths - SKIP_WEIGHT * skipped + noise
    return liking, pull
