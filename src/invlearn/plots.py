"""Charts of results, drawn by Altair and saved as SVG or PNG without a browser.

Colours are those of Okabe and Ito, which people with any colour vision tell apart; shape or dash
says the same once more. Every chart is some 700 pixels wide and stands on white.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap
from typing import Any

from invlearn import atomic
from invlearn.errors import ConfigError
from invlearn.paper.figures import BINS, Beliefs, FigureData, Judges

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
METHOD_COLOURS = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#F0E442",
)  # fmt: skip
DASHES = ((2, 2), (6, 3), (10, 3, 2, 3), (1, 4), (14, 4))


@dataclass(frozen=True, slots=True)
class Reading:
    """A measured value of a series at a share of labels, with its interval."""

    series: str
    """Method, or trivial baseline."""
    share: float
    """Part of the training labels that was kept, in (0, 1]."""
    mean: float
    """Mean over seeds."""
    low: float | None = None
    """Lower end of the interval, if there is one."""
    high: float | None = None
    """Upper end of it."""
    trivial: bool = False
    """Whether the series is a trivial baseline."""


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
    alt = _altair()
    if data.kind == "beliefs":
        beliefs = [panel for panel in data.panels if isinstance(panel, Beliefs)]
        charts = [_weights(alt, panel, epoch) for epoch in ("first", "last") for panel in beliefs]
        return _framed(alt.concat(*charts, columns=len(beliefs)), data.title, note)
    charts = [_choices(alt, panel) for panel in data.panels if isinstance(panel, Judges)]
    return _framed(alt.concat(*charts, columns=2), data.title, note)


def share_chart(readings: Iterable[Reading], title: str, metric: str, note: str = "") -> Any:
    """A metric over the share of labels kept: methods with bands, trivial baselines dashed.

    Args:
        readings: Points of all series; a band is drawn where there are intervals.
        title: What is compared, and where.
        metric: Name for the axis, such as `test AUC`.
        note: Stands below the title, such as what the intervals cover.

    Raises:
        ConfigError: The extra `report` is not installed.
    """
    alt = _altair()
    rows = [asdict(reading) for reading in readings]
    measured = [row for row in rows if not row["trivial"]]
    trivial = [row for row in rows if row["trivial"]]
    methods, baselines = _names(measured, "series"), _names(trivial, "series")
    shares = sorted({row["share"] for row in rows})
    x = alt.X(
        "share:Q", title="training labels kept (log scale)",
        scale=alt.Scale(type="log", domain=[shares[0], shares[-1]]),
        axis=alt.Axis(values=shares, format="~%", grid=False),
    )  # fmt: skip
    y = alt.Y("mean:Q", title=metric, scale=alt.Scale(zero=False, padding=6))
    colour = _coloured(alt, "series", "method", dict(zip(methods, METHOD_COLOURS, strict=False)))
    dash = alt.StrokeDash(
        "series:N", title="trivial baseline",
        scale=alt.Scale(domain=baselines, range=[list(d) for d in DASHES]),
        legend=alt.Legend(symbolSize=600, symbolStrokeColor="#666666"),
    )  # fmt: skip
    banded = alt.Chart(_values(alt, [r for r in measured if r["low"] is not None]))
    lines = alt.Chart(_values(alt, measured))
    chart = alt.layer(
        alt.Chart(_values(alt, trivial)).mark_line(color="#666666", strokeWidth=1.5).encode(
            x=x, y=y, strokeDash=dash
        ),
        banded.mark_area(opacity=0.15).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour),
        lines.mark_line(point=True, strokeWidth=2).encode(x=x, y=y, color=colour),
    )  # fmt: skip
    return _framed(chart.properties(width=470, height=340), title, note)


def table2_chart(dots: Iterable[Dot], title: str, note: str = "") -> Any:
    """Table 2 as dots: a row a method, a column a metric, published beside measured values.

    Raises:
        ConfigError: The extra `report` is not installed.
    """
    alt = _altair()
    rows = [asdict(dot) for dot in dots]
    metrics, backbones = _names(rows, "metric"), _names(rows, "backbone")
    variants = [name for name in VARIANT_COLOURS if name in _names(rows, "variant")]
    cells = [
        _cell(alt, rows, backbone, metric, variants, labelled=metric == metrics[0])
        for backbone in backbones
        for metric in metrics
    ]
    return _framed(alt.concat(*cells, columns=len(metrics)), title, note)


def require() -> None:
    """Make sure that charts can be drawn, before hours of work for them.

    Raises:
        ConfigError: The extra `report` is not installed.
    """
    for package in ("altair", "vl_convert"):
        if find_spec(package) is None:
            raise _missing(package)


def save(chart: Any, file: Path) -> None:
    """Write a chart as SVG or PNG, by the suffix of the file.

    Raises:
        ConfigError: The suffix is another one, or the extra `report` is not installed.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise _missing("vl-convert") from error
    content = chart.to_dict()
    if file.suffix == ".svg":
        atomic.write_text(file, vl_convert.vegalite_to_svg(content))
    elif file.suffix == ".png":
        with atomic.new_file(file) as partial:
            partial.write_bytes(vl_convert.vegalite_to_png(content))
    else:
        raise ConfigError(f"{file} has no known suffix for a chart; end it in .svg or .png")


