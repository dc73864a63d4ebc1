"""The paper's figures and its table as dots: their data, their charts, and the files on disk.

The data of a figure hold no more points than can be seen; everything is counted before points are
left out.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from invlearn.experiments.cell import Cell, CellFolder
from invlearn.reporting.charts import (
    FREE,
    Spec,
    bars,
    bins,
    category,
    distinct,
    dot,
    framed,
    judged_steps,
    number,
    save,
    values,
)
from invlearn.reporting.traces import BINS, Beliefs, Judges, read_beliefs, read_judges
from invlearn.runtime import atomic
from invlearn.runtime.errors import RunError
from reproduction.collect import provenance_of
from reproduction.page import INTERVALS, WAYS, table_name
from reproduction.plans import Figure, figures
from reproduction.results import METRICS, Plot, Table

PANEL = 235
"""Width in pixels of one of two panels side by side."""

CHOICE_COLORS = {"direct": "#0072B2", "inverse": "#D55E00", "stay": "#000000"}
CHOICE_SHAPES = {"direct": "circle", "inverse": "triangle-up", "stay": "cross"}
WEIGHT_COLORS = {"w1": "#0072B2", "w0": "#D55E00"}
VARIANT_COLORS = {
    "published": "#000000",
    "as printed": "#E69F00",
    "as released": "#D55E00",
    "tuned": "#0072B2",
}
VARIANT_SHAPES = {
    "published": "diamond",
    "as printed": "square",
    "as released": "triangle-up",
    "tuned": "circle",
}


@dataclass(frozen=True, slots=True)
class Dot:
    """A value in a cell of Table 2."""

    backbone: str
    method: str
    variant: str
    """published, as printed, as released or tuned."""
    metric: str
    """Name as it should stand above the column."""
    value: float
    low: float | None = None
    """Lower end of the interval; none for a published value."""
    high: float | None = None


@dataclass(frozen=True, slots=True)
class FigureData:
    """All that is needed to draw a figure again."""

    name: str
    """As in `figure3`."""
    title: str
    """What it shows."""
    kind: Literal["beliefs", "judges"]
    """Kind of its panels."""
    caption: str
    """What was counted, and which points were left out."""
    panels: tuple[Beliefs, ...] | tuple[Judges, ...]
    """In reading order."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return json.loads(json.dumps(asdict(self)))


def figure_data(figure: Figure, runs: Sequence[Path]) -> FigureData:
    """Read what a figure draws from the run folders behind its panels.

    Args:
        figure: The figure.
        runs: A run folder for each panel, in order; checkpoints are not needed.

    Raises:
        RunError: A folder lacks the records that the figure is drawn from.
    """
    pairs = list(zip(figure.panels, runs, strict=True))
    if figure.kind == "beliefs":
        beliefs = tuple(read_beliefs(run, panel.title) for panel, run in pairs)
        caption = _beliefs_caption(beliefs)
        return FigureData(figure.name, figure.title, figure.kind, caption, beliefs)
    judges = tuple(read_judges(run, panel.title) for panel, run in pairs)
    return FigureData(figure.name, figure.title, figure.kind, _judges_caption(judges), judges)


def draw_figure(
    figure: Figure, experiment: Path, cells: Sequence[Cell], place: Path, command: str
) -> Plot:
    """Write the data and the chart of a figure.

    Args:
        figure: The figure, with the panels that are drawn.
        experiment: Folder of the experiment.
        cells: The cell behind each panel.
        place: Folder to write to, next to the page.
        command: The command of this call.

    Raises:
        RunError: A training behind it failed.
    """
    folders = [CellFolder(experiment, cell) for cell in cells]
    for folder in folders:
        record = folder.record(0)
        if record is None or record.state == "failed":
            reason = record.reason if record else "no record"
            raise RunError(f"{figure.name} cannot be drawn, its training failed: {reason}")
    data = figure_data(figure, [folder.path / "seed-0" for folder in folders])
    atomic.write_json(place / f"{figure.name}.json", data.to_json())
    save(figure_chart(data), place / f"{figure.name}.svg")
    return Plot(
        title=f"{figure.name.replace('figure', 'Figure ')}: {figure.title}",
        file=f"{place.name}/{figure.name}.svg",
        caption=(
            f"{data.caption} One training a panel, {WAYS[figure.variant]}, with seed 0."
            f"{_left_out(figure)}"
        ),
        published=figure.published,
        stand_in=any(panel.dataset == "micro-video" for panel in figure.panels),
        provenance=provenance_of(experiment, cells, command),
    )


def draw_table(table: Table, place: Path) -> Plot:
    """Write a table's chart."""
    title = f"Table 2, {table_name(table)}"
    file = f"table2-{table.dataset}.svg"
    save(table2_chart(dots_of(table), title), place / file)
    return Plot(
        title=title,
        file=f"{place.name}/{file}",
        caption=f"Means over seeds with their intervals. {INTERVALS}",
        stand_in=table.stand_in is not None,
        provenance=table.provenance,
    )


def dots_of(table: Table) -> Iterator[Dot]:
    """Yield every value of a table; published values only with measured ones of the same data."""
    for row in table.rows:
        for metric, label in METRICS.items():
            published = row.published_value(metric)
            if published is not None and not table.stand_in:
                yield Dot(row.backbone, row.method, "published", label, published)
            for way, word in WAYS.items():
                if level := row.level(way, metric):
                    ends = (level.low, level.high)
                    yield Dot(row.backbone, row.method, word, label, level.mean, *ends)


