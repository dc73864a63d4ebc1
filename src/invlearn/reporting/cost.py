"""The section about cost: what each run took, and what it reached for it."""

from collections.abc import Iterator, Sequence

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
    count,
    measure,
)
from invlearn.reporting.measures import Results
from invlearn.reporting.records import RunRecord


def cost_section(
    records: Sequence[RunRecord], found: Sequence[Results], series: Sequence[Series]
) -> Section:
    """What each run cost, and what it reached for it."""
    rows = tuple(Row(tuple(_cost(record)), run=record.name) for record in records)
    heads = ("run", "epochs", "best epoch", "training, s", "validation, s", "pairs/s", "on")
    blocks: list[Block] = [Table("What each run cost", heads, rows)]
    seconds = {record.name: record.seconds for record in records if record.epochs}
    for results in (one for one in found if len(one.runs) > 1):
        points = [
            {"run": name, "x": seconds[name], **results.runs[name]["auc"]._asdict()}
            for name in results.runs
        ]
        title = "AUC and seconds of training" + f", {results.dataset}" * (len(found) > 1)
        chart = charts.against_chart(points, series, ("seconds of training", "AUC"))
        said = "Each run's test AUC against the seconds that its training took."
        blocks.insert(0, Charts((Chart(title, said, chart),)))
    return Section("cost", "Cost", tuple(blocks))


def _cost(record: RunRecord) -> Iterator[Cell]:
    rates = [e["pairs_per_second"] for e in record.epochs if e.get("pairs_per_second")]
    validation = sum(epoch["validate_seconds"] for epoch in record.epochs)
    machine = record.environment
    gpu = machine.get("gpu") if record.config.device.startswith("cuda") else None
    threads = machine.get("threads")
    yield Cell(record.name)
    yield count(len(record.epochs))
    yield count(record.best_epoch)
    yield measure(record.seconds, 2)
    yield measure(validation, 2)
    yield count(sum(rates) / len(rates) if rates else None)
    yield Cell(str(gpu or f"{record.config.device}, {threads} thread" + "s" * (threads != 1)))
