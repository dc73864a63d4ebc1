"""From the records of the trainings to the tree that the page is made of."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from statistics import fmean

from invlearn.evaluation.evaluation import Evaluation
from invlearn.evaluation.replication import mean_over_seeds, paired_over_seeds
from invlearn.experiments.cell import BaselineFolder, Cell, CellFolder
from invlearn.experiments.search import Range
from invlearn.runtime.environment import machine
from reproduction.plans import NAMES, Source, Way, row
from reproduction.results import (
    METRICS,
    Comparison,
    Gap,
    Level,
    MeasuredRow,
    Provenance,
    Side,
    Table,
    TableRow,
)

KEPT = (*METRICS, "ndcg@10", "log_loss")
"""Metrics that are kept; the page shows some of them."""

Cells = Mapping[str, Mapping[Way, Cell]]
"""Cells by name of the row and by way."""


def table_of(experiment: Path, source: Source, cells: Cells, command: str) -> Table:
    """Return published and measured values of one data set.

    Args:
        experiment: Folder of the experiment.
        source: The data set.
        cells: What was trained on it.
        command: The command of this call.
    """
    every = [cell for ways in cells.values() for cell in ways.values()]
    baselines = BaselineFolder(experiment, every[0]).evaluations()
    return Table(
        dataset=source.name,
        stand_in=source.stand_in,
        fingerprint=every[0].fingerprint,
        rows=tuple(_row(experiment, source, name, ways, command) for name, ways in cells.items()),
        baselines={
            name: {m: _number(found.values[m]) for m in KEPT if m in found.values}
            for name, found in baselines.items()
        },
        failures={
            f"{name} {way}": tuple(_failures(CellFolder(experiment, cell)))
            for name, ways in cells.items()
            for way, cell in ways.items()
        },
    )


def comparisons_of(experiment: Path, source: Source, cells: Cells) -> list[Comparison]:
    """Return every comparison on the page for one data set, paired by user and seed."""
    found: dict[tuple[str, str, Way], dict[int, Evaluation]] = {
        (row(name).backbone, row(name).method, way): CellFolder(experiment, cell).evaluations()
        for name, ways in cells.items()
        for way, cell in ways.items()
    }
    comparisons: list[Comparison] = []
    for (backbone, method, way), runs in found.items():
        for less_method, less_way in _compared_with(method, way):
            others = found.get((backbone, less_method, less_way), {})
            if runs.keys() & others.keys():
                of, less = Side(method=method, way=way), Side(method=less_method, way=less_way)
                comparisons.append(_comparison(source, backbone, of, less, (runs, others)))
    return comparisons


def provenance_of(experiment: Path, cells: Sequence[Cell], command: str) -> Provenance:
    """Return where the numbers of some cells come from, by their records."""
    folders = [CellFolder(experiment, cell) for cell in cells]
    records = [(folder, record) for folder in folders for record in folder.records()]
    commits = {record.commit for _, record in records}
    commits |= {trial.commit for folder in folders for trial in folder.trials()}
    last = max((f.path / f"seed-{record.seed}.json").stat().st_mtime for f, record in records)
    return Provenance(
        commits=tuple(sorted(commits - {""})),
        dates=(datetime.fromtimestamp(last, UTC).date().isoformat(),),
        machines=(machine(),),
        commands=(command,),
    )


def _compared_with(method: str, way: Way) -> Sequence[tuple[str, Way]]:
    """What a row is compared with."""
    if (method, way) == ("IG", "released"):
        return [("IG", "ablated"), ("None", "printed")]
    if (method, way) == ("None", "tuned"):
        return [("IG", "released")]
    if method != "None" and way in ("printed", "tuned"):
        return [("None", way)]
    return []


def _comparison(
    source: Source,
    backbone: str,
    of: Side,
    less: Side,
    runs: tuple[Mapping[int, Evaluation], Mapping[int, Evaluation]],
) -> Comparison:
    found = paired_over_seeds(*runs)
    return Comparison(
        dataset=source.name,
        backbone=NAMES[backbone],
        of=of,
        less=less,
        n_seeds=len(runs[0].keys() & runs[1].keys()),
        metrics={
            name: Gap(mean=found[name].value, low=found[name].low, high=found[name].high)
            for name in KEPT
            if not isnan(found[name].value)
        },
    )


def _row(
    experiment: Path, source: Source, name: str, ways: Mapping[Way, Cell], command: str
) -> TableRow:
    published = row(name)
    measured: dict[Way, MeasuredRow] = {}
    for way, cell in ways.items():
        folder = CellFolder(experiment, cell)
        if folder.evaluations():
            measured[way] = _measured(folder, provenance_of(experiment, [cell], command))
    return TableRow(
        backbone=NAMES[published.backbone],
        method=published.method,
        published=published.published[source.name],
        ways=measured,
    )


def _measured(folder: CellFolder, provenance: Provenance) -> MeasuredRow:
    """Means over the seeds, one at least."""
    records = [record for record in folder.records() if record.state == "complete"]
    costs = [record.cost for record in records if record.cost]
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    return MeasuredRow(
        metrics=_levels(folder),
        n_seeds=len(records),
        n_planned=len(folder.cell.seeds),
        seconds=fmean(cost.seconds for cost in costs),
        best_epochs=tuple(record.epoch for record in records if record.epoch),
        epoch_cap=folder.cell.config.epochs,
        peak_bytes=max(peaks, default=None),
        settings=folder.chosen() or {},
        at_end=tuple(_at_end(folder)),
        trials=Counter(trial.state for trial in folder.trials()),
        provenance=provenance,
    )


def _levels(folder: CellFolder) -> dict[str, Level]:
    means = mean_over_seeds([*folder.evaluations().values()])
    found = {name: means[name] for name in KEPT if not isnan(means[name].value)}
    return {
        name: Level(mean=mean.value, sd=_number(mean.spread), low=mean.low, high=mean.high)
        for name, mean in found.items()
    }


def _at_end(folder: CellFolder) -> Iterator[str]:
    """Chosen numbers of a range that are the lowest or the highest that was tried."""
    chosen, trials = folder.chosen() or {}, folder.trials()
    search = folder.cell.tuning.search if folder.cell.tuning else {}
    for name in (name for name, space in search.items() if isinstance(space, Range)):
        values = [trial.settings[name] for trial in trials]
        if min(values) < max(values) and chosen.get(name) in (min(values), max(values)):
            yield name


def _failures(folder: CellFolder) -> Iterator[str]:
    """What failed, and why."""
    for trial in folder.trials():
        if trial.state == "failed":
            yield f"trial {trial.number}: {trial.reason}"
    for record in folder.records():
        if record.state == "failed":
            yield f"seed {record.seed}: {record.reason}"


def _number(value: float) -> float | None:
    return None if isnan(value) else value
