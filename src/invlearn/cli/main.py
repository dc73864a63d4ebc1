"""The command line `invlearn`: its commands, and how its errors end."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError

from invlearn.cli import annotation, data, experiments, info, planning, report, serving, training
from invlearn.cli.usage_errors import describe_usage_error
from invlearn.runtime.errors import ConfigError, InvlearnError, InvlearnWarning, Stopped

app = App(
    name="invlearn",
    help="Train recommenders from logs in which almost nobody says what they liked.",
    suppress_keyboard_interrupt=False,
)
for command in (
    *(data.prepare, data.simulate, data.datasets),
    *(planning.plan, training.train, training.resume, training.evaluate),
    *(annotation.annotate, serving.recommend, serving.export, serving.serve, report.report),
    *(experiments.advise, experiments.compare, experiments.reproduce),
    *(info.strategies, info.backbones, info.doctor),
):
    app.command(command)
app.command(data.corrupt_labels, name=("corrupt-labels", "weaken"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Exit codes: 0 on success, 2 after an error, 130 when stopped. An error is one sentence on
    stderr.

    Args:
        arguments: Command-line arguments; those of the process if left out.
    """
    # Waiting threads that spin would slow down another training on the same machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.showwarning = _show_warning
    given = sys.argv[1:] if arguments is None else arguments
    try:
        _check_working_folder(given)
        _check_launcher(given)
        app(arguments, exit_on_error=False, print_error=False)
    except Stopped as stop:
        _exit(str(stop), 130)
    except KeyboardInterrupt:
        _exit("stopped", 130)
    except InvlearnError as error:
        _exit(f"error: {error}", 2)
    except OSError as error:
        _exit(f"error: {error.filename or 'input or output'}: {error.strerror or error}", 2)
    except CycloptsError as error:
        _exit(f"error: {describe_usage_error(error)}", 2)


def _check_working_folder(arguments: Sequence[str]) -> None:
    """Refuse to work in a deleted folder: PyTorch cannot be imported there."""
    only_prints = {"--help", "-h", "--version"}.intersection(arguments)
    try:
        Path.cwd()
    except FileNotFoundError as error:
        if arguments and not only_prints:
            raise ConfigError("the working folder was deleted; go to one that exists") from error


def _check_launcher(arguments: Sequence[str]) -> None:
    """Refuse a launcher for commands that would run, and write, once per process."""
    command = next(iter(arguments), "--help")
    is_distributed = command in ("train", "resume") or command.startswith("-")
    if not is_distributed and os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError(
            f"{command} runs in one process, but WORLD_SIZE says that a launcher started "
            f"{os.environ['WORLD_SIZE']}; start it without a launcher (only train and resume are "
            "distributed)"
        )


def _show_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Print a warning of the library as one sentence, and other warnings as Python does."""
    if issubclass(category, InvlearnWarning):
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, *where[:2]), end="", file=sys.stderr)


def _exit(message: str, code: int) -> None:
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(code)
