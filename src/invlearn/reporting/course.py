"""Sections about how runs came to be: learning curves, beliefs, judges."""

from collections.abc import Iterator, Sequence
from typing import Any

from invlearn.reporting import charts
from invlearn.reporting.blocks import (
    Cell,
    Chart,
    Charts,
    Row,
    Section,
    Series,
    Table,
    Text,
    count,
    measure,
)
from invlearn.reporting.records import RunRecord
from invlearn.reporting.traces import BINS, Beliefs, Judges
from invlearn.runtime.text import counted

CURVES = {"log_loss": "validation log loss", "auc": "validation AUC", "train": "training loss"}
GROUPS = 10
"""Bins of a table of beliefs, so that it can be read."""


def curves_section(records: Sequence[RunRecord], series: Sequence[Series]) -> Section:
    """Learning curves, and where each run stopped."""
    chosen = {r.config.select_by: f"validation {r.config.select_by}" for r in records}
    drawn = tuple(
        _curve(records, series, metric, title) for metric, title in (chosen | CURVES).items()
    )
    rows = tuple(Row(tuple(_ending(record)), run=record.name) for record in records)
    heads = ("run", "epochs", "at most", "best epoch", "chosen by", "its value there")
    words = Text(
        "A ring marks the epoch whose weights were kept. Training losses of different strategies "
        "are losses of different things: compare their course, not their height."
    )
    table = Table("Where each run stopped", heads, rows)
    return Section("curves", "Learning curves", (words, Charts(drawn), table))


def _curve(
    records: Sequence[RunRecord], series: Sequence[Series], metric: str, title: str
) -> Chart:
    points: list[dict[str, Any]] = [
        {"run": r.name, "epoch": n, "value": value, "best": n == r.best_epoch}
        for r in records
        for n, epoch in enumerate(r.epochs, 1)
        if (value := epoch["train_loss"] if metric == "train" else epoch["valid"].get(metric))
        is not None
    ]
    table = Table(
        title,
        ("run", "epoch", title),
        tuple(
            Row((Cell(p["run"]), count(p["epoch"]), measure(p["value"])), p["run"]) for p in points
        ),
    )
    spec = charts.curve_chart(points, series, title)
    return Chart(
        title.capitalize().replace("auc", "AUC"), f"{title} after each epoch.", spec, table
    )


def _ending(record: RunRecord) -> Iterator[Cell]:
    config, best = record.config, record.best_epoch
    yield Cell(record.name, "" if record.test else "not finished")
    yield count(len(record.epochs))
    yield count(config.epochs)
    yield count(best)
    yield Cell(config.select_by)
    yield measure(record.epochs[best - 1]["valid"].get(config.select_by) if best else None)


def beliefs_section(records: Sequence[RunRecord]) -> Section | None:
    """How far unlabelled pairs are believed positive, early and late (the paper's Figures 3, 4)."""
    found = [record.beliefs for record in records if record.beliefs]
    if not found:
        return None
    words = Text(
        "How far a run believes that unlabelled pairs are positive: the weight w1 that the inverse "
        "dual loss gives to the positive label (w0 is the rest). The same sampled pairs after the "
        "first and the last epoch. Piled up at 0 and 1, the run is sure; whether it is right, "
        "only the results say."
    )
    drawn = tuple(
        Chart(
            f"{beliefs.title}, {epoch} epoch: {beliefs.positive_fraction[epoch]:.0%} believed "
            "positive",
            f"Histogram of the belief in {counted(beliefs.n_pairs, 'unlabelled pair')}.",
            charts.belief_chart(beliefs, epoch),
            _belief_table(beliefs, epoch),
            beliefs.title,
        )
        for beliefs in found
        for epoch in ("first", "last")
    )
    return Section("beliefs", "Belief in unlabelled pairs", (words, Charts(drawn, columns=2)))


def _belief_table(beliefs: Beliefs, epoch: str) -> Table:
    wide = BINS // GROUPS
    rows = tuple(
        Row(
            (
                Cell(f"{at / GROUPS:.1f} to {(at + 1) / GROUPS:.1f}", order=float(at)),
                count(sum(beliefs.counts[epoch]["w1"][at * wide : (at + 1) * wide])),
            )
        )
        for at in range(GROUPS)
    )
    return Table("Pairs by belief", ("belief", "pairs"), rows)


def judges_section(records: Sequence[RunRecord]) -> Section | None:
    """What the judges chose, and at which loss (the paper's Figures 5 and 6)."""
    found = [(record, record.judges) for record in records if record.judges]
    if not found:
        return None
    words = Text(
        "In judged steps labelled pairs that were held out choose where the step starts from: "
        "along the gradient of the unlabelled pairs (direct), against it (inverse), or not moved "
        "(stay). The loss is theirs at the chosen point."
    )
    drawn = tuple(
        Chart(
            f"{record.name}: judges' loss" + f", 1 in {judges.every} steps" * (judges.every > 1),
            f"Log loss of {counted(judges.n_steps, 'judged step')}, marked by what was chosen.",
            charts.judge_chart(judges),
            _choice_table(record),
            record.name,
        )
        for record, judges in found
    )
    rows = tuple(Row(tuple(_choices(judges)), run=record.name) for record, judges in found)
    heads = ("run", "judged steps", "direct", "inverse", "stay", "chosen by chance")
    table = Table("What the judges chose, and where rounding chose for them", heads, rows)
    return Section("judges", "What the judges chose", (words, Charts((*drawn, table), columns=2)))


def _choices(judges: Judges) -> Iterator[Cell]:
    yield Cell(judges.title)
    yield count(judges.n_steps)
    for choice in ("direct", "inverse", "stay"):
        share = judges.counts[choice] / judges.n_steps
        yield count(judges.counts[choice])._replace(detail=f"{share:.0%}")
    yield count(judges.n_rounding)


def _choice_table(record: RunRecord) -> Table:
    rows = tuple(
        Row((count(n), *(count(epoch["choices"][name]) for name in ("direct", "inverse", "stay"))))
        for n, epoch in enumerate(record.epochs, 1)
        if "choices" in epoch
    )
    return Table("Choices of each epoch", ("epoch", "direct", "inverse", "stay"), rows)
