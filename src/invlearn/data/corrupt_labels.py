"""Hide or flip labels of a dataset, to study how much feedback a method needs.

The true labels stay in the folder, for evaluation only, never for training.
"""

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from invlearn.data.dataset import Dataset
from invlearn.data.parts import PARTS, Ids, Labels, Part, write_dataset
from invlearn.runtime import atomic
from invlearn.runtime.errors import ConfigError, DataError
from invlearn.runtime.random import stream


@dataclass(frozen=True, slots=True)
class Weakening:
    """Which fractions of the training labels to hide or flip.

    Raises:
        ConfigError: A fraction is outside its range.
    """

    label_share: float = 1.0
    """Share of the rows that keep a label, in (0, 1]; the others become exposed-unlabelled."""
    flip_positives: float = 0.0
    """Fraction of the positive rows to label negative, in [0, 1]."""
    flip_negatives: float = 0.0
    """Fraction of the negative rows to label positive, in [0, 1]."""
    seed: int = 0
    """Seed of the choice of rows."""

    def __post_init__(self) -> None:
        if not 0 < self.label_share <= 1:
            raise ConfigError(
                f"label_share must be above 0 and at most 1; found {self.label_share}"
            )
        for name in ("flip_positives", "flip_negatives"):
            fraction = getattr(self, name)
            if not 0 <= fraction <= 1:
                raise ConfigError(f"{name} must be from 0 to 1; found {fraction}")


class Weakened(NamedTuple):
    """Training and unlabelled rows after labels were hidden and flipped."""

    train: Part
    unlabelled: Part
    n_flipped_positives: int
    """Positive rows of `train` that were labelled negative."""
    n_flipped_negatives: int


def weakened(train: Part, unlabelled: Part, how: Weakening) -> Weakened:
    """Hide labels of training rows, and flip some of the others.

    Each row has one rank for hiding and one for flipping, both determined by the seed alone. So
    rows that keep a label at one share keep it at every larger share, rows flipped at one fraction
    are flipped at every larger fraction, and flips do not depend on the share. The fractions are
    exact (rounded) before rows are hidden, and hold on average afterwards.

    Args:
        train: Labelled rows, in the order (user, item).
        unlabelled: Exposed-unlabelled rows, in the same order.
        how: What to hide and to flip.
    """
    n_kept = round(how.label_share * len(train))
    is_kept = stream(how.seed, "hidden labels").permutation(len(train)) < n_kept
    labels = _flipped(train.labels, how)
    is_changed = is_kept & (labels != train.labels)
    truth = train.labels if train.truth is None else train.truth
    return Weakened(
        Part(train.users[is_kept], train.items[is_kept], labels[is_kept], truth[is_kept]),
        _with_rows(unlabelled, train.users[~is_kept], train.items[~is_kept], truth[~is_kept]),
        n_flipped_positives=int((is_changed & (train.labels == 1)).sum()),
        n_flipped_negatives=int((is_changed & (train.labels == 0)).sum()),
    )


