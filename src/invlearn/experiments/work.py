"""Doing the work of an experiment: searches and reported trainings, shared by several processes.

A task is a cell's search, or one of its seeds. Whoever holds the lock of a task does it; the
operating system frees the lock when its holder ends, however it ends, and the next one goes on
from what is on disk. The trials of a search follow each other, so that they are the same however
many processes there are.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from invlearn.data.dataset import Dataset
from invlearn.experiments.baselines import BaselineFolder
from invlearn.experiments.cell import Cell, CellFolder, SeedRecord, Trial, open_checked
from invlearn.experiments.measured import Measured
from invlearn.experiments.search import QueriedPairs, value_at
from invlearn.experiments.trial_run import TrialRun, attempt, discard, strip
from invlearn.runtime import atomic, locks
from invlearn.runtime.environment import commit
from invlearn.runtime.errors import ConfigError, DivergedError, Stopped
from invlearn.training.build import complete
from invlearn.training.run import Run

FAILURES = (DivergedError, ConfigError, MemoryError, torch.OutOfMemoryError)
"""What makes a training fail that another one need not fail of."""
PRUNE_FROM = 1 / 3
"""Part of the epochs that no trial is given up in: a low learning rate starts slowly."""
PAUSE_SECONDS = 0.3
"""Between two looks whether others have finished what this process waits for."""


class Task(Protocol):
    """A piece of work that one process does at a time."""

    @property
    def place(self) -> Path:
        """Folder that holds its lock; made if need be."""
        ...

    @property
    def name(self) -> str:
        """What it is called among the tasks of its folder."""
        ...

    @property
    def folder(self) -> CellFolder | BaselineFolder:
        """Where its records go."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether what it rests on is done."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        ...

    def carry_out(self, should_stop: Callable[[], bool]) -> None:
        """Do it, or go on with it."""
        ...


@dataclass(frozen=True, slots=True)
class SearchTask:
    """The search of a cell: trials one after the other."""

    folder: CellFolder
    name: str = "search"
    is_ready: bool = True

    @property
    def place(self) -> Path:
        """The cell's folder."""
        return self.folder.prepared()

    @property
    def is_done(self) -> bool:
        """Whether every trial is done."""
        return self.folder.is_searched

    def carry_out(self, should_stop: Callable[[], bool]) -> None:
        """Run the trials that are missing."""
        _search(self.folder, open_checked(self.folder.cell), should_stop)


@dataclass(frozen=True, slots=True)
class SeedTask:
    """A reported training of a cell."""

    folder: CellFolder
    seed: int

    @property
    def place(self) -> Path:
        """The cell's folder."""
        return self.folder.prepared()

    @property
    def name(self) -> str:
        """By its seed."""
        return f"seed-{self.seed}"

    @property
    def is_ready(self) -> bool:
        """Whether the search is done."""
        return self.folder.is_searched

    @property
    def is_done(self) -> bool:
        """Whether it is recorded; or never will be, after a search without success."""
        return self.folder.is_done(self.seed)

    def carry_out(self, should_stop: Callable[[], bool]) -> None:
        """Train with the chosen settings, and measure on the test part."""
        _report(self.folder, open_checked(self.folder.cell), self.seed, should_stop)


@dataclass(frozen=True, slots=True)
class BaselineTask:
    """The trivial baselines on one dataset."""

    folder: BaselineFolder
    name: str = "baselines"
    is_ready: bool = True

    @property
    def place(self) -> Path:
        """The dataset's folder among the baselines'."""
        return self.folder.prepared()

    @property
    def is_done(self) -> bool:
        """Whether all of them are measured."""
        return self.folder.is_measured

    def carry_out(self, should_stop: Callable[[], bool]) -> None:
        """Measure them."""
        self.folder.measure(open_checked(self.folder.cell))


def tasks_of(experiment: Path, cells: Sequence[Cell]) -> list[Task]:
    """All work of an experiment; the seeds of a cell follow its search."""
    tasks: list[Task] = []
    measured: set[Path] = set()
    for cell in cells:
        baselines, folder = BaselineFolder(experiment, cell), CellFolder(experiment, cell)
        if baselines.path not in measured:
            measured.add(baselines.path)
            tasks.append(BaselineTask(baselines))
        if cell.tuning:
            tasks.append(SearchTask(folder))
        tasks += [SeedTask(folder, seed) for seed in cell.seeds]
    return tasks


