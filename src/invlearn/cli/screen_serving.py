"""What a person sees where a run is put to use."""

from pathlib import Path
from typing import TYPE_CHECKING

from invlearn.cli.display import console, number_table
from invlearn.runtime.text import counted

if TYPE_CHECKING:
    from invlearn.inference.export.exporting import Exported
    from invlearn.inference.recommend.lists import Recommended


def show_recommended(made: "Recommended") -> None:
    """Print who got lists, where they came from, and what is in them."""
    table = number_table("", "lists made by", ("users",))
    for source, n_users in made.n_users.items():
        table.add_row(source, f"{n_users:,}")
    if made.n_unanswered:
        table.add_row("none", f"{made.n_unanswered:,}")
    console.print(table)
    if made.n_unknown:
        n_asked = sum(made.n_users.values()) + made.n_unanswered
        are = counted(n_asked, "user") + (" is" if made.n_unknown == 1 else " are")
        console.print(
            f"  warning: {made.n_unknown:,} of {are} not in the run at all", style="yellow"
        )
    if made.n_unknown_items:
        ids = counted(made.n_unknown_items, "item id is", "item ids are")
        console.print(f"  warning: {ids} not in the run at all", style="yellow")
    if made.n_short:
        users = counted(made.n_short, "user has", "users have")
        console.print(f"  {users} fewer than {counted(made.k, 'item')} left")
    share = made.n_items / max(made.n_catalogue, 1)
    items = counted(made.n_items, "different item")
    console.print(f"  {items} in all lists, {share:.1%} of those that could be")
    if made.recall is not None:
        console.print(f"  the index found {made.recall:.1%} of the exact lists, on sampled users")
    console.print(f"Wrote {made.file}: {counted(made.n_rows, 'row')}.")


def show_exported(made: "Exported") -> None:
    """Print what was written, and how well it agrees."""
    table = number_table("", "file", ("bytes",))
    for name, n_bytes in made.files.items():
        table.add_row(name, f"{n_bytes:,}")
    console.print(table)
    for name, shape in made.tables.items():
        console.print(f"  {name}: {' x '.join(f'{n:,}' for n in shape)}", markup=False)
    console.print(
        f"  model.onnx is {made.form}; on {made.n_pairs:,} random pairs ONNX Runtime\n"
        f"  differs from PyTorch by at most {made.difference:.1e} of a logit's size (or of 1)"
    )
    console.print(f"Wrote {made.folder}; its README.md says how to use it.")


def show_service(run: Path, address: str, *, closed: bool) -> None:
    """Print where a service can be asked."""
    token = "requests need the token" if closed else "no token is needed"
    console.print(f"Serving {run} at {address}; {token}; Ctrl-C stops.", soft_wrap=True)
    console.print(f"  {address}/docs says what can be asked", soft_wrap=True)
