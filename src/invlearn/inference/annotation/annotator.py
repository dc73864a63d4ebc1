"""Predictions of a run for pairs: numbers, and labels for pairs that are certain enough."""

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
from invlearn.inference.annotation.annotation_facts import Predictions, Promise, ScoredRows, facts
from invlearn.inference.annotation.pair_influence import PairInfluence
from invlearn.strategies.losses import belief_in_positive
from invlearn.training.run import Run

Floats = npt.NDArray[np.float32]
PRECISIONS = (0.8, 0.9, 0.95)
"""Precisions in every summary, in addition to the requested one."""
LOWER = (0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55)
"""Precisions to try in order if the requested one is not reached."""
WORDS = ("negative", "positive", "unclear")
"""Suggestions 0, 1 and `UNCLEAR`."""


def reachable(
    labels: npt.NDArray[Any], probabilities: npt.NDArray[Any], precision: float
) -> list[Promise]:
    """Return what can be promised, with a lower precision if the requested one is not reached.

    Args:
        labels: Labels of the validation rows, shape `(rows,)`.
        probabilities: Probabilities of the same rows, from maps that were not fitted to them,
            shape `(rows,)`.
        precision: Requested precision.

    Returns:
        Promises at `PRECISIONS` and at the requested one, by ascending precision; if that one
        labels no pair, also at the highest of `LOWER` that labels one.
    """

    def at(precision: float) -> Promise:
        return Promise(precision, find_thresholds(labels, probabilities, precision))

    promises = {p: at(p) for p in (*PRECISIONS, precision)}
    if not promises[precision].labels_any:
        lower = (at(p) for p in LOWER if p < precision)
        reached = next((promise for promise in lower if promise.labels_any), None)
        promises |= {reached.precision: reached} if reached else {}
    return [promises[p] for p in sorted(promises)]


@final
class Annotator:
    """Predicts pairs with a run whose logits are calibrated on its validation part.

    Args:
        run: The run.
        data: Its dataset.
        precision: Promised precision of the suggested labels.
        seed: Seed of the calibration folds.
    """

    def __init__(self, run: Run, data: Dataset, *, precision: float, seed: int) -> None:
        self.run, self.data, self.precision = run, data, precision
        valid, logits = data.valid, self._logits(data.valid.users, data.valid.items)
        chosen = choose_calibrator(valid.users, valid.labels, logits, seed=seed)
        self._calibrator = chosen.calibrator
        self.promises = reachable(valid.labels, chosen.probabilities, precision)
        """Promises of the summary, by ascending precision."""
        raw = ScoredRows(valid.labels, logits, sigmoid(logits))  # raw logits, for comparison
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
        """Calibration, and its quality on rows that it was not fitted to."""
        self.influence: PairInfluence | None = None
        """Computes the influence of pairs, for a run of `ig-sample` that defines it."""
        if run.config.strategy == "ig-sample":
            influence = PairInfluence(run.module, data.train, seed=seed)
            self.influence = influence if influence.is_defined else None

    def scored(self, part: Part) -> ScoredRows:
        """Return labelled rows with their predictions."""
        logits = self._logits(part.users, part.items)
        return ScoredRows(part.labels, logits, self._probabilities(logits))

    def predict(self, block: Block, above: npt.NDArray[Any] | None) -> Predictions:
        """Return the predictions for a block of pairs.

        Args:
            block: The pairs.
            above: Fraction of the run's other epochs that have each logit above 0, shape
                `(pairs,)`; none if there are no other epochs.
        """
        known = (block.users != UNKNOWN) & (block.items != UNKNOWN)
        users, items = block.users[known], block.items[known]
        logits = self._logits(users, items)
        found: dict[str, Floats] = {
            "logit": logits,
            "probability": self._probabilities(logits),
            "belief": belief_in_positive(torch.from_numpy(logits)).numpy(),
            # Fraction of the other epochs whose logit has the same sign; NaN without others.
            "agreement": np.full(len(logits), np.nan, np.float32)
            if above is None
            else np.where(logits > 0, above[known], 1 - above[known]).astype(np.float32),
        }
        if self.influence:
            found["influence"] = self.influence(users, items)
        columns = {name: np.full(len(known), np.nan, np.float32) for name in found}
        for name, values in found.items():
            columns[name][known] = values
        requested = next(p for p in self.promises if p.precision == self.precision)
        return Predictions(known, suggested(columns["probability"], requested.thresholds), columns)

    def table(self, block: Block, found: Predictions) -> pl.DataFrame:
        """Return the rows of a block as the annotation file contains them."""
        columns = [pl.Series(name, values).fill_nan(None) for name, values in found.columns.items()]
        words = pl.Series("label", WORDS).gather(np.where(found.labels < 0, 2, found.labels))
        rows = block.ids.with_columns(*columns, words)
        if block.truth is None:
            return rows
        return rows.with_columns(pl.Series("truth", block.truth).replace(UNKNOWN, None))

    def _logits(self, users: IntegerIds, items: IntegerIds) -> Floats:
        return score_pairs(self.run.module, users, items)

    def _probabilities(self, logits: Floats) -> Floats:
        """Return probabilities as the file stores them, so that they give the same labels."""
        return self._calibrator(logits).astype(np.float32)
