"""A process that works on an experiment beside others: `python -m invlearn.experiments.worker`."""

import json
import os
import signal
import sys
from pathlib import Path

from invlearn.errors import InvlearnError, Stopped
from invlearn.experiments.cell import cells_of
from invlearn.experiments.work import work


def main(plan: Path) -> int:
    """Work on what a plan names; return the exit code."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    parent = os.getppid()

    def should_stop() -> bool:
        # A parent that was killed cannot say so; its child is then another's.
        return bool(asked) or os.getppid() != parent

    try:
        work(plan.parent, cells_of(json.loads(plan.read_text())), should_stop=should_stop)
    except Stopped:
        return 130
    except InvlearnError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