def work(
    experiment: Path,
    cells: Sequence[Cell],
    *,
    should_stop: Callable[[], bool] = lambda: False,
    on_task: Callable[[str], None] = lambda title: None,
) -> None:
    """Do whatever is left of an experiment and nobody else does, until all of it is done.

    Args:
        experiment: Its folder.
        cells: All of it.
        should_stop: Asked after every step of a training, and while there is nothing to do.
        on_task: Told of every task that is begun, in words.

    Raises:
        Stopped: `should_stop` said so; what was done is kept.
    """
    tasks = tasks_of(experiment, cells)
    threads, here = cells[0].threads, torch.get_num_threads()
    try:
        while tasks := [task for task in tasks if not task.is_done]:
            if should_stop():
                raise Stopped("stopped between two trainings; saved")
            if not any(_taken(task, threads, should_stop, on_task) for task in tasks):
                time.sleep(PAUSE_SECONDS)
    finally:
        torch.set_num_threads(here)
    _tidy([CellFolder(experiment, cell) for cell in cells])


def _tidy(folders: Sequence[CellFolder]) -> None:
    """Remove what a kill between a record and the clean-up after it left behind."""
    for folder in folders:
        for place in folder.path.glob("trial-*"):
            discard(place)
        for seed in folder.cell.seeds:
            strip(folder.path / f"seed-{seed}")


def _taken(
    task: Task, threads: int, should_stop: Callable[[], bool], on_task: Callable[[str], None]
) -> bool:
    """Whether this process got the task and did it."""
    if not task.is_ready:
        return False
    with locks.claimed(task.place, task.name) as mine:
        if not mine or task.is_done:
            return False
        on_task(f"{task.folder.title} {task.name}")
        torch.set_num_threads(threads)
        task.carry_out(should_stop)
        return True


def _search(folder: CellFolder, dataset: Dataset, should_stop: Callable[[], bool]) -> None:
    """Run the trials that are missing; one whose record was removed follows from those before."""
    done: list[Trial] = []
    for number in range(folder.n_trials_wanted):
        place = folder.path / f"trial-{number:03d}"
        trial = folder.trial(number)
        if trial is None:
            trial = _trial(folder, dataset, done, place, should_stop)
            folder.write_trial(trial)
        done.append(trial)
        discard(place)


def _trial(
    folder: CellFolder,
    dataset: Dataset,
    done: Sequence[Trial],
    place: Path,
    should_stop: Callable[[], bool],
) -> Trial:
    cell, tuning = folder.cell, folder.cell.tuning
    if tuning is None:
        raise AssertionError("a cell without a search has no trials")
    defaults = complete(cell.config, dataset, None).model_dump()
    asked = QueriedPairs(
        tuning.search,
        {name: value_at(defaults, name) for name in tuning.search},
        [trial.tried() for trial in done],
        minimize=cell.minimize,
        seed=tuning.seed,
        prune_from=math.ceil(cell.config.epochs * PRUNE_FROM) if tuning.prune else None,
    )
    config = folder.config(asked.settings, tuning.seed)
    try:
        found = attempt(
            place,
            dataset,
            config,
            n_runs=cell.n_runs,
            should_prune=asked.should_prune,
            should_stop=should_stop,
        )
    except FAILURES as error:
        return Trial(
            number=len(done),
            settings=asked.settings,
            state="failed",
            reason=_reason(error),
            commit=commit(),
        )
    return Trial(
        number=len(done),
        settings=asked.settings,
        commit=commit(),
        state="pruned" if found.given_up else "complete",
        scores=found.scores,
        best=found.best,
        cost=found.cost,
    )


def _report(
    folder: CellFolder, dataset: Dataset, seed: int, should_stop: Callable[[], bool]
) -> None:
    """Train with the chosen settings, measure on the test part, and keep the record."""
    chosen = folder.chosen()
    if chosen is None:
        raise AssertionError("the seeds of a search without success are done")
    place = folder.path / f"seed-{seed}"
    record = SeedRecord(seed=seed, state="complete", settings=chosen, commit=commit())
    try:
        found = attempt(
            place,
            dataset,
            folder.config(chosen, seed),
            n_runs=folder.cell.n_runs,
            should_stop=should_stop,
        )
    except FAILURES as error:
        failed = {"state": "failed", "reason": _reason(error)}
        folder.write_record(record.model_copy(update=failed))
        return
    _measure(folder, dataset, record, found)
    strip(place)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _measure(folder: CellFolder, dataset: Dataset, record: SeedRecord, found: TrialRun) -> None:
    run = Run.open(folder.path / f"seed-{record.seed}")
    tested = run.evaluate(dataset=dataset, draws=folder.cell.draws, baselines={})
    measured = Measured.of(tested.backbone)
    result = record.model_copy(
        update={"epoch": found.best_epoch, "test": measured, "cost": found.cost}
    )
    atomic.write_json(run.folder / "test.json", {"epoch": found.best_epoch, **tested.to_json()})
    folder.write_record(result, tested.backbone)
