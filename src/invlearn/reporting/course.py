"""Sections about training: learning curves, beliefs, judges, cost."""

from collections.abc import Iterator
from typing import Any

from invlearn.reporting import charts
from invlearn.reporting.blocks import Block, Cell, Chart, Charts, Text, Value, cell, run_cell, table
from invlearn.reporting.measures import Material
from invlearn.reporting.records import RunRecord
from invlearn.reporting.traces import BINS, Beliefs
from invlearn.runtime.text import counted

CURVES = {"log_loss": "validation log loss", "auc": "validation AUC", "train": "training loss"}
GROUPS = 10
"""Rows of a table of beliefs."""


def curves_section(material: Material) -> Iterator[Block]:
    """Yield learning curves, and the last and best epoch of each run."""
    records = material.records
    criteria = {r.config.select_by: f"validation {r.config.select_by}" for r in records}
    yield Text(
        "A ring marks the epoch whose weights were kept. Training losses of different strategies "
        "are different quantities: compare their shape, not their height."
    )
    curves = criteria | CURVES
    yield Charts(tuple(_curve(material, metric, title) for metric, title in curves.items()))
    heads = ("run", "epochs", "at most", "best epoch", "chosen by", "its value there")
    yield table("Where each run stopped", heads, map(_ending, records))


def _curve(material: Material, metric: str, title: str) -> Chart:
    rows: list[dict[str, Any]] = [
        {"run": r.name, "epoch": n, "value": value, "best": n == r.best_epoch}
        for r in material.records
        for n, epoch in enumerate(r.epochs, 1)
        if (value := epoch["train_loss"] if metric == "train" else epoch["valid"].get(metric))
        is not None
    ]
    cells = ((run_cell(row["run"]), row["epoch"], row["value"]) for row in rows)
    return Chart(
        title.capitalize().replace("auc", "AUC"),
        f"{title} after each epoch.",
        charts.curve_chart(rows, material.series, title),
        table(title, ("run", "epoch", title), cells),
    )


def _ending(record: RunRecord) -> tuple[Value, ...]:
    config, best = record.config, record.best_epoch
    value = record.epochs[best - 1]["valid"].get(config.select_by) if best else None
    name = run_cell(record.name, "" if record.test else "not finished")
    return name, len(record.epochs), config.epochs, best, config.select_by, value


def beliefs_section(material: Material) -> Iterator[Block]:
    """Yield the belief in unlabelled pairs, early and late (Figures 3 and 4 of the paper)."""
    every = [record.beliefs for record in material.records if record.beliefs]
    drawn = tuple(_beliefs(one, epoch) for one in every for epoch in ("first", "last"))
    if drawn:
        yield Text(
            "How far a run believes that unlabelled pairs are positive: the weight w1 that the "
            "inverse dual loss gives to the positive label (w0 is the rest). The same sampled "
            "pairs after the first and the last epoch. If most are near 0 and 1, the run is "
            "certain; whether it is right, only the results say."
        )
        yield Charts(drawn, columns=2)


def _beliefs(beliefs: Beliefs, epoch: str) -> Chart:
    width, counts = BINS // GROUPS, beliefs.counts[epoch]["w1"]
    sums = [sum(counts[start : start + width]) for start in range(0, BINS, width)]
    rows = (
        (Cell(f"{n / GROUPS:.1f} to {(n + 1) / GROUPS:.1f}", order=n), pairs)
        for n, pairs in enumerate(sums)
    )
    positive = f"{beliefs.positive_fraction[epoch]:.0%} believed positive"
    return Chart(
        f"{beliefs.title}, {epoch} epoch: {positive}",
        f"Histogram of the belief in {counted(beliefs.n_pairs, 'unlabelled pair')}.",
        charts.belief_chart(beliefs, epoch),
        table("Pairs by belief", ("belief", "pairs"), rows),
        beliefs.title,
    )


def judges_section(material: Material) -> Iterator[Block]:
    """Yield the choices of the judges, and their loss (Figures 5 and 6 of the paper)."""
    drawn: list[Chart] = []
    rows: list[tuple[Value, ...]] = []
    names = ("direct", "inverse", "stay")
    for record in material.records:
        if not (judges := record.judges):
            continue
        choices = [
            (n, *(epoch["choices"][name] for name in names))
            for n, epoch in enumerate(record.epochs, 1)
            if "choices" in epoch
        ]
        drawn_steps = f", 1 in {judges.every} steps" if judges.every > 1 else ""
        drawn.append(
            Chart(
                f"{record.name}: judges' loss{drawn_steps}",
                f"Log loss of {counted(judges.n_steps, 'judged step')}, marked by the choice.",
                charts.judge_chart(judges),
                table("Choices of each epoch", ("epoch", *names), choices),
                record.name,
            )
        )
        counts = [judges.counts[name] for name in names]
        shares = (cell(n)._replace(detail=f"{n / judges.n_steps:.0%}") for n in counts)
        rows.append((run_cell(record.name), judges.n_steps, *shares, judges.n_rounding))
    if drawn:
        yield Text(
            "In judged steps labelled pairs that were held out choose where the step starts: "
            "along the gradient of the unlabelled pairs (direct), against it (inverse), or at the "
            "current parameters (stay). The loss is theirs at the chosen candidate."
        )
        heads = ("run", "judged steps", *names, "chosen by chance")
        caption = "Choices of the judges, and how often rounding decided"
        yield Charts((*drawn, table(caption, heads, rows)), columns=2)


def cost_section(material: Material) -> Iterator[Block]:
    """Yield the cost of each run, and its AUC against it."""
    seconds = {record.name: record.seconds for record in material.records}
    titles, scale = ("seconds of training", "AUC"), {"zero": True, "nice": True}
    for results in reversed(material.results):
        rows = [
            {"run": run, "x": seconds[run], **levels["auc"]._asdict()}
            for run, levels in results.runs.items()
        ]
        if len(rows) > 1:
            title = "AUC and seconds of training"
            title += f", {results.dataset}" if len(material.results) > 1 else ""
            spec = charts.against_chart(rows, material.series, titles, scale)
            words = "Each run's test AUC against the seconds that its training took."
            yield Charts((Chart(title, words, spec),))
    heads = ("run", "epochs", "best epoch", "training, s", "validation, s", "pairs/s", "on")
    yield table("What each run cost", heads, map(_cost, material.records))


def _cost(record: RunRecord) -> tuple[Value, ...]:
    rates = [e["pairs_per_second"] for e in record.epochs if e.get("pairs_per_second")]
    validation = sum(epoch["validate_seconds"] for epoch in record.epochs)
    device, threads = record.config.device, record.environment.get("threads")
    gpu = record.environment.get("gpu") if device.startswith("cuda") else None
    return (
        run_cell(record.name),
        len(record.epochs),
        record.best_epoch,
        cell(record.seconds, 2),
        cell(validation, 2),
        round(sum(rates) / len(rates)) if rates else None,
        str(gpu or f"{device}, {threads} {'thread' if threads == 1 else 'threads'}"),
    )
