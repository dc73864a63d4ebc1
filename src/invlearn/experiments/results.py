"""What an experiment found: means, paired differences, wins and losses, cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from invlearn.evaluation.evaluation import Difference, Evaluation
from invlearn.evaluation.metrics import is_better
from invlearn.evaluation.replication import Mean, mean_over_seeds, paired_over_seeds
from invlearn.experiments.baselines import BaselineFolder
from invlearn.experiments.cell import Cell, CellFolder, SeedRecord, Trial
from invlearn.experiments.grid import Place
from invlearn.experiments.search import Range

Outcome = Literal["win", "tie", "loss"]


@dataclass(frozen=True, slots=True)
class Effort:
    """What a method took in a cell."""

    seconds: float
    """Of a reported training, on average."""
    epochs: float
    """Of a reported training, on average."""
    peak_bytes: int | None
    """Most memory that a process held in a reported training."""
    search_seconds: float
    """Of all trials together."""
    search_epochs: int
    """Of all trials together."""


@dataclass(frozen=True, slots=True)
class Method:
    """What a strategy or a trivial baseline reached in a cell."""

    name: str
    means: dict[str, Mean]
    """Test metrics; empty if every training failed."""
    differences: dict[str, Difference] = field(default_factory=dict)
    """From the reference, paired by user and seed; empty for the reference itself."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the search chose, by dotted name."""
    trials: tuple[Trial, ...] = ()
    """All of the search, failed ones too."""
    records: tuple[SeedRecord, ...] = ()
    """Reported trainings, failed ones too; none for a baseline."""
    cell: Cell | None = None
    """How it was trained; none for a baseline."""

    def outcome(self, metric: str) -> Outcome:
        """Whether the interval of the difference from the reference is on one side of 0."""
        _, low, high = self.differences[metric]
        if low > 0 or high < 0:  # neither where the interval is not a number
            return "win" if is_better(metric, low, 0.0) else "loss"
        return "tie"

    @property
    def effort(self) -> Effort | None:
        """What it took; none for a baseline, or where nothing was completed."""
        costs = [record.cost for record in self.records if record.cost]
        if not costs:
            return None
        searched = [trial.cost for trial in self.trials if trial.cost]
        peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
        return Effort(
            seconds=fmean(cost.seconds for cost in costs),
            epochs=fmean(cost.epochs for cost in costs),
            peak_bytes=max(peaks, default=None),
            search_seconds=sum(cost.seconds for cost in searched),
            search_epochs=sum(cost.epochs for cost in searched),
        )

    @property
    def remarks(self) -> list[str]:
        """What a reader of its numbers should know: bounds that were met, seeds that failed."""
        if self.cell is None:
            return []
        complete = [record for record in self.records if record.state == "complete"]
        n_seeds, last = len(self.cell.seeds), self.cell.config.epochs
        n_last = sum(record.epoch == last for record in complete)
        found = [f"{len(complete)} of {n_seeds} seeds"] if len(complete) < n_seeds else []
        if n_last:
            found.append(f"best in the last of {last} epochs: {n_last} of {n_seeds} seeds")
        search = self.cell.tuning.search if self.cell.tuning else {}
        for name in (n for n, space in search.items() if isinstance(space, Range)):
            values = [trial.settings[name] for trial in self.trials]
            if name in self.settings and self.settings[name] in (min(values), max(values)):
                end = "lowest" if self.settings[name] == min(values) else "highest"
                found.append(f"the {end} {name} tried was chosen")
        return found

    def to_json(self) -> dict[str, Any]:
        """Everything, for a JSON file; what is not a number becomes null."""
        effort = self.effort
        return {
            "remarks": self.remarks,
            "means": {name: _numbers(mean) for name, mean in self.means.items()},
            "differences": {n: d.to_json() for n, d in self.differences.items()},
            "outcomes": {name: self.outcome(name) for name in self.differences},
            "settings": self.settings,
            "effort": asdict(effort) if effort else None,
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
    """Test rows and users."""
    select_by: str = ""
    """Validation metric that chose settings and epochs."""

    @property
    def title(self) -> str:
        """What it is, in words."""
        return ", ".join([self.dataset, self.backbone, *self.weakening])

    @property
    def weakening(self) -> list[str]:
        """What was done to the labels, in words; empty if nothing was."""
        words = [f"{self.label_share:.4g} of the labels"] if self.label_share < 1 else []
        for name, part in (("positives", self.flip_positives), ("negatives", self.flip_negatives)):
            words += [f"{part:.4g} of the {name} flipped"] if part else []
        return words

    def ahead_of_all(self, metric: str) -> list[str]:
        """Trivial baselines whose mean no method reaches, the best one first."""
        means = {m.name: m.means[metric].value for m in self.methods.values() if metric in m.means}
        trivial = {n: b.means[metric].value for n, b in self.baselines.items() if metric in b.means}
        ahead = [n for n, value in trivial.items() if means and value > max(means.values())]
        return sorted(ahead, key=lambda name: -trivial[name])


@dataclass(frozen=True, slots=True)
class Results:
    """What an experiment found."""

    reference: str
    """Strategy that the others are compared with."""
    groups: tuple[Group, ...]

    def tally(self, metric: str) -> dict[str, dict[Outcome, int]]:
        """Count wins, ties and losses against the reference over all groups.

        Strategies come first, then baselines, each in the order of the grid. What has no result,
        or a reference without one, counts nowhere.
        """
        methods = [m for group in self.groups for m in group.methods.values()]
        methods += [m for group in self.groups for m in group.baselines.values()]
        found: dict[str, dict[Outcome, int]] = {
            m.name: {"win": 0, "tie": 0, "loss": 0} for m in methods if m.name != self.reference
        }
        for method in methods:
            if metric in method.differences:
                found[method.name][method.outcome(metric)] += 1
        return found

    def to_json(self) -> dict[str, Any]:
        """Everything, for a JSON file."""
        return {
            "reference": self.reference,
            "groups": [
                {
                    "dataset": group.dataset,
                    "label_share": group.label_share,
                    "flip_positives": group.flip_positives,
                    "flip_negatives": group.flip_negatives,
                    "backbone": group.backbone,
                    "counts": group.counts,
                    "select_by": group.select_by,
                    "methods": {n: m.to_json() for n, m in group.methods.items()},
                    "baselines": {n: m.to_json() for n, m in group.baselines.items()},
                }
                for group in self.groups
            ],
        }


def read_results(experiment: Path, cells: Mapping[Place, Cell], *, reference: str) -> Results:
    """Collect what an experiment has found so far.

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
    found = {name: folder.evaluations() for name, folder in folders.items()}
    against = found[reference]
    methods = {
        name: Method(
            name,
            means=mean_over_seeds([*found[name].values()]) if found[name] else {},
            differences=_differences(found[name], against) if name != reference else {},
            settings=folder.chosen() or {},
            trials=tuple(folder.trials()),
            records=_records(folder),
            cell=folder.cell,
        )
        for name, folder in folders.items()
    }
    measured = BaselineFolder(experiment, next(iter(cells.values()))).evaluations()
    baselines = {
        name: Method(
            name,
            means=mean_over_seeds([evaluation]),
            differences=_differences(dict.fromkeys(against, evaluation), against),
        )
        for name, evaluation in measured.items()
    }
    counts = next(iter(measured.values())).counts
    return Group(
        *place[:5],
        methods=methods,
        baselines=baselines,
        counts=counts,
        select_by=cells[reference].config.select_by,
    )


def _differences(
    runs: Mapping[int, Evaluation], against: Mapping[int, Evaluation]
) -> dict[str, Difference]:
    return paired_over_seeds(runs, against) if runs.keys() & against.keys() else {}


def _records(folder: CellFolder) -> tuple[SeedRecord, ...]:
    found = [folder.record(seed) for seed in folder.cell.seeds]
    return tuple(record for record in found if record is not None)


def _numbers(mean: Mean) -> dict[str, float | None]:
    return {name: x if isfinite(x) else None for name, x in mean._asdict().items()}


def failures(methods: Sequence[Method]) -> list[str]:
    """What failed, in a line each: trials and reported trainings."""
    return [
        f"{method.name}, {kind}: {reason}"
        for method in methods
        for kind, reason in [
            *((f"trial {t.number}", t.reason) for t in method.trials if t.state == "failed"),
            *((f"seed {r.seed}", r.reason) for r in method.records if r.state == "failed"),
        ]
    ]
