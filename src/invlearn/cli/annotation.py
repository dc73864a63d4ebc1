"""The command that says of unlabelled pairs what a run believes of them."""

from pathlib import Path

from invlearn.cli.data import Overwrite


def annotate(
    run: Path,
    *,
    out: Path,
    pairs: Path | None = None,
    format: str = "auto",  # noqa: A002  the word users know
    user: str | None = None,
    item: str | None = None,
    truth: str | None = None,
    precision: float = 0.9,
    dataset: Path | None = None,
    seed: int = 0,
    overwrite: Overwrite = False,
) -> None:
    """Say how likely each unlabelled pair is positive, and label it where that is sure.

    Parameters
    ----------
    run
        Run folder.
    out
        Parquet file to write; a JSON file of the same name goes beside it.
    pairs
        Pairs to annotate in place of the dataset's unlabelled ones: a file, a folder, or a glob.
    format
        Of --pairs: auto goes by the suffix; else as for `invlearn prepare`.
    user
        Column of user ids of --pairs, if not named as in the dataset's own log.
    item
        Column of item ids of --pairs, likewise.
    truth
        Column of --pairs with 1, 0 or null, or a label rule, to measure the annotation by.
    precision
        Part of the suggested labels that is to be right, of either class.
    dataset
        Where the run's dataset is now, if it was moved.
    seed
        Of the folds in which probabilities are calibrated.
    overwrite
        Replace files of that name.
    """
    from invlearn.cli import display, screen_annotation
    from invlearn.inference.annotation.annotation import annotate as work

    with display.progress_bars() as progress:
        done = work(
            run,
            out,
            pairs=pairs,
            format=format,
            user=user,
            item=item,
            truth=truth,
            precision=precision,
            dataset=dataset,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    screen_annotation.show_annotation(done)
