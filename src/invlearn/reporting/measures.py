"""Results of runs: measured again if their dataset exists, else as recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from invlearn.data.dataset import Dataset
from invlearn.evaluation.calibration import Calibration, calibration
from invlearn.evaluation.calibrators import sigmoid
from invlearn.evaluation.evaluation import Difference, Evaluation
from invlearn.evaluation.scoring import score_pairs
from invlearn.inference.comparison import Comparison, compare_runs
from invlearn.reporting.blocks import Series
from invlearn.reporting.records import RunRecord
from invlearn.runtime.errors import InvlearnError, RunError
from invlearn.runtime.progress import Progress, silent
from invlearn.training.run import Run

NO_EPOCH = "no run has finished an epoch"


class Level(NamedTuple):
    """A metric with the ends of its interval, if it has one."""

    value: float | None
    low: float | None = None
    high: float | None = None


Levels = Mapping[str, Level]
"""Levels by metric."""


@dataclass(frozen=True, slots=True)
class Results:
    """Results of the runs of one dataset on its test part."""

    dataset: str
    """Name of the dataset."""
    runs: Mapping[str, Levels] = field(default_factory=dict[str, Levels])
    """By name of the run, in the order given, without runs that have no epoch."""
    baselines: Mapping[str, Levels] = field(default_factory=dict[str, Levels])
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Numbers of rows and users of the test part."""
    differences: Mapping[str, Mapping[str, Difference]] = field(
        default_factory=dict[str, Mapping[str, Difference]]
    )
    """Metrics of every run but the first minus those of the first, paired by user."""
    reliability: Mapping[str, Calibration] = field(default_factory=dict[str, Calibration])
    """Calibration of the sigmoids of each run's logits."""
    missing: str = ""
    """Why the runs were not measured again, if they were not."""
    card: Mapping[str, Any] | None = None
    """Content of the dataset's `data.json`, if the dataset exists."""

    @property
    def reference(self) -> str:
        """The run that the others are compared with."""
        return next(iter(self.runs), "")


class Material(NamedTuple):
    """Content of a report before it is written out."""

    records: Sequence[RunRecord]
    results: Sequence[Results]
    """By dataset."""
    series: tuple[Series, ...]


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
        records: Records of the runs.
        dataset: Path of the dataset, if it was moved.
        draws: Bootstrap draws over users; 0 for no intervals and no differences.
        seed: Seed of the draws.
        progress: Called for each set of scores.

    Raises:
        DataError: `dataset` is not a dataset.
        RunError: No run was trained on `dataset`.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.card.fingerprint, []).append(record)
    moved = Dataset.open(dataset).fingerprint if dataset else ""
    if moved and moved not in groups:
        raise RunError(
            f"{dataset} is the dataset of none of these runs; pass the one that they were trained "
            "on, or leave --dataset away"
        )
    every: list[Results] = []
    for fingerprint, group in groups.items():
        path = dataset if dataset and moved == fingerprint else None
        name = (path or Path(group[0].card.dataset)).resolve().name
        name = name if len(groups) == 1 else f"{name} ({fingerprint[:8]})"
        ready = [record for record in group if record.has_weights]
        folders = [record.folder for record in ready]
        options: Any = {"dataset": path, "draws": draws, "seed": seed, "progress": progress}
        if not ready:
            every.append(Results(name, missing=NO_EPOCH))
            continue
        try:
            compared = compare_runs(folders, **options)
            data = Dataset.open(path or ready[0].card.dataset)  # its checksums were checked above
            every.append(_measured(name, ready, compared, data, progress))
        except InvlearnError as error:
            every.append(_recorded(name, ready, str(error)))
    return tuple(every)


def _measured(
    name: str, records: Sequence[RunRecord], compared: Comparison, data: Dataset, progress: Progress
) -> Results:
    """Return results measured on the dataset, with the reliability of each run's logits."""
    reliability: dict[str, Calibration] = {}
    for done, record in enumerate(records):
        progress("reliability", done, len(records))
        logits = score_pairs(Run.open(record.folder).module, data.test.users, data.test.items)
        reliability[record.name] = calibration(data.test.labels, sigmoid(logits))
    progress("reliability", len(records), len(records))
    names, found = list(reliability), list(compared.assessments.values())
    return Results(
        name,
        runs={run: _evaluated(one.backbone) for run, one in zip(names, found, strict=True)},
        baselines={n: _evaluated(one) for n, one in found[0].baselines.items()},
        counts=found[0].backbone.counts,
        # Without draws there are no differences.
        differences=dict(zip(names[1:], compared.differences.values(), strict=False)),
        reliability=reliability,
        card=data.card.to_json(),
    )


def _recorded(name: str, records: Sequence[RunRecord], why: str) -> Results:
    """Return the results that the runs recorded at their ends."""
    tests = {record.name: record.test for record in records if record.test is not None}
    first: Mapping[str, Any] = next(iter(tests.values()), {})
    return Results(
        name,
        runs={
            run: _levels({m: test[m] for m in test["intervals"] if m in test}, test["intervals"])
            for run, test in tests.items()
        },
        baselines={n: _levels(values, {}) for n, values in first.get("baselines", {}).items()},
        counts={key: n for key, n in first.items() if key == "rows" or key.startswith("users")},
        missing=why,
    )


def _levels(values: Mapping[str, Any], intervals: Mapping[str, Any]) -> Levels:
    return {metric: Level(value, *intervals.get(metric, ())) for metric, value in values.items()}


def _evaluated(evaluation: Evaluation) -> Levels:
    plain = evaluation.to_json()
    return _levels(plain["values"], plain["intervals"])
