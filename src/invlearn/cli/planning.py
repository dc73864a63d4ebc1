"""The command that estimates what a training takes before it starts."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from invlearn.cli.display import console
from invlearn.config.schema import DatasetSizes, RunConfig
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.memory import available, bytes_of, gib

if TYPE_CHECKING:
    from invlearn.training.capacity.planning import Plan

LEAST_SHOWN = 2**20
"""Bytes of the smallest part that has a line."""


def plan(
    dataset: Path | None = None,
    *,
    processes: int = 1,
    hosts: int = 1,
    memory: str | None = None,
    dim: int | None = None,
    sizes: Annotated[DatasetSizes | None, Parameter(name="*")] = None,
    config: Path | None = None,
    options: Annotated[RunConfig | None, Parameter(name="*")] = None,
) -> None:
    """Estimate memory, disk, steps and messages of a training, and whether it fits.

    The exit code is 1 if it does not fit.

    Give a dataset, or --users, --items and --rows of one that does not exist yet.

    Parameters
    ----------
    dataset
        Dataset folder.
    processes
        Processes that share the training.
    hosts
        Machines that the processes are spread over evenly.
    memory
        Memory of a machine, such as 64GiB; default: what is available on this one.
    dim
        Short for --model.dim.
    config
        YAML file of the options below; options given here override it.
    """
    from invlearn.training.capacity.memory_check import MARGIN, plan_for

    given = options.model_dump(exclude_unset=True) if options else {}
    if dim is not None:
        given["model"] = {"dim": dim} | given.get("model", {})
    source = dataset or sizes
    if source is None or (dataset and sizes):
        raise ConfigError(
            "a plan needs either a dataset folder, or --users, --items and --rows of a dataset "
            "that does not exist yet"
        )
    free = available() if memory is None else bytes_of(memory)
    found = plan_for(source, config=config, n_processes=processes, n_hosts=hosts, **given)
    fits = found.memory * (processes // hosts) <= MARGIN * free
    _show_plan(found, hosts=hosts, free=free, fits=fits)
    if not fits:
        sys.exit(1)


def _show_plan(found: "Plan", *, hosts: int, free: float, fits: bool) -> None:
    """Print what each process takes, what it sends, and whether it fits."""
    counts, config = found.counts, found.config
    console.print(
        f"{config.strategy} over {config.backbone}, store {config.store}: {counts.users:,} users, "
        f"{counts.items:,} items"
    )
    console.print(
        f"Labelled rows: {counts.train:,} train, {counts.valid:,} validation, {counts.test:,} "
        f"test; {counts.unlabelled:,} unlabelled"
    )
    each = "a process" if found.n_processes == 1 else f"each of {found.n_processes:,} processes"
    table = Table("memory of", each, box=None, pad_edge=False)
    table.columns[1].justify = "right"
    passing = {f"for a while: {name}": n for name, n in found.passing.items()}
    held = {"Python, PyTorch, Polars": found.base} | found.lasting | passing
    for name, n_bytes in (held | {"freed, but kept by malloc": found.kept}).items():
        if n_bytes >= LEAST_SHOWN:
            table.add_row(name, gib(n_bytes))
    table.add_row(f"peak, during: {found.peak}", gib(found.memory))
    console.print(table)
    _show_steps(found)
    console.print(
        f"On disk: {gib(found.mapped)} of rows, read when needed; a checkpoint of "
        f"{gib(found.checkpoint)}"
        + (f"; {gib(found.scratch)} per process for the order of rows" if found.scratch else "")
    )
    n_here = found.n_processes // hosts
    console.print(
        f"{'It fits' if fits else 'It does not fit'}: {gib(found.memory * n_here)} for {n_here} "
        f"process{'es' if n_here > 1 else ''} on {'a' if hosts > 1 else 'the'} machine, which has "
        f"{gib(free)} available"
    )


def _show_steps(found: "Plan") -> None:
    """Print how many steps there are, of how many rows, and what a process sends in one."""
    steps = ", ".join(f"{n:,} {kind}" for kind, n in found.steps.items())
    console.print(f"An epoch: {steps} steps of {found.config.batch_size:,} labelled pairs")
    if found.n_processes > 1:
        share = -(-found.counts.train // found.n_processes)
        sent = ", ".join(f"{gib(n)} in a {kind} step" for kind, n in found.traffic.items())
        console.print(f"A process computes {share:,} labelled rows of it, and sends {sent}")
