"""The page that sets published and measured numbers side by side, as Markdown."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from invlearn.config.schema import validated
from invlearn.paper.outcome import METRICS, NEGLIGIBLE, interval, number, outcome
from invlearn.paper.plan import tuned_plan
from invlearn.paper.results import (
    MeasuredRow,
    Plot,
    Provenance,
    Results,
    Side,
    Table,
    TableRow,
    Way,
)
from invlearn.paper.verdict import STAND_IN, verdict

TITLE = "# The paper, measured again"
"""First line of the page."""
WAYS: dict[Way, str] = {"printed": "as printed", "released": "as released", "tuned": "tuned"}
"""Columns of measured values, by name, and how they are written."""
_ORDER: tuple[Way, ...] = ("printed", "released", "ablated", "tuned")
INTERVALS = (
    "Intervals hold 95 % and cover which users were tested (bootstrap, 1,000 draws) and, unless "
    "there is only one, the seed of the training."
)
"""What the intervals cover."""
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
        _opening(results),
        "## The verdict\n\n" + "\n".join(f"* {sentence}" for sentence in verdict(results)),
        *(_table_section(table) for table in results.tables),
        *(_compared(results, table) for table in results.tables),
        *(_costs(table) for table in results.tables),
        _plots(results.plots),
        (files("invlearn.paper") / "differences.md").read_text(encoding="utf-8").strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(results: Results) -> str:
    return (
        f"{TITLE}\n\n"
        "[Inverse Learning with Extremely Sparse Feedback for Recommendation]"
        "(https://doi.org/10.1145/3616855.3635797) (Lin et al., WSDM 2024), its Table 2 and its "
        "Figures 3 to 6.\n"
        "This page is written by `invlearn reproduce`; do not edit it. The commands, commits and "
        "machines stand with each table and figure.\n\n"
        "* **published**: the number in the paper.\n"
        "* **as printed**: Algorithm 1 and the settings of the text, at its learning rates.\n"
        "* **as released**: what the released code does, where there is any; to reproduce only.\n"
        f"* **tuned**: {_tuned()}\n\n"
        "How to read it:\n\n"
        f"* ± is the standard deviation over seeds. {INTERVALS}\n"
        f"* About 1 interval in 20 misses the truth. {_count(results)}\n"
        "* A **tie** is an interval that covers 0: these users and seeds do not tell the two "
        "apart. A difference is **negligible** if it is sure but all of its interval lies within "
        f"±{number(NEGLIGIBLE)}, too little for anybody to use.{_spreads(results)}\n"
        "* The published NDCG stands beside NDCG@20, which the code behind the row of IG computes; "
        "the text says 10."
    )


def _tuned() -> str:
    """What the tuned way is, from its plan."""
    plan = tuned_plan()
    settings, tuning = plan["settings"], plan["tuning"]
    store = {"dense": "dense store"}.get(settings.get("store", "auto"), "row store, so lazy Adam")
    metric = METRICS.get(settings["select_by"], settings["select_by"])
    return (
        f"a search of {tuning['trials']} trials for every method (unless the command says "
        "otherwise), run again on fresh seeds. It differs from *as printed* in more than learning "
        f"rate and L2: {store}; settings and epoch chosen by validation {metric}; at most "
        f"{settings['epochs']} epochs, with patience {settings['patience']}."
    )


def _count(results: Results) -> str:
    """How many intervals of differences stand on the page."""
    n = sum(name in METRICS for found in results.differences for name in found.metrics)
    if not n:
        return "No differences are compared here."
    return (
        f"There are {n} of differences on this page ({len(results.differences)} comparisons, each "
        f"by {len(METRICS)} metrics): if all were truly 0, about {n / 20:.1f} would exclude it by "
        "chance."
    )


def _spreads(results: Results) -> str:
    """Standard deviations of AUC in the tables of real data."""
    levels = [
        found.metrics["auc"].sd
        for table in results.tables
        if not table.stand_in
        for found in table.measured()
        if "auc" in found.metrics
    ]
    found = [sd for sd in levels if sd is not None]
    if not found:
        return ""
    return (
        f" For scale: another seed changes the AUC of the rows below by ± {number(min(found))} to "
        f"{number(max(found))}."
    )


def _name(table: Table) -> str:
    """The data set, marked wherever it is named if it is simulated."""
    return _NAMES[table.dataset] + (f" ({STAND_IN})" if table.stand_in else "")


def _table_section(table: Table) -> str:
    parts = [f"## Table 2, {_name(table)}", _source(table.provenance), _planned(table)]
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
    failed = [f"* {name}, {why}" for name, all_ in table.failures.items() for why in all_]
    if failed:
        parts += [f"### What failed, {_name(table)}", "\n".join(failed)]
    return "\n\n".join(parts)


def _source(source: Provenance) -> str:
    """Where numbers come from."""
    commits = ", ".join(source.commits) or "not recorded"
    return (
        "```\n" + "\n".join(source.commands) + "\n```\n"
        f"Commit: {commits}. Measured: {', '.join(source.dates)}, on {'; '.join(source.machines)}."
    )


def _planned(table: Table) -> str:
    """Seeds of each way."""
    planned: dict[Way, list[int]] = {
        way: sorted({row.ways[way].n_planned for row in table.rows if way in row.ways})
        for way in _ORDER
    }
    words = [
        f"{' or '.join(map(str, seeds))} {_way(way)}" for way, seeds in planned.items() if seeds
    ]
    return f"Seeds of each row: {', '.join(words)}." if words else "No row has a result."


def _way(way: Way) -> str:
    return WAYS.get(way, "as released without the unlabelled step")


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


def _level(found: MeasuredRow | None, name: str) -> str:
    level = found.metrics.get(name) if found else None
    if found is None or level is None:
        return "-"
    spread = f" ± {number(level.sd)}" if level.sd is not None else ""
    missing = f" ({found.n_seeds} of {found.n_planned} seeds)"
    return number(level.mean) + spread + missing * (found.n_seeds < found.n_planned)


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
        "The same users, runs of the same seed.\n\n" + _markdown(header, lines)
    )


def _side(side: Side) -> str:
    return f"{side.method} {_way(side.way)}"


def _costs(table: Table) -> str:
    lines = [
        _cost(row, way, row.ways[way]) for row in table.rows for way in _ORDER if way in row.ways
    ]
    if not lines:
        return ""
    header = [
        "row", "way", "seeds", "best epoch", "seconds", "peak MiB", "trials", "chosen settings",
    ]  # fmt: skip
    return f"## Cost and chosen settings, {_name(table)}\n\n{_LEGEND}\n\n" + _markdown(
        header, lines
    )


_LEGEND = (
    "Best epoch: mean over seeds; *(cap)*: most seeds were best in the last epoch that they were "
    "allowed, so more might have helped. Seconds: of a training. Trials: complete, pruned, failed. "
    "*(end)*: the lowest or highest value that was tried, so a wider search might have found a "
    "better one."
)


def _cost(row: TableRow, way: Way, found: MeasuredRow) -> list[str]:
    settings = [
        f"{key} {_value(value)}{' (end)' * (key in found.at_end)}"
        for key, value in found.settings.items()
    ]
    trials = [str(found.trials.get(state, 0)) for state in ("complete", "pruned", "failed")]
    return [
        f"{row.backbone} {row.method}",
        WAYS.get(way, "no unlabelled step"),
        str(found.n_seeds),
        f"{found.best_epoch:.1f}{' (cap)' * found.at_cap}",
        f"{found.seconds:.0f}",
        "-" if found.peak_bytes is None else f"{found.peak_bytes / 2**20:.0f}",
        ", ".join(trials) if found.trials else "-",
        ", ".join(settings) or "fixed",
    ]


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plots(plots: Sequence[Plot]) -> str:
    if not plots:
        return ""
    parts = ["## Figures"]
    for plot in plots:
        mark = f" (with {STAND_IN})" if plot.stand_in and STAND_IN not in plot.title else ""
        parts.append(f"### {plot.title}{mark}\n\n![{plot.title}{mark}]({plot.file})")
        parts += [plot.caption, _source(plot.provenance)]
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
