"""One training of an experiment, started or resumed."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from invlearn.config.schema import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.experiments.search import Cost
from invlearn.runtime import atomic
from invlearn.runtime.environment import peak_bytes, reset_peak
from invlearn.runtime.errors import RunError, Stopped
from invlearn.runtime.progress import silent
from invlearn.training import checkpoint
from invlearn.training.job import Job
from invlearn.training.metrics_log import read_lines
from invlearn.training.run_folder import check_own, held_run, new_run, read_run
from invlearn.training.settings import complete


@dataclass(frozen=True, slots=True)
class TrialRun:
    """Result of a training."""

    pruned: bool
    """Whether `should_prune` stopped it."""
    scores: tuple[float, ...]
    """Validation score after each epoch."""
    best: float
    """Best validation score."""
    best_epoch: int
    """Its epoch, from 1."""
    cost: Cost


def attempt(
    folder: Path,
    dataset: Dataset,
    config: RunConfig,
    *,
    n_runs: int = 1,
    should_prune: Callable[[int, float], bool] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrialRun:
    """Train in a run folder, or resume the run in it.

    Args:
        folder: The run folder.
        dataset: The dataset to train on.
        config: Settings; completed here.
        n_runs: Trainings of the same shapes, in any process; their steps together decide whether
            to compile, so that it does not depend on the number of workers.
        should_prune: Called after every epoch, from 0, with the score that selects the best epoch;
            for a resumed run also with its earlier epochs.
        should_stop: Called after every step.

    Raises:
        DivergedError: The loss is not finite.
        ConfigError: The settings do not fit the dataset.
        Stopped: `should_stop` returned true; the next call resumes the run.
    """
    reset_peak()
    job = Job.start(folder, dataset, complete(config, dataset, None), None, n_runs=n_runs)
    if _restored(job):
        with held_run(folder):
            return _train(job, should_prune, should_stop)
    with new_run(folder, dataset, job.trainer.config, overwrite=True):
        return _train(job, should_prune, should_stop)


def _train(
    job: Job, should_prune: Callable[[int, float], bool] | None, should_stop: Callable[[], bool]
) -> TrialRun:
    """Train to the end, or until the trial is pruned."""
    metric, file = job.trainer.config.select_by, job.folder / "epochs.jsonl"
    pruned = False

    def prune(epoch: int, score: float) -> bool:
        nonlocal pruned
        pruned = pruned or bool(should_prune and should_prune(epoch, score))
        return pruned

    for epoch, line in enumerate(list(read_lines(file))[: job.trainer.state.epoch]):
        prune(epoch, line["valid"][metric])
    try:
        if not pruned:
            job.work(
                progress=silent,
                should_stop=should_stop,
                should_prune=lambda epoch, metrics: prune(epoch, metrics[metric]),
            )
    except Stopped:
        if not pruned:
            raise
    epochs, state = list(read_lines(file)), job.trainer.state
    assert state.best_score is not None
    assert state.best_epoch is not None
    seconds = sum(line["train_seconds"] + line["validate_seconds"] for line in epochs)
    return TrialRun(
        pruned,
        scores=tuple(line["valid"][metric] for line in epochs),
        best=state.best_score,
        best_epoch=state.best_epoch + 1,
        cost=Cost(seconds=seconds, epochs=len(epochs), peak_bytes=peak_bytes()),
    )


def _restored(job: Job) -> bool:
    """Restore a saved training with the same settings; return whether there was one.

    A training with damaged files is started again.
    """
    saved_in = job.folder / "checkpoints"
    try:
        if not checkpoint.exists(saved_in) or read_run(job.folder)[1] != job.trainer.config:
            return False
        saved = job.load("last")
        check_own(saved, job.folder)
    except RunError:
        return False
    job.restore(saved)
    return True


def strip(folder: Path) -> None:
    """Remove the weights of a finished run folder, and keep the records of the run."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    for name in ("users.parquet", "items.parquet", ".lock"):
        (folder / name).unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove a run folder, complete or not."""
    atomic.recover(folder)
    shutil.rmtree(folder, ignore_errors=True)