def _weights(alt: Any, panel: Beliefs, epoch: str) -> Any:
    """Bars of w1 and w0 over their bins."""
    rows = [
        {"weight": name, "from": at / BINS, "to": (at + 1) / BINS, "part": count / panel.n_pairs}
        for name, counts in panel.counts[epoch].items()
        for at, count in enumerate(counts)
        if count
    ]
    return (
        alt.Chart(_values(alt, rows))
        .mark_rect(opacity=0.6)
        .encode(
            x=alt.X("from:Q", title="weight", scale=alt.Scale(domain=[0, 1])),
            x2="to:Q",
            y=alt.Y("part:Q", title="share of pairs", axis=alt.Axis(format="%", tickCount=4)),
            y2=alt.datum(0),
            color=_coloured(alt, "weight", "weight", WEIGHT_COLOURS),
        )
        .properties(width=PANEL, height=120, title=f"{panel.title}, {epoch} epoch")
    )


def _choices(alt: Any, panel: Judges) -> Any:
    """A thin line through the losses, and a mark a step."""
    rows = [
        {"step": step, "loss": loss, "choice": choice}
        for step, loss, choice in zip(panel.steps, panel.losses, panel.choices, strict=True)
    ]
    chart = alt.Chart(_values(alt, rows)).encode(
        x=alt.X("step:Q", title="judged step", axis=alt.Axis(tickCount=6)),
        y=alt.Y("loss:Q", title="log loss", scale=alt.Scale(zero=False)),
    )
    marks = chart.mark_point(size=16, filled=True, opacity=0.8).encode(
        color=_coloured(alt, "choice", "direction", CHOICE_COLOURS),
        shape=_shaped(alt, "choice", "direction", CHOICE_SHAPES),
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
        "method:N", title=None, sort=_names(rows, "method"),
        axis=alt.Axis(labels=labelled, ticks=False, domain=False, grid=True),
    )  # fmt: skip
    offset = alt.YOffset("variant:N", sort=list(variants), scale=alt.Scale(paddingOuter=0.8))
    scale = alt.Scale(zero=False, nice=True)
    chart = alt.Chart(_values(alt, found)).encode(
        y=y, yOffset=offset,
        color=_coloured(alt, "variant", "variant", {n: VARIANT_COLOURS[n] for n in variants}),
    )  # fmt: skip
    x = alt.X("value:Q", title=metric, scale=scale, axis=alt.Axis(tickCount=3, format=".2f"))
    return alt.layer(
        chart.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        chart.mark_point(size=45, filled=True, opacity=1).encode(
            x=x, shape=_shaped(alt, "variant", "variant", {n: VARIANT_SHAPES[n] for n in variants})
        ),
    ).properties(width=170, height=alt.Step(9), title=f"{backbone}, {metric}")  # fmt: skip


def _coloured(alt: Any, field: str, title: str, colours: Mapping[str, str]) -> Any:
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    legend = alt.Legend(symbolOpacity=1)
    return alt.Color(f"{field}:N", title=title, scale=scale, legend=legend)


def _shaped(alt: Any, field: str, title: str, shapes: Mapping[str, str]) -> Any:
    scale = alt.Scale(domain=list(shapes), range=list(shapes.values()))
    return alt.Shape(f"{field}:N", title=title, scale=scale)


def _framed(chart: Any, title: str, note: str) -> Any:
    """Title, note and looks that all charts share."""
    alt = _altair()
    heading = alt.Title(title, subtitle=wrap(note, 100), anchor="start", fontSize=15, offset=12)
    framed = chart.properties(title=heading, background="white", padding=8)
    return (
        framed.configure_view(stroke="#DDDDDD")
        .configure_axis(gridColor="#EEEEEE", labelFontSize=11, titleFontSize=11)
        .configure_title(fontSize=12, subtitleFontSize=10, subtitleColor="#444444", anchor="start")
        .configure_legend(labelFontSize=11, titleFontSize=11)
        .configure(aria=False)
    )


def _names(rows: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    """Distinct values of a key, in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def _values(alt: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
    return alt.Data(values=list(rows))


def _altair() -> Any:
    try:
        import altair
    except ImportError as error:
        raise _missing("altair") from error
    return altair


def _missing(package: str) -> ConfigError:
    return ConfigError(f"{package} is not installed; charts need pip install 'invlearn[report]'")
