"""The command that says what a training takes before it starts."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from invlearn.config.schema import RunConfig


def plan(
    dataset: Path | None = None,
    *,
    processes: int = 1,
    hosts: int = 1,
    memory: str | None = None,
    dim: int | None = None,
    users: int | None = None,
    items: int | None = None,
    rows: int | None = None,
    unlabelled_rows: int | None = None,
    config: Path | None = None,
    options: Annotated[RunConfig | None, Parameter(name="*")] = None,
) -> None:
    """Say what a training would take: memory, disk, steps, messages, and whether it fits.

    The exit code is 1 if it does not fit.

    Give a dataset, or --users, --items and --rows of one that is not there yet.

    Parameters
    ----------
    dataset
        Dataset folder.
    processes
        Processes that share it.
    hosts
        Machines that the processes are spread over evenly.
    memory
        Memory of a machine, such as 64GiB; else what this one can give.
    dim
        Short for --model.dim.
    users
        Users of a dataset that is not there yet.
    items
        Items of it.
    rows
        Labelled rows of it, of which a tenth validates and a tenth tests, as `prepare` has it.
    unlabelled_rows
        Unlabelled rows of it.
    config
        YAML file of the options below; options given here go before it.
    """
    from invlearn.cli import screen_planning
    from invlearn.runtime.memory import available, bytes_of
    from invlearn.training.capacity.memory_check import plan_for

    given = options.model_dump(exclude_unset=True) if options else {}
    if dim is not None:
        given["model"] = {"dim": dim} | given.get("model", {})
    sizes = {"users": users, "items": items, "rows": rows, "unlabelled_rows": unlabelled_rows}
    room = available() if memory is None else bytes_of(memory)
    spread = {"n_processes": processes, "n_hosts": hosts}
    found = plan_for(dataset, sizes, config=config, **spread, **given)
    if not screen_planning.show_plan(found, hosts=hosts, room=room):
        sys.exit(1)
