"""The section about what runs reached: metrics with intervals, and paired differences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from invlearn.evaluation.baselines import NO_LOSS
from invlearn.evaluation.evaluation import Difference
from invlearn.evaluation.metrics import is_better
from invlearn.reporting import charts
from invlearn.reporting.blocks import (
    Block,
    Cell,
    Chart,
    Charts,
    Heading,
    Row,
    Section,
    Series,
    Table,
    Text,
    decimals,
    measure,
)
from invlearn.reporting.measures import Level, Levels, Results
from invlearn.runtime.text import counted

METRICS = {"auc": "AUC", "gauc": "GAUC", "ndcg@10": "NDCG@10", "log_loss": "log loss"}
"""Metrics that are drawn, with their names on the page; the tables' details hold all of them."""
NOBODY = Level(None)


def results_section(found: Sequence[Results], series: Sequence[Series]) -> Section:
    """The paper's Table 2 for the runs given: every metric with its interval, and differences."""
    blocks: list[Block] = []
    for results in found:
        if len(found) > 1:
            blocks.append(Heading(results.dataset))
        blocks += _results(results, series)
    return Section("results", "Results on the test part", tuple(blocks))


def _results(results: Results, series: Sequence[Series]) -> Iterator[Block]:
    if not results.runs:
        yield Text(f"There is nothing to measure yet: {results.missing}.")
        return
    yield Charts(tuple(_level_chart(results, metric, series) for metric in METRICS), columns=2)
    yield _level_table(results, METRICS, "Metrics on the test part, 95 % intervals below them")
    if results.differences:
        yield _difference_table(results)
    elif results.missing:
        yield Text(
            f"Numbers are those that the runs recorded at their ends. Paired differences, the "
            f"baselines' intervals and reliability are left out, since the runs could not be "
            f"measured again: {results.missing}."
        )
    yield Text(_counts(results.counts))
    others = {m: m for levels in results.runs.values() for m in levels if m not in METRICS}
    yield replace(_level_table(results, others, "All other metrics"), folded=True)


def _level_chart(results: Results, metric: str, series: Sequence[Series]) -> Chart:
    rows = [
        {"run": name, "trivial": False, **levels[metric]._asdict()}
        for name, levels in results.runs.items()
        if metric in levels
    ]
    rows += [
        {"run": _apart(name, results), "trivial": True, **levels[metric]._asdict()}
        for name, levels in results.baselines.items()
        if metric in levels and not _means_nothing(name, metric)
    ]
    better = "lower" if metric == "log_loss" else "higher"
    return Chart(
        f"{METRICS[metric]} ({better} is better)",
        f"Each run and baseline with its {METRICS[metric]} and 95 % interval; the table "
        "after the charts has the numbers.",
        charts.levels_chart(rows, series, METRICS[metric]),
    )


def _level_table(results: Results, metrics: Mapping[str, str], caption: str) -> Table:
    rows = [
        Row((Cell(name), *level_cells(levels, metrics)), run=name)
        for name, levels in results.runs.items()
    ]
    rows += [
        Row((Cell(name, "trivial baseline"), *level_cells(_meant(name, levels), metrics)))
        for name, levels in results.baselines.items()
    ]
    return Table(caption, ("run", *metrics.values()), tuple(rows))


def level_cells(levels: Levels, metrics: Mapping[str, str]) -> Iterator[Cell]:
    """Cells of a run's or a baseline's metrics, intervals below them."""
    for metric in metrics:
        level = levels.get(metric, NOBODY)
        yield measure(level.value)._replace(detail=_ends(level.low, level.high))


def _apart(baseline: str, results: Results) -> str:
    """A baseline's name on a chart, where a run may have the same."""
    return f"{baseline} (baseline)" if baseline in results.runs else baseline


def _meant(baseline: str, levels: Levels) -> Levels:
    return {m: level for m, level in levels.items() if not _means_nothing(baseline, m)}


def _means_nothing(baseline: str, metric: str) -> bool:
    return metric == "log_loss" and baseline in NO_LOSS


def _ends(low: float | None, high: float | None, *, sign: bool = False) -> str:
    if low is None or high is None:
        return ""
    return f"{decimals(low, sign=sign)} to {decimals(high, sign=sign)}"


def _difference_table(results: Results) -> Table:
    rows = tuple(
        Row((Cell(name), *(_difference(metric, found[metric]) for metric in METRICS)), run=name)
        for name, found in results.differences.items()
    )
    return Table(
        f"Difference from {results.reference}, paired on the same users; ▲ better, ▼ worse, "
        "= neither by the 95 % interval",
        ("run", *METRICS.values()),
        rows,
    )


def _difference(metric: str, found: Difference) -> Cell:
    plain = found.to_json()
    tone = outcome(metric, found)
    mark = {"good": "▲", "bad": "▼", "even": "="}[tone]
    text = f"{mark} {decimals(plain['value'], sign=True)}"
    return Cell(text, _ends(plain["low"], plain["high"], sign=True), plain["value"], tone)


def outcome(metric: str, found: Difference) -> str:
    """`good` or `bad` where the whole interval is on one side of 0, else `even`.

    Example:
        >>> outcome("auc", Difference(0.02, 0.01, 0.03))
        'good'
        >>> outcome("log_loss", Difference(0.02, -0.01, 0.03))
        'even'
    """
    if found.low > 0 or found.high < 0:
        return "good" if is_better(metric, found.value, 0.0) else "bad"
    return "even"


def _counts(counts: Mapping[str, int]) -> str:
    return (
        f"{counted(counts['rows'], 'row')} of {counted(counts['users'], 'user')}. Metrics per user "
        f"rest on the {counted(counts['users_scored'], 'user')} with both classes: "
        f"{counted(counts['users_all_positive'], 'has', 'have')} only positives, "
        f"{counts['users_all_negative']:,} only negatives. Intervals cover "
        "which users were tested, not the seed of the training."
        if counts
        else ""
    )
