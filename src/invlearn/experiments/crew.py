"""The worker processes of an experiment, started and watched."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from invlearn import atomic
from invlearn.errors import RunError, Stopped
from invlearn.experiments.cell import Cell
from invlearn.experiments.search import require
from invlearn.experiments.work import PAUSE_SECONDS, progress_of, work
from invlearn.progress import Progress, silent

Process = subprocess.Popen[bytes]


def work_together(
    experiment: Path,
    cells: Sequence[Cell],
    *,
    workers: int = 1,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Do all that is left of an experiment, with one process or several.

    Started again after whatever stop, it goes on where it was; started twice at once, both share
    the work.

    Args:
        experiment: Its folder.
        cells: All of it.
        workers: Processes; with 1, this one.
        progress: Told of trainings done.
        should_stop: Asked all the time; true stops, and what was done is kept.

    Raises:
        ConfigError: A search needs an extra that is not installed.
        Stopped: `should_stop` said so.
        RunError: A worker ended before the work did.
    """
    if any(cell.tuning for cell in cells):
        require()

    def tell() -> None:
        progress("compare", *progress_of(experiment, cells))

    experiment.mkdir(parents=True, exist_ok=True)
    tell()
    try:
        if workers == 1:
            work(experiment, cells, should_stop=should_stop, on_task=tell)
        else:
            _watch(experiment, _started(experiment, cells, workers), tell, should_stop)
    except Stopped as stop:
        raise Stopped("stopped; the same command goes on from here") from stop
    tell()


def _started(experiment: Path, cells: Sequence[Cell], workers: int) -> list[Process]:
    plan = experiment / "plan.json"
    atomic.write_json(plan, [cell.model_dump(mode="json") for cell in cells])
    command = [sys.executable, "-m", "invlearn.experiments.worker", str(plan)]
    # Backbones and strategies given as module:Class are looked for where this process finds them.
    path = os.pathsep.join(filter(None, sys.path))
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": path}
    processes: list[Process] = []
    for number in range(workers):
        with _said_by(experiment, number).open("w") as errors:
            processes.append(subprocess.Popen(command, stderr=errors, env=environment))
    return processes


def _said_by(experiment: Path, number: int) -> Path:
    """File of what a worker writes to its standard error."""
    return experiment / f"worker-{number}.log"


def _watch(
    experiment: Path,
    processes: list[Process],
    tell: Callable[[], None],
    should_stop: Callable[[], bool],
) -> None:
    """Wait for all workers; end them all if one ends badly or somebody asks for it."""
    try:
        while any(process.poll() is None for process in processes):
            time.sleep(PAUSE_SECONDS)
            tell()
            if should_stop() or any(process.poll() for process in processes):
                break
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    if should_stop():
        raise Stopped("stopped")
    for number, process in enumerate(processes):
        if process.returncode:
            said = _said_by(experiment, number).read_text(encoding="utf-8").strip().splitlines()
            reason = said[-1] if said else f"exit code {process.returncode}"
            raise RunError(
                f"a worker of the experiment ended early: {reason}; mend that, and the same "
                "command goes on from here"
            )
