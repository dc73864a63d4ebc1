"""What a person sees of a plan."""

from rich.table import Table

from invlearn.cli.display import console
from invlearn.runtime.memory import gib
from invlearn.training.capacity.memory_check import MARGIN
from invlearn.training.capacity.planning import Part, Plan

LEAST_SHOWN = 2**20
"""Bytes of the smallest part that has a line."""


def show_plan(found: Plan, *, hosts: int, room: float) -> bool:
    """Print what each process takes, what travels, and whether it fits.

    Args:
        found: The plan.
        hosts: Machines that the processes are spread over evenly.
        room: Bytes of memory that a machine can give.

    Returns:
        Whether it fits.
    """
    counts, config = found.counts, found.config
    console.print(
        f"{config.strategy} over {config.backbone}, store {config.store}: {counts.users:,} users, "
        f"{counts.items:,} items"
    )
    console.print(
        f"Labelled rows: {counts.train:,} train, {counts.valid:,} validate, {counts.test:,} test; "
        f"{counts.unlabelled:,} unlabelled"
    )
    console.print(_table(found))
    _show_steps(found)
    console.print(
        f"On disk: {gib(found.mapped)} of rows, read as they are needed; a checkpoint of "
        f"{gib(found.checkpoint)}"
        + (f"; {gib(found.scratch)} a process for orders" if found.scratch else "")
    )
    n_here = found.n_processes // hosts
    needed = found.memory * n_here
    fits = needed <= MARGIN * room
    where = "a machine" if hosts > 1 else "the machine"
    console.print(
        f"{'It fits' if fits else 'It does not fit'}: {gib(needed)} for {n_here} "
        f"process{'es' if n_here > 1 else ''} on {where}, which can give {gib(room)}"
    )
    return fits


def _table(found: Plan) -> Table:
    """Memory of a process, part by part."""
    each = "a process" if found.n_processes == 1 else f"each of {found.n_processes:,} processes"
    table = Table("memory of", each, box=None, pad_edge=False)
    table.columns[1].justify = "right"

    def add(mark: str, parts: tuple[Part, ...]) -> None:
        for part in parts:
            if part.n_bytes >= LEAST_SHOWN or part is found.most_passing:
                table.add_row(f"{mark}{part.name}", gib(part.n_bytes))

    add("", found.lasting)
    add("for a while: ", found.passing)
    add("", (found.kept,))
    table.add_row(f"together, with {found.most_passing.name}", gib(found.memory))
    return table


def _show_steps(found: Plan) -> None:
    """Print how many steps there are, of how many rows, and what travels in one."""
    steps = ", ".join(f"{n:,} {kind}" for kind, n in found.steps.items())
    console.print(f"An epoch: {steps} steps of {found.config.batch_size:,} labelled pairs")
    if found.n_processes > 1:
        share = -(-found.counts.train // found.n_processes)
        sent = ", ".join(f"{gib(n)} in a {kind} one" for kind, n in found.traffic.items())
        console.print(f"A process computes {share:,} labelled rows of it, and sends {sent}")
