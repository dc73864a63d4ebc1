"""What a run says of pairs: columns of numbers, and labels where these are sure enough."""

from typing import Any, final

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from invlearn.data.dataset import Dataset
from invlearn.data.parts import Part
from invlearn.data.prepare.queried_pairs import UNKNOWN, Block
from invlearn.data.types import IntegerIds
from invlearn.evaluation.calibrators import N_FOLDS, choose_calibrator, sigmoid
from invlearn.evaluation.scoring import score_pairs
from invlearn.evaluation.thresholds import find_thresholds, suggested
from invlearn.inference.annotation.annotation_facts import Judged, Promise, Said, facts
from invlearn.inference.annotation.pair_influence import PairInfluence
from invlearn.strategies.losses import belief_in_positive
from invlearn.training.run import Run

Floats = npt.NDArray[np.float32]
PRECISIONS = (0.8, 0.9, 0.95)
"""What is told of every annotation, whatever precision was asked for."""
LOWER = (0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55)
"""What is tried, one after the other, where the precision asked for is out of reach."""
WORDS = ("negative", "positive", "unclear")
"""Suggestions 0, 1 and `UNCLEAR`."""


def reachable(
    labels: npt.NDArray[Any], probabilities: npt.NDArray[Any], precision: float
) -> list[Promise]:
    """Say what can be promised, and below what cannot be the highest precision that can.

    Args:
        labels: Of the validation rows, shape `(rows,)`.
        probabilities: Of the same, from maps that were not fitted to them, shape `(rows,)`.
        precision: What was asked for.

    Returns:
        Promises at `PRECISIONS` and at the one asked for, by rising precision; if that one labels
        nobody, also at the highest of `LOWER` that labels somebody.
    """

    def at(precision: float) -> Promise:
        return Promise(precision, find_thresholds(labels, probabilities, precision))

    told = {p: at(p) for p in (*PRECISIONS, precision)}
    if not told[precision].labels_any:
        lower = (told.get(p) or at(p) for p in LOWER if p < precision)
        reached = next((promise for promise in lower if promise.labels_any), None)
        told |= {reached.precision: reached} if reached else {}
    return [told[p] for p in sorted(told)]


@final
class Annotator:
    """A run whose logits were calibrated on its validation part, thresholds set.

    Args:
        run: The run.
        data: Its dataset.
        precision: What is promised of the suggested labels.
        seed: Of the folds of the calibration.
    """

    def __init__(self, run: Run, data: Dataset, *, precision: float, seed: int) -> None:
        self.run, self.data, self.precision = run, data, precision
        valid, logits = data.valid, self._logits(data.valid.users, data.valid.items)
        chosen = choose_calibrator(valid.users, valid.labels, logits, seed=seed)
        self._calibrator = chosen.calibrator
        self.promises = reachable(valid.labels, chosen.probabilities, precision)
        """At each precision that is told of, by rising precision."""
        raw = Judged(valid.labels, logits, sigmoid(logits))  # no probabilities yet, only measured
        n_users = len(np.unique(valid.users))
        self.calibration: dict[str, Any] = {
            "chosen": chosen.name,
            "map": chosen.calibrator.to_json(),
            "users": n_users,
            "folds": min(N_FOLDS, n_users),
            "log_losses": chosen.log_losses,
            "raw": facts(raw),
            "calibrated": facts(raw._replace(probabilities=chosen.probabilities)),
        }
        """How the probabilities came about, and how they fare on rows that were not fitted."""
        self.influence = self._influence(seed)
        """What gives pairs their influence, for a run of `ig-sample` that can say it."""

    def judged(self, part: Part) -> Judged:
        """Labelled rows beside what is said of them."""
        logits = self._logits(part.users, part.items)
        return Judged(part.labels, logits, self._probabilities(logits))

    def say(self, block: Block, above: npt.NDArray[Any] | None) -> Said:
        """Say all there is to say of a block of pairs.

        Args:
            block: The pairs.
            above: Share of the run's other epochs that have each logit above 0, shape `(pairs,)`;
                none if there are no others.
        """
        known = (block.users != UNKNOWN) & (block.items != UNKNOWN)
        users, items = block.users[known], block.items[known]
        logits = self._logits(users, items)
        said: dict[str, Floats] = {
            "logit": logits,
            "probability": self._probabilities(logits),
            "belief": belief_in_positive(torch.from_numpy(logits)).numpy(),
            "agreement": _agreement(logits, None if above is None else above[known]),
        }
        if self.influence:
            said["influence"] = self.influence(users, items)
        columns = {name: _spread(values, known) for name, values in said.items()}
        asked_for = next(p for p in self.promises if p.precision == self.precision)
        return Said(known, suggested(columns["probability"], asked_for.thresholds), columns)

    def table(self, block: Block, said: Said) -> pl.DataFrame:
        """A block's rows of the annotation."""
        columns = [pl.Series(name, values).fill_nan(None) for name, values in said.columns.items()]
        words = pl.Series("label", WORDS).gather(np.where(said.labels < 0, 2, said.labels))
        rows = block.ids.with_columns(*columns, words)
        if block.truth is None:
            return rows
        return rows.with_columns(pl.Series("truth", block.truth).replace(UNKNOWN, None))

    def _logits(self, users: IntegerIds, items: IntegerIds) -> Floats:
        return score_pairs(self.run.module, users, items)

    def _probabilities(self, logits: Floats) -> Floats:
        """Probabilities as the file holds them, so that its readers find the same labels."""
        return self._calibrator(logits).astype(np.float32)

    def _influence(self, seed: int) -> PairInfluence | None:
        if self.run.config.strategy != "ig-sample":
            return None
        found = PairInfluence(self.run.module, self.data.train, seed=seed)
        return found if found.is_defined else None


def _agreement(logits: Floats, above: npt.NDArray[Any] | None) -> Floats:
    """Share of the other epochs on the same side as the logits; NaN without others."""
    if above is None:
        return np.full(len(logits), np.nan, np.float32)
    return np.where(logits > 0, above, 1 - above).astype(np.float32)


def _spread(values: Floats, known: npt.NDArray[np.bool_]) -> Floats:
    """Values at the known pairs, NaN at the others."""
    spread = np.full(len(known), np.nan, np.float32)
    spread[known] = values
    return spread
