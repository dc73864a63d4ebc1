"""One training of an experiment, from its start or from where a stop left it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from invlearn.config.schema import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.experiments.cell import Cost
from invlearn.runtime import atomic
from invlearn.runtime.environment import peak_bytes, reset_peak
from invlearn.runtime.errors import RunError, Stopped
from invlearn.runtime.progress import silent
from invlearn.training import checkpoint
from invlearn.training.build import complete
from invlearn.training.job import Job
from invlearn.training.metrics_log import read_lines
from invlearn.training.run_folder import check_own, held_run, new_run, read_run


@dataclass(frozen=True, slots=True)
class TrialRun:
    """What came of a training."""

    given_up: bool
    scores: tuple[float, ...]
    """Validation score after each epoch."""
    best: float
    """The best of them."""
    best_epoch: int
    """Its epoch, from 1."""
    cost: Cost


def attempt(
    folder: Path,
    dataset: Dataset,
    config: RunConfig,
    *,
    n_runs: int = 1,
    should_prune: Callable[[int, float], bool] = lambda epoch, score: False,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrialRun:
    """Train in a run folder, or resume the run that is there.

    Args:
        folder: The run folder.
        dataset: What to train on.
        config: Settings; completed here.
        n_runs: Trainings of the same form that this process may see; if it compiles, once for all.
        should_prune: Asked after every epoch, from 0, with the score that selects the best epoch;
            a run that goes on is asked about its earlier epochs again.
        should_stop: Asked after every step.

    Raises:
        DivergedError: The loss is no longer finite.
        ConfigError: The settings do not fit the dataset.
        Stopped: `should_stop` said so; the next attempt goes on from there.
    """
    reset_peak()
    job = Job.start(folder, dataset, complete(config, dataset, None), None, n_runs=n_runs)
    if _restored(job):
        with held_run(folder):
            return _worked(job, should_prune, should_stop)
    with new_run(folder, dataset, job.trainer.config, overwrite=True):
        return _worked(job, should_prune, should_stop)


def _worked(
    job: Job, should_prune: Callable[[int, float], bool], should_stop: Callable[[], bool]
) -> TrialRun:
    """Train to the end, or until it is given up."""
    folder, settings = job.folder, job.trainer.config
    refused: list[int] = []

    def asked(epoch: int, score: float) -> bool:
        if should_prune(epoch, score):
            refused.append(epoch)
        return bool(refused)

    for epoch, score in enumerate(_scores(folder, settings)[: job.trainer.state.epoch]):
        asked(epoch, score)
    try:
        if not refused:
            job.work(
                progress=silent,
                should_stop=should_stop,
                should_prune=lambda epoch, scores: asked(epoch, scores[settings.select_by]),
            )
    except Stopped:
        if not refused:
            raise
    return _outcome(folder, job, given_up=bool(refused))


def _restored(job: Job) -> bool:
    """Whether a training with these very settings was begun here, saved, and is put back.

    One whose files are damaged is done again.
    """
    if not checkpoint.exists(job.folder / "checkpoints"):
        return False
    try:
        if read_run(job.folder)[1] != job.trainer.config:
            return False
        saved = job.load("last")
        check_own(saved, job.folder)
    except RunError:
        return False
    job.restore(saved)
    return True


def strip(folder: Path) -> None:
    """Leave of a finished run folder what tells how the run went, without the weights."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    for name in ("users.parquet", "items.parquet", ".lock"):
        (folder / name).unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove a run folder, whole or half-written."""
    atomic.recover(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _outcome(folder: Path, job: Job, *, given_up: bool) -> TrialRun:
    scores = _scores(folder, job.trainer.config)
    epochs = list(read_lines(folder / "epochs.jsonl"))
    seconds = sum(line["train_seconds"] + line["validate_seconds"] for line in epochs)
    state = job.trainer.state
    if state.best_score is None or state.best_epoch is None:
        raise AssertionError("a training ends after an epoch at least, and the first is the best")
    cost = Cost(seconds=seconds, epochs=len(epochs), peak_bytes=peak_bytes())
    return TrialRun(given_up, scores, state.best_score, state.best_epoch + 1, cost)


def _scores(folder: Path, config: RunConfig) -> tuple[float, ...]:
    lines = read_lines(folder / "epochs.jsonl")
    return tuple(line["valid"][config.select_by] for line in lines)
