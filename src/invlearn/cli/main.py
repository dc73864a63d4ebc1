"""The command line: parse, call one function, show."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from invlearn.cli.annotation import annotate
from invlearn.cli.data import Overwrite, corrupt_labels, datasets, prepare, simulate
from invlearn.cli.experiments import advise, compare, reproduce
from invlearn.cli.planning import plan
from invlearn.cli.report import report
from invlearn.cli.serving import export, recommend, serve
from invlearn.cli.usage_errors import misuse
from invlearn.config.schema import OtherLog, RunConfig
from invlearn.runtime.errors import ConfigError, InvlearnError, InvlearnWarning, Stopped
from invlearn.runtime.interruption import interruptible

app = App(
    name="invlearn",
    help="Recommenders from logs in which almost nobody says what they liked.",
    suppress_keyboard_interrupt=False,
)
for command in (
    prepare,
    simulate,
    datasets,
    plan,
    annotate,
    advise,
    compare,
    reproduce,
    report,
    recommend,
    export,
    serve,
):
    app.command(command)
app.command(corrupt_labels, name=("corrupt-labels", "weaken"))


@app.command
def train(
    dataset: Path,
    *,
    out: Path,
    config: Path | None = None,
    overwrite: Overwrite = False,
    go_on: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[RunConfig | None, Parameter(name="*")] = None,
) -> None:
    """Train a backbone with a strategy; Ctrl-C saves.

    Under `torchrun --nproc-per-node N -m invlearn train ...`, N processes share each batch.

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
    go_on
        If it is a run of these settings on this dataset, resume it; so may a launcher start again.
        Another run is refused, or replaced with --overwrite.
    """
    from invlearn.cli import display
    from invlearn.runtime.distributed import joined, started_again
    from invlearn.training.run import train as work

    given = options.model_dump(exclude_unset=True) if options else {}
    with (
        joined() as group,
        display.progress_bars(group) as progress,
        interruptible() as should_stop,
    ):
        run = work(
            dataset,
            out,
            config=config,
            overwrite=overwrite,
            go_on=go_on or group.any_rank(started_again()),
            group=group,
            progress=progress,
            should_stop=should_stop,
            **given,
        )
    if group.is_first:
        display.show_run(run)


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
    from invlearn.cli import display
    from invlearn.runtime.distributed import joined
    from invlearn.training.run import resume as work

    was_finished = (run / "test.json").is_file()
    with (
        joined() as group,
        display.progress_bars(group) as progress,
        interruptible() as should_stop,
    ):
        done = work(
            run,
            dataset=dataset,
            device=device,
            group=group,
            progress=progress,
            should_stop=should_stop,
        )
    if group.is_first:
        display.show_run(done, was_finished=was_finished)


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
    overwrite: Overwrite = False,
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
    overwrite
        Replace a file of that name.
    """
    from invlearn.cli import display
    from invlearn.inference.comparison import compare_runs
    from invlearn.runtime import atomic

    if out:
        atomic.need_absent(out, overwrite=overwrite)
    with display.progress_bars() as progress:
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
    display.show_comparison(compared)


@app.command
def strategies() -> None:
    """List the strategies and their options."""
    from invlearn.cli import display
    from invlearn.training.registry import describe_strategies

    display.show_choices(describe_strategies(), "method")


@app.command
def backbones() -> None:
    """List the backbones and their options."""
    from invlearn.cli import display
    from invlearn.training.registry import describe_backbones

    display.show_choices(describe_backbones(), "model")


@app.command
def doctor() -> None:
    """Say what is installed and what it runs on: versions, threads, GPU, extras."""
    from invlearn.cli import display
    from invlearn.runtime.environment import environment, lacking

    display.show_environment(environment(), lacking())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; leave with 0, or with 2 and one sentence, or 130 when stopped."""
    # Waiting threads that spin would make two trainings on one machine slow each other down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.showwarning = _show_warning
    try:
        given = sys.argv[1:] if arguments is None else arguments
        _check_working_folder(given)
        _check_launcher(given)
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
        _leave(f"error: {misuse(error)}", 2)


def _check_working_folder(arguments: Sequence[str]) -> None:
    """Refuse to work in a folder that was deleted: PyTorch itself does not load in one."""
    asks_for_words = {"--help", "-h", "--version"}.intersection(arguments)
    try:
        Path.cwd()
    except FileNotFoundError as error:
        if arguments and not asks_for_words:
            raise ConfigError("the working folder was deleted; go to one that exists") from error


def _check_launcher(arguments: Sequence[str]) -> None:
    """Refuse what several processes would each do, and each write, as if it were alone."""
    asked = next(iter(arguments), "--help")
    is_shared = asked in ("train", "resume") or asked.startswith("-")
    if not is_shared and os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError(
            f"{asked} is done by one process, and WORLD_SIZE says that a launcher has started "
            f"{os.environ['WORLD_SIZE']}; start it without one; train and resume share their work"
        )


def _show_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Print what the library warns of as a sentence, and other warnings as Python does."""
    if issubclass(category, InvlearnWarning):
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, *where[:2]), end="", file=sys.stderr)


def _leave(message: str, code: int) -> None:
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(code)
