"""From the records of the trainings to the tree that the page is made of."""

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any

from invlearn.evaluation import Evaluation
from invlearn.experiments.baselines import BaselineFolder
from invlearn.experiments.cell import Cell, CellFolder
from invlearn.paper.plan import Source
from invlearn.paper.results import Difference, Gap, Level, Measured, Side, Table, TableRow, Way
from invlearn.paper.rows import row
from invlearn.paper.verdict import METRICS
from invlearn.replication import mean_over_seeds, paired_over_seeds

NAMES = {"gmf": "GMF", "neumf": "NeuMF"}
SHOWN = (*METRICS, "ndcg@10", "ndcg@20_as_released", "log_loss")
"""Metrics that are kept; the page shows some of them."""

Cells = Mapping[str, Mapping[Way, Cell]]


def table_of(experiment: Path, source: Source, cells: Cells) -> Table:
    """Published and measured values of one data set."""
    any_cell = next(cell for ways in cells.values() for cell in ways.values())
    baselines = BaselineFolder(experiment, any_cell).evaluations()
    return Table(
        dataset=source.name,
        stand_in=source.stand_in,
        rows=tuple(_row(experiment, source, name, ways) for name, ways in cells.items()),
        baselines={
            name: {m: _number(found.values[m]) for m in SHOWN if m in found.values}
            for name, found in baselines.items()
        },
    )


def differences_of(experiment: Path, source: Source, cells: Cells) -> list[Difference]:
    """Every comparison that the page makes for one data set, paired by user and seed."""
    found: dict[tuple[str, str, Way], dict[int, Evaluation]] = {
        (row(name).backbone, row(name).method, way): CellFolder(experiment, cell).evaluations()
        for name, ways in cells.items()
        for way, cell in ways.items()
    }
    differences: list[Difference] = []
    for (backbone, method, way), runs in found.items():
        for less_method, less_way in _compared_with(method, way):
            others = found.get((backbone, less_method, less_way), {})
            if runs.keys() & others.keys():
                of, less = Side(method=method, way=way), Side(method=less_method, way=less_way)
                differences.append(_difference(source, backbone, of, less, (runs, others)))
    return differences


def _compared_with(method: str, way: Way) -> Sequence[tuple[str, Way]]:
    """What a row is compared with."""
    if (method, way) == ("IG", "released"):
        return [("IG", "ablated")]
    if (method, way) == ("None", "tuned"):
        return [("IG", "released")]
    if method != "None" and way in ("printed", "tuned"):
        return [("None", way)]
    return []


def _difference(
    source: Source,
    backbone: str,
    of: Side,
    less: Side,
    runs: tuple[Mapping[int, Evaluation], Mapping[int, Evaluation]],
) -> Difference:
    found = paired_over_seeds(*runs)
    return Difference(
        dataset=source.name,
        backbone=NAMES[backbone],
        of=of,
        less=less,
        n_seeds=len(runs[0].keys() & runs[1].keys()),
        metrics={
            name: Gap(mean=found[name].value, low=found[name].low, high=found[name].high)
            for name in SHOWN
            if not isnan(found[name].value)
        },
    )


def _row(experiment: Path, source: Source, name: str, ways: Mapping[Way, Cell]) -> TableRow:
    published = row(name)
    measured: dict[Way, Measured] = {}
    for way, cell in ways.items():
        if found := _measured(CellFolder(experiment, cell)):
            measured[way] = found
    return TableRow(
        backbone=NAMES[published.backbone],
        method=published.method,
        published=published.published[source.name],
        ways=measured,
    )


def _measured(folder: CellFolder) -> Measured | None:
    """Means over the seeds; none if every training failed."""
    runs = folder.evaluations()
    records = [found for seed in runs if (found := folder.record(seed)) and found.cost]
    costs = [found.cost for found in records if found.cost]
    if not runs:
        return None
    means = mean_over_seeds([*runs.values()])
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    return Measured(
        metrics={
            name: Level(
                mean=means[name].value,
                sd=_number(means[name].spread),
                low=means[name].low,
                high=means[name].high,
            )
            for name in SHOWN
            if not isnan(means[name].value)
        },
        n_seeds=len(runs),
        seconds=fmean(cost.seconds for cost in costs),
        epochs=fmean(found.epoch or 0 for found in records),
        peak_bytes=max(peaks, default=None),
        settings=folder.chosen() or {},
    )


def _number(value: float) -> float | None:
    return None if isnan(value) else value


def as_tree(values: Sequence[Any]) -> list[Any]:
    """Settings objects as JSON holds them."""
    return [value.model_dump(mode="json") for value in values]
