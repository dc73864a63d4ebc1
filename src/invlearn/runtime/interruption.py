"""Ctrl-C as a request: the first one lets the work stop where it can go on later."""

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Generator[Callable[[], bool], None, None]:
    """Turn the first Ctrl-C (or a SIGTERM) into a request to stop after the current step.

    Yields whether somebody asked; the second one ends the process as ever.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