def figure_chart(data: FigureData, *, note: str = "") -> Spec:
    """Draw a figure of the paper.

    Beliefs: histograms of w1 and w0, a column a panel, the first epoch above the last one. Judges:
    the loss at every drawn step, marked by what was chosen, two panels a line.

    Args:
        data: From `figure_data`.
        note: Text below the title, such as that the data are simulated.
    """
    if data.kind == "beliefs":
        beliefs = [panel for panel in data.panels if isinstance(panel, Beliefs)]
        charts = [_weights(panel, epoch) for epoch in ("first", "last") for panel in beliefs]
        return framed({"concat": charts, "columns": len(beliefs)}, data.title, note)
    charts = [_choices(panel) for panel in data.panels if isinstance(panel, Judges)]
    return framed({"concat": charts, "columns": 2}, data.title, note)


def table2_chart(dots: Iterable[Dot], title: str, note: str = "") -> Spec:
    """Table 2 as dots: a row a method, a column a metric, published beside measured values."""
    rows = [asdict(dot) for dot in dots]
    metrics, backbones = distinct(rows, "metric"), distinct(rows, "backbone")
    variants = [name for name in VARIANT_COLORS if name in distinct(rows, "variant")]
    cells = [
        _cell(rows, backbone, metric, variants, labelled=metric == metrics[0])
        for backbone in backbones
        for metric in metrics
    ]
    return framed({"concat": cells, "columns": len(metrics)}, title, note)


def _beliefs_caption(panels: Sequence[Beliefs]) -> str:
    """What was counted, and how many pairs are believed positive."""
    pairs = " and ".join(f"{n:,}" for n in sorted({panel.n_pairs for panel in panels}))
    parts = "; ".join(
        f"{panel.title} {panel.positive_fraction['first']:.0%} after the first epoch, "
        f"{panel.positive_fraction['last']:.0%} after the last"
        for panel in panels
    )
    return (
        f"Weights of {pairs} sampled pairs in {BINS} equal bins, the same pairs at both epochs. "
        f"Believed positive (w1 > 0.5): {parts}."
    )


def _judges_caption(panels: Sequence[Judges]) -> str:
    """How often each way was chosen, how often by chance, and which points are drawn."""
    parts = "; ".join(
        f"{panel.title}: {panel.counts['direct']:,} direct, {panel.counts['inverse']:,} inverse, "
        f"{panel.counts['stay']:,} stay" + (f", 1 in {panel.every} drawn") * (panel.every > 1)
        for panel in panels
    )
    rounding = sum(panel.n_rounding for panel in panels)
    n_steps = sum(panel.n_steps for panel in panels)
    return (
        f"Log loss of each training-test batch after the chosen step. Counts of all steps: {parts}."
        f" In {rounding:,} of {n_steps:,} steps the three losses agree to within float32 rounding, "
        "so that chance chose."
    )


def _left_out(figure: Figure) -> str:
    """What of the whole figure is not drawn."""
    whole = next(found for found in figures() if found.name == figure.name)
    missing = [panel.title for panel in whole.panels if panel not in figure.panels]
    return f" Left out, by --no-stand-in: {'; '.join(missing)}." if missing else ""


def _weights(panel: Beliefs, epoch: str) -> Spec:
    """Bars of w1 and w0 over their bins."""
    rows = [
        {"weight": name, **part}
        for name in panel.counts[epoch]
        for part in bins(panel, epoch, name)
        if part["part"]
    ]
    return {
        "data": values(rows),
        "mark": {"type": "rect", "opacity": 0.6},
        "encoding": bars("weight") | {"color": category("weight", "weight", WEIGHT_COLORS)},
        "width": PANEL,
        "height": 120,
        "title": f"{panel.title}, {epoch} epoch",
    }


def _choices(panel: Judges) -> Spec:
    """A thin line through the losses, and a mark a step."""
    marked = {
        "color": category("choice", "direction", CHOICE_COLORS),
        "shape": category("choice", "direction", CHOICE_SHAPES),
    }
    counts = ", ".join(f"{panel.counts[name]:,} {name}" for name in CHOICE_COLORS)
    shown = f"; 1 in {panel.every} drawn" if panel.every > 1 else ""
    return {
        "data": values(judged_steps(panel)),
        "encoding": {
            "x": number("step", "judged step", tickCount=6),
            "y": number("loss", "log loss", FREE),
        },
        "layer": [
            {"mark": {"type": "line", "color": "#BBBBBB", "strokeWidth": 0.7}},
            {"mark": dot(16) | {"opacity": 0.8}, "encoding": marked},
        ],
        "width": PANEL,
        "height": 170,
        "title": {"text": panel.title, "subtitle": counts + shown},
    }


def _cell(
    rows: Sequence[Mapping[str, Any]],
    backbone: str,
    metric: str,
    variants: Sequence[str],
    *,
    labelled: bool,
) -> Spec:
    """One backbone's values of one metric."""
    own = [row for row in rows if (row["backbone"], row["metric"]) == (backbone, metric)]
    x = number("value", metric, {"zero": False, "nice": True}, tickCount=3, format=".2f")
    colors = {name: VARIANT_COLORS[name] for name in variants}
    shapes = {name: VARIANT_SHAPES[name] for name in variants}
    return {
        "data": values(own),
        "encoding": {
            "y": {
                **{"field": "method", "type": "nominal", "title": None},
                "sort": distinct(rows, "method"),
                "axis": {"labels": labelled, "ticks": False, "domain": False, "grid": True},
            },
            "yOffset": {
                **{"field": "variant", "type": "nominal", "sort": list(variants)},
                "scale": {"paddingOuter": 0.8},
            },
            "color": category("variant", "variant", colors),
        },
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": dot(45),
                "encoding": {"x": x, "shape": category("variant", "variant", shapes)},
            },
        ],
        "width": 170,
        "height": {"step": 9},
        "title": f"{backbone}, {metric}",
    }
