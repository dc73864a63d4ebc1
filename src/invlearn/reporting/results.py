"""Sections about results: metrics with intervals, paired differences, alpha, reliability."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from invlearn.evaluation.baselines import is_meaningless
from invlearn.evaluation.calibration import Calibration
from invlearn.evaluation.evaluation import Difference
from invlearn.evaluation.metrics import is_better
from invlearn.reporting import charts
from invlearn.reporting.blocks import (
    Block,
    Cell,
    Chart,
    Charts,
    Heading,
    Table,
    Text,
    Value,
    cell,
    decimals,
    run_cell,
    table,
)
from invlearn.reporting.measures import Level, Levels, Material, Results
from invlearn.reporting.records import RunRecord
from invlearn.runtime.text import counted

METRICS = {"auc": "AUC", "gauc": "GAUC", "ndcg@10": "NDCG@10", "log_loss": "log loss"}
"""Metrics with a chart, and their names on the page; a table has all metrics."""
MARKS = {"good": "▲", "bad": "▼", "even": "="}


def by_dataset(
    results: Sequence[Results], blocks_of: Callable[[Results], Iterable[Block]]
) -> Iterator[Block]:
    """Yield the blocks of each dataset, under a heading if there are several."""
    for one in results:
        if len(results) > 1:
            yield Heading(one.dataset)
        yield from blocks_of(one)


def results_section(material: Material) -> Iterator[Block]:
    """Yield every metric with its interval, and differences (Table 2 of the paper)."""
    yield from by_dataset(material.results, lambda one: _results(one, material))


def _results(results: Results, material: Material) -> Iterator[Block]:
    if not results.runs:
        yield Text(f"There is nothing to measure yet: {results.missing}.")
        return
    yield Charts(tuple(_level_chart(results, metric, material) for metric in METRICS), columns=2)
    yield _level_table(results, METRICS, "Metrics on the test part, 95 % intervals below them")
    if results.differences:
        yield table(
            f"Difference from {results.reference}, paired on the same users; ▲ better, ▼ worse, "
            "= neither by the 95 % interval",
            ("run", *METRICS.values()),
            (
                (run_cell(run), *(_difference(metric, differences[metric]) for metric in METRICS))
                for run, differences in results.differences.items()
            ),
        )
    elif results.missing:
        yield Text(
            "These are the numbers that the runs recorded at their ends. There are no paired "
            "differences, no intervals of the baselines and no reliability, since the runs could "
            f"not be measured again: {results.missing}."
        )
    yield Text(_counts(results.counts))
    yield from _without_cold([run for run in material.records if run.name in results.runs])
    others = {m: m for levels in results.runs.values() for m in levels if m not in METRICS}
    yield _level_table(results, others, "All other metrics", folded=True)


def _without_cold(records: Iterable[RunRecord]) -> Iterator[Block]:
    """Yield the metrics of runs on the rows whose user and item have a training row."""
    rows: list[tuple[Cell, ...]] = []
    counts: dict[str, int] = {}
    for record in records:
        test = record.test or {}
        if warm := test.get("without_cold"):
            counts = test["cold"]
            found = (cell(warm["values"].get(metric)) for metric in METRICS)
            rows.append((run_cell(record.name), *found))
    if rows:
        yield table(
            f"Without the {counted(counts['rows'], 'row')} with a user or item without a training "
            f"row ({counted(counts['users'], 'user')}, {counted(counts['items'], 'item')})",
            ("run", *METRICS.values()),
            rows,
        )


def _level_chart(results: Results, metric: str, material: Material) -> Chart:
    title = METRICS[metric]
    better = "lower" if metric == "log_loss" else "higher"
    lines = [(run, False, levels) for run, levels in results.runs.items()]
    for name, levels in _baselines(results).items():
        # A run may have the name of a baseline.
        lines.append((f"{name} (baseline)" if name in results.runs else name, True, levels))
    rows = [
        {"run": name, "trivial": trivial, **levels[metric]._asdict()}
        for name, trivial, levels in lines
        if metric in levels
    ]
    return Chart(
        f"{title} ({better} is better)",
        f"Each run and baseline with its {title} and 95 % interval; the table after the charts "
        "has the numbers.",
        charts.levels_chart(rows, material.series, title),
    )


def _level_table(
    results: Results, metrics: Mapping[str, str], caption: str, *, folded: bool = False
) -> Table:
    rows = [(run_cell(run), *_levels(levels, metrics)) for run, levels in results.runs.items()]
    for name, levels in _baselines(results).items():
        rows.append((Cell(name, "trivial baseline"), *_levels(levels, metrics)))
    return table(caption, ("run", *metrics.values()), rows, folded=folded)


def _baselines(results: Results) -> dict[str, Levels]:
    """Return the levels of the baselines, without the log loss of scores that are not logits."""
    return {
        name: {m: level for m, level in levels.items() if not is_meaningless(m, name)}
        for name, levels in results.baselines.items()
    }


def _levels(levels: Levels, metrics: Iterable[str]) -> Iterator[Cell]:
    """Yield the cells of metrics, with intervals below them."""
    for metric in metrics:
        level = levels.get(metric, Level(None))
        yield cell(level.value)._replace(detail=interval(level.low, level.high))


def interval(low: float | None, high: float | None, *, sign: bool = False) -> str:
    """Return the text of an interval; empty if there is none."""
    if low is None or high is None:
        return ""
    return f"{decimals(low, sign=sign)} to {decimals(high, sign=sign)}"


def _difference(metric: str, difference: Difference) -> Cell:
    value, low, high = difference.to_json().values()
    tone = outcome(metric, difference)
    text = f"{MARKS[tone]} {decimals(value, sign=True)}"
    return Cell(text, interval(low, high, sign=True), value, tone)


def outcome(metric: str, difference: Difference) -> str:
    """Return `good` or `bad` if the whole interval is on one side of 0, else `even`.

    Example:
        >>> outcome("auc", Difference(0.02, 0.01, 0.03))
        'good'
        >>> outcome("log_loss", Difference(0.02, -0.01, 0.03))
        'even'
    """
    if difference.low > 0 or difference.high < 0:
        return "good" if is_better(metric, difference.value, 0.0) else "bad"
    return "even"


def _counts(counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    return (
        f"{counted(counts['rows'], 'row')} of {counted(counts['users'], 'user')}. Metrics per user "
        f"are over the {counted(counts['users_scored'], 'user')} with both classes: "
        f"{counted(counts['users_all_positive'], 'has', 'have')} only positives, "
        f"{counts['users_all_negative']:,} only negatives. Intervals cover "
        "which users were tested, not the seed of the training."
    )


def alpha_section(material: Material) -> Iterator[Block]:
    """Yield metrics over the step length alpha, if runs differ in nothing else."""
    title, scale = "alpha in units of the learning rate", {"type": "log", "padding": 12}
    for results in material.results:
        alphas = sweep([record for record in material.records if record.name in results.runs])
        if not alphas:
            continue
        drawn: list[Chart] = []
        for metric, name in METRICS.items():
            rows = [
                {"run": run, "x": alpha, **results.runs[run][metric]._asdict()}
                for run, alpha in alphas.items()
            ]
            spec = charts.against_chart(rows, material.series, (title, name), scale)
            drawn.append(Chart(name, f"Test {name} over alpha, with intervals.", spec))
        yield Text(
            f"{len(alphas)} runs differ only in the length of the judges' trial step: how far the "
            "direct and the inverse candidate are from the current parameters."
        )
        yield Charts(tuple(drawn), columns=2)
        lines = [
            (run_cell(run), cell(alpha, 3), *_levels(results.runs[run], METRICS))
            for run, alpha in sorted(alphas.items(), key=lambda pair: pair[1])
        ]
        yield table("Metrics by alpha", ("run", "alpha", *METRICS.values()), lines)


def sweep(records: Sequence[RunRecord]) -> dict[str, float]:
    """Return alpha by run for the largest set of runs that differ in `alpha_ratio` alone."""
    families: dict[str, dict[str, float]] = {}
    for record in records:
        method: dict[str, Any] = dict(record.config.method)
        alpha = method.pop("alpha_ratio", None)
        if isinstance(alpha, int | float):
            rest = record.config.model_copy(update={"method": method}).model_dump_json()
            families.setdefault(rest + record.card.fingerprint, {})[record.name] = float(alpha)
    largest = max(families.values(), key=lambda runs: len(set(runs.values())), default={})
    return largest if len(set(largest.values())) > 1 else {}


def reliability_section(material: Material) -> Iterator[Block]:
    """Yield whether logits can be read as probabilities, before and after calibration."""
    several = len(material.results) > 1
    measured = [one for one in material.results if one.reliability]
    groups = {one.dataset if several else "": one.reliability for one in measured}
    annotated = {r.name: r.annotation for r in material.records if r.annotation}
    if annotated:
        groups["Probabilities, as invlearn annotate calibrated them"] = annotated
    if groups:
        yield Text(
            "Read this before you use logits to label unclear pairs: of the test rows whose logit "
            "has a sigmoid of 0.7, are 70\u00a0% positive? That is not so unless the logits are "
            "calibrated. Points below the dashed line are claims that are too high."
        )
    for title, calibrations in groups.items():
        if title:
            yield Heading(title)
        chart = Chart(
            "Claimed and observed",
            "Claimed against observed fraction of positives, in ten bins of equal width.",
            charts.reliability_chart(calibrations, material.series),
            table(
                "Reliability",
                ("run", "bin", "rows", "claimed", "observed"),
                (row for run, one in calibrations.items() for row in _bins(run, one)),
            ),
        )
        errors = table(
            "Calibration errors: ECE is the mean difference of claimed and observed, Brier the "
            "mean squared error; lower is better",
            ("run", "ECE", "Brier"),
            ((run_cell(run), one.ece, one.brier) for run, one in calibrations.items()),
        )
        yield Charts((chart, errors), columns=2)


def _bins(run: str, calibration: Calibration) -> Iterator[tuple[Value, ...]]:
    for low, high, rows, claimed, observed in calibration.table:
        name = Cell(f"{low:.1f} to {high:.1f}", order=low)
        yield run_cell(run), name, rows, cell(claimed, 3), cell(observed, 3)
