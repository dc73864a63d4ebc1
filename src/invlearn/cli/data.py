"""Commands that make logs and datasets."""

from dataclasses import astuple
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

import invlearn
from invlearn.cli.display import console, progress_bars, show_grid, show_table
from invlearn.cli.options import FLAG, BadRows, Overwrite
from invlearn.runtime.text import counted

if TYPE_CHECKING:
    from invlearn.data.prepare.audit import Audit

datasets = App(name="datasets", help="List known public data sets, or prepare one.")

BadRowsHelp = Parameter(help="What to do with invalid rows (for example a negative watch time).")
Core = Parameter(help="Keep only users and items with at least this many rows.")
SplitSeed = Parameter(help="Seed of the random splits.")


def prepare(
    log: str,
    *,
    rule: Annotated[list[str], FLAG],
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
    bad_rows: Annotated[BadRows, BadRowsHelp] = "error",
    core: Annotated[int, Core] = 0,
    text_ids: Annotated[bool, FLAG] = False,
    seed: Annotated[int, SplitSeed] = 0,
    user_features: str | None = None,
    item_features: str | None = None,
    categorical: Annotated[tuple[str, ...], FLAG] = (),
    engine: Literal["polars", "duckdb", "spark"] = "polars",
    memory: str | None = None,
    spark: str | None = None,
    scratch: Path | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert a log of impressions to a dataset folder, and print an audit.

    Parameters
    ----------
    log
        Parquet or CSV: a file, a folder, or a quoted glob.
    rule
        Label rule; the first of several that matches a row decides. Forms: 'rating > 2',
        'watch_ratio >= 1.5, < 0.2', 'play_ms / duration_ms >= 1.5, < 0.2',
        'percentile(play_ms by duration_ms) >= 0.8, < 0.2', 'events(hate=0, like=1)',
        'label(column)'.
    out
        Dataset folder to write.
    format
        Log format: ml-1m, ml-100k, kuairec, kuairand, coat or inter; auto: by file suffix.
    user
        Column with user ids.
    item
        Column with item ids.
    time
        Column to order the rows by.
    split
        How to split labelled rows into train, valid and test.
    split_column
        Column with 0/1/2 or train/valid/test, for --split column.
    valid_fraction
        Fraction of the labelled rows for validation.
    test_fraction
        Fraction of the labelled rows for the test.
    repeats
        Which row of a repeated pair to keep; labelled rows win over unlabelled ones.
    text_ids
        Ids are text, also where they look like numbers or like a missing value.
    user_features
        Table of user features: the log's user column, and one column per feature.
    item_features
        Table of item features: the log's item column, and one column per feature.
    categorical
        Numeric feature to treat as a category; repeat the option for several.
    engine
        Table engine; the dataset does not depend on it. DuckDB keeps to a memory limit, Spark can
        use a cluster.
    memory
        Memory limit of DuckDB or of local Spark, for example 4GiB.
    spark
        Address of a Spark Connect server, for example sc://host:15002; default: local Spark.
    scratch
        Folder for intermediate tables, default: next to OUT; a Spark server must see it too.
    """
    given = locals()
    with progress_bars() as progress:
        audit = invlearn.prepare(**given, progress=progress)
    _show_audit(audit, out)


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
    """Write the log of a simulated video feed, including the hidden true preferences.

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
        Random seed; the same seed gives the same bytes.
    chunk_rows
        Rows per file.
    """
    given = locals()
    with progress_bars() as progress:
        made = invlearn.simulate(**given, progress=progress)
    console.print(
        f"Wrote {made.folder}: {counted(made.n_rows, 'impression')} of "
        f"{counted(made.n_items, 'video')} to {counted(made.n_users, 'user')},\n"
        f"  {made.true_positive_fraction:.1%} of them truly liked, in "
        f"{counted(made.n_files, 'file')}."
    )


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
    """Hide or flip labels of training rows, to test methods on fewer or wrong labels.

    Parameters
    ----------
    dataset
        Source dataset folder; it is not changed.
    out
        Dataset folder to write.
    label_share
        Share of the training rows that keep their label; the others become unlabelled.
    flip_positives
        Fraction of the positive training rows to relabel as negative.
    flip_negatives
        Fraction of the negative training rows to relabel as positive.
    seed
        Seed of the choice of rows; the rows chosen at a small share are also chosen at a larger.
    """
    made = invlearn.corrupt_labels(**locals())
    done = made.card.weakened or {}
    versions = {"before": done["from"]["rows"], "after": made.card.rows}
    kept = [(n, *rows["train"].values(), rows["unlabelled"]) for n, rows in versions.items()]
    show_table("Training rows", "", ("positive", "negative", "unlabelled"), kept)
    console.print(
        f"  {counted(done['n_hidden'], 'label')} hidden\n"
        f"  {done['n_flipped_positives']:,} positive and {done['n_flipped_negatives']:,} negative "
        "ones of the others flipped\n"
        f"Wrote {made.folder}; validation and test are as they were."
    )


@datasets.default
@datasets.command(name="list")
def list_known() -> None:
    """List known public data sets: size, license, source, label rule."""
    for name, entry in invlearn.list_datasets().items():
        console.print(f"{name}  {entry.title}")
        counts = f"{entry.n_rows:,} rows, {entry.n_users:,} users, {entry.n_items:,} items"
        facts = {"size": f"{counts}; {entry.size}", "rule": entry.forms[0].rule}
        facts |= {"license": entry.licence, "from": entry.homepage}
        show_grid((f"  {head}", fact) for head, fact in facts.items())


@datasets.command(name="prepare")
def prepare_known(
    name: str,
    *,
    out: Path,
    folder: Annotated[Path | None, Parameter(name="--from")] = None,
    rule: Annotated[list[str] | None, FLAG] = None,
    split: Literal["random", "per-user", "temporal"] | None = None,
    bad_rows: Annotated[BadRows | None, BadRowsHelp] = None,
    core: Annotated[int | None, Core] = None,
    seed: Annotated[int | None, SplitSeed] = None,
    overwrite: Overwrite = False,
) -> None:
    """Prepare a known public data set with its own label rule and split.

    Parameters
    ----------
    name
        Name of a data set that `invlearn datasets` lists.
    out
        Dataset folder to write.
    folder
        Folder with the data set's files; default: the folder NAME in the folder INVLEARN_DATA.
    rule
        Label rule instead of the data set's own.
    split
        Split instead of the data set's own.
    """
    given = {key: value for key, value in locals().items() if value is not None}
    with progress_bars() as progress:
        audit = invlearn.prepare_known(**given, progress=progress)
    _show_audit(audit, out)


def _show_audit(audit: "Audit", out: Path) -> None:
    """Print the rows after each step, what was dropped, and the content of the dataset."""
    steps = [(s.name, *astuple(s.after), sum(s.dropped.values()) or "") for s in audit.stages]
    names = ("positive", "negative", "unlabelled", "users", "items", "dropped")
    show_table("What happened to the rows", "step", names, steps)
    for stage in audit.stages:
        for reason, rows in stage.dropped.items():
            console.print(f"  {counted(rows, 'row')} dropped at '{stage.name}': {reason}")
    console.print(
        f"  repeated pairs {audit.repeated_pairs:,}, of which with both labels {audit.conflicts:,}"
    )
    if audit.crossed:
        console.print(
            f"  {counted(audit.crossed, 'pair')} in more than one part of the given split; one row "
            "of each was kept"
        )
    sizes = attrgetter("positive", "negative", "users")
    classes = attrgetter("users_scored", "users_all_positive", "users_all_negative")
    parts = [(name, *sizes(part), *classes(part)) for name, part in audit.parts.items()]
    names = ("positive", "negative", "users", "with both classes", "all +", "all -")
    show_table("What the dataset holds", "part", names, parts)
    for name, part in audit.parts.items():
        if part.cold_rows:
            console.print(
                f"  {name}: {counted(part.cold_rows, 'row')} of {part.rows:,} with a user or item "
                f"without a training row ({counted(part.cold_users, 'such user')}, "
                f"{counted(part.cold_items, 'such item')})"
            )
    _show_features(audit)
    share = f"{audit.final.labelled_fraction:.1%}"
    console.print(f"Wrote {out}: {counted(audit.final.rows, 'pair')}, {share} of them labelled.")


def _show_features(audit: "Audit") -> None:
    for kind, facts in audit.features.items():
        words = [
            f"{name} ({'categorical' if name in facts.rare else 'numeric'}, {n:,} missing"
            + (f", {facts.rare[name]:,} rare)" if facts.rare.get(name) else ")")
            for name, n in facts.missing.items()
        ]
        console.print(f"  {kind} features of {facts.name}: {', '.join(words)}")
        console.print(
            f"    {counted(facts.without_row, f'{kind} has', f'{kind}s have')} no row there; "
            f"{counted(facts.not_in_log, 'row there is', 'rows there are')} of {kind}s that the "
            "dataset does not have"
        )
