"""The page that sets published and measured numbers side by side, as Markdown."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from invlearn.config import validated
from invlearn.paper.results import (
    Level,
    Measured,
    Plot,
    Provenance,
    Results,
    Side,
    Table,
    TableRow,
    Way,
)
from invlearn.paper.verdict import METRICS, STAND_IN, interval, number, outcome, verdict

WAYS: dict[Way, str] = {"printed": "as printed", "released": "as released", "tuned": "tuned"}
"""Columns of measured values, by name, and how they are written."""
_ORDER: tuple[Way, ...] = ("printed", "released", "ablated", "tuned")
_NAMES = {"ml-1m": "ML-1M", "micro-video": "Micro Video"}


def page(tree: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        tree: What was measured, as `invlearn.paper.results.Results` describes it.

    Returns:
        Markdown; the same for the same tree.

    Raises:
        ConfigError: The tree does not fit the description.
    """
    results = validated(Results, tree)
    parts = [
        _opening(results.provenance),
        "## The verdict\n\n" + "\n".join(f"* {sentence}" for sentence in verdict(results)),
        *(_table_section(table) for table in results.tables),
        *(_compared(results, table) for table in results.tables),
        *(_costs(table) for table in results.tables),
        _plots(results.plots),
        (files("invlearn.paper") / "differences.md").read_text(encoding="utf-8").strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(source: Provenance) -> str:
    seeds = ", ".join(str(seed) for seed in source.seeds)
    return (
        "# The paper, measured again\n\n"
        "[Inverse Learning with Extremely Sparse Feedback for Recommendation]"
        "(https://doi.org/10.1145/3616855.3635797) (Lin et al., WSDM 2024), its Table 2 and its "
        "Figures 3 to 6.\n"
        "This page is written by the command below; do not edit it.\n\n"
        f"```\n{source.command}\n```\n"
        f"Commit {source.commit}, {source.date}, {source.machine}; seeds {seeds}.\n"
        f"± is the standard deviation over seeds. {source.intervals}\n\n"
        "* **published**: the number in the paper.\n"
        "* **as printed**: Algorithm 1 and the settings of the text, at its learning rates.\n"
        "* **as released**: what the released code does, where there is any; to reproduce only.\n"
        "* **tuned**: an equal budget of tuning for every method, chosen on validation, run on "
        "fresh seeds."
    )


def _name(table: Table) -> str:
    """The data set, marked wherever it is named if it is simulated."""
    return _NAMES[table.dataset] + (f" ({STAND_IN})" if table.stand_in else "")


def _table_section(table: Table) -> str:
    parts = [f"## Table 2, {_name(table)}"]
    if table.stand_in:
        parts.append(
            f"**{STAND_IN}.** {table.stand_in} The published column is of the real data; "
            "its level and that of the stand-in cannot be compared, only who is ahead of whom."
        )
    for backbone in dict.fromkeys(row.backbone for row in table.rows):
        rows = [row for row in table.rows if row.backbone == backbone]
        parts += [f"### {backbone}, {_name(table)}", _side_by_side(table, rows)]
    if table.baselines:
        parts += [f"### Trivial baselines, {_name(table)}", _baselines(table)]
    return "\n\n".join(parts)


def _side_by_side(table: Table, rows: Sequence[TableRow]) -> str:
    published = "published, real data" if table.stand_in else "published"
    measured = [f"{way}, {STAND_IN.lower()}" if table.stand_in else way for way in WAYS.values()]
    lines = [
        [
            row.method,
            label,
            number(getattr(row.published, name.partition("@")[0]) if row.published else None),
            *(_level(row.ways.get(way), name) for way in WAYS),
        ]
        for row in rows
        for name, label in METRICS.items()
    ]
    return _markdown(["method", "metric", published, *measured], lines)


def _level(found: Measured | None, name: str) -> str:
    level: Level | None = found.metrics.get(name) if found else None
    if found is None or level is None:
        return "-"
    return number(level.mean) + (f" ± {number(level.sd)}" if level.sd is not None else "")


def _baselines(table: Table) -> str:
    lines = [
        [name, *(number(values.get(metric)) for metric in METRICS)]
        for name, values in table.baselines.items()
    ]
    return _markdown(["baseline", *METRICS.values()], lines)


def _compared(results: Results, table: Table) -> str:
    """Paired differences of one data set, with what their intervals say."""
    lines = [
        [
            d.backbone,
            _side(d.of),
            _side(d.less),
            str(d.n_seeds),
            label,
            interval(d.metrics[name]),
            outcome(d.metrics[name]),
        ]
        for d in results.differences
        if d.dataset == table.dataset
        for name, label in METRICS.items()
        if name in d.metrics
    ]
    if not lines:
        return ""
    header = ["backbone", "of", "less", "seeds", "metric", "difference (95 % interval)", "is"]
    return (
        f"## Paired differences, {_name(table)}\n\n"
        "The same users, runs of the same seed. A tie: the interval covers 0.\n\n"
        + _markdown(header, lines)
    )


def _side(side: Side) -> str:
    return f"{side.method} {WAYS.get(side.way, 'as released, no unlabelled step')}"


def _costs(table: Table) -> str:
    lines = [
        [
            f"{row.backbone} {row.method}",
            WAYS.get(way, "no unlabelled step"),
            str(found.n_seeds),
            f"{found.epochs:.1f}",
            f"{found.seconds:.0f}",
            "-" if found.peak_bytes is None else f"{found.peak_bytes / 2**20:.0f}",
            ", ".join(f"{key} {_value(value)}" for key, value in found.settings.items()) or "fixed",
        ]
        for row in table.rows
        for way, found in sorted(row.ways.items(), key=lambda pair: _ORDER.index(pair[0]))
    ]
    if not lines:
        return ""
    header = ["row", "way", "seeds", "best epoch", "seconds", "peak MiB", "chosen settings"]
    return f"## Cost and chosen settings, {_name(table)}\n\n" + _markdown(header, lines)


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plots(plots: Sequence[Plot]) -> str:
    if not plots:
        return ""
    parts = ["## Figures"]
    for plot in plots:
        mark = f" ({STAND_IN})" if plot.stand_in and STAND_IN not in plot.title else ""
        parts.append(f"### {plot.title}{mark}\n\n![{plot.title}{mark}]({plot.file})")
        parts.append(plot.caption)
        parts += [f"The paper on its own: {plot.published}"] if plot.published else []
    return "\n\n".join(parts)


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose columns stand straight in the raw text too."""
    cells = [[cell.replace("|", "\\|") for cell in line] for line in [header, *lines]]
    widths = [max(len(line[at]) for line in cells) for at in range(len(header))]
    rule = ["-" * width for width in widths]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        for line in [cells[0], rule, *cells[1:]]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
