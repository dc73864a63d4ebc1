"""The command line: parse, call one function, show."""

import os
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from invlearn.config import OtherLog, RunConfig, in_words
from invlearn.errors import InvlearnError, Stopped

app = App(
    name="invlearn",
    help="Recommenders from logs in which almost nobody says what they liked.",
    suppress_keyboard_interrupt=False,
)
datasets = App(name="datasets", help="Known public data sets: list them, prepare one.")
app.command(datasets)

Overwrite = Annotated[bool, Parameter(negative="")]
Rules = Annotated[list[str] | None, Parameter(name="--rule", negative="")]


@app.command
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
    overwrite
        Replace a dataset folder of that name.
    """
    from invlearn import screen
    from invlearn.data.prepare import prepare as work

    with screen.progress_bars() as progress:
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
            overwrite=overwrite,
            progress=progress,
        )
    screen.show_audit(audit, str(out))


@app.command
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
    from invlearn import screen
    from invlearn.data.simulate import simulate as work

    with screen.progress_bars() as progress:
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
    screen.show_simulated(simulated)


@datasets.default
@datasets.command(name="list")
def list_known() -> None:
    """List known public data sets: size, licence, where to get them, label rule."""
    from invlearn import screen
    from invlearn.data.catalogue import list_datasets

    screen.show_datasets(list_datasets())


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
    from invlearn import screen
    from invlearn.data.catalogue import prepare_known as work

    given = {"rule": rule, "split": split, "bad_rows": bad_rows, "core": core, "seed": seed}
    options = {key: value for key, value in given.items() if value is not None}
    with screen.progress_bars() as progress:
        audit = work(name, out, folder=from_, overwrite=overwrite, progress=progress, **options)
    screen.show_audit(audit, str(out))


@app.command
def train(
    dataset: Path,
    *,
    out: Path,
    config: Path | None = None,
    overwrite: Overwrite = False,
    options: Annotated[RunConfig | None, Parameter(name="*")] = None,
) -> None:
    """Train a backbone with a strategy; Ctrl-C saves.

    Parameters
    ----------
    dataset
        Dataset folder.
    out
        Run folder to write.
    config
        YAML file of the options below; options given here go before it.
    overwrite
        Replace a run folder of that name.
    """
    from invlearn import screen
    from invlearn.run import train as work

    given = options.model_dump(exclude_unset=True) if options else {}
    with screen.progress_bars() as progress, _interruptible() as should_stop:
        run = work(
            dataset,
            out,
            config=config,
            overwrite=overwrite,
            progress=progress,
            should_stop=should_stop,
            **given,
        )
    screen.show_run(run)


@app.command
def resume(run: Path, *, dataset: Path | None = None, device: str | None = None) -> None:
    """Go on with a run that was stopped, to the same weights as if it had not been.

    Parameters
    ----------
    run
        Run folder.
    dataset
        Where its dataset is now, if it was moved.
    device
        Device to go on with, if not the run's own; the weights then differ in their last bits.
    """
    from invlearn import screen
    from invlearn.run import resume as work

    with screen.progress_bars() as progress, _interruptible() as should_stop:
        done = work(run, dataset=dataset, device=device, progress=progress, should_stop=should_stop)
    screen.show_run(done)


@app.command
def evaluate(
    run: list[Path],
    /,
    *,
    part: Literal["train", "valid", "test"] = "test",
    other: Annotated[OtherLog | None, Parameter(name="*", negative_iterable="")] = None,
    dataset: Path | None = None,
    catalogue: Annotated[bool, Parameter(negative="")] = False,
    as_released: Annotated[bool, Parameter(negative="")] = False,
    draws: int = 1000,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Measure runs with intervals, beside the trivial baselines; several runs are compared.

    Parameters
    ----------
    run
        Run folders; the others are compared with the first, paired on the same users.
    part
        Part of the dataset to measure on.
    dataset
        Where the dataset is now, if it was moved.
    catalogue
        Rank the whole catalogue as well, for 1,000 users.
    as_released
        Also NDCG@20 as the paper's released code has it.
    draws
        Bootstrap draws over users for the intervals; 0 for none.
    seed
        Of the draws.
    out
        JSON file to write all metrics to.
    """
    from invlearn import screen
    from invlearn.comparison import compare_runs

    with screen.progress_bars() as progress:
        compared = compare_runs(
            run,
            part=part,
            other=other,
            dataset=dataset,
            catalogue=catalogue,
            as_released=as_released,
            draws=draws,
            seed=seed,
            progress=progress,
        )
    if out:
        compared.write(out)
    screen.show_comparison(compared)


@app.command
def strategies() -> None:
    """List the strategies and their options."""
    from invlearn import screen
    from invlearn.registry import describe_strategies

    screen.show_choices(describe_strategies(), "method")


@app.command
def backbones() -> None:
    """List the backbones and their options."""
    from invlearn import screen
    from invlearn.registry import describe_backbones

    screen.show_choices(describe_backbones(), "model")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; leave with 0, or with 2 and one sentence, or 130 when stopped."""
    # Waiting threads that spin would make two trainings on one machine slow each other down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # For backbones and strategies given as module:Class; last, so that no file beside the data
    # stands in for a module of the library.
    sys.path.append(str(Path.cwd()))
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except Stopped as stop:
        _leave(str(stop), 130)
    except KeyboardInterrupt:
        _leave("stopped", 130)
    except InvlearnError as error:
        _leave(f"error: {error}", 2)
    except OSError as error:
        _leave(f"error: {error.filename or 'input or output'}: {error.strerror or error}", 2)
    except CycloptsError as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ValidationError):
            _leave(f"error: {in_words(RunConfig, cause)}", 2)
        command = " ".join(["invlearn", *(error.command_chain or ())])
        _leave(f"error: {str(error).rstrip('.')}; see {command} --help", 2)


def _leave(message: str, code: int) -> None:
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(code)


@contextmanager
def _interruptible() -> Generator[Callable[[], bool], None, None]:
    """Turn the first Ctrl-C (or a SIGTERM) into a request to stop after the current step."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
