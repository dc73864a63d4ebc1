"""What a person sees of a plan."""

from rich.table import Table

from invlearn.planning import MARGIN, Plan, gib
from invlearn.screen import console


def show_plan(found: Plan, *, hosts: int, room: float) -> None:
    """Print what each process takes, what travels, and whether it fits.

    Args:
        found: The plan.
        hosts: Machines that the processes are spread over evenly.
        room: Bytes of memory of a machine.
    """
    counts, config = found.counts, found.config
    console.print(
        f"{config.strategy} over {config.backbone}, store {config.store}: {counts.users:,} users, "
        f"{counts.items:,} items, {counts.train:,} labelled training rows, "
        f"{counts.unlabelled:,} unlabelled"
    )
    each = "a process" if found.n_processes == 1 else f"each of {found.n_processes} processes"
    table = Table("memory of", each, box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for part in found.lasting:
        if part.n_bytes >= 2**20:
            table.add_row(part.name, gib(part.n_bytes))
    largest = max(found.passing, key=lambda part: part.n_bytes)
    table.add_row(f"at most for a while: {largest.name}", gib(largest.n_bytes))
    table.add_row("together", gib(found.memory))
    console.print(table)
    steps = ", ".join(f"{n:,} {kind}" for kind, n in found.steps.items())
    console.print(f"An epoch: {steps} steps of {config.batch_size:,} labelled pairs")
    if found.n_processes > 1:
        sent = ", ".join(f"{gib(n)} in a {kind} one" for kind, n in found.traffic.items())
        console.print(f"A process sends in a step: {sent}")
    console.print(
        f"On disk: {gib(found.mapped)} of rows, read as they are needed; a checkpoint of "
        f"{gib(found.checkpoint)}"
        + (f"; {gib(found.scratch)} a process for orders" if found.scratch else "")
    )
    n_here = -(-found.n_processes // hosts)
    needed = found.memory * n_here
    verdict = "It fits" if needed <= MARGIN * room else "It does not fit"
    where = "a machine" if hosts > 1 else "the machine"
    console.print(
        f"{verdict}: {gib(needed)} for {n_here} process{'es' if n_here > 1 else ''} on {where} "
        f"of {gib(room)}"
    )
