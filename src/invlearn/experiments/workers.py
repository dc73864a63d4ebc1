"""The worker processes of an experiment, started and watched."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from invlearn.experiments.cell import Cell, CellFolder
from invlearn.experiments.search import require
from invlearn.experiments.work import PAUSE_SECONDS, work
from invlearn.runtime import atomic
from invlearn.runtime.errors import ConfigError, RunError, Stopped
from invlearn.runtime.progress import Progress, silent

WIDTH = 38
"""Characters of what is at work that stand beside a bar in a terminal of 80."""
Process = subprocess.Popen[bytes]
Tell = Callable[[Sequence[str]], None]


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
        progress: Told of trainings done, and of what is at work.
        should_stop: Asked all the time; true stops, and what was done is kept.

    Raises:
        ConfigError: There is no worker, or a search needs an extra that is not installed.
        Stopped: `should_stop` said so.
        RunError: A worker ended before the work did.
    """
    if workers < 1:
        raise ConfigError(f"workers must be 1 or more; found {workers}")
    if any(cell.tuning for cell in cells):
        require()
    folders = [CellFolder(experiment, cell) for cell in cells]
    total = sum(folder.n_trainings for folder in folders)

    def tell(at_work: Sequence[str] = ()) -> None:
        more = f" +{len(at_work) - 1}" if len(at_work) > 1 else ""
        first = at_work[0] if at_work else ""
        shown = (first if len(first) <= WIDTH else f"…{first[1 - WIDTH :]}") + more
        progress("compare", sum(folder.n_done for folder in folders), total, at_work=shown)

    experiment.mkdir(parents=True, exist_ok=True)
    tell()
    try:
        if workers == 1:
            _alone(experiment, cells, tell, should_stop)
        else:
            _with_workers(experiment, cells, workers, tell, should_stop)
    except Stopped as stop:
        raise Stopped("stopped; the same command goes on from here") from stop
    tell()


def _alone(
    experiment: Path, cells: Sequence[Cell], tell: Tell, should_stop: Callable[[], bool]
) -> None:
    """Work in this process, and tell now and then how far it is."""
    at_work: list[str] = []
    told = 0.0

    def begin(title: str) -> None:
        at_work[:] = [title]

    def asked() -> bool:
        nonlocal told
        if time.monotonic() - told > PAUSE_SECONDS:
            tell(at_work)
            told = time.monotonic()
        return should_stop()

    work(experiment, cells, should_stop=asked, on_task=begin)


def _with_workers(
    experiment: Path,
    cells: Sequence[Cell],
    workers: int,
    tell: Tell,
    should_stop: Callable[[], bool],
) -> None:
    """Let processes work; end them all if one ends badly or somebody asks for it."""
    with TemporaryDirectory(prefix="invlearn-") as name:
        place = Path(name)
        processes = _started(place, experiment, cells, workers)
        try:
            while any(process.poll() is None for process in processes):
                time.sleep(PAUSE_SECONDS)
                tell([file.read_text(encoding="utf-8") for file in sorted(place.glob("*.task"))])
                if should_stop() or any(process.poll() for process in processes):
                    break
            failed = [n for n, process in enumerate(processes) if process.poll()]
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
        if should_stop():
            raise Stopped("stopped")
        if failed:
            raise _failure(experiment, processes[failed[0]], place / f"{failed[0]}.errors")


def _started(place: Path, experiment: Path, cells: Sequence[Cell], workers: int) -> list[Process]:
    """Start processes that read their plan from a folder, and write what they do into it."""
    # Backbones and strategies given as module:Class are searched for where this process finds them.
    path = [str(Path(folder).resolve()) for folder in sys.path if folder]
    plan = {"experiment": str(experiment), "parent": os.getpid(), "path": path}
    atomic.write_json(
        place / "plan.json", plan | {"cells": [cell.model_dump(mode="json") for cell in cells]}
    )
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    # -P: without it Python would search the working folder first, and run a file of somebody's data
    # whose name is that of a module.
    command = [sys.executable, "-P", "-m", "invlearn.experiments.worker", str(place / "plan.json")]
    processes: list[Process] = []
    for number in range(workers):
        with (place / f"{number}.errors").open("w") as errors:
            task = str(place / f"{number}.task")
            processes.append(subprocess.Popen([*command, task], stderr=errors, env=environment))
    return processes


def _failure(experiment: Path, process: Process, said: Path) -> RunError:
    """Say why a worker ended; all that it said is kept."""
    shutil.copyfile(said, experiment / "worker.log")
    lines = said.read_text(encoding="utf-8").strip().splitlines()
    code = process.returncode
    silently = f"signal {-code}, perhaps for want of memory" if code < 0 else f"exit code {code}"
    return RunError(
        f"a worker of the experiment ended early: {lines[-1] if lines else silently}; fix that "
        f"({experiment / 'worker.log'} holds all that it said), and the same command goes on "
        "from here"
    )
