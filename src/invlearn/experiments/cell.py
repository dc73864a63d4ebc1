"""A cell of an experiment: one way to train on one dataset, its search and its seeds, on disk.

```
EXPERIMENT/cells/NAME-HASH/
  cell.json            all that decides it
  trials/000.json ...  one record a trial; trial-000/ is the run folder while it is at work
  seed-0.json          one record a seed: metrics, cost, settings
  seed-0.npz           its metrics under each bootstrap draw, for paired intervals
  seed-0/              its run folder; of a finished run without the weights
```
The hash covers dataset, settings and search, so a record is found again by whatever experiment
asks for the same thing, and never by one that asks for another.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, NonNegativeInt, PositiveInt

from invlearn.config.schema import RunConfig, Settings, load_config, validated
from invlearn.data.dataset import Dataset
from invlearn.evaluation.evaluation import Evaluation
from invlearn.evaluation.metrics import is_better
from invlearn.experiments.measured import Measured, read_evaluation, write_draws
from invlearn.experiments.search import Space, Tried, nested
from invlearn.runtime import atomic, locks
from invlearn.runtime.errors import RunError

Model = TypeVar("Model", bound=BaseModel)

IRRELEVANT = {"seed", "tensorboard", "checkpoint_steps", "keep_epochs", "compile"}
"""Settings of a run that do not decide what a cell measures; the seed is the experiment's, and
compiled or not the weights are the same to rounding."""


class Tuning(Settings):
    """How settings are searched for; the same for all methods under comparison."""

    trials: PositiveInt
    """Trainings to find settings with; the first takes the defaults."""
    seed: NonNegativeInt = 1000
    """Of the search and of its trainings; never one of the seeds that are reported."""
    prune: bool = True
    """Whether to give up a trial that is behind the median of earlier ones at the same epoch."""
    search: dict[str, Space]
    """What may be tried, by dotted name of the setting."""


class Cell(Settings):
    """One way to train on one dataset."""

    dataset: Path
    """Dataset folder."""
    config: RunConfig
    """Settings, complete, before the search."""
    tuning: Tuning | None = None
    """The search; none takes the settings as they are."""
    seeds: tuple[NonNegativeInt, ...]
    """Of the trainings that are reported."""
    draws: PositiveInt = 1000
    """Bootstrap draws over users."""
    threads: PositiveInt = 1
    """Threads that a training computes with; another number changes the last bits."""
    fingerprint: str
    """Of the dataset."""

    @property
    def key(self) -> str:
        """Name of its folder."""
        decides = self.model_dump(mode="json", exclude={"dataset", "seeds"})
        for name in IRRELEVANT:
            del decides["config"][name]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        words = (self.dataset.resolve().name, self.config.backbone, self.config.strategy)
        return re.sub(r"[^A-Za-z0-9.-]+", "_", "-".join(words)) + f"-{digest[:12]}"

    @property
    def n_runs(self) -> int:
        """Trainings at most, those of the search among them."""
        return len(self.seeds) + (self.tuning.trials if self.tuning else 0)

    @property
    def minimize(self) -> bool:
        """Whether a lower validation score is better."""
        return is_better(self.config.select_by, 0.0, 1.0)


class Cost(Settings):
    """What a training took."""

    seconds: float
    """Of training and validation, on however busy a machine."""
    epochs: int
    """Epochs trained."""
    peak_bytes: int | None
    """Most memory that the process held at once, the libraries' included."""


class Trial(Settings):
    """Record of a trial."""

    number: int
    """From 0, which is the defaults'."""
    settings: dict[str, Any]
    """What the search chose, by dotted name."""
    state: Literal["complete", "pruned", "failed"]
    """Whether it went to its end, was given up, or could not go on."""
    scores: tuple[float, ...] = ()
    """Validation score after each epoch."""
    best: float | None = None
    """The best of them."""
    cost: Cost | None = None
    """What it took, unless it failed."""
    reason: str | None = None
    """Why it failed."""
    commit: str = ""
    """Of the code that trained."""

    def tried(self) -> Tried:
        """What the search needs to know of it."""
        return Tried(self.settings, self.state, self.scores, self.best)


class SeedRecord(Settings):
    """Record of a reported training."""

    seed: int
    """Of the training."""
    state: Literal["complete", "failed"]
    """Whether it went to its end."""
    settings: dict[str, Any]
    """What the search chose, by dotted name."""
    epoch: int | None = None
    """The best epoch, from 1."""
    test: Measured | None = None
    """Metrics of the best epoch on the test part."""
    cost: Cost | None = None
    """What it took, unless it failed."""
    reason: str | None = None
    """Why it failed."""
    commit: str = ""
    """Of the code that trained."""