def corrupt_labels(
    dataset: str | Path,
    out: str | Path,
    *,
    label_share: float = 1.0,
    flip_positives: float = 0.0,
    flip_negatives: float = 0.0,
    seed: int = 0,
    overwrite: bool = False,
) -> Dataset:
    """Write a dataset folder with fewer or wrong labels in its training part (see `weakened`).

    Validation and test are unchanged: models are still selected and evaluated on clean labels,
    of which a real log of this quality would have fewer. A row with a hidden label becomes
    exposed-unlabelled, and its pair counts as unseen when evaluating on another log.

    The result may be corrupted again: shares and fractions then refer to its current labels, and
    the truth stays the original one. The defaults change neither columns nor fingerprint.

    Args:
        dataset: The source folder; it is not modified.
        out: The folder to write; `weakened` in its card records source and settings.
        label_share: Share of the training rows that keep a label, in (0, 1].
        flip_positives: Fraction of the positive training rows to label negative.
        flip_negatives: Fraction of the negative training rows to label positive.
        seed: The same seed gives the same bytes.
        overwrite: Replace an existing dataset folder.

    Raises:
        ConfigError: A fraction is outside its range, or both folders are the same.
        DataError: The dataset is missing or damaged, or training would lose one class.
        InvlearnError: `out` exists or is not writable.
    """
    how = Weakening(label_share, flip_positives, flip_negatives, seed)
    source, out = Dataset.open(dataset, verify=True), Path(out)
    if out.resolve() == source.folder.resolve():
        raise ConfigError(f"{out} would replace the dataset it is made from; choose another name")
    found = weakened(source.train, source.unlabelled, how)
    kept = _rows(found.train, found.unlabelled)["train"]
    if not all(kept.values()):
        raise DataError(
            f"the train part of {source.folder} would keep {kept['positive']:,} positive and "
            f"{kept['negative']:,} negative rows, and both classes are needed; take a "
            "larger label share, other flip fractions or another seed"
        )
    parts = {"valid": source.valid, "test": source.test}
    parts["train"], parts["unlabelled"] = map(_without_idle_truth, found[:2])
    with atomic.new_folder(out, overwrite=overwrite, marker="data.json") as folder:
        for name in source.card.files:
            if name.partition(".")[0] not in PARTS:  # ids and features
                shutil.copyfile(source.folder / name, folder / name)
        write_dataset(folder, parts, _card(source, found, how))
    return Dataset.open(out)


def _flipped(labels: Labels, how: Weakening) -> Labels:
    """Return the labels with a random fraction of each class flipped."""
    order = stream(how.seed, "flipped labels").permutation(len(labels))
    flipped = labels.copy()
    for label, fraction in ((1, how.flip_positives), (0, how.flip_negatives)):
        rows = order[labels[order] == label]
        flipped[rows[: round(fraction * len(rows))]] = 1 - label
    return flipped


def _with_rows(unlabelled: Part, users: Ids, items: Ids, truth: Labels) -> Part:
    """Return unlabelled rows with other rows merged in, sorted by (user, item)."""
    unknown = np.full(len(unlabelled), -1, np.int8)
    users = np.concatenate([unlabelled.users, users])
    items = np.concatenate([unlabelled.items, items])
    truth = np.concatenate([unknown if unlabelled.truth is None else unlabelled.truth, truth])
    order = np.lexsort((items, users))
    return Part(users[order], items[order], np.empty(0, np.int8), truth[order])


def _without_idle_truth(part: Part) -> Part:
    """Drop the truth column if it is unknown in every row or equal to the labels."""
    known = part.labels if len(part.labels) else np.int8(-1)
    is_idle = part.truth is None or (part.truth == known).all()
    return replace(part, truth=None) if is_idle else part


def _card(source: Dataset, found: Weakened, how: Weakening) -> dict[str, Any]:
    """Return the source's card with updated row counts and the corruption settings."""
    card = source.card.to_json()
    before = {key: card[key] for key in ("weakened",) if key in card}
    for key in ("format", "fingerprint", "files"):
        card.pop(key, None)
    rows = _rows(source.train, source.unlabelled)
    return card | {
        "rows": card.get("rows", {}) | _rows(found.train, found.unlabelled),
        "weakened": {
            **asdict(how),
            "n_hidden": len(source.train) - len(found.train),
            "n_flipped_positives": found.n_flipped_positives,
            "n_flipped_negatives": found.n_flipped_negatives,
            "from": {"fingerprint": source.fingerprint, "rows": rows} | before,
        },
    }


def _rows(train: Part, unlabelled: Part) -> dict[str, Any]:
    n_positive = int((train.labels == 1).sum())
    return {
        "train": {"positive": n_positive, "negative": len(train) - n_positive},
        "unlabelled": len(unlabelled),
    }
