"""The charts of a report, as Vega-Lite made by Altair.

A chart is one panel as wide as its place on the page. What is not of a run is written in the
colour of the text around it, so that light, dark and paper need no second drawing; colours of runs
stand out from white and from near-black alike, and a shape says the same once more. Each chart
listens to `shown`, the names of the runs that a reader wants to see.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any

from invlearn.evaluation.calibration import Calibration
from invlearn.reporting.blocks import Series
from invlearn.reporting.plots import altair_module, shaped, values
from invlearn.reporting.records import RunRecord
from invlearn.reporting.traces import BINS, Beliefs, Judges

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#B8568F", "#8A63C9", "#A66F00")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right")
TRIVIAL = "#808080"
"""Colour of the trivial baselines."""
CHOICE_COLOURS = {"direct": "#0072B2", "inverse": "#D55E00", "stay": "#808080"}
CHOICE_SHAPES = {"direct": "circle", "inverse": "triangle-up", "stay": "cross"}
INK = "currentColor"
HEIGHT, LINE = 210, 22
"""Of a chart, and of a line of a chart that has a line a run, in pixels."""
INTERVAL = (("value", ".4f"), ("low", ".4f"), ("high", ".4f"))
"""What a mark with an interval tells, and how."""

CONFIG: dict[str, Any] = {
    "aria": False,
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "text": {"color": INK},
    "rule": {"color": INK},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "tickColor": INK,
        "domainColor": INK,
        "gridColor": INK,
        "gridOpacity": 0.13,
        "domainOpacity": 0.4,
        "tickOpacity": 0.4,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelFlush": False,
    },
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "orient": "top",
        "title": None,
        "symbolOpacity": 1,
    },
}
"""Looks that all charts share; handed to the page once."""


def series_of(records: Sequence[RunRecord]) -> tuple[Series, ...]:
    """Give each run a colour and a shape that it keeps on the whole page."""
    looks = zip(cycle(COLOURS), cycle(SHAPES), strict=False)
    return tuple(
        Series(r.name, *look, f"{r.config.strategy} over {r.config.backbone}")
        for r, look in zip(records, islice(looks, len(records)), strict=True)
    )


def levels_chart(rows: Sequence[Mapping[str, Any]], series: Sequence[Series], title: str) -> Any:
    """Values with intervals, a line a run or baseline.

    Args:
        rows: `run`, `value`, `low`, `high`, `trivial`, in reading order.
        series: Of the page.
        title: Of the axis.
    """
    alt = altair_module()
    order = [row["run"] for row in rows]
    x = {"title": title, "scale": alt.Scale(zero=False, nice=True, padding=4)}
    base = _base(alt, rows, series, "datum.trivial || indexof(shown, datum.run) >= 0").encode(
        y=alt.Y(
            "run:N", sort=order, title=None,
            axis=alt.Axis(ticks=False, domain=False, grid=True, labelLimit=120),
        ),
        color=_colour(alt, series),
        tooltip=_tips(alt, ("run", ""), *INTERVAL),
    )  # fmt: skip
    return _spec(
        alt.layer(
            base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q", **x), x2="high:Q"),
            base.mark_point(size=70, filled=True, opacity=1).encode(
                x=alt.X("value:Q", axis=alt.Axis(tickCount=4)), shape=_shape(alt, series)
            ),
        ).properties(height=LINE * len(rows)),
        series,
    )


def curve_chart(rows: Sequence[Mapping[str, Any]], series: Sequence[Series], title: str) -> Any:
    """A figure over epochs, the best epoch marked.

    Args:
        rows: `run`, `epoch`, `value`, `best`.
        series: Of the page.
        title: Of the axis.
    """
    alt = altair_module()
    base = _base(alt, rows, series).encode(
        x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, tickCount=6, format="d")),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5)),
        color=_colour(alt, series),
        shape=_shape(alt, series),
        tooltip=_tips(alt, ("run", ""), ("epoch", "d"), ("value", ".4f")),
    )
    return _spec(
        alt.layer(
            base.mark_line(strokeWidth=2),
            base.mark_point(size=22, filled=True, opacity=1),
            base.transform_filter("datum.best").mark_point(size=150, strokeWidth=2, fill=None),
        ).properties(height=HEIGHT),
        series,
    )


def belief_chart(beliefs: Beliefs, epoch: str) -> Any:
    """How far unlabelled pairs are believed positive, after the `first` or the `last` epoch."""
    alt = altair_module()
    rows = [
        {"from": at / BINS, "to": (at + 1) / BINS, "part": n / beliefs.n_pairs}
        for at, n in enumerate(beliefs.counts[epoch]["w1"])
    ]
    whole = alt.Scale(domain=[0, 1])
    chart = (
        alt.Chart(values(alt, rows))
        .mark_rect(color=COLOURS[0])
        .encode(
            x=alt.X("from:Q", title="belief (w1)", scale=whole, axis=alt.Axis(tickCount=5)),
            x2="to:Q",
            y=alt.Y("part:Q", title="share of pairs", axis=alt.Axis(format="%", tickCount=4)),
            y2=alt.datum(0),
            tooltip=_tips(alt, ("from", ".2f"), ("to", ".2f"), ("part", ".1%")),
        )
        .properties(height=120)
    )
    return _spec(chart, ())


def judge_chart(judges: Judges) -> Any:
    """The judges' loss at each drawn step, marked by what they chose."""
    alt = altair_module()
    rows = [
        {"step": step, "loss": loss, "choice": choice}
        for step, loss, choice in zip(judges.steps, judges.losses, judges.choices, strict=True)
    ]
    base = alt.Chart(values(alt, rows)).encode(
        x=alt.X("step:Q", title="judged step", axis=alt.Axis(tickCount=6)),
        y=alt.Y("loss:Q", title="judges' log loss", scale=alt.Scale(zero=False)),
    )
    colours = alt.Scale(domain=list(CHOICE_COLOURS), range=list(CHOICE_COLOURS.values()))
    marks = base.mark_point(size=32, filled=True, opacity=0.9).encode(
        color=alt.Color("choice:N", scale=colours),
        shape=shaped(alt, "choice", "", CHOICE_SHAPES),
        tooltip=_tips(alt, ("step", "d"), ("loss", ".4f"), ("choice", "")),
    )
    line = base.mark_line(color=INK, opacity=0.25, strokeWidth=1)
    return _spec(alt.layer(line, marks).properties(height=HEIGHT), ())


