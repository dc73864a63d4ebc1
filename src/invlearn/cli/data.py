"""Commands that make logs and datasets."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

datasets = App(name="datasets", help="Known public data sets: list them, prepare one.")

Overwrite = Annotated[bool, Parameter(negative="")]
Rules = Annotated[list[str] | None, Parameter(name="--rule", negative="")]


def prepare(
    log: str,
    *,
    rule: Annotated[list[str], Parameter(negative="")],
    out: Path,
    format: str = "auto",  # noqa: A002
    user: str = "user",
    item: str = "item",
    time: str | None = None,
    split: Literal["random", "per-user", "temporal", "column"] = "random",
    split_column: str | None = None,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    repeats: Literal["last", "first", "any-positive", "majority"] = "last",
    bad_rows: Literal["error", "drop"] = "error",
    core: int = 0,
    seed: int = 0,
    user_features: str | None = None,
    item_features: str | None = None,
    categorical: Annotated[list[str] | None, Parameter(negative="")] = None,
    engine: Literal["polars", "duckdb", "spark"] = "polars",
    memory: str | None = None,
    spark: str | None = None,
    scratch: Path | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn a log of impressions into a dataset folder, and print the audit.

    Parameters
    ----------
    log
        Parquet or CSV: a file, a folder, or a glob in quotes.
    rule
        Label rule; several are tried in order. Forms: 'rating > 2', 'watch_ratio >= 1.5, < 0.2',
        'play_ms / duration_ms >= 1.5, < 0.2', 'percentile(play_ms by duration_ms) >= 0.8, < 0.2',
        'events(hate=0, like=1)', 'label(column)'.
    out
        Dataset folder to write.
    format
        Of the log: auto goes by the suffix; or ml-1m, ml-100k, kuairec, kuairand, coat, inter.
    user
        Column of user ids.
    item
        Column of item ids.
    time
        Column that orders the rows.
    split
        How labelled rows are split into train, valid and test.
    split_column
        Column that says 0/1/2 or train/valid/test, for --split column.
    valid_fraction
        Part of the labelled rows for validation.
    test_fraction
        Part of the labelled rows for the test.
    repeats
        Which row of a repeated pair counts; labelled rows go before unlabelled ones.
    bad_rows
        What to do with rows that cannot be, such as a negative watch time.
    core
        Keep users and items with at least so many rows.
    seed
        Of the random splits.
    user_features
        Table of users: the log's user column, and a column for each feature.
    item_features
        Table of items: the log's item column, and a column for each feature.
    categorical
        Feature that is a category although it is a number; may be given several times.
    engine
        Who does the work; the dataset is the same. DuckDB keeps to a memory limit, Spark may be a
        cluster.
    memory
        Limit of DuckDB, or of Spark on this machine, such as 4GiB.
    spark
        Address of a Spark Connect server, such as sc://host:15002; without, Spark runs here.
    scratch
        Folder for the tables between the steps, else beside OUT; a Spark server must see it, too.
    overwrite
        Replace a dataset folder of that name.
    """
    from invlearn.cli import display
    from invlearn.data.prepare.prepare import prepare as work

    with display.progress_bars() as progress:
        audit = work(
            log,
            out,
            rule=rule,
            format=format,
            user=user,
            item=item,
            time=time,
            split=split,
            split_column=split_column,
            valid_fraction=valid_fraction,
            test_fraction=test_fraction,
            repeats=repeats,
            bad_rows=bad_rows,
            core=core,
            seed=seed,
            user_features=user_features,
            item_features=item_features,
            categorical=categorical or (),
            engine=engine,
            memory=memory,
            spark=spark,
            scratch=scratch,
            overwrite=overwrite,
            progress=progress,
        )
    display.show_audit(audit, str(out))


def simulate(
    out: Path,
    *,
    users: int = 3_000,
    items: int = 2_000,
    rows: int = 300_000,
    seed: int = 0,
    chunk_rows: int = 500_000,
    overwrite: Overwrite = False,
) -> None:
    """Write the log of a simulated video feed, with the hidden truth beside it.

    Parameters
    ----------
    out
        Folder of Parquet files to write.
    users
        Number of users.
    items
        Number of videos.
    rows
        Number of impressions.
    seed
        The same seed gives the same bytes.
    chunk_rows
        Rows of a file.
    overwrite
        Replace a folder of that name.
    """
    from invlearn.cli import display
    from invlearn.data.simulation.simulate import simulate as work

    with display.progress_bars() as progress:
        simulated = work(
            out,
            users=users,
            items=items,
            rows=rows,
            seed=seed,
            chunk_rows=chunk_rows,
            overwrite=overwrite,
            progress=progress,
        )
    display.show_simulated(simulated)


def corrupt_labels(
    dataset: Path,
    *,
    out: Path,
    label_share: float = 1.0,
    flip_positives: float = 0.0,
    flip_negatives: float = 0.0,
    seed: int = 0,
    overwrite: Overwrite = False,
) -> None:
    """Hide or flip labels of training rows, to see what a method makes of fewer or worse ones.

    Parameters
    ----------
    dataset
        Dataset folder to start from; it stays as it is.
    out
        Dataset folder to write.
    label_share
        Share of the training rows that keep a label; the others become unlabelled.
    flip_positives
        Fraction of the positive training rows that are called negative.
    flip_negatives
        Fraction of the negative training rows that are called positive.
    seed
        Of the choice of rows; larger shares and fractions only add to smaller ones.
    overwrite
        Replace a dataset folder of that name.
    """
    from invlearn.cli import display
    from invlearn.data.corrupt_labels import corrupt_labels as work

    made = work(
        dataset,
        out,
        label_share=label_share,
        flip_positives=flip_positives,
        flip_negatives=flip_negatives,
        seed=seed,
        overwrite=overwrite,
    )
    display.show_weakened(made)


@datasets.default
@datasets.command(name="list")
def list_known() -> None:
    """List known public data sets: size, licence, where to get them, label rule."""
    from invlearn.cli import display
    from invlearn.data.catalogue import list_datasets

    display.show_datasets(list_datasets())


@datasets.command(name="prepare")
def prepare_known(
    name: str,
    *,
    out: Path,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    rule: Rules = None,
    split: Literal["random", "per-user", "temporal"] | None = None,
    bad_rows: Literal["error", "drop"] | None = None,
    core: int | None = None,
    seed: int | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Prepare a known public data set by its own label rule and split.

    Parameters
    ----------
    name
        One of those that `invlearn datasets` lists.
    out
        Dataset folder to write.
    from_
        Folder with its files; by default the one named NAME in the folder INVLEARN_DATA.
    rule
        Label rule instead of the data set's own.
    split
        Split instead of the data set's own.
    bad_rows
        What to do with rows that cannot be.
    core
        Keep users and items with at least so many rows.
    seed
        Of the random splits.
    overwrite
        Replace a dataset folder of that name.
    """
    from invlearn.cli import display
    from invlearn.data.catalogue import prepare_known as work

    given = {"rule": rule, "split": split, "bad_rows": bad_rows, "core": core, "seed": seed}
    options = {key: value for key, value in given.items() if value is not None}
    with display.progress_bars() as progress:
        audit = work(name, out, folder=from_, overwrite=overwrite, progress=progress, **options)
    display.show_audit(audit, str(out))
