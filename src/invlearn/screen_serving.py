"""What a person sees where a run is put to use."""

from typing import TYPE_CHECKING

from invlearn.screen import console, number_table

if TYPE_CHECKING:
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
    if made.n_short:
        console.print(f"  {made.n_short:,} users have fewer than {made.k} items left")
    share = made.n_items / max(made.n_catalogue, 1)
    console.print(
        f"  {made.n_items:,} different items in all lists, {share:.1%} of those that could be"
    )
    if made.recall is not None:
        console.print(f"  the index found {made.recall:.1%} of the exact lists, on sampled users")
    console.print(f"Wrote {made.file}: {made.n_rows:,} rows.")
