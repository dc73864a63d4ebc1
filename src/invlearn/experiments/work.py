"""The work of an experiment: baselines, trials of searches and reported trainings, in parallel.

The trials of a search follow each other, and each depends on the earlier ones alone, so the results
do not depend on the number of workers. Every task writes its record when it is finished; a repeated
call does the tasks without a record, and resumes the trainings that were stopped.
"""

import traceback
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from invlearn.data.dataset import Dataset
from invlearn.experiments.cell import (
    BaselineFolder,
    Cell,
    CellFolder,
    Measured,
    SeedRecord,
    Task,
    open_checked,
)
from invlearn.experiments.search import Suggestion, Trial, value_at
from invlearn.experiments.trial_run import TrialRun, attempt, discard, strip
from invlearn.experiments.workers import ShouldStop, Submit, worker_pool
from invlearn.runtime import atomic
from invlearn.runtime.environment import commit
from invlearn.runtime.errors import ConfigError, DivergedError, InvlearnError, RunError, Stopped
from invlearn.runtime.progress import Progress, silent
from invlearn.training.run import Run
from invlearn.training.settings import complete

FAILURES = (DivergedError, ConfigError, MemoryError, torch.OutOfMemoryError)
"""Errors that end one training only."""
RESUME = "stopped; run the same command to continue"
PAUSE_SECONDS = 0.3
"""Longest time between two calls of `should_stop` while workers train."""
LOG = "worker.log"
"""File in the experiment folder for warnings and tracebacks of workers."""
WIDTH = 38
"""Most characters of a task next to a progress bar in a terminal of 80."""


def work_together(
    experiment: Path,
    cells: Sequence[Cell],
    *,
    workers: int = 1,
    progress: Progress = silent,
    should_stop: ShouldStop = lambda: False,
) -> None:
    """Do everything in an experiment that has no record yet; the caller must hold its lock.

    Args:
        experiment: The experiment folder.
        cells: All of its cells.
        workers: Number of processes; with 1, this process does the work.
        progress: Called with the number of finished trainings, and the tasks at work.
        should_stop: Called often; true stops, and finished work is kept.

    Raises:
        ConfigError: `workers` is below 1.
        Stopped: `should_stop` returned true.
        RunError: A worker ended early.
    """
    folders = _folders(experiment, cells)
    threads = torch.get_num_threads()
    try:
        with worker_pool(workers, should_stop, experiment / LOG) as submit:
            _run_all(experiment, folders, submit, workers, progress, should_stop)
    except Stopped as stop:
        raise Stopped(RESUME) from stop
    finally:
        torch.set_num_threads(threads)
        open_checked.cache_clear()
    for folder in folders:  # what a process left that was killed before it removed this
        for place in folder.path.glob("trial-*"):
            discard(place)
        for seed in folder.cell.seeds:
            strip(folder.path / f"seed-{seed}")


def _folders(experiment: Path, cells: Sequence[Cell]) -> list[CellFolder]:
    """Return the folder of each cell; the same cell under two names gets the seeds of both."""
    merged: dict[str, Cell] = {}
    for cell in cells:
        seeds = (*merged.get(cell.key, cell).seeds, *cell.seeds)
        merged[cell.key] = cell.model_copy(update={"seeds": tuple(dict.fromkeys(seeds))})
    return [CellFolder(experiment, cell) for cell in merged.values()]


@contextmanager
def _reported(experiment: Path, should_stop: ShouldStop) -> Generator[None, None, None]:
    """Convert the unexpected error of a worker, and write its traceback to a file."""
    try:
        yield
    except InvlearnError:
        raise
    except Exception as error:
        if should_stop():  # the workers got the same signal as this process
            raise Stopped(RESUME) from error
        log = experiment / LOG
        with log.open("a", encoding="utf-8") as stream:
            traceback.print_exception(error, file=stream)
        reason = f"{type(error).__name__}: {error}; fix that ({log} holds its traceback)"
        if isinstance(error, BrokenProcessPool):
            reason = "it was killed, or out of memory, or could not start"
        raise RunError(
            f"a worker of the experiment ended early: {reason}; run the same command to continue"
        ) from error


