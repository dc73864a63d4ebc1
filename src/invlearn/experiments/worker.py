"""A process that works on an experiment beside others: `python -m invlearn.experiments.worker`."""

import json
import os
import signal
import sys
from pathlib import Path

from invlearn.experiments.cell import cells_of
from invlearn.experiments.work import work
from invlearn.runtime.errors import InvlearnError, Stopped


def main(plan: Path, task: Path) -> int:
    """Work on what a plan names, write into a file what is at work, return the exit code."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    try:
        given = json.loads(plan.read_text(encoding="utf-8"))
    except OSError:
        return 130  # the parent was killed, or ended, and took its plan along

    sys.path.extend(folder for folder in given["path"] if folder not in sys.path)

    def should_stop() -> bool:
        # A parent that was killed cannot say so; its child is then another's.
        return bool(asked) or os.getppid() != given["parent"]

    def begin(title: str) -> None:
        task.write_text(title, encoding="utf-8")

    try:
        cells = cells_of(given["cells"])
        work(Path(given["experiment"]), cells, should_stop=should_stop, on_task=begin)
    except Stopped:
        return 130
    except InvlearnError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
