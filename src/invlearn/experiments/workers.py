"""Worker processes, and the same calls in this process if one worker is enough."""

import os
import signal
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any, TypeVar

from invlearn.runtime.errors import ConfigError

Task = TypeVar("Task")
ShouldStop = Callable[[], bool]
Submit = Callable[[Callable[[Task, ShouldStop], None], Task], "Future[None]"]
"""Starts a function of a task in a worker; the function is also given `should_stop`."""

_stop_flags: list[Any] = []
"""In a worker: a value shared with the parent, not zero if the worker should stop."""
_here = {"is_working": False, "is_ending": False}
"""In a worker: whether it has a task, and whether it ends after the step that it takes."""


@contextmanager
def worker_pool(workers: int, should_stop: ShouldStop, log: Path) -> Generator[Submit[Any]]:
    """Start worker processes; yield a function that submits a task to them.

    At the end of the block the workers are asked to stop, and waited for.

    Args:
        workers: Number of processes; with 1, tasks run in this process.
        should_stop: Asked by tasks that run in this process.
        log: File for what workers write to stderr, which would break progress bars; it is removed
            if they wrote nothing.

    Raises:
        ConfigError: The number is below 1.
    """
    if workers < 1:
        raise ConfigError(f"workers must be 1 or more; found {workers}")
    if workers == 1:
        yield lambda work, task: _finished(work, task, should_stop)
        return
    context = get_context("spawn")
    # Without a lock: a worker that is killed while it reads the flag must not block the others.
    stop = context.RawValue("b", 0)
    given = (stop, Path.cwd(), log)
    with _clean_start(), ProcessPoolExecutor(workers, context, _begin, given) as pool:

        def submit(work: Callable[[Any, ShouldStop], None], task: Any) -> "Future[None]":
            # A new worker inherits the mask: Ctrl-C is handled by this process only.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            path = sys.path[:]
            sys.path[:] = [folder for folder in path if folder not in ("", str(Path.cwd()))]
            try:
                return pool.submit(_in_worker, work, task)
            finally:
                sys.path[:] = path
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

        try:
            yield submit
        finally:
            stop.value = 1
            pool.shutdown()
            if log.exists() and not log.stat().st_size:
                log.unlink()


def _finished(
    work: Callable[[Task, ShouldStop], None], task: Task, should_stop: ShouldStop
) -> "Future[None]":
    work(task, should_stop)
    future: Future[None] = Future()
    future.set_result(None)
    return future


@contextmanager
def _clean_start() -> Generator[None, None, None]:
    """Start processes that do not put the working folder on their path nor run the caller's script.

    Python would import modules from the working folder, which may hold files of others, and would
    execute a script without `if __name__ == "__main__"` again in each worker.
    """
    main, environment = sys.modules["__main__"], dict(os.environ)
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ["PYTHONSAFEPATH"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name in ("PYTHONSAFEPATH", "OMP_WAIT_POLICY"):
            if name in environment:
                os.environ[name] = environment[name]
            else:
                del os.environ[name]


def _begin(stop: Any, folder: Path, log: Path) -> None:
    """Prepare a worker, which saves and ends on SIGTERM, or if its parent is killed.

    The pool sends SIGTERM to all workers if one of them was killed.
    """
    _stop_flags.append(stop)
    os.chdir(folder)
    with log.open("a") as stream:
        os.dup2(stream.fileno(), sys.stderr.fileno())
    signal.signal(signal.SIGTERM, _end)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    _end()


def _end(*_: object) -> None:
    """End this worker: at once if it has no task, else when its task has stopped and saved."""
    _here["is_ending"] = True
    if not _here["is_working"]:
        os._exit(1)


def _in_worker(work: Callable[[Task, ShouldStop], None], task: Task) -> None:
    if _stop_flags[0].value:
        return
    _here["is_working"] = True
    try:
        work(task, lambda: bool(_stop_flags[0].value) or _here["is_ending"])
    finally:
        _here["is_working"] = False
        if _here["is_ending"]:
            os._exit(1)
