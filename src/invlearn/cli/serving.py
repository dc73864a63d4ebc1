"""The commands that put a run to use: recommend, export, serve."""

from pathlib import Path
from typing import Literal

from invlearn.cli.data import Overwrite

LeaveOut = Literal["labelled", "shown", "all", "nothing"]
Fallback = Literal["item-rate", "popularity", "none"]


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
    dataset: Path | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the items that come first for each user.

    Parameters
    ----------
    run
        Run folder.
    out
        File to write: .parquet, .csv, or .jsonl (JSON lines).
    k
        Length of the lists.
    users
        File of the users to answer; everybody in the run if left out. CSV and Parquet with a
        column user, user_id or id, or one id a line.
    items
        File of the only items to recommend.
    exclude_items
        File of items never to recommend.
    leave_out
        Pairs not to recommend: those labelled in training, shown in training, all of the
        dataset, or none.
    fallback
        What answers for users whom training did not know: item-rate if left out, and then the run
        must know somebody of --users.
    approximate
        Look at this part of an index of the items, such as 0.05, in place of all of them; needs
        the extra ann.
    dataset
        Where the run's dataset is now, if it was moved.
    overwrite
        Replace a file of that name.
    """
    from invlearn.cli import display, screen_serving
    from invlearn.inference.recommend.lists import recommend as work

    with display.progress_bars() as progress:
        made = work(
            run,
            out,
            k=k,
            users=users,
            items=items,
            exclude_items=exclude_items,
            leave_out=leave_out,
            fallback=fallback,
            approximate=approximate,
            dataset=dataset,
            overwrite=overwrite,
            progress=progress,
        )
    screen_serving.show_recommended(made)


def export(run: Path, *, out: Path, overwrite: Overwrite = False) -> None:
    """Write a run as ONNX with its id maps, and its embeddings as safetensors.

    Parameters
    ----------
    run
        Run folder.
    out
        Folder to write.
    overwrite
        Replace an export of that name.
    """
    from invlearn.cli import display, screen_serving
    from invlearn.inference.export.exporting import export as work

    with display.progress_bars() as progress:
        made = work(run, out, overwrite=overwrite, progress=progress)
    screen_serving.show_exported(made)


def serve(
    run: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Path | None = None,
    leave_out: LeaveOut = "all",
    fallback: Fallback = "item-rate",
    threads: int = 1,
    dataset: Path | None = None,
) -> None:
    """Serve a run over HTTP: scores of pairs, items for users; Ctrl-C stops.

    Parameters
    ----------
    run
        Run folder.
    host
        Address to listen at; any but this machine's own (loopback) needs a token.
    port
        Port to listen at; 0 takes a free one.
    token_file
        File with the token that requests must bring, if not in INVLEARN_TOKEN.
    leave_out
        Pairs not to recommend: those labelled in training, shown in training, all of the
        dataset, or none.
    fallback
        What answers for users whom training did not know.
    threads
        Processor threads of the model.
    dataset
        Where the run's dataset is now, if it was moved.
    """
    from invlearn.cli import screen_serving
    from invlearn.inference.serving.server import read_token
    from invlearn.inference.serving.server import serve as work

    token = read_token(token_file)
    work(
        run,
        host=host,
        port=port,
        token=token,
        leave_out=leave_out,
        fallback=fallback,
        threads=threads,
        dataset=dataset,
        ready=lambda address: screen_serving.show_service(run, address, closed=token is not None),
    )
