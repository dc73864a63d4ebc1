"""What runs reached: measured again where their dataset is there, else as their records say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from invlearn.data.dataset import Dataset
from invlearn.evaluation.calibration import Calibration, calibration
from invlearn.evaluation.calibrators import sigmoid
from invlearn.evaluation.evaluation import Difference, Evaluation
from invlearn.evaluation.scoring import score_pairs
from invlearn.inference.comparison import compare_runs
from invlearn.reporting.records import RunRecord
from invlearn.runtime.errors import InvlearnError, RunError
from invlearn.runtime.progress import Progress, silent
from invlearn.training.run import Run


class Level(NamedTuple):
    """A metric with the ends of its interval, where there is one."""

    value: float | None
    low: float | None = None
    high: float | None = None


NO_EPOCH = "no run of it has the record of a finished epoch"
Levels = Mapping[str, Level]
"""By metric."""


@dataclass(frozen=True, slots=True)
class Results:
    """What the runs of one dataset reached on its test part."""

    dataset: str
    """What to call the dataset."""
    runs: Mapping[str, Levels]
    """By name of the run, in the order given; runs without an epoch are absent."""
    baselines: Mapping[str, Levels]
    counts: Mapping[str, int]
    """Rows and users that the metrics rest on."""
    differences: Mapping[str, Mapping[str, Difference]] = field(
        default_factory=dict[str, Mapping[str, Difference]]
    )
    """Of every run but the first: its metrics less those of the first, paired by user."""
    reliability: Mapping[str, Calibration] = field(default_factory=dict[str, Calibration])
    """How well the sigmoids of each run's logits came true, nothing calibrated."""
    unfinished: tuple[str, ...] = ()
    """Runs that were measured at their best epoch so far, or have none yet."""
    missing: str = ""
    """Why there are no paired differences, if there are none for want of the dataset."""
    card: Mapping[str, Any] | None = None
    """The content of the dataset's `data.json`, where it is there."""

    @property
    def reference(self) -> str:
        """The run that the others are compared with."""
        return next(iter(self.runs), "")

    def leader(self, metric: str) -> str:
        """The run with the highest value of a metric."""
        return max(self.runs, key=lambda name: self.runs[name][metric].value or 0.0)


def measured(
    records: Sequence[RunRecord],
    *,
    dataset: Path | None = None,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Results, ...]:
    """Measure runs, those of one dataset together.

    Args:
        records: Of the runs.
        dataset: Where the dataset is now, if it was moved.
        draws: Bootstrap draws over users; 0 for no intervals, and no differences.
        seed: Of the draws.
        progress: Told of each set of scores.

    Raises:
        DataError: `dataset` is no dataset.
        RunError: `dataset` is that of none of the runs.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.fingerprint, []).append(record)
    moved = Dataset.open(dataset).fingerprint if dataset else ""
    if moved and moved not in groups:
        raise RunError(
            f"{dataset} is the dataset of none of these runs; pass the one that they were trained "
            "on, or leave --dataset away"
        )
    found: list[Results] = []
    for fingerprint, group in groups.items():
        ready = [record for record in group if record.has_weights]
        place = dataset if moved == fingerprint else None
        name = _name(group[0], place)
        name = name if len(groups) == 1 else f"{name} ({fingerprint[:8]})"
        waiting = tuple(record.name for record in group if record.test is None)
        if not ready:
            found.append(Results(name, {}, {}, {}, unfinished=waiting, missing=NO_EPOCH))
            continue
        try:
            results = _anew(ready, name, waiting, place, draws, seed, progress)
        except InvlearnError as error:
            results = _as_recorded(ready, name, waiting, str(error))
        found.append(results)
    return tuple(found)


def _name(record: RunRecord, moved: Path | None) -> str:
    """What to call a run's dataset: by where it is, or where it was when the run was trained."""
    return (moved or Path(record.card.dataset)).resolve().name


def _anew(
    records: Sequence[RunRecord],
    name: str,
    waiting: tuple[str, ...],
    dataset: Path | None,
    draws: int,
    seed: int,
    progress: Progress,
) -> Results:
    """Measure on the dataset."""
    folders = [record.folder for record in records]
    compared = compare_runs(folders, dataset=dataset, draws=draws, seed=seed, progress=progress)
    data = Dataset.open(dataset or records[0].card.dataset)  # its checksums were compared above
    names = dict(zip(compared.assessments, (record.name for record in records), strict=True))
    first = next(iter(compared.assessments.values()))
    return Results(
        name,
        runs={names[n]: _levels(a.backbone) for n, a in compared.assessments.items()},
        baselines={n: _levels(e) for n, e in first.baselines.items()},
        counts=first.backbone.counts,
        differences={names[n]: found for n, found in compared.differences.items()},
        reliability=_reliability(records, data, progress),
        unfinished=waiting,
        card=data.card.to_json(),
    )


def _reliability(
    records: Sequence[RunRecord], data: Dataset, progress: Progress
) -> dict[str, Calibration]:
    """Compare the sigmoids of each run's logits with the labels of the test part."""
    found: dict[str, Calibration] = {}
    for done, record in enumerate(records):
        progress("reliability", done, len(records))
        logits = score_pairs(Run.open(record.folder).module, data.test.users, data.test.items)
        found[record.name] = calibration(data.test.labels, sigmoid(logits))
    progress("reliability", len(records), len(records))
    return found


def _as_recorded(
    records: Sequence[RunRecord], name: str, waiting: tuple[str, ...], why: str
) -> Results:
    """Read what the runs wrote at their ends."""
    tests = {record.name: record.test for record in records if record.test is not None}
    first: Mapping[str, Any] = next(iter(tests.values()), {})
    return Results(
        name,
        runs={
            run: {
                metric: Level(test[metric], *ends)
                for metric, ends in test.get("intervals", {}).items()
                if metric in test
            }
            for run, test in tests.items()
        },
        baselines={
            baseline: {metric: Level(value) for metric, value in values.items()}
            for baseline, values in first.get("baselines", {}).items()
        },
        counts={key: n for key, n in first.items() if key == "rows" or key.startswith("users")},
        unfinished=waiting,
        missing=why,
    )


def _levels(found: Evaluation) -> dict[str, Level]:
    plain = found.to_json()
    return {
        metric: Level(value, *plain["intervals"].get(metric, ()))
        for metric, value in plain["values"].items()
    }
