"""Commands that use a run: recommend, export, serve."""

from pathlib import Path
from typing import TYPE_CHECKING

from invlearn.cli.display import console, progress_bars, show_table
from invlearn.cli.options import Fallback, LeaveOut, MovedDataset, Overwrite
from invlearn.runtime.text import counted

if TYPE_CHECKING:
    from invlearn.inference.export.exporting import Exported
    from invlearn.inference.recommend.lists import Recommended


def recommend(
    run: Path,
    *,
    out: Path,
    k: int = 10,
    users: Path | None = None,
    items: Path | None = None,
    exclude_items: Path | None = None,
    leave_out: LeaveOut = "labelled",
    fallback: Fallback | None = None,
    approximate: float | None = None,
    dataset: MovedDataset = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the highest-scoring items of each user.

    Parameters
    ----------
    run
        Run folder.
    out
        File to write: .parquet, .csv, or .jsonl (JSON lines).
    k
        Length of the lists.
    users
        File of user ids, default: all users of the run. CSV or Parquet with a column user, user_id
        or id, or one id per line.
    items
        File of item ids; recommend only these.
    exclude_items
        File of item ids; never recommend these.
    fallback
        Source of lists for users unknown to training. Default: item-rate, if the run knows at
        least one of --users.
    approximate
        Search this fraction of an index of the items, for example 0.05, instead of all items; needs
        the extra ann.
    """
    given = locals()
    from invlearn.inference.recommend.lists import recommend as work

    with progress_bars() as progress:
        _show_recommended(work(**given, progress=progress))


def export(run: Path, *, out: Path, overwrite: Overwrite = False) -> None:
    """Write a run as ONNX with its id maps, and its embeddings as safetensors.

    Parameters
    ----------
    run
        Run folder.
    out
        Folder to write.
    """
    from invlearn.inference.export.exporting import export as work

    with progress_bars() as progress:
        _show_exported(work(run, out, overwrite=overwrite, progress=progress))


def serve(
    run: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Path | None = None,
    leave_out: LeaveOut = "all",
    fallback: Fallback = "item-rate",
    threads: int = 1,
    dataset: MovedDataset = None,
) -> None:
    """Serve a run over HTTP: scores of pairs, lists of items for users. Ctrl-C stops.

    Parameters
    ----------
    run
        Run folder.
    host
        Address to listen on; any address but loopback needs a token.
    port
        Port to listen on; 0 picks a free one.
    token_file
        File with the token that requests must send; default: the variable INVLEARN_TOKEN.
    fallback
        Source of lists for users unknown to training.
    threads
        CPU threads of the model.
    """
    given = locals()
    from invlearn.inference.serving.server import read_token
    from invlearn.inference.serving.server import serve as work

    token = read_token(given.pop("token_file"))

    def ready(address: str) -> None:
        needed = "no token is needed" if token is None else "requests need the token"
        console.print(f"Serving {run} at {address}; {needed}; Ctrl-C stops.", soft_wrap=True)
        console.print(f"  {address}/docs describes the requests", soft_wrap=True)

    work(**given, token=token, ready=ready)


def _show_recommended(made: "Recommended") -> None:
    """Print how many users got a list, from which source, and what the lists hold."""
    none = {"none": made.n_unanswered} if made.n_unanswered else {}
    show_table("", "lists made by", ("users",), [*made.n_users.items(), *none.items()])
    if made.n_unknown:
        n_users = sum(made.n_users.values()) + made.n_unanswered
        of = counted(n_users, "user") + (" is" if made.n_unknown == 1 else " are")
        _warn(f"{made.n_unknown:,} of {of} not in the run at all")
    if made.n_unknown_items:
        ids = counted(made.n_unknown_items, "item id is", "item ids are")
        _warn(f"{ids} not in the run at all")
    if made.n_short:
        users = counted(made.n_short, "user has", "users have")
        console.print(f"  {users} fewer than {counted(made.k, 'item')} left")
    share = made.n_items / max(made.n_catalogue, 1)
    items = counted(made.n_items, "different item")
    console.print(f"  {items} in all lists, {share:.1%} of those that could be")
    if made.recall is not None:
        console.print(f"  the index found {made.recall:.1%} of the exact lists, on sampled users")
    console.print(f"Wrote {made.file}: {counted(made.n_rows, 'row')}.")


def _warn(text: str) -> None:
    console.print(f"  warning: {text}", style="yellow")


def _show_exported(made: "Exported") -> None:
    """Print the files, and how closely ONNX Runtime agrees with PyTorch."""
    show_table("", "file", ("bytes",), made.files.items())
    for name, shape in made.tables.items():
        console.print(f"  {name}: {' x '.join(f'{n:,}' for n in shape)}", markup=False)
    console.print(
        f"  model.onnx is {made.form}; on {made.n_pairs:,} random pairs ONNX Runtime\n"
        f"  differs from PyTorch by at most {made.difference:.1e} of a logit's size (or of 1)"
    )
    console.print(f"Wrote {made.folder}; its README.md says how to use it.")
