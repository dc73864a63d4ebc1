"""The section about runs that differ in nothing but the length of the judges' trial step."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from invlearn.reporting import charts
from invlearn.reporting.blocks import (
    Block,
    Cell,
    Chart,
    Charts,
    Row,
    Section,
    Series,
    Table,
    Text,
    measure,
)
from invlearn.reporting.measures import Results
from invlearn.reporting.records import RunRecord
from invlearn.reporting.results import METRICS, level_cells


def sweep_section(
    records: Sequence[RunRecord], found: Sequence[Results], series: Sequence[Series]
) -> Section | None:
    """A metric over the step length alpha, if runs differ in nothing else."""
    blocks: list[Block] = []
    for results in found:
        swept = sweep([record for record in records if record.name in results.runs])
        if swept:
            blocks += _sweep(results, swept, series)
    return Section("alpha", "Length of the trial step", tuple(blocks)) if blocks else None


def sweep(records: Sequence[RunRecord]) -> dict[str, float]:
    """Alpha by run, of the largest set of runs whose settings differ in `alpha_ratio` alone."""
    families: dict[str, dict[str, float]] = {}
    for record in records:
        method: dict[str, Any] = dict(record.config.method)
        alpha = method.pop("alpha_ratio", None)
        if isinstance(alpha, int | float):
            rest = record.config.model_copy(update={"method": method}).model_dump_json()
            families.setdefault(rest + record.fingerprint, {})[record.name] = float(alpha)
    largest = max(families.values(), key=lambda runs: len(set(runs.values())), default={})
    return largest if len(set(largest.values())) > 1 else {}


def _sweep(
    results: Results, swept: Mapping[str, float], series: Sequence[Series]
) -> Iterator[Block]:
    titles = "alpha in units of the learning rate"
    drawn: list[Chart] = []
    for metric, name in METRICS.items():
        points = [
            {"run": run, "x": alpha, **results.runs[run][metric]._asdict()}
            for run, alpha in swept.items()
        ]
        chart = charts.against_chart(points, series, (titles, name), log=True)
        drawn.append(Chart(name, f"Test {name} over alpha, with intervals.", chart))
    yield Text(
        f"{len(swept)} runs differ in nothing but how far the judges' trial step goes, "
        "from the direct to the inverse point."
    )
    yield Charts(tuple(drawn), columns=2)
    rows = tuple(
        Row(
            (Cell(run), measure(alpha, 3), *level_cells(results.runs[run], METRICS)),
            run,
        )
        for run, alpha in sorted(swept.items(), key=lambda pair: pair[1])
    )
    yield Table("Metrics by alpha", ("run", "alpha", *METRICS.values()), rows)
