"""Facts about an annotation as a whole: counts, calibration, measured precision.

They end in the JSON file next to the annotation; `docs/annotation.md` describes every key.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import isnan
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from invlearn.data.dataset import Dataset
from invlearn.data.prepare.queried_pairs import UNKNOWN, Block
from invlearn.evaluation.calibration import calibration
from invlearn.evaluation.metrics import auc, tie_groups
from invlearn.evaluation.thresholds import UNCLEAR, Thresholds, kept_promises, suggested

Floats = npt.NDArray[np.floating[Any]]
CLASSES = {"positive": 1, "negative": 0}


class Promise(NamedTuple):
    """A stated precision, and the thresholds that reach it on validation."""

    precision: float
    thresholds: Thresholds

    @property
    def labels_any(self) -> bool:
        """Whether at least one label can be suggested."""
        return any(reach.threshold is not None for reach in self.thresholds)


class ScoredRows(NamedTuple):
    """Labelled rows and their predictions; all of shape `(rows,)`."""

    labels: npt.NDArray[Any]
    logits: Floats
    probabilities: Floats


class Predictions(NamedTuple):
    """Predictions for a block of pairs; all of shape `(pairs,)`."""

    known: npt.NDArray[np.bool_]
    """Whether the run knows both the user and the item."""
    labels: npt.NDArray[np.int8]
    """Suggested labels: 1, 0 or `UNCLEAR`."""
    columns: dict[str, npt.NDArray[np.float32]]
    """Numbers by name; NaN for unknown pairs."""


def facts(rows: ScoredRows) -> dict[str, Any] | None:
    """Measure predictions on labelled rows.

    Returns:
        Number of rows, fraction of positives, AUC (none with one class), accuracy at 0.5, log
        loss, ECE, Brier score and reliability table; none without rows.
    """
    if not len(rows.labels):
        return None
    y = np.asarray(rows.labels, np.float64)
    p = np.asarray(rows.probabilities, np.float64)
    measured = calibration(y, p)
    right = np.clip(np.where(y > 0, p, 1 - p), 1e-12, None)
    return {
        "rows": len(y),
        "positive_fraction": float(y.mean()),
        "auc": _auc(rows.labels, rows.logits),
        "accuracy": float(((p >= 0.5) == (y > 0)).mean()),
        "log_loss": float(-np.log(right).mean()),
        "ece": measured.ece,
        "brier": measured.brier,
        "table": [part._asdict() for part in measured.table],
    }


@final
class Tally:
    """Counts over all blocks of pairs.

    Args:
        promises: Promises whose labels to count.
        dataset: Dataset whose labelled pairs are not compared with the truth.
    """

    def __init__(self, promises: Sequence[Promise], dataset: Dataset) -> None:
        self.promises = promises
        self.counts: Counter[str] = Counter()
        """Pairs of each suggestion, and how many are unknown or already labelled."""
        self.labelled = np.zeros((len(promises), 2), np.int64)
        """Positive and negative suggestions of each promise, shape `(promises, 2)`."""
        self.probability = 0.0
        """Sum of all probabilities."""
        self._n_items = dataset.n_items
        parts = (dataset.train, dataset.valid, dataset.test)
        self._keys = [self._key(part.users, part.items) for part in parts]
        self._columns: defaultdict[str, list[npt.NDArray[Any]]] = defaultdict(list)

    def add(self, block: Block, found: Predictions) -> None:
        """Count a block, and keep the predictions of pairs whose truth is known."""
        probability = found.columns["probability"]
        for row, promise in enumerate(self.promises):
            labels = suggested(probability, promise.thresholds)
            self.labelled[row] += [int((labels == label).sum()) for label in CLASSES.values()]
        self.probability += float(np.nansum(probability, dtype=np.float64))
        key = self._key(block.users, block.items)
        is_labelled = found.known & np.any([_is_in(key, keys) for keys in self._keys], axis=0)
        flags = {name: found.labels == label for name, label in CLASSES.items()}
        flags |= {f"{name} below 0": values < 0 for name, values in found.columns.items()}
        flags |= {"unclear": found.labels == UNCLEAR, "unknown": ~found.known}
        flags |= {"labelled_already": is_labelled}
        self.counts.update({name: int(flag.sum()) for name, flag in flags.items()})
        if block.truth is not None:
            comparable = found.known & ~is_labelled & (block.truth != UNKNOWN)
            for name, values in {"truth": block.truth, **found.columns}.items():
                self._columns[name].append(values[comparable])

    def _key(self, users: Any, items: Any) -> npt.NDArray[np.int64]:
        """Return one integer per pair, ascending in the order of the rows of a part."""
        return users.astype(np.int64) * self._n_items + items

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column of the pairs in `known`."""
        return np.concatenate(self._columns[name] or [np.empty(0)])

    @property
    def known(self) -> ScoredRows:
        """Pairs whose truth is known, without those that are labelled in the dataset."""
        return ScoredRows(*map(self.column, ("truth", "logit", "probability")))

    def agreement_accuracy(self) -> list[dict[str, Any]]:
        """Return the accuracy of the likelier label by the share of other epochs that agree."""
        known, agreement = self.known, self.column("agreement")
        right = (known.probabilities >= 0.5) == (known.labels > 0)
        rows = {level: agreement == level for level in np.unique(agreement).tolist()}
        return [
            {"agreement": level, "rows": int(at.sum()), "accuracy": float(right[at].mean())}
            for level, at in rows.items()
        ]

    def influence_auc(self) -> float | None:
        """Return the AUC of the negated influence; none with one class."""
        labels = self.known.labels
        return _auc(labels, -self.column("influence")) if len(labels) else None

    def promised(self, n_pairs: int, measured: dict[str, ScoredRows]) -> list[dict[str, Any]]:
        """Return thresholds, labelled pairs and measured precision of each promise.

        Args:
            n_pairs: Number of pairs, with unknown ones.
            measured: Labelled rows by name.
        """
        thresholds = [promise.thresholds for promise in self.promises]
        kept = {
            name: kept_promises(rows.labels, rows.probabilities, thresholds)
            for name, rows in measured.items()
        }
        return [
            {
                "precision": promise.precision,
                "share": float(pairs.sum() / max(n_pairs, 1)),
                **{
                    name: {
                        "threshold": reach.threshold,
                        "validation": {"rows": reach.rows, "precision": reach.precision},
                        "pairs": int(n),
                        **{known: found[row][name] for known, found in kept.items()},
                    }
                    for name, reach, n in zip(CLASSES, promise.thresholds, pairs, strict=True)
                },
            }
            for row, (promise, pairs) in enumerate(zip(self.promises, self.labelled, strict=True))
        ]


def _auc(labels: npt.NDArray[Any], scores: Floats) -> float | None:
    area = auc(tie_groups(np.zeros(len(labels), np.int64), labels, scores))
    return None if isnan(area) else area


def _is_in(key: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return whether each key is among others, which are ascending."""
    if not len(keys):
        return np.zeros(len(key), np.bool_)
    return keys[np.searchsorted(keys, key).clip(max=len(keys) - 1)] == key