class CellFolder:
    """The records of a cell."""

    def __init__(self, experiment: Path, cell: Cell) -> None:
        """Look at a cell's folder; it need not exist yet."""
        self.cell = cell
        self.path = experiment / "cells" / cell.key
        # What is done stays done, so it is looked for no more: a crew is watched all the time.
        self._n_trials = 0
        self._recorded: set[int] = set()
        self._chosen: dict[str, Any] | None = None

    def prepared(self) -> Path:
        """Make the folder if need be, and say in it what it is."""
        (self.path / "trials").mkdir(parents=True, exist_ok=True)
        with locks.in_turn(self.path, "cell"):
            if not (self.path / "cell.json").exists():
                atomic.write_json(self.path / "cell.json", self.cell.model_dump(mode="json"))
        return self.path

    @property
    def title(self) -> str:
        """What it is, in words."""
        return f"{self.cell.dataset.name} {self.cell.config.backbone} {self.cell.config.strategy}"

    def trial(self, number: int) -> Trial | None:
        """Record of a trial, if it is done."""
        file = self._trial_file(number)
        return read_record(Trial, file) if file.exists() else None

    def trials(self) -> list[Trial]:
        """Records of the trials that are done, in order."""
        return [found for n in range(self.n_trials_wanted) if (found := self.trial(n))]

    def write_trial(self, trial: Trial) -> None:
        """Keep the record of a trial."""
        atomic.write_json(self._trial_file(trial.number), trial.model_dump(mode="json"))

    @property
    def n_trials_wanted(self) -> int:
        """Trials of a finished search."""
        return self.cell.tuning.trials if self.cell.tuning else 0

    @property
    def n_trials(self) -> int:
        """Trials that are done."""
        if self._n_trials < self.n_trials_wanted:
            self._n_trials = len(list((self.path / "trials").glob("[0-9]*.json")))
        return self._n_trials

    @property
    def n_trainings(self) -> int:
        """Trainings of a finished cell."""
        return self.n_trials_wanted + len(self.cell.seeds)

    @property
    def n_done(self) -> int:
        """Trainings that are done; after a search without success, all of them."""
        if not self.is_searched:
            return self.n_trials
        return self.n_trials + sum(self.is_done(seed) for seed in self.cell.seeds)

    @property
    def is_searched(self) -> bool:
        """Whether every trial is done."""
        return self.n_trials >= self.n_trials_wanted

    @property
    def is_hopeless(self) -> bool:
        """Whether every trial was done, and failed."""
        return self.is_searched and self.chosen() is None

    def is_done(self, seed: int) -> bool:
        """Whether the training of a seed is recorded, with what is chosen; or never will be."""
        if seed not in self._recorded and self.is_searched:
            record = self.record(seed)
            if record and record.settings == self.chosen():
                self._recorded.add(seed)
        return seed in self._recorded or self.is_hopeless

    def chosen(self) -> dict[str, Any] | None:
        """Settings with the best validation score; none if every trial failed."""
        if self._chosen is None:
            found = self._best_settings()
            if not self.is_searched:
                return found
            self._chosen = found
        return self._chosen

    def _best_settings(self) -> dict[str, Any] | None:
        if self.cell.tuning is None:
            return {}
        complete = [trial for trial in self.trials() if trial.state == "complete"]
        if not complete:
            return None
        sign = 1 if self.cell.minimize else -1
        return min(complete, key=lambda trial: sign * (trial.best or 0.0)).settings

    def config(self, settings: Mapping[str, Any], seed: int) -> RunConfig:
        """Settings of a run: the cell's, with those of the search put over them."""
        return load_config(nested(settings) | {"seed": seed}, self.cell.config)

    def record(self, seed: int) -> SeedRecord | None:
        """Record of a seed, if its training is done."""
        file = self.path / f"seed-{seed}.json"
        return read_record(SeedRecord, file) if file.exists() else None

    def write_record(self, record: SeedRecord, found: Evaluation | None = None) -> None:
        """Keep the record of a seed, and its draws."""
        if found:
            write_draws(self.path / f"seed-{record.seed}.npz", found)
        file = self.path / f"seed-{record.seed}.json"
        atomic.write_json(file, record.model_dump(mode="json"))

    def evaluations(self) -> dict[int, Evaluation]:
        """Test metrics by seed, of the trainings that are done and did not fail."""
        records = [record for seed in self.cell.seeds if (record := self.record(seed))]
        return {
            record.seed: read_evaluation(record.test, self.path / f"seed-{record.seed}.npz")
            for record in records
            if record.test is not None
        }

    def _trial_file(self, number: int) -> Path:
        return self.path / "trials" / f"{number:03d}.json"


def cells_of(values: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """Cells from their JSON form.

    Raises:
        ConfigError: A value does not fit.
    """
    return [validated(Cell, value) for value in values]


def open_checked(cell: Cell) -> Dataset:
    """Open a cell's dataset, every file checked.

    Raises:
        DataError: It is missing or damaged.
        RunError: It is not the one that the cell was made for.
    """
    dataset = Dataset.open(cell.dataset, verify=True)
    if dataset.fingerprint != cell.fingerprint:
        raise RunError(
            f"{cell.dataset} has changed since the experiment was planned (fingerprint "
            f"{dataset.fingerprint[:12]}, planned {cell.fingerprint[:12]}); start it again"
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
        raise RunError(
            f"{file} is damaged ({str(error).splitlines()[0]}); remove it, and the training that "
            "it records is done again"
        ) from error
