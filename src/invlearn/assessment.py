"""A trained backbone's metrics, with the trivial baselines that it has to beat beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from invlearn.baselines import BASELINES, baseline_scores
from invlearn.data.dataset import Dataset, Part
from invlearn.evaluation import Evaluation, evaluate
from invlearn.progress import Progress, silent
from invlearn.randomness import stream
from invlearn.ranking import rank_catalogue
from invlearn.scoring import score_catalogue, score_pairs

PartName = Literal["train", "valid", "test"]
Scores = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Assessment:
    """Metrics of a backbone and of the baselines on the same rows."""

    part: str
    """What the rows are: `test`, another part, or the name of a log."""
    backbone: Evaluation
    baselines: dict[str, Evaluation]
    catalogue: Evaluation | None = None
    """Ranking of the whole catalogue, where it was asked for."""

    def to_json(self) -> dict[str, Any]:
        """Metrics and counts by their names, then intervals and baselines."""
        own = self.backbone.to_json()
        ranking = self.catalogue.to_json() if self.catalogue else {"values": {}, "intervals": {}}
        return {
            "part": self.part,
            **own["values"],
            **ranking["values"],
            **own["counts"],
            "intervals": own["intervals"] | ranking["intervals"],
            "baselines": {n: e.to_json()["values"] for n, e in self.baselines.items()},
        }


def assess(
    module: nn.Module,
    dataset: Dataset,
    rows: Part,
    *,
    part: str = "test",
    draws: int = 1000,
    seed: int = 0,
    as_released: bool = False,
    baselines: Mapping[str, Evaluation] | None = None,
    progress: Progress = silent,
) -> Assessment:
    """Score rows with a backbone and with every baseline, and measure both alike.

    Args:
        module: The backbone.
        dataset: The baselines count its training part.
        rows: Labelled rows in dense ids.
        part: What to call the rows.
        draws: Bootstrap draws over users; 0 for no intervals.
        seed: Of the draws and of the random baseline.
        as_released: Also the released code's NDCG@20, for comparison with the paper's Table 2.
        baselines: What the baselines got on these very rows, if that is known already.
        progress: Told of each set of scores.
    """

    def measured(name: str, scores: Scores) -> Evaluation:
        return evaluate(
            rows.users,
            rows.labels,
            scores,
            draws=draws,
            seed=seed,
            name=name,
            as_released=as_released,
        )

    names = () if baselines is not None else BASELINES
    progress("evaluate", 0, 1 + len(names))
    backbone = measured("the run", score_pairs(module, rows.users, rows.items))
    found = dict(baselines or {})
    for done, name in enumerate(names, start=1):
        progress("evaluate", done, 1 + len(names))
        found[name] = measured(name, _baseline(name, dataset, rows, seed))
    progress("evaluate", 1 + len(names), 1 + len(names))
    return Assessment(part, backbone, found)


def assess_catalogue(
    module: nn.Module,
    dataset: Dataset,
    *,
    n_users: int = 1000,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Rank the whole catalogue for a sample of users with test positives.

    Training and validation pairs of a user are left out of the ranking.

    Args:
        module: The backbone.
        dataset: Its parts say what is relevant and what is masked.
        n_users: Users at most, drawn with `seed`; 0 for all.
        draws: Bootstrap draws over users; 0 for no intervals.
        seed: Of the sample and of the draws.
        progress: Told of each block of users.
    """
    users = np.unique(dataset.test.users[dataset.test.labels == 1])
    if 0 < n_users < len(users):
        users = np.sort(stream(seed, "catalogue users").choice(users, n_users, replace=False))
    score_users: Callable[[npt.NDArray[np.integer[Any]]], Scores] = lambda block: score_catalogue(  # noqa: E731
        module, block, dataset.n_items
    )
    return rank_catalogue(
        score_users,
        dataset.train,
        dataset.test,
        n_items=dataset.n_items,
        users=users,
        also_masked=[dataset.valid],
        draws=draws,
        seed=seed,
        progress=progress,
    )


def _baseline(name: str, dataset: Dataset, rows: Part, seed: int) -> Scores:
    return baseline_scores(
        name,
        dataset.train,
        rows.users,
        rows.items,
        n_users=dataset.n_users,
        n_items=dataset.n_items,
        seed=seed,
    )
