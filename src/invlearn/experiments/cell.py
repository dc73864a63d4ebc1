"""A cell of an experiment: one way to train on one dataset, with its search and its seeds, on disk.

```
EXPERIMENT/cells/NAME-HASH/
  cell.json       settings, search and dataset
  trials.log      the trials of the search, an Optuna study; trial-000/ is a trial at work
  seed-0.json     record of a reported training: metrics, cost, settings
  seed-0.npz      its metrics under each bootstrap draw, for paired intervals
  seed-0/         its run folder, without the weights when it is finished
```
The hash covers dataset, settings and search, so every experiment with the same cell uses the same
records. `BaselineFolder` is the same for the trivial baselines of a dataset.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, NonNegativeInt, PositiveInt

from invlearn.config.schema import RunConfig, Settings, load_config
from invlearn.data.dataset import Dataset
from invlearn.evaluation.assessment import measure_baselines
from invlearn.evaluation.baselines import ALL_BASELINES
from invlearn.evaluation.evaluation import Evaluation
from invlearn.evaluation.metrics import is_better
from invlearn.experiments.search import (
    Cost,
    Trial,
    Tuning,
    append_trial,
    damaged,
    nested,
    read_trials,
)
from invlearn.runtime import atomic
from invlearn.runtime.errors import RunError

Model = TypeVar("Model", bound=BaseModel)

IRRELEVANT = {"seed", "tensorboard", "checkpoint_steps", "keep_epochs", "compile"}
"""Settings that do not change the results of a cell; compiling changes rounding only."""


class Measured(Settings):
    """The readable part of an evaluation."""

    values: dict[str, float | None]
    """Value of each metric; None if it is undefined."""
    intervals: dict[str, list[float | None]]
    """Ends of the 95 % interval of each metric over users."""
    counts: dict[str, int]
    """Numbers of rows and users."""
    basis: str
    """Fingerprint of the rows and of the draws."""

    @classmethod
    def of(cls, found: Evaluation) -> "Measured":
        """Convert an evaluation."""
        return cls(**found.to_json(), basis=found.basis)


class Cell(Settings):
    """One way to train on one dataset."""

    dataset: Path
    """Dataset folder."""
    config: RunConfig
    """Complete settings, before the search."""
    tuning: Tuning | None = None
    """The search; none uses the settings unchanged."""
    seeds: tuple[NonNegativeInt, ...]
    """Seeds of the reported trainings."""
    draws: PositiveInt = 1000
    """Bootstrap draws over users."""
    threads: PositiveInt = 1
    """Threads of a training; another number changes the last bits."""
    fingerprint: str
    """Fingerprint of the dataset."""

    @property
    def key(self) -> str:
        """Name of its folder, with a hash of everything that decides its results."""
        decides = self.model_dump(mode="json", exclude={"dataset", "seeds"})
        for name in IRRELEVANT:
            del decides["config"][name]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        words = (self.dataset.resolve().name, self.config.backbone, self.config.strategy)
        return re.sub(r"[^A-Za-z0-9.-]+", "_", "-".join(words)) + f"-{digest[:12]}"

    @property
    def n_runs(self) -> int:
        """Number of trainings, including the search."""
        return len(self.seeds) + (self.tuning.trials if self.tuning else 0)

    @property
    def minimize(self) -> bool:
        """Whether a lower validation score is better."""
        return is_better(self.config.select_by, 0.0, 1.0)


class SeedRecord(Settings):
    """Record of a reported training."""

    seed: int
    """Seed of the training."""
    state: Literal["complete", "failed"]
    """Whether the training completed."""
    settings: dict[str, Any]
    """Settings that the search chose, by dotted name."""
    epoch: int | None = None
    """Best epoch, from 1."""
    test: Measured | None = None
    """Test metrics of the best epoch."""
    cost: Cost | None = None
    """Time and memory; None for a failed training."""
    reason: str | None = None
    """Why it failed."""
    commit: str = ""
    """Commit of the code that trained."""


class Task(NamedTuple):
    """A piece of work of one process, which leaves a record or those of all baselines."""

    folder: "CellFolder | BaselineFolder"
    kind: Literal["baselines", "trial", "seed"]
    number: int = 0
    """Number of the trial, or the seed."""

    @property
    def name(self) -> str:
        """Name of its run folder, and next to a progress bar."""
        names = {"trial": f"trial-{self.number:03d}", "seed": f"seed-{self.number}"}
        return names.get(self.kind, self.kind)


class CellFolder:
    """The records of a cell."""

    def __init__(self, experiment: Path, cell: Cell) -> None:
        """Name the folder; a task creates it, and `describe` writes `cell.json`."""
        self.cell = cell
        self.path = experiment / "cells" / cell.key

    def describe(self) -> None:
        """Write the description of the cell, if there is none."""
        if not (self.path / "cell.json").exists():
            atomic.write_json(self.path / "cell.json", self.cell.model_dump(mode="json"))

    @property
    def title(self) -> str:
        """Dataset, backbone and strategy."""
        return f"{self.cell.dataset.name} {self.cell.config.backbone} {self.cell.config.strategy}"

    def trials(self) -> list[Trial]:
        """Return the records of the finished trials, in order."""
        return read_trials(self.path / "trials.log") if self.cell.tuning else []

    def write_trial(self, trial: Trial) -> None:
        """Append the record of a trial."""
        if self.cell.tuning:
            file = self.path / "trials.log"
            append_trial(file, trial, self.cell.tuning, minimize=self.cell.minimize)

    def missing(self) -> list[Task]:
        """Return the trainings without a record; none if every trial failed."""
        trials, chosen = len(self.trials()), self.chosen()
        wanted = self.cell.tuning.trials if self.cell.tuning else 0
        if trials < wanted:
            search = [Task(self, "trial", number) for number in range(trials, wanted)]
            return search + [Task(self, "seed", seed) for seed in self.cell.seeds]
        if chosen is None:
            return []
        settings = {record.seed: record.settings for record in self.records()}
        seeds = (seed for seed in self.cell.seeds if settings.get(seed) != chosen)
        return [Task(self, "seed", seed) for seed in seeds]

    def chosen(self) -> dict[str, Any] | None:
        """Return the settings with the best validation score; None if every trial failed."""
        if self.cell.tuning is None:
            return {}
        sign = 1 if self.cell.minimize else -1
        complete = [trial for trial in self.trials() if trial.state == "complete"]
        best = min(complete, key=lambda trial: sign * (trial.best or 0.0), default=None)
        return best.settings if best else None

    def config(self, settings: Mapping[str, Any], seed: int) -> RunConfig:
        """Return the settings of a run: those of the cell, overridden by those of the search."""
        return load_config(nested(settings) | {"seed": seed}, self.cell.config)

    def record(self, seed: int) -> SeedRecord | None:
        """Return the record of a seed, if its training is finished."""
        file = self.path / f"seed-{seed}.json"
        return read_record(SeedRecord, file) if file.exists() else None

    def records(self) -> list[SeedRecord]:
        """Return the records of the finished trainings, in the order of the seeds."""
        return [record for seed in self.cell.seeds if (record := self.record(seed))]

    def write_record(self, record: SeedRecord, found: Evaluation | None = None) -> None:
        """Write the record of a seed, and its draws."""
        _write(self.path / f"seed-{record.seed}", record, found)

    def evaluations(self) -> dict[int, Evaluation]:
        """Return the test metrics of the completed trainings, by seed."""
        return {
            record.seed: read_evaluation(record.test, self.path / f"seed-{record.seed}.npz")
            for record in self.records()
            if record.test is not None
        }


class BaselineFolder:
    """The records of the baselines on the dataset of a cell."""

    def __init__(self, experiment: Path, cell: Cell) -> None:
        """Name the folder; `measure` fills it."""
        self.cell = cell
        name = f"{cell.dataset.name}-{cell.fingerprint[:12]}-draws-{cell.draws}"
        self.path = experiment / "baselines" / name

    @property
    def title(self) -> str:
        """Name of the dataset."""
        return self.cell.dataset.name

    def missing(self) -> list[Task]:
        """Return the work to do; none if every baseline is measured."""
        files = [self.path / f"{name}.json" for name in ALL_BASELINES]
        return [] if all(file.exists() for file in files) else [Task(self, "baselines")]

    def measure(self, dataset: Dataset) -> None:
        """Measure all baselines on the test part."""
        found = measure_baselines(dataset, dataset.test, draws=self.cell.draws)
        for name, evaluation in found.items():
            _write(self.path / name, Measured.of(evaluation), evaluation)

    def evaluations(self) -> dict[str, Evaluation]:
        """Return the test metrics by baseline."""
        return {
            name: read_evaluation(
                read_record(Measured, self.path / f"{name}.json"), self.path / f"{name}.npz"
            )
            for name in ALL_BASELINES
        }


@lru_cache(maxsize=8)
def open_checked(folder: Path, fingerprint: str) -> Dataset:
    """Open the dataset of a cell, and check every file; the last few stay open.

    Raises:
        DataError: It is missing or damaged.
        RunError: It is not the dataset of the plan.
    """
    dataset = Dataset.open(folder, verify=True)
    if dataset.fingerprint != fingerprint:
        raise RunError(
            f"{folder} has changed since the experiment was planned (fingerprint "
            f"{dataset.fingerprint[:12]}, planned {fingerprint[:12]}); start it again"
        )
    return dataset


def read_record(model: type[Model], file: Path) -> Model:
    """Read a record.

    Raises:
        RunError: It is damaged.
    """
    try:
        return model.model_validate_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise damaged(file, model, error, "training") from error


def _write(stem: Path, record: Settings, found: Evaluation | None) -> None:
    """Write a record, and each metric under each bootstrap draw, in single precision."""
    if found:
        draws = {name: values.astype(np.float32) for name, values in found.draws.items()}
        with atomic.new_file(Path(f"{stem}.npz")) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, **draws)  # pyright: ignore[reportArgumentType]
    atomic.write_json(Path(f"{stem}.json"), record.model_dump(mode="json"))


def read_evaluation(measured: Measured, file: Path) -> Evaluation:
    """Return the evaluation of a record and the file of its draws.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            draws = {name: stored[name].astype(np.float64) for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise RunError(
            f"{file} is missing or damaged ({error}); remove the record {file.stem}.json next to "
            "it as well, and it is measured again"
        ) from error
    return Evaluation(
        values={name: _float(value) for name, value in measured.values.items()},
        intervals={n: (_float(low), _float(up)) for n, (low, up) in measured.intervals.items()},
        counts=measured.counts,
        draws=draws,
        basis=measured.basis,
    )


def _float(value: float | None) -> float:
    return float("nan") if value is None else value
