"""NDCG@20 as the code released with the paper has it: ties are broken by the order of the rows.

It is for comparison with Table 2 of the paper only (Lin et al., WSDM 2024); the order of the rows
does not change any other metric of this library.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from invlearn.data.dataset import Dataset
from invlearn.data.parts import Part
from invlearn.evaluation.assessment import Assessment, score_baseline
from invlearn.evaluation.evaluation import Evaluation, evaluate
from invlearn.evaluation.metrics import Floats
from invlearn.evaluation.scoring import score_pairs

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
    """Add `ndcg@20_as_released` to an assessment, for the backbone and the baselines.

    Args:
        found: What was measured on the rows, with the same draws and seed.
        module: The backbone.
        dataset: The baselines learn from its training and unlabelled parts.
        rows: Labelled rows in dense ids.
        draws: Bootstrap draws over users; 0 for no intervals.
        seed: Of the draws and of the baselines.
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
    """Replace scores by ranks that break ties as `argsort(scores)[::-1]` does, later rows first.

    A stable sort stands for the released unstable one, whose order depends on the machine.
    """
    order = np.argsort(np.asarray(scores, np.float64), kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order))
    return ranks


def _renamed(values: Mapping[str, Value]) -> dict[str, Value]:
    """NDCG@20 alone, under its own name; nothing where there are no values."""
    return {f"{name}_as_released": value for name, value in values.items() if name == "ndcg@20"}
