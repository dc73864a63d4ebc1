"""NDCG@20 of the paper's released code, which breaks ties by the order of the rows.

    python -m reproduction.released_ndcg RUN ...

Only for comparison with Table 2 of the paper (Lin et al., WSDM 2024); no other metric of this
library depends on the order of the rows.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from rich import print as show
from torch import nn

from invlearn.data.dataset import Dataset
from invlearn.data.parts import Part
from invlearn.evaluation.assessment import Assessment, score_baseline
from invlearn.evaluation.evaluation import Evaluation, evaluate
from invlearn.evaluation.metrics import Floats
from invlearn.evaluation.scoring import score_pairs
from invlearn.training.run import Run

Value = TypeVar("Value")


def with_released_ndcg(
    found: Assessment,
    module: nn.Module,
    dataset: Dataset,
    rows: Part,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Assessment:
    """Return an assessment with `ndcg@20_as_released` added, for backbone and baselines.

    Args:
        found: Assessment of the rows with the same draws and seed.
        module: The backbone.
        dataset: Dataset whose training and unlabelled parts the baselines use.
        rows: Labelled rows in dense ids.
        draws: Bootstrap draws over users; 0 for no intervals.
        seed: Seed of the draws and of the baselines.
    """

    def added(evaluation: Evaluation, scores: npt.ArrayLike) -> Evaluation:
        ranks = released_order(scores)
        other = evaluate(rows.users, rows.labels, ranks, ks=(20,), draws=draws, seed=seed)
        return replace(
            evaluation,
            values=evaluation.values | _renamed(other.values),
            intervals=evaluation.intervals | _renamed(other.intervals),
            draws=evaluation.draws | _renamed(other.draws),
        )

    return replace(
        found,
        backbone=added(found.backbone, score_pairs(module, rows.users, rows.items)),
        baselines={
            name: added(own, score_baseline(name, dataset, rows, seed))
            for name, own in found.baselines.items()
        },
    )


def released_order(scores: npt.ArrayLike) -> Floats:
    """Return ranks that break ties as `argsort(scores)[::-1]` does, later rows first.

    A stable sort replaces the released unstable one, whose order depends on the machine.
    """
    order = np.argsort(np.asarray(scores, np.float64), kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order))
    return ranks


def _renamed(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return NDCG@20 alone, renamed; empty for no values."""
    return {f"{name}_as_released": value for name, value in values.items() if name == "ndcg@20"}


def main(folders: list[str]) -> None:
    """Print NDCG@20 of runs on their test rows, both ways."""
    for folder in folders:
        run = Run.open(Path(folder))
        data = run.dataset()
        found = run.evaluate(dataset=data, draws=0, baselines={})
        values = with_released_ndcg(found, run.module, data, data.test, draws=0).backbone.values
        named = (name for name in values if name.startswith("ndcg@20"))
        show(f"{folder}: " + ", ".join(f"{name} {values[name]:.5f}" for name in named))


if __name__ == "__main__":
    main(sys.argv[1:])