def reliability_chart(found: Mapping[str, Calibration], series: Sequence[Series]) -> Any:
    """What was claimed against what came true; on the dashed line both are the same."""
    alt = altair_module()
    rows = [
        {"run": run, "claimed": b.mean_probability, "true": b.positive_fraction, "rows": b.rows}
        for run, result in found.items()
        for b in result.table
    ]
    whole, few = alt.Scale(domain=[0, 1]), alt.Axis(tickCount=5)
    base = _base(alt, rows, series).encode(
        x=alt.X("claimed:Q", title="claimed for label 1", scale=whole, axis=few),
        y=alt.Y("true:Q", title="share of positive rows", scale=whole, axis=few),
        color=_colour(alt, series),
        shape=_shape(alt, series),
        tooltip=_tips(alt, ("run", ""), ("claimed", ".3f"), ("true", ".3f"), ("rows", ",")),
    )
    ends = [{"claimed": 0, "true": 0}, {"claimed": 1, "true": 1}]
    diagonal = alt.Chart(values(alt, ends)).mark_line(color=INK, opacity=0.5, strokeDash=[5, 4])
    return _spec(
        alt.layer(
            diagonal.encode(x=alt.X("claimed:Q", scale=whole), y=alt.Y("true:Q", scale=whole)),
            base.mark_line(strokeWidth=2),
            base.mark_point(size=45, filled=True, opacity=1),
        ).properties(height=320),
        series,
    )


def against_chart(
    rows: Sequence[Mapping[str, Any]],
    series: Sequence[Series],
    titles: tuple[str, str],
    *,
    log: bool = False,
) -> Any:
    """A metric with its interval against a number of the run.

    Args:
        rows: `run`, `x`, `value`, `low`, `high`.
        series: Of the page.
        titles: Of both axes.
        log: Whether the number is drawn on a logarithmic axis.
    """
    alt = altair_module()
    across = alt.Scale(type="log", padding=12) if log else alt.Scale(zero=True, nice=True)
    base = _base(alt, rows, series).encode(
        x=alt.X("x:Q", title=titles[0], scale=across, axis=alt.Axis(tickCount=5, grid=False)),
        color=_colour(alt, series),
        tooltip=_tips(alt, ("run", ""), ("x", ".4~g"), *INTERVAL),
    )
    y = {"title": titles[1], "scale": alt.Scale(zero=False, padding=6)}
    return _spec(
        alt.layer(
            base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", **y), y2="high:Q"),
            base.mark_point(size=80, filled=True, opacity=1).encode(
                y=alt.Y("value:Q", axis=alt.Axis(tickCount=5)), shape=_shape(alt, series)
            ),
        ).properties(height=HEIGHT),
        series,
    )


def _base(
    alt: Any,
    rows: Sequence[Mapping[str, Any]],
    series: Sequence[Series],
    shown: str = "indexof(shown, datum.run) >= 0",
) -> Any:
    """Rows of the runs that are shown."""
    return alt.Chart(values(alt, rows)).transform_filter(shown)


def _colour(alt: Any, series: Sequence[Series]) -> Any:
    names = [one.name for one in series]
    scale = alt.Scale(domain=names, range=[one.colour for one in series])
    return alt.condition(
        "datum.trivial", alt.value(TRIVIAL), alt.Color("run:N", scale=scale, legend=None)
    )


def _shape(alt: Any, series: Sequence[Series]) -> Any:
    scale = alt.Scale(domain=[one.name for one in series], range=[one.shape for one in series])
    return alt.condition(
        "datum.trivial", alt.value("circle"), alt.Shape("run:N", scale=scale, legend=None)
    )


def _tips(alt: Any, *fields: tuple[str, str]) -> list[Any]:
    """What hovering over a mark says."""
    return [
        alt.Tooltip(f"{name}:Q", format=form) if form else alt.Tooltip(f"{name}:N")
        for name, form in fields
    ]


def _spec(chart: Any, series: Sequence[Series]) -> dict[str, Any]:
    """The chart as the page draws it."""
    chart = chart.properties(width="container")
    if series:
        names = [one.name for one in series]
        chart = chart.add_params(altair_module().param(name="shown", value=names))
    # Checking against the schema takes a third of a page's time; the tests do it.
    drawn = json.dumps(chart.to_dict(validate=False))
    # What is no number, such as the loss of a run that diverged, is a gap.
    found = json.loads(drawn, parse_constant=lambda _: None)
    return {key: value for key, value in found.items() if key not in ("$schema", "config")}
