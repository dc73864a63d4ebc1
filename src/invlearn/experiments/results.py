"""Results of an experiment: means, paired differences, wins and losses, cost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from invlearn.evaluation.baselines import is_meaningless
from invlearn.evaluation.evaluation import Difference, Evaluation
from invlearn.evaluation.metrics import is_better
from invlearn.evaluation.replication import Mean, mean_over_seeds, paired_over_seeds
from invlearn.experiments.cell import BaselineFolder, Cell, CellFolder, SeedRecord
from invlearn.experiments.grid import Place
from invlearn.experiments.search import Range, Trial

Outcome = Literal["win", "tie", "loss"]


@dataclass(frozen=True, slots=True)
class Effort:
    """Time and memory of a method in a cell."""

    seconds: float
    """Mean seconds of a reported training."""
    epochs: float
    """Mean epochs of a reported training."""
    peak_bytes: int | None
    """Peak memory of the reported trainings."""
    search_seconds: float
    """Seconds of all trials together."""
    search_epochs: int
    """Epochs of all trials together."""


@dataclass(frozen=True, slots=True)
class Method:
    """Results of a strategy or a trivial baseline in a cell."""

    name: str
    means: dict[str, Mean]
    """Test metrics; empty if every training failed."""
    differences: dict[str, Difference] = field(default_factory=dict)
    """Differences from the reference, paired by user and seed; empty for the reference."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings that the search chose, by dotted name."""
    trials: tuple[Trial, ...] = ()
    """All trials of the search, also failed ones."""
    records: tuple[SeedRecord, ...] = ()
    """Reported trainings, also failed ones; empty for a baseline."""
    cell: Cell | None = None
    """How it was trained; None for a baseline."""

    def outcome(self, metric: str) -> Outcome:
        """Return whether the interval of the difference is above 0, below 0, or contains 0."""
        _, low, high = self.differences[metric]
        if low > 0 or high < 0:  # neither where the interval is not a number
            return "win" if is_better(metric, low, 0.0) else "loss"
        return "tie"

    @property
    def effort(self) -> Effort | None:
        """Time and memory; None for a baseline, or if nothing was completed."""
        costs = [record.cost for record in self.records if record.cost]
        if not costs:
            return None
        searched = [trial.cost for trial in self.trials if trial.cost]
        return Effort(
            seconds=fmean(cost.seconds for cost in costs),
            epochs=fmean(cost.epochs for cost in costs),
            peak_bytes=max((cost.peak_bytes for cost in costs if cost.peak_bytes), default=None),
            search_seconds=sum(cost.seconds for cost in searched),
            search_epochs=sum(cost.epochs for cost in searched),
        )

    @property
    def remarks(self) -> list[str]:
        """Warnings about its numbers: missing seeds, best epochs or settings at a bound."""
        if self.cell is None:
            return []
        n_seeds, last = len(self.cell.seeds), self.cell.config.epochs
        complete = [record for record in self.records if record.state == "complete"]
        n_last = sum(record.epoch == last for record in complete)
        remarks = [f"{len(complete)} of {n_seeds} seeds"] if len(complete) < n_seeds else []
        if n_last:
            remarks.append(f"best in the last of {last} epochs: {n_last} of {n_seeds} seeds")
        search = self.cell.tuning.search if self.cell.tuning else {}
        for name in [n for n in self.settings if isinstance(search.get(n), Range)]:
            values = sorted(trial.settings[name] for trial in self.trials)
            if self.settings[name] in (values[0], values[-1]):
                end = "lowest" if self.settings[name] == values[0] else "highest"
                remarks.append(f"the {end} {name} tried was chosen")
        return remarks

    def to_json(self) -> dict[str, Any]:
        """Return everything for a JSON file; non-finite numbers become null."""
        return {
            "remarks": self.remarks,
            "means": {name: _numbers(mean) for name, mean in self.means.items()},
            "differences": {n: _numbers(d) for n, d in self.differences.items()},
            "outcomes": {name: self.outcome(name) for name in self.differences},
            "settings": self.settings,
            "effort": asdict(self.effort) if self.effort else None,
            "trials": [trial.model_dump(mode="json") for trial in self.trials],
            "seeds": [record.model_dump(mode="json") for record in self.records],
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Methods that were trained on the same dataset with the same backbone."""

    dataset: str
    label_share: float
    flip_positives: float
    flip_negatives: float
    backbone: str
    methods: dict[str, Method]
    """Strategies by name."""
    baselines: dict[str, Method]
    """Trivial baselines by name."""
    counts: dict[str, int]
    """Numbers of test rows and users."""
    select_by: str = ""
    """Validation metric that chose settings and epochs."""

    @property
    def title(self) -> str:
        """Dataset, backbone and changes of labels."""
        return ", ".join([self.dataset, self.backbone, *self.weakening])

    @property
    def weakening(self) -> list[str]:
        """Changes of the labels, in words; empty for unchanged labels."""
        words = [f"{self.label_share:.4g} of the labels"] if self.label_share < 1 else []
        for name, part in (("positives", self.flip_positives), ("negatives", self.flip_negatives)):
            words += [f"{part:.4g} of the {name} flipped"] if part else []
        return words

    def ahead_of_all(self, metric: str) -> list[str]:
        """Return the trivial baselines whose mean no method reaches, the best one first."""
        means = {m.name: m.means[metric].value for m in self.methods.values() if metric in m.means}
        trivial = {n: b.means[metric].value for n, b in self.baselines.items() if metric in b.means}
        ahead = [n for n, value in trivial.items() if means and value > max(means.values())]
        return sorted(ahead, key=lambda name: -trivial[name])


@dataclass(frozen=True, slots=True)
class Results:
    """Results of an experiment."""

    reference: str
    """Strategy that the others are compared with."""
    groups: tuple[Group, ...]

    def tally(self, metric: str) -> dict[str, dict[Outcome, int]]:
        """Count wins, ties and losses against the reference over all groups.

        Strategies come first, then baselines, each in the order of the grid. A method without a
        result, or with a reference without one, is not counted.
        """
        methods = [m for group in self.groups for m in group.methods.values()]
        methods += [m for group in self.groups for m in group.baselines.values()]
        counts: dict[str, dict[Outcome, int]] = {
            m.name: {"win": 0, "tie": 0, "loss": 0} for m in methods if m.name != self.reference
        }
        for method in methods:
            if metric in method.differences:
                counts[method.name][method.outcome(metric)] += 1
        return counts

    def tallies(self, metrics: Sequence[str]) -> dict[str, list[str]]:
        """Return `wins / ties / losses` by method, a text for each metric; empty if meaningless."""
        found = {metric: self.tally(metric) for metric in metrics}
        return {
            name: [
                "" if is_meaningless(metric, name) else " / ".join(map(str, tally[name].values()))
                for metric, tally in found.items()
            ]
            for name in found[metrics[0]]
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything for a JSON file."""
        groups = [
            {field.name: getattr(group, field.name) for field in fields(group)}
            | {"methods": {name: method.to_json() for name, method in group.methods.items()}}
            | {"baselines": {name: method.to_json() for name, method in group.baselines.items()}}
            for group in self.groups
        ]
        return {"reference": self.reference, "groups": groups}


def read_results(experiment: Path, cells: Mapping[Place, Cell], *, reference: str) -> Results:
    """Collect the results of an experiment so far.

    Args:
        experiment: Its folder.
        cells: Its cells.
        reference: Strategy that the others are compared with.
    """
    groups: dict[Place, dict[str, Cell]] = {}
    for place, cell in cells.items():
        groups.setdefault(place._replace(strategy=""), {})[place.strategy] = cell
    return Results(
        reference,
        tuple(_group(experiment, place, cells, reference) for place, cells in groups.items()),
    )


def _group(experiment: Path, place: Place, cells: Mapping[str, Cell], reference: str) -> Group:
    folders = {name: CellFolder(experiment, cell) for name, cell in cells.items()}
    runs = {name: folder.evaluations() for name, folder in folders.items()}
    against = runs[reference]
    measured = BaselineFolder(experiment, cells[reference]).evaluations()
    return Group(
        *place[:5],
        methods={
            name: Method(
                name,
                means=mean_over_seeds([*runs[name].values()]) if runs[name] else {},
                differences=_differences(runs[name], against) if name != reference else {},
                settings=folder.chosen() or {},
                trials=tuple(folder.trials()),
                records=tuple(folder.records()),
                cell=folder.cell,
            )
            for name, folder in folders.items()
        },
        baselines={
            name: Method(
                name,
                means=mean_over_seeds([evaluation]),
                differences=_differences(dict.fromkeys(against, evaluation), against),
            )
            for name, evaluation in measured.items()
        },
        counts=next(iter(measured.values())).counts,
        select_by=cells[reference].config.select_by,
    )


def _differences(
    runs: Mapping[int, Evaluation], against: Mapping[int, Evaluation]
) -> dict[str, Difference]:
    return paired_over_seeds(runs, against) if runs.keys() & against.keys() else {}


def _numbers(values: Mean | Difference) -> dict[str, float | None]:
    return {name: x if isfinite(x) else None for name, x in values._asdict().items()}


def failures(methods: Iterable[Method]) -> list[str]:
    """Return one line for each failed trial and reported training."""
    return [
        f"{method.name}, {kind}: {record.reason}"
        for method in methods
        for kind, record in [
            *((f"trial {trial.number}", trial) for trial in method.trials),
            *((f"seed {record.seed}", record) for record in method.records),
        ]
        if record.state == "failed"
    ]
