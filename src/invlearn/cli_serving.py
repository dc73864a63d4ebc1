"""The commands that put a run to use: recommend."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

Overwrite = Annotated[bool, Parameter(negative="")]


def recommend(
    run: Path,
    *,
    out: Path,
    k: int = 10,
    users: Path | None = None,
    items: Path | None = None,
    exclude_items: Path | None = None,
    leave_out: Literal["labelled", "shown", "all", "nothing"] = "labelled",
    fallback: Literal["item-rate", "popularity", "none"] = "item-rate",
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
        What answers for users whom training did not know.
    approximate
        Look at this part of an index of the items, such as 0.05, in place of all of them; needs
        the extra ann.
    dataset
        Where the run's dataset is now, if it was moved.
    overwrite
        Replace a file of that name.
    """
    from invlearn import screen, screen_serving
    from invlearn.lists import recommend as work

    with screen.progress_bars() as progress:
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
