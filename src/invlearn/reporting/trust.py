"""The section about calibration: what was claimed, and what came true."""

from collections.abc import Mapping, Sequence

from invlearn.evaluation.calibration import Calibration
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
    count,
    measure,
)
from invlearn.reporting.measures import Results
from invlearn.reporting.records import RunRecord


def reliability_section(
    records: Sequence[RunRecord], found: Sequence[Results], series: Sequence[Series]
) -> Section | None:
    """Whether logits can be read as probabilities, as they are and once calibrated."""
    tables = {
        (results.dataset if len(found) > 1 else ""): results.reliability
        for results in found
        if results.reliability
    }
    annotated = {record.name: record.annotation for record in records if record.annotation}
    if annotated:
        tables["Probabilities, as invlearn annotate calibrated them"] = annotated
    if not tables:
        return None
    blocks: list[Block] = [
        Text(
            "Before logits are used to label unclear pairs: of the test rows whose logit has a "
            "sigmoid of 0.7, are 70\u00a0% positive? Nothing makes it so before the logits are "
            "calibrated. Points below the dashed line are claims too high."
        )
    ]
    for title, reliability in tables.items():
        if title:
            blocks.append(Heading(title))
        blocks.append(Charts(_reliability(reliability, series), columns=2))
    return Section("reliability", "Can logits be read as probabilities?", tuple(blocks))


def _reliability(
    found: Mapping[str, Calibration], series: Sequence[Series]
) -> tuple[Chart | Table, ...]:
    rows = tuple(
        Row((Cell(name), measure(c.ece), measure(c.brier)), run=name) for name, c in found.items()
    )
    caption = (
        "How far off they are: ECE is the mean gap of claimed and come true, Brier the mean "
        "squared error; lower is better"
    )
    chart = Chart(
        "Claimed and come true",
        "What each run claims against what came true, in ten bins of equal width.",
        charts.reliability_chart(found, series),
        _bins(found),
    )
    return chart, Table(caption, ("run", "ECE", "Brier"), rows)


def _bins(found: Mapping[str, Calibration]) -> Table:
    rows = tuple(
        Row(
            (
                Cell(name),
                Cell(f"{b.low:.1f} to {b.high:.1f}", order=b.low),
                count(b.rows),
                measure(b.mean_probability, 3),
                measure(b.positive_fraction, 3),
            ),
            run=name,
        )
        for name, result in found.items()
        for b in result.table
    )
    return Table("Reliability", ("run", "bin", "rows", "claimed", "come true"), rows)