def _run_all(
    experiment: Path,
    cells: Sequence[CellFolder],
    submit: Submit[Task],
    workers: int,
    progress: Progress,
    should_stop: ShouldStop,
) -> None:
    """Do all tasks, the trials of a search one after the other."""
    total = sum(folder.cell.n_runs for folder in cells)
    measured = [BaselineFolder(experiment, folder.cell) for folder in cells]
    folders = (*{folder.path: folder for folder in measured}.values(), *cells)
    missing = {folder: folder.missing() for folder in folders}
    running: dict[Future[None], Task] = {}

    def show(*begun: Task) -> None:
        left = sum(len(missing[folder]) for folder in cells)
        progress("compare", total - left, total, at_work=_titles(*running.values(), *begun))

    show()
    while any(missing.values()):
        if should_stop():
            raise Stopped("stopped between two trainings; saved")
        ready = [task for task in _ready(missing.values()) if task not in running.values()]
        for task in ready[: workers - len(running)]:
            show(task)
            with _reported(experiment, should_stop) if workers > 1 else nullcontext():
                running[submit(carry_out, task)] = task
        for future in wait(running, PAUSE_SECONDS, FIRST_COMPLETED).done:
            folder = running.pop(future).folder
            with _reported(experiment, should_stop):
                future.result()
            missing[folder] = folder.missing()
            show()


def _ready(missing: Iterable[Sequence[Task]]) -> Iterator[Task]:
    """Yield the tasks that can start: of a search only the next trial."""
    for tasks in missing:
        is_search = any(task.kind == "trial" for task in tasks)
        yield from tasks[:1] if is_search else tasks


def _titles(*tasks: Task) -> str:
    """Describe the tasks at work next to a progress bar."""
    titles = [f"{task.folder.title} {task.name}" for task in tasks]
    first = titles[0] if titles else ""
    more = f" +{len(titles) - 1}" if len(titles) > 1 else ""
    return (first if len(first) <= WIDTH else f"…{first[1 - WIDTH :]}") + more


def carry_out(task: Task, should_stop: ShouldStop) -> None:
    """Do a task, or resume it, and write its record."""
    folder, cell = task.folder, task.folder.cell
    torch.set_num_threads(cell.threads)
    dataset = open_checked(cell.dataset, cell.fingerprint)
    folder.path.mkdir(parents=True, exist_ok=True)
    if isinstance(folder, BaselineFolder):
        folder.measure(dataset)
        return
    folder.describe()
    train = _train_trial if task.kind == "trial" else _train_seed
    train(folder, task, dataset, should_stop)


def _train_trial(folder: CellFolder, task: Task, dataset: Dataset, should_stop: ShouldStop) -> None:
    """Train the next trial of a search."""
    cell, tuning, place = folder.cell, folder.cell.tuning, folder.path / task.name
    assert tuning is not None
    defaults, epochs = complete(cell.config, dataset, None).model_dump(), cell.config.epochs
    default = {name: value_at(defaults, name) for name in tuning.search}
    tried = Suggestion(tuning, default, folder.trials(), minimize=cell.minimize, epochs=epochs)
    own = {"should_prune": tried.should_prune, "should_stop": should_stop}
    run, record = _attempt(folder, place, dataset, tried.settings, tuning.seed, **own)
    record |= {"scores": run.scores, "best": run.best} if run else {}
    folder.write_trial(Trial(number=task.number, **record))
    discard(place)


def _train_seed(folder: CellFolder, task: Task, dataset: Dataset, should_stop: ShouldStop) -> None:
    """Train with the chosen settings and a reported seed, and measure on the test part."""
    place, seed, chosen = folder.path / task.name, task.number, folder.chosen() or {}
    run, record = _attempt(folder, place, dataset, chosen, seed, should_stop=should_stop)
    if run is None:
        folder.write_record(SeedRecord(seed=seed, **record))
        return
    tested = Run.open(place).evaluate(dataset=dataset, draws=folder.cell.draws, baselines={})
    atomic.write_json(place / "test.json", {"epoch": run.best_epoch, **tested.to_json()})
    record |= {"epoch": run.best_epoch, "test": Measured.of(tested.backbone)}
    folder.write_record(SeedRecord(seed=seed, **record), tested.backbone)
    strip(place)


def _attempt(
    folder: CellFolder,
    place: Path,
    dataset: Dataset,
    settings: Mapping[str, Any],
    seed: int,
    **options: Any,
) -> tuple[TrialRun | None, dict[str, Any]]:
    """Return a training, None if it failed, and what both kinds of record hold."""
    record: dict[str, Any] = {"settings": settings, "commit": commit()}
    try:
        config = folder.config(settings, seed)
        run = attempt(place, dataset, config, n_runs=folder.cell.n_runs, **options)
    except FAILURES as error:
        return None, record | {"state": "failed", "reason": str(error) or type(error).__name__}
    return run, record | {"state": "pruned" if run.pruned else "complete", "cost": run.cost}
