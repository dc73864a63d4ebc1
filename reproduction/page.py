"""The page that shows published and measured numbers side by side: Markdown around tables."""

from collections.abc import Iterator, Sequence
from typing import Any

from reproduction.formatting import NEGLIGIBLE, interval, markdown_table, number, outcome, section
from reproduction.plans import HERE, SEEDS, Way, tuned_plan
from reproduction.results import (
    METRICS,
    Comparison,
    MeasuredRow,
    Plot,
    Provenance,
    Results,
    Side,
    Table,
    TableRow,
)

TITLE = "# The paper, measured again"
"""First line of the page."""
STAND_IN = "SIMULATED STAND-IN"
"""Mark of everything that was not measured on the data that the paper names."""
WAYS: dict[Way, str] = {"printed": "as printed", "released": "as released", "tuned": "tuned"}
"""Columns of measured values, by name, and how they are written."""
ALL_WAYS: dict[Way, str] = {**WAYS, "ablated": "as released without the unlabelled step"}
CLOSE = 0.003
"""Largest distance from a published number that is marked as close."""
INTERVALS = (
    "Intervals hold 95 % and cover which users were tested (bootstrap, 1,000 draws) and, unless "
    "there is only one, the seed of the training."
)
MAIN = {
    "IG as released - None as printed": ("IG released", "None printed"),
    "IG as released - no unlabelled step": ("IG released", "IG ablated"),
    "IG as printed - None as printed": ("IG printed", "None printed"),
    "None tuned - IG as released": ("None tuned", "IG released"),
    "IG tuned - None tuned": ("IG tuned", "None tuned"),
}
"""The comparisons at the top of the page: method and way of both sides."""
_NAMES = {"ml-1m": "ML-1M", "micro-video": "Micro Video"}


