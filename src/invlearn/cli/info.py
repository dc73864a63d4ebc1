"""Commands that list strategies and backbones, and describe the installation."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from invlearn.cli.display import console


def strategies() -> None:
    """List the strategies and their options."""
    from invlearn.training.registry import describe_strategies

    _show_choices(describe_strategies(), "method")


def backbones() -> None:
    """List the backbones and their options."""
    from invlearn.training.registry import describe_backbones

    _show_choices(describe_backbones(), "model")


def doctor() -> None:
    """Show the installation: versions, threads, GPU, extras."""
    from invlearn.runtime.environment import environment, lacking

    found = environment()
    rows = {
        "python": found["python"],
        **found["versions"],
        "machine": f"{found['platform']}, {found['cpu_count']} processors",
        "threads": f"{found['threads']} (OMP_NUM_THREADS decides)",
        "gpu": found["gpu"] or "none; none is needed",
    }
    for extra, packages in lacking().items():
        rows[f"\\[{extra}]"] = f"lacks {', '.join(packages)}" if packages else "installed"
    grid = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        grid.add_row(name, text)
    console.print(grid)


def _show_choices(
    choices: Mapping[str, tuple[str, Mapping[str, tuple[Any, Any]]]], prefix: str
) -> None:
    """Print names, one sentence about each, and their options under `--PREFIX`."""
    grid = Table.grid(padding=(0, 2))
    for name, (sentence, options) in choices.items():
        text = sentence.removeprefix(f"`{name}`: ")
        grid.add_row(f"[bold]{name}[/bold]", text[:1].upper() + text[1:])
        for option, (_, default) in options.items():
            grid.add_row("", f"--{prefix}.{option.replace('_', '-')}, {default} by default")
    console.print(grid)
