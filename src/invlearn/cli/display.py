"""What all commands share on the terminal: progress bars, tables and number formats."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from math import isnan
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from invlearn.runtime.progress import Progress

SHOWN = ("auc", "gauc", "ndcg@10", "log_loss")
"""Metrics in summaries; the files hold all of them."""
ESTIMATE_SECONDS = 4 * 3600
"""The remaining time is estimated from the steps of this period; trainings can be minutes apart."""

console = Console(highlight=False, markup=False)  # names of users may look like markup


@contextmanager
def progress_bars(*, shown: bool = True) -> Generator[Progress, None, None]:
    """Show one progress bar per stage; show nothing if the output is not a terminal.

    Args:
        shown: Whether this process may show bars; of several processes only the first does.
    """
    columns = (
        TextColumn("{task.description:<9}", markup=False),
        BarColumn(bar_width=12),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    hidden = not (console.is_terminal and shown)
    with Bars(
        *columns, console=console, disable=hidden, speed_estimate_period=ESTIMATE_SECONDS
    ) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int, **figures: float | str) -> None:
            text = "  ".join(_figure(name, value) for name, value in figures.items())
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, figures="")
            bars.update(tasks[stage], completed=done, total=total, figures=text)

        yield show


def show_table(
    title: str, first: str, heads: Sequence[str], rows: Iterable[Sequence[str | int]]
) -> None:
    """Print a table with one column of names, which may wrap, and columns of numbers."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in heads:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else cell for cell in row))
    console.print(table)


def show_grid(rows: Iterable[Sequence[str]]) -> None:
    """Print rows of aligned texts, without a header."""
    grid = Table.grid(padding=(0, 2))
    for row in rows:
        grid.add_row(*row)
    console.print(grid)


def is_hidden(metric: str, method: str) -> bool:
    """Whether a table leaves out a metric: the log loss of a baseline without probabilities."""
    from invlearn.evaluation.baselines import is_meaningless

    return is_meaningless(metric, method)


def interval(low: float, high: float, sign: str = "") -> str:
    """Format an interval; with `sign="+"`, the interval of a difference."""
    return f"{short(low, sign)}{'..' if sign else '-'}{short(high, sign)}"


def short(value: float, sign: str = "") -> str:
    """Format a number with four decimals and no leading zero; a dash for NaN.

    Example:
        >>> short(0.81236), short(-0.5, "+"), short(10.25)
        ('.8124', '-.5000', '10.2500')
    """
    if isnan(value):
        return "-"
    text = f"{value:{sign}.4f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.99995 else text


def _figure(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    if name.endswith("_per_second"):
        return f"{value:,.0f} {name.removesuffix('_per_second')}/s"
    return f"{name} {value:.4g}"
