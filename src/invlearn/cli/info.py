"""Commands that list strategies and backbones, and describe the installation."""

from collections.abc import Mapping

from invlearn.cli.display import show_grid


def strategies() -> None:
    """List the strategies and their options."""
    from invlearn.strategies import STRATEGIES

    _show_choices(STRATEGIES, "method")


def backbones() -> None:
    """List the backbones and their options."""
    from invlearn.backbones import BACKBONES

    _show_choices(BACKBONES, "model")


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
        rows[f"[{extra}]"] = f"lacks {', '.join(packages)}" if packages else "installed"
    show_grid(rows.items())


def _show_choices(classes: Mapping[str, type], prefix: str) -> None:
    """Print names, one sentence about each class, and its options under `--PREFIX`."""
    from invlearn.training.class_lookup import options_of, summary_of

    rows: list[tuple[str, str]] = []
    for name, cls in classes.items():
        text = summary_of(cls).removeprefix(f"`{name}`: ")
        rows.append((f"{name}", text[:1].upper() + text[1:]))
        for option, (_, default) in options_of(cls).items():
            rows.append(("", f"--{prefix}.{option.replace('_', '-')}, {default} by default"))
    show_grid(rows)
