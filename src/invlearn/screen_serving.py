"""What a person sees where a run is put to use."""

from pathlib import Path
from typing import TYPE_CHECKING

from invlearn.screen import console, number_table

if TYPE_CHECKING:
    from invlearn.exporting import Exported
    from invlearn.lists import Recommended


def show_recommended(made: "Recommended") -> None:
    """Print who got lists, where they came from, and what is in them."""
    table = number_table("", "lists made by", ("users",))
    for source, n_users in made.n_users.items():
        table.add_row(source, f"{n_users:,}")
    if made.n_unanswered:
        table.add_row("none", f"{made.n_unanswered:,}")
    console.print(table)
    if made.n_unknown:
        console.print(f"  {made.n_unknown:,} users are not in the run at all")
    if made.n_unknown_items:
        console.print(f"  {made.n_unknown_items:,} of the item ids given are not in the run at all")
    if made.n_short:
        console.print(f"  {made.n_short:,} users have fewer than {made.k} items left")
    share = made.n_items / max(made.n_catalogue, 1)
    console.print(
        f"  {made.n_items:,} different items in all lists, {share:.1%} of those that could be"
    )
    if made.recall is not None:
        console.print(f"  the index found {made.recall:.1%} of the exact lists, on sampled users")
    console.print(f"Wrote {made.file}: {made.n_rows:,} rows.")


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
