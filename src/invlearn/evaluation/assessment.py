"""Metrics of a trained backbone and of the trivial baselines that it has to beat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from invlearn.backbones.exposure_hybrid.exposure_factors import fit_exposure_factors
from invlearn.data.cold import NO_COLD, Cold, cold_rows
from invlearn.data.dataset import Dataset
from invlearn.data.exposures import Exposures
from invlearn.data.parts import Part
from invlearn.evaluation.baselines import ALL_BASELINES, BASELINES, SLOW_BASELINES, baseline_scores
from invlearn.evaluation.evaluation import Evaluation, evaluate
from invlearn.evaluation.ranking import rank_catalogue
from invlearn.evaluation.scoring import CatalogueScorer, score_pairs
from invlearn.runtime.errors import unknown
from invlearn.runtime.progress import Progress, silent
from invlearn.runtime.random import stream

PartName = Literal["train", "valid", "test"]
Scores = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Assessment:
    """Metrics of a backbone and of the baselines on the same rows."""

    part: str
    """Name of the rows: `test`, another part, or a log."""
    backbone: Evaluation
    baselines: dict[str, Evaluation]
    catalogue: Evaluation | None = None
    """Ranking of the whole catalogue, if requested."""
    cold: Cold = NO_COLD
    """Rows whose user or item the backbone could not learn from labels."""
    warm: Evaluation | None = None
    """Metrics of the backbone without these rows; None if there are none, or if the others have
    one class."""

    def to_json(self) -> dict[str, Any]:
        """Return metrics and counts by name, then intervals and baselines."""
        own = self.backbone.to_json()
        ranking = self.catalogue.to_json() if self.catalogue else {"values": {}, "intervals": {}}
        return {
            "part": self.part,
            **own["values"],
            **ranking["values"],
            **own["counts"],
            "intervals": own["intervals"] | ranking["intervals"],
            "baselines": {n: e.to_json()["values"] for n, e in self.baselines.items()},
            "cold": self.cold._asdict(),
            "without_cold": self.warm.to_json() if self.warm else None,
        }


def assess(
    module: nn.Module,
    dataset: Dataset,
    rows: Part,
    *,
    part: str = "test",
    draws: int = 1000,
    seed: int = 0,
    baselines: Mapping[str, Evaluation] | Sequence[str] = BASELINES,
    progress: Progress = silent,
) -> Assessment:
    """Compute metrics of a backbone and of baselines on the same rows.

    Args:
        module: The backbone.
        dataset: Dataset whose training and unlabelled parts the baselines use.
        rows: Labelled rows in dense ids.
        part: Name of the rows.
        draws: Bootstrap draws over users; 0 for no intervals.
        seed: Seed of the draws and of the baselines.
        baselines: Their names, or their known results on the same rows.
        progress: Called for each set of scores.

    Raises:
        ConfigError: A baseline does not exist.
    """
    progress("evaluate", 0, 1)
    scores = score_pairs(module, rows.users, rows.items)
    backbone = evaluate(rows.users, rows.labels, scores, draws=draws, seed=seed, name="the run")
    progress("evaluate", 1, 1)
    if not isinstance(baselines, Mapping):
        baselines = measure_baselines(
            dataset, rows, names=baselines, draws=draws, seed=seed, progress=progress
        )
    cold, is_warm = cold_rows(dataset.train, rows, (dataset.n_users, dataset.n_items))
    warm = None
    if cold.rows and len(np.unique(rows.labels[is_warm])) == 2:
        columns = rows.users[is_warm], rows.labels[is_warm], scores[is_warm]
        warm = evaluate(*columns, draws=draws, seed=seed, name="the run")
    return Assessment(part, backbone, dict(baselines), cold=cold, warm=warm)


def measure_baselines(
    dataset: Dataset,
    rows: Part,
    *,
    names: Sequence[str] = ALL_BASELINES,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Evaluation]:
    """Compute metrics of baselines, without a backbone.

    Args:
        dataset: Dataset whose training and unlabelled parts the baselines use.
        rows: Labelled rows in dense ids.
        names: Names from `ALL_BASELINES`.
        draws: Bootstrap draws over users; 0 for no intervals.
        seed: Seed of the draws and of the baselines.
        progress: Called for each set of scores.

    Returns:
        Metrics by baseline, in the given order.

    Raises:
        ConfigError: A baseline does not exist.
    """
    found: dict[str, Evaluation] = {}
    for done, name in enumerate(names):
        progress("baselines", done, len(names))
        scores = score_baseline(name, dataset, rows, seed)
        found[name] = evaluate(rows.users, rows.labels, scores, draws=draws, seed=seed, name=name)
    progress("baselines", len(names), len(names))
    return found


def score_baseline(name: str, dataset: Dataset, rows: Part, seed: int) -> Scores:
    """Return the scores of a baseline for rows, shape `(rows,)`.

    Raises:
        ConfigError: The baseline does not exist.
    """
    if name not in ALL_BASELINES:
        raise unknown("baseline", name, ALL_BASELINES)
    shape = dataset.n_users, dataset.n_items
    if name in SLOW_BASELINES:
        exposures = Exposures.of(dataset.train, dataset.unlabelled)
        return fit_exposure_factors(exposures, shape, seed=seed).score(rows.users, rows.items)
    return baseline_scores(name, dataset.train, rows.users, rows.items, shape=shape, seed=seed)


def assess_catalogue(
    module: nn.Module,
    dataset: Dataset,
    *,
    n_users: int = 1000,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Compute ranking metrics over the whole catalogue for users with test positives.

    A user's training and validation pairs are not ranked.

    Args:
        module: The backbone.
        dataset: Dataset with the relevant and the masked pairs.
        n_users: Maximum of users, drawn with `seed`; 0 for all.
        draws: Bootstrap draws over users; 0 for no intervals.
        seed: Seed of the sample and of the draws.
        progress: Called for each block of users.
    """
    users = np.unique(dataset.test.users[dataset.test.labels == 1])
    if 0 < n_users < len(users):
        users = np.sort(stream(seed, "catalogue users").choice(users, n_users, replace=False))
    score_users = CatalogueScorer(module, dataset.n_items)
    return rank_catalogue(
        lambda block: score_users(block).cpu().numpy(),
        dataset.train,
        dataset.test,
        n_items=dataset.n_items,
        users=users,
        also_masked=[dataset.valid],
        draws=draws,
        seed=seed,
        progress=progress,
    )
