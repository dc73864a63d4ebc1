"""The paper's charts: its figures, and its table as dots."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from invlearn.paper.figures import FigureData
from invlearn.reporting.plots import altair_module, coloured, distinct, framed, shaped, values
from invlearn.reporting.traces import BINS, Beliefs, Judges

PANEL = 235
"""Width in pixels of one of two panels side by side."""

CHOICE_COLOURS = {"direct": "#0072B2", "inverse": "#D55E00", "stay": "#000000"}
CHOICE_SHAPES = {"direct": "circle", "inverse": "triangle-up", "stay": "cross"}
WEIGHT_COLOURS = {"w1": "#0072B2", "w0": "#D55E00"}
VARIANT_COLOURS = {
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


def figure_chart(data: FigureData, *, note: str = "") -> Any:
    """Draw a figure of the paper.

    Beliefs: histograms of w1 and w0, a column a panel, the first epoch above the last one. Judges:
    the loss at every drawn step, marked by what was chosen, two panels a line.

    Args:
        data: From `invlearn.paper.figures.figure_data`.
        note: Stands below the title, such as that the data are simulated.

    Raises:
        ConfigError: The extra `report` is not installed.
    """
    alt = altair_module()
    if data.kind == "beliefs":
        beliefs = [panel for panel in data.panels if isinstance(panel, Beliefs)]
        charts = [_weights(alt, panel, epoch) for epoch in ("first", "last") for panel in beliefs]
        return framed(alt.concat(*charts, columns=len(beliefs)), data.title, note)
    charts = [_choices(alt, panel) for panel in data.panels if isinstance(panel, Judges)]
    return framed(alt.concat(*charts, columns=2), data.title, note)


def table2_chart(dots: Iterable[Dot], title: str, note: str = "") -> Any:
    """Table 2 as dots: a row a method, a column a metric, published beside measured values.

    Raises:
        ConfigError: The extra `report` is not installed.
    """
    alt = altair_module()
    rows = [asdict(dot) for dot in dots]
    metrics, backbones = distinct(rows, "metric"), distinct(rows, "backbone")
    variants = [name for name in VARIANT_COLOURS if name in distinct(rows, "variant")]
    cells = [
        _cell(alt, rows, backbone, metric, variants, labelled=metric == metrics[0])
        for backbone in backbones
        for metric in metrics
    ]
    return framed(alt.concat(*cells, columns=len(metrics)), title, note)


def _weights(alt: Any, panel: Beliefs, epoch: str) -> Any:
    """Bars of w1 and w0 over their bins."""
    rows = [
        {"weight": name, "from": at / BINS, "to": (at + 1) / BINS, "part": count / panel.n_pairs}
        for name, counts in panel.counts[epoch].items()
        for at, count in enumerate(counts)
        if count
    ]
    return (
        alt.Chart(values(alt, rows))
        .mark_rect(opacity=0.6)
        .encode(
            x=alt.X("from:Q", title="weight", scale=alt.Scale(domain=[0, 1])),
            x2="to:Q",
            y=alt.Y("part:Q", title="share of pairs", axis=alt.Axis(format="%", tickCount=4)),
            y2=alt.datum(0),
            color=coloured(alt, "weight", "weight", WEIGHT_COLOURS),
        )
        .properties(width=PANEL, height=120, title=f"{panel.title}, {epoch} epoch")
    )


def _choices(alt: Any, panel: Judges) -> Any:
    """A thin line through the losses, and a mark a step."""
    rows = [
        {"step": step, "loss": loss, "choice": choice}
        for step, loss, choice in zip(panel.steps, panel.losses, panel.choices, strict=True)
    ]
    chart = alt.Chart(values(alt, rows)).encode(
        x=alt.X("step:Q", title="judged step", axis=alt.Axis(tickCount=6)),
        y=alt.Y("loss:Q", title="log loss", scale=alt.Scale(zero=False)),
    )
    marks = chart.mark_point(size=16, filled=True, opacity=0.8).encode(
        color=coloured(alt, "choice", "direction", CHOICE_COLOURS),
        shape=shaped(alt, "choice", "direction", CHOICE_SHAPES),
    )
    counts = ", ".join(f"{panel.counts[name]:,} {name}" for name in CHOICE_COLOURS)
    shown = f"; 1 in {panel.every} drawn" if panel.every > 1 else ""
    return alt.layer(chart.mark_line(color="#BBBBBB", strokeWidth=0.7), marks).properties(
        width=PANEL, height=170, title=alt.Title(panel.title, subtitle=counts + shown)
    )


def _cell(
    alt: Any,
    rows: Sequence[Mapping[str, Any]],
    backbone: str,
    metric: str,
    variants: Sequence[str],
    *,
    labelled: bool,
) -> Any:
    """One backbone's values of one metric."""
    found = [row for row in rows if (row["backbone"], row["metric"]) == (backbone, metric)]
    y = alt.Y(
        "method:N", title=None, sort=distinct(rows, "method"),
        axis=alt.Axis(labels=labelled, ticks=False, domain=False, grid=True),
    )  # fmt: skip
    offset = alt.YOffset("variant:N", sort=list(variants), scale=alt.Scale(paddingOuter=0.8))
    scale = alt.Scale(zero=False, nice=True)
    chart = alt.Chart(values(alt, found)).encode(
        y=y, yOffset=offset,
        color=coloured(alt, "variant", "variant", {n: VARIANT_COLOURS[n] for n in variants}),
    )  # fmt: skip
    x = alt.X("value:Q", title=metric, scale=scale, axis=alt.Axis(tickCount=3, format=".2f"))
    return alt.layer(
        chart.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        chart.mark_point(size=45, filled=True, opacity=1).encode(
            x=x, shape=shaped(alt, "variant", "variant", {n: VARIANT_SHAPES[n] for n in variants})
        ),
    ).properties(width=170, height=alt.Step(9), title=f"{backbone}, {metric}")  # fmt: skip