def page(results: Results, notes: str = "") -> str:
    """Write the page as Markdown; the same results give the same page.

    Args:
        results: What was measured.
        notes: What a person wrote about these results, as Markdown; shown below the opening.
    """
    parts_of_a_table = (_main, _table, _distances, _paired, _costs)
    parts = [
        _opening(results),
        f"## What we found\n\n{notes.strip()}" if notes.strip() else "",
        f"## Main comparisons\n\n{_text('comparisons.md')}" if results.differences else "",
        *(part(results, table) for part in parts_of_a_table for table in results.tables),
        *(["## Figures"] if results.plots else []),
        *(_plot(plot) for plot in results.plots),
        _text("differences.md"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def headlines(results: Results) -> Iterator[str]:
    """Yield the main comparisons by AUC as lines for a screen."""
    for table in results.tables:
        for backbone in dict.fromkeys(row.backbone for row in table.rows):
            lines = [
                f"  {words}: {interval(found.metrics['auc'])}, {outcome(found.metrics['auc'])}"
                for words, found in _main_comparisons(results, table)
                if found.backbone == backbone and "auc" in found.metrics
            ]
            yield from [f"{backbone}, {table_name(table)}, AUC:", *lines] if lines else []


def table_name(table: Table) -> str:
    """Return the name of the data set, marked if it is simulated."""
    return _NAMES[table.dataset] + (f" ({STAND_IN})" if table.stand_in else "")


def _opening(results: Results) -> str:
    plan = tuned_plan()
    settings = plan["settings"]
    n_intervals = sum(name in METRICS for d in results.differences for name in d.metrics)
    sds = _seed_deviations(results)
    return _text("opening.md").format(
        trials=plan["tuning"]["trials"],
        select_by=METRICS.get(settings["select_by"], settings["select_by"]),
        epochs=settings["epochs"],
        patience=settings["patience"],
        intervals=INTERVALS,
        n_intervals=n_intervals,
        n_comparisons=len(results.differences),
        n_metrics=len(METRICS),
        by_chance=f"{n_intervals / 20:.1f}",
        negligible=number(NEGLIGIBLE),
        least_sd=number(min(sds, default=None)),
        most_sd=number(max(sds, default=None)),
    )


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").strip()


def _seed_deviations(results: Results) -> list[float]:
    """Standard deviations of AUC in the tables of real data."""
    tables = [table for table in results.tables if not table.stand_in]
    rows = [found for table in tables for row in table.rows for found in row.ways.values()]
    levels = [found.metrics["auc"].sd for found in rows if "auc" in found.metrics]
    return [sd for sd in levels if sd is not None]


# Main comparisons


def _main(results: Results, table: Table) -> str:
    title = f"### Main comparisons, {table_name(table)}"
    found = _differences(title, "", _main_comparisons(results, table))
    return "\n\n".join(filter(None, [found, _parts_of_gain(results, table)]))


def _differences(title: str, text: str, found: Sequence[tuple[str, Comparison]]) -> str:
    """A table of comparisons, each with what it compares in words."""
    lines = [
        [comparison.backbone, words, str(comparison.n_seeds)]
        + [_reading(comparison, metric) for metric in METRICS]
        for words, comparison in found
    ]
    return section(title, text, ["backbone", "difference", "seeds", *METRICS.values()], lines)


def _main_comparisons(results: Results, table: Table) -> list[tuple[str, Comparison]]:
    """The main comparisons of a data set with their words, by backbone."""
    found = [
        (words, comparison)
        for words, sides in MAIN.items()
        for comparison in results.differences
        if comparison.dataset == table.dataset
        and sides == tuple(f"{s.method} {s.way}" for s in (comparison.of, comparison.less))
    ]
    return sorted(found, key=lambda pair: pair[1].backbone)


def _reading(found: Comparison, metric: str) -> str:
    gap = found.metrics.get(metric)
    return f"{interval(gap)}, {outcome(gap)}" if gap else "-"


def _parts_of_gain(results: Results, table: Table) -> str:
    """What the unlabelled step makes of the gain in AUC that the paper publishes for IG."""
    published = {(row.backbone, row.method): row.published_value("auc") for row in table.rows}
    lines: list[list[str]] = []
    for words, found in _main_comparisons(results, table):
        ig, none = (published.get((found.backbone, method)) for method in ("IG", "None"))
        gap = found.metrics.get("auc")
        if words.endswith("no unlabelled step") and gap and ig and none and not table.stand_in:
            gain = ig - none
            part = [f"{x / gain:.1%}" for x in (gap.mean, gap.low, gap.high)]
            share = f"{part[0]} ({part[1]} to {part[2]})"
            lines.append([found.backbone, number(gain, signed=True), share])
    text = "The part of the published gain of IG over None that the unlabelled step makes, by AUC:"
    header = ["backbone", "published gain", "made by the unlabelled step (95 % interval)"]
    return section("", text, header, lines)


# Table 2


def _table(_: Results, table: Table) -> str:
    name = table_name(table)
    parts = [f"## Table 2, {name}", _source(table.provenance), _seeds(table)]
    if table.stand_in:
        parts.append(
            f"**{STAND_IN}.** {table.stand_in} The published column is of the real data. "
            "Compare which method is ahead, not the values: they are of different data."
        )
    for backbone in dict.fromkeys(row.backbone for row in table.rows):
        rows = [row for row in table.rows if row.backbone == backbone]
        parts += [f"### {backbone}, {name}", _side_by_side(table, rows)]
    baselines = [
        [baseline, *(number(values.get(metric)) for metric in METRICS)]
        for baseline, values in table.baselines.items()
    ]
    header = ["baseline", *METRICS.values()]
    parts.append(section(f"### Trivial baselines, {name}", "", header, baselines))
    failed = [f"* {row}, {why}" for row, reasons in table.failures.items() for why in reasons]
    parts += [f"### What failed, {name}", "\n".join(failed)] if failed else []
    return "\n\n".join(part for part in parts if part)


def _source(source: Provenance) -> str:
    """Where numbers come from."""
    commits = ", ".join(source.commits) or "not recorded"
    return (
        "```\n" + "\n".join(source.commands) + "\n```\n"
        f"Commit: {commits}. Measured: {', '.join(source.dates)}, on {'; '.join(source.machines)}."
    )


def _seeds(table: Table) -> str:
    """Seeds of each way."""
    parts: list[str] = []
    for way in SEEDS:
        planned = sorted({row.ways[way].n_planned for row in table.rows if way in row.ways})
        parts += [f"{' or '.join(map(str, planned))} {ALL_WAYS[way]}"] if planned else []
    return f"Seeds of each row: {', '.join(parts)}." if parts else "No row has a result."


def _side_by_side(table: Table, rows: Sequence[TableRow]) -> str:
    published = "published, real data" if table.stand_in else "published"
    measured = [f"{way}, {STAND_IN.lower()}" if table.stand_in else way for way in WAYS.values()]
    lines = [
        [
            row.method,
            label,
            number(row.published_value(name)),
            *(_level(row.ways.get(way), name) for way in WAYS),
        ]
        for row in rows
        for name, label in METRICS.items()
    ]
    return markdown_table(["method", "metric", published, *measured], lines)


def _level(found: MeasuredRow | None, name: str) -> str:
    level = found.metrics.get(name) if found else None
    if found is None or level is None:
        return "-"
    spread = f" ± {number(level.sd)}" if level.sd is not None else ""
    missing = f" ({found.n_seeds} of {found.n_planned} seeds)"
    return number(level.mean) + spread + missing * (found.n_seeds < found.n_planned)


# How far measured values are from published ones; not asked of simulated data


def _distances(_: Results, table: Table) -> str:
    if table.stand_in:
        return ""
    lines = [
        [row.backbone, row.method, WAYS[way], *(_distance(row, way, name) for name in METRICS)]
        for way in ("printed", "released")
        for row in table.rows
        if way in row.ways and row.published
    ]
    text = (
        "Both were measured on the same test users, so there is no interval between them. Bold: "
        f"within {number(CLOSE)}. The paper does not say how many epochs it trained; rows that "
        "were best in their last epoch were still improving."
    )
    header = ["backbone", "method", "way", *METRICS.values()]
    found = section(f"## Measured less published, {table_name(table)}", text, header, lines)
    return f"{found}\n\n{_close_rows(table)}" if lines else ""


def _distance(row: TableRow, way: Way, name: str) -> str:
    level, published = row.level(way, name), row.published_value(name)
    if level is None or published is None:
        return "-"
    text = number(level.mean - published, signed=True)
    return f"**{text}**" if abs(level.mean - published) <= CLOSE else text


def _close_rows(table: Table) -> str:
    """How many rows are close to the published ones, and how many were still improving."""
    lines: list[list[str]] = []
    for way in ("printed", "released"):
        for backbone in dict.fromkeys(row.backbone for row in table.rows):
            rows = [r for r in table.rows if r.backbone == backbone and r.published]
            rows = [row for row in rows if way in row.ways]
            close = sum("**" in _distance(row, way, "auc") for row in rows)
            at_cap = sum(row.ways[way].at_cap for row in rows)
            counts = [f"{n} of {len(rows)}" for n in (close, at_cap)]
            lines += [[backbone, WAYS[way], *counts]] if rows else []
    header = ["backbone", "way", f"rows with AUC within {number(CLOSE)}", "best in the last epoch"]
    return markdown_table(header, lines)


# All paired differences, and what they cost


def _paired(results: Results, table: Table) -> str:
    title = f"## Paired differences, {table_name(table)}"
    found = [
        (f"{_side(d.of)} - {_side(d.less)}", d)
        for d in results.differences
        if d.dataset == table.dataset
    ]
    return _differences(title, "The same users, runs of the same seed.", found)


def _side(side: Side) -> str:
    return f"{side.method} {ALL_WAYS[side.way]}"


def _costs(_: Results, table: Table) -> str:
    lines = [
        _cost(row, way, row.ways[way]) for row in table.rows for way in SEEDS if way in row.ways
    ]
    text = (
        "Best epoch: mean over seeds, and the most that a run may have; *(cap)*: most seeds were "
        "best in their last epoch, so more epochs might have helped. Seconds: of a training. "
        "Trials: complete, pruned, failed. *(end)*: the lowest or highest value that was tried, so "
        "a wider search might have found a better one."
    )
    header = [
        "row", "way", "seeds", "best epoch", "seconds", "peak MiB", "trials", "chosen settings",
    ]  # fmt: skip
    return section(f"## Cost and chosen settings, {table_name(table)}", text, header, lines)


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
        f"{found.best_epoch:.1f} of {found.epoch_cap}{' (cap)' * found.at_cap}",
        f"{found.seconds:.0f}",
        "-" if found.peak_bytes is None else f"{found.peak_bytes / 2**20:.0f}",
        ", ".join(trials) if found.trials else "-",
        ", ".join(settings) or "fixed",
    ]


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# Figures and Markdown


def _plot(plot: Plot) -> str:
    mark = f" (with {STAND_IN})" if plot.stand_in and STAND_IN not in plot.title else ""
    title = plot.title + mark
    parts = [f"### {title}", f"![{title}]({plot.file})", plot.caption, _source(plot.provenance)]
    parts += [f"The paper about its own figure: {plot.published}"] if plot.published else []
    return "\n\n".join(parts)
