"""Handle Ctrl-C as a request: the first one stops the work at a point where it can be resumed."""

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Generator[Callable[[], bool], None, None]:
    """Turn the first Ctrl-C (or a SIGTERM) into a request to stop after the current step.

    Yields a function that returns whether a stop was requested; a second signal ends the process.
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
