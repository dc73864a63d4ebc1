"""What there is to say of an annotation as a whole: counts, calibration, promises kept.

All of it ends in the JSON file beside the annotation; `docs/annotation.md` names every key.
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
        """Whether validation lets one of the labels be given at all."""
        return any(reach.threshold is not None for reach in self.thresholds)


class Judged(NamedTuple):
    """Rows whose label is known, beside what is said of them; all of shape `(rows,)`."""

    labels: npt.NDArray[Any]
    logits: Floats
    probabilities: Floats


def facts(rows: Judged) -> dict[str, Any] | None:
    """Measure probabilities against what is known.

    Returns:
        Rows, share of positives, AUC (none with one class), accuracy at a half, log loss, ECE,
        Brier score and reliability table; nothing without rows.
    """
    if not len(rows.labels):
        return None
    y = np.asarray(rows.labels, np.float64)
    p = np.asarray(rows.probabilities, np.float64)
    found = calibration(y, p)
    area = auc(tie_groups(np.zeros(len(y), np.int64), rows.labels, rows.logits))
    right = np.clip(np.where(y > 0, p, 1 - p), 1e-12, None)
    return {
        "rows": len(y),
        "positive_fraction": float(y.mean()),
        "auc": None if isnan(area) else area,
        "accuracy": float(((p >= 0.5) == (y > 0)).mean()),
        "log_loss": float(-np.log(right).mean()),
        "ece": found.ece,
        "brier": found.brier,
        "table": [part._asdict() for part in found.table],
    }


class Said(NamedTuple):
    """What is said of a block of pairs; all of shape `(pairs,)`."""

    known: npt.NDArray[np.bool_]
    """Whether the run knows both the user and the item."""
    labels: npt.NDArray[np.int8]
    """Suggested labels: 1, 0 or `UNCLEAR`."""
    columns: dict[str, npt.NDArray[np.float32]]
    """Numbers by name; NaN of strangers."""


@final
class Tally:
    """What is counted while the pairs go by.

    Args:
        promises: Whose labels to count.
        dataset: Whose labelled pairs are not held against the truth.
    """

    def __init__(self, promises: Sequence[Promise], dataset: Dataset) -> None:
        self.promises = promises
        self.counts: Counter[str] = Counter()
        """Pairs of each suggestion, and how many are unknown or labelled already."""
        self.labelled = np.zeros((len(promises), 2), np.int64)
        """Pairs that each promise calls positive and negative, shape `(promises, 2)`."""
        self.probability = 0.0
        """Sum of all probabilities."""
        self._n_items = dataset.n_items
        parts = (dataset.train, dataset.valid, dataset.test)
        self._keys = [self._key(part.users, part.items) for part in parts]
        self._judged: list[Judged] = []
        self._columns: defaultdict[str, list[Floats]] = defaultdict(list)

    def see(self, block: Block, said: Said) -> None:
        """Count a block, and keep of it what can be held against the truth."""
        for row, promise in enumerate(self.promises):
            labels = suggested(said.columns["probability"], promise.thresholds)
            self.labelled[row] += [int((labels == label).sum()) for label in CLASSES.values()]
        self.probability += float(np.nansum(said.columns["probability"], dtype=np.float64))
        key = self._key(block.users, block.items)
        is_labelled = said.known & np.any([_is_in(key, keys) for keys in self._keys], axis=0)
        flags = {name: said.labels == label for name, label in CLASSES.items()}
        flags |= {f"{name} below 0": values < 0 for name, values in said.columns.items()}
        flags |= {"unclear": said.labels == UNCLEAR, "unknown": ~said.known}
        flags |= {"labelled_already": is_labelled}
        self.counts.update({name: int(there.sum()) for name, there in flags.items()})
        if block.truth is not None:
            told = said.known & ~is_labelled & (block.truth != UNKNOWN)
            columns = {name: values[told] for name, values in said.columns.items()}
            truth = block.truth[told]
            self._judged.append(Judged(truth, columns["logit"], columns["probability"]))
            for name in columns.keys() & {"agreement", "influence"}:
                self._columns[name].append(columns[name])

    def _key(self, users: Any, items: Any) -> npt.NDArray[np.int64]:
        """One integer a pair, rising as the rows of a part are."""
        return users.astype(np.int64) * self._n_items + items

    def column(self, name: str) -> Floats:
        """What was said of the rows that were kept."""
        return np.concatenate(self._columns[name] or [np.empty(0)])

    @property
    def known(self) -> Judged:
        """Pairs whose truth is known, those left out that are labelled in the dataset."""
        empty = Judged(np.empty(0, np.int8), np.empty(0), np.empty(0))
        pieces = zip(*(self._judged or [empty]), strict=True)
        return Judged(*(np.concatenate(columns) for columns in pieces))


def all_ranks_finite(known: Judged, agreement: Floats) -> list[dict[str, Any]]:
    """How often the likelier label is right, by how many of the other epochs agree."""
    right = (known.probabilities >= 0.5) == (known.labels > 0)
    return [
        {
            "agreement": float(level),
            "rows": int((agreement == level).sum()),
            "accuracy": float(right[agreement == level].mean()),
        }
        for level in np.unique(agreement)
    ]


def influence_auc(known: Judged, influence: Floats) -> float | None:
    """AUC of the fallen influence, the lowest first; none with one class."""
    if not len(known.labels):
        return None
    area = auc(tie_groups(np.zeros(len(influence), np.int64), known.labels, -influence))
    return None if isnan(area) else area


def promised(tally: Tally, n_pairs: int, measured: dict[str, Judged]) -> list[dict[str, Any]]:
    """Tell of each promise what it takes, whom it labels, and whether it was kept.

    Args:
        tally: Of all pairs.
        n_pairs: All pairs, strangers too.
        measured: Rows whose label is known, by what to call them.
    """
    thresholds = [promise.thresholds for promise in tally.promises]
    kept = {
        name: kept_promises(rows.labels, rows.probabilities, thresholds)
        for name, rows in measured.items()
    }
    return [
        {
            "precision": promise.precision,
            "share": float(tally.labelled[row].sum() / max(n_pairs, 1)),
            **{
                name: {
                    "threshold": reach.threshold,
                    "validation": {"rows": reach.rows, "precision": reach.precision},
                    "pairs": int(tally.labelled[row, column]),
                    **{known: found[row][name] for known, found in kept.items()},
                }
                for column, (name, reach) in enumerate(
                    zip(CLASSES, promise.thresholds, strict=True)
                )
            },
        }
        for row, promise in enumerate(tally.promises)
    ]


def _is_in(key: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether each key is among others, which rise."""
    if not len(keys):
        return np.zeros(len(key), np.bool_)
    return keys[np.searchsorted(keys, key).clip(max=len(keys) - 1)] == key
