"""Charts as Vega-Lite specifications: those of the report page, and images as SVG or PNG.

A chart of the page is as wide as its place. Its axes have the color of the surrounding text, so
that one chart serves light, dark and print. Each run has a color that stands out from white and
from black, and a shape. Charts of runs listen to the parameter `shown`, the names of the runs to
draw. A chart for a file is about 700 pixels wide, on white, with the colors of Okabe and Ito.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import cycle
from math import isfinite
from pathlib import Path
from textwrap import wrap
from typing import Any

from invlearn.evaluation.calibration import Calibration
from invlearn.reporting.blocks import Series
from invlearn.reporting.records import RunRecord
from invlearn.reporting.traces import BINS, Beliefs, Judges
from invlearn.runtime import atomic
from invlearn.runtime.environment import require_extra
from invlearn.runtime.errors import ConfigError

Spec = dict[str, Any]
"""A Vega-Lite specification, or a part of one."""
Rows = Sequence[Mapping[str, Any]]

PACKAGES = ("vl_convert", "jinja2")
"""Packages of the extra `report`."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#B8568F", "#8A63C9", "#A66F00")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right")
TRIVIAL = {"color": "#808080", "shape": "circle"}
"""Look of the trivial baselines."""
CHOICE_COLORS = {"direct": "#0072B2", "inverse": "#D55E00", "stay": "#808080"}
CHOICE_SHAPES = {"direct": "circle", "inverse": "triangle-up", "stay": "cross"}
OKABE_ITO = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#F0E442")
DASHES = ((2, 2), (6, 3), (10, 3, 2, 3), (1, 4), (14, 4))
INK = "currentColor"
HEIGHT, LINE = 210, 22
"""Height in pixels of a chart, and of one line of a chart with one line per run."""
INTERVAL = {"value": ".4f", "low": ".4f", "high": ".4f"}
"""Tooltip of a mark with an interval: format by field."""
FREE, UNIT = {"zero": False}, {"domain": [0, 1]}
"""Scale of a metric, which need not start at 0, and of a fraction."""
WHOLE: Spec = {"tickCount": 6, "format": "d", "labelExpr": "datum.value % 1 ? '' : datum.label"}
"""Axis of whole numbers: ticks between them have no label."""
THIN = {"type": "line", "strokeWidth": 2}
SHOWN = "indexof(shown, datum.run) >= 0"
"""Vega expression: whether the run of a row is shown."""

CONFIG: Spec = {
    "aria": False,
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "text": {"color": INK},
    "rule": {"color": INK},
    "axis": {
        **dict.fromkeys(("labelColor", "titleColor", "tickColor", "domainColor", "gridColor"), INK),
        **{"gridOpacity": 0.13, "domainOpacity": 0.4, "tickOpacity": 0.4},
        **{"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
        "labelFlush": False,
    },
    "legend": {
        **{"labelColor": INK, "titleColor": INK, "labelFontSize": 12},
        **{"orient": "top", "title": None, "symbolOpacity": 1},
    },
}
"""Style of all charts of the page."""
FILE_CONFIG: Spec = {"aria": False, "legend": {"symbolOpacity": 1}}
"""Style of all charts for files."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Value of a series at a share of labels, with its interval."""

    series: str
    """Method, or trivial baseline."""
    share: float
    """Fraction of the labels that was kept, or flipped."""
    mean: float
    """Mean over seeds."""
    low: float | None = None
    """Lower end of the interval, if there is one."""
    high: float | None = None
    """Upper end of the interval."""
    trivial: bool = False
    """Whether the series is a trivial baseline."""


def is_installed() -> bool:
    """Whether charts can be drawn."""
    return all(find_spec(package) for package in PACKAGES)


def require() -> None:
    """Check that charts can be drawn, before hours of work for them.

    Raises:
        ConfigError: The extra `report` is not installed.
    """
    require_extra("report", PACKAGES, "a chart")


def series_of(records: Sequence[RunRecord]) -> tuple[Series, ...]:
    """Return the color and the shape of each run, the same on the whole page."""
    looks = zip(records, cycle(COLORS), cycle(SHAPES), strict=False)
    return tuple(
        Series(r.name, color, shape, f"{r.config.strategy} over {r.config.backbone}")
        for r, color, shape in looks
    )


def levels_chart(rows: Rows, series: Sequence[Series], title: str) -> Spec:
    """Draw values with intervals, one line per run or baseline.

    Args:
        rows: `run`, `value`, `low`, `high`, `trivial`, in reading order.
        series: Series of the page.
        title: Title of the axis.
    """
    names = {"ticks": False, "domain": False, "grid": True, "labelLimit": 120}
    order = [row["run"] for row in rows]
    y = {"field": "run", "type": "nominal", "sort": order, "title": None, "axis": names}
    x = number("value", title, {"zero": False, "nice": True, "padding": 4}, tickCount=4)
    encoding = {"y": y, "tooltip": _tips(run="", **INTERVAL)}
    marks, shown = _intervals("x", x, series), f"datum.trivial || {SHOWN}"
    return _page_chart(rows, encoding, marks, series, shown) | {"height": LINE * len(rows)}


def against_chart(
    rows: Rows, series: Sequence[Series], titles: tuple[str, str], scale: Spec
) -> Spec:
    """Draw a metric with its interval against a number of the run.

    Args:
        rows: `run`, `x`, `value`, `low`, `high`.
        series: Series of the page.
        titles: Titles of the axes of number and metric.
        scale: Scale of the number.
    """
    x = number("x", titles[0], scale, tickCount=5, grid=False)
    y = number("value", titles[1], {"zero": False, "padding": 6}, tickCount=5)
    encoding = {"x": x, "tooltip": _tips(run="", x=".4~g", **INTERVAL)}
    return _page_chart(rows, encoding, _intervals("y", y, series), series)


def curve_chart(rows: Rows, series: Sequence[Series], title: str) -> Spec:
    """Draw a metric over epochs, with a ring around the best epoch.

    Args:
        rows: `run`, `epoch`, `value`, `best`.
        series: Series of the page.
        title: Title of the axis.
    """
    encoding = {
        "x": number("epoch", "epoch", **WHOLE),
        "y": number("value", title, FREE, tickCount=5),
        "shape": _look(series, "shape"),
        "tooltip": _tips(run="", epoch="d", value=".4f"),
    }
    ring = {"type": "point", "size": 150, "strokeWidth": 2, "fill": None}
    best = {"mark": ring, "transform": [{"filter": "datum.best"}]}
    return _page_chart(rows, encoding, [{"mark": THIN}, {"mark": dot(22)}, best], series)


def belief_chart(beliefs: Beliefs, epoch: str) -> Spec:
    """Draw the histogram of the belief in unlabelled pairs, after the `first` or `last` epoch."""
    encoding = bars("belief (w1)") | {
        "tooltip": _tips(**{"from": ".2f", "to": ".2f", "part": ".1%"})
    }
    marks = [{"mark": {"type": "rect", "color": COLORS[0]}}]
    return _page_chart(bins(beliefs, epoch, "w1"), encoding, marks) | {"height": 120}


def judge_chart(judges: Judges) -> Spec:
    """Draw the judges' loss at each drawn step, marked by what they chose."""
    encoding = {
        "x": number("step", "judged step", **WHOLE),
        "y": number("loss", "judges' log loss", FREE),
    }
    marked = {
        "color": category("choice", None, CHOICE_COLORS),
        "shape": category("choice", None, CHOICE_SHAPES),
        "tooltip": _tips(step="d", loss=".4f", choice=""),
    }
    line = {"type": "line", "color": INK, "opacity": 0.25, "strokeWidth": 1}
    marks = [{"mark": line}, {"mark": dot(32) | {"opacity": 0.9}, "encoding": marked}]
    return _page_chart(judged_steps(judges), encoding, marks)


def reliability_chart(calibrations: Mapping[str, Calibration], series: Sequence[Series]) -> Spec:
    """Draw claimed against observed probability; on the dashed line both are equal."""
    rows = [
        {"run": run, "claimed": b.mean_probability, "true": b.positive_fraction, "rows": b.rows}
        for run, result in calibrations.items()
        for b in result.table
    ]
    axes = {
        "x": number("claimed", "claimed for label 1", UNIT, tickCount=5),
        "y": number("true", "share of positive rows", UNIT, tickCount=5),
    }
    diagonal = {"mark": {"type": "line", "color": INK, "opacity": 0.5, "strokeDash": [5, 4]}}
    of_run: Spec = {channel: _look(series, channel) for channel in TRIVIAL}
    of_run["tooltip"] = _tips(run="", claimed=".3f", true=".3f", rows=",")
    chosen = {"data": values(rows), "encoding": of_run, "transform": [{"filter": SHOWN}]}
    ends = [{"claimed": 0, "true": 0}, {"claimed": 1, "true": 1}]
    marks = [diagonal, chosen | {"mark": THIN}, chosen | {"mark": dot(45)}]
    return _page_chart(ends, axes, marks) | {"height": 320, "params": [_shown(series)]}


def share_chart(
    readings: Iterable[Reading],
    title: str,
    metric: str,
    note: str = "",
    over: str = "training labels kept",
) -> Spec:
    """Draw a metric over a share of labels: methods with bands, trivial baselines dashed.

    The axis is logarithmic unless there is a share of 0.

    Args:
        readings: Values of all series; those with an interval get a band.
        title: What is compared, and where.
        metric: Title of the axis, for example `test AUC`.
        note: Text below the title, for example what the intervals cover.
        over: What the share is a share of.
    """
    rows = [asdict(reading) for reading in readings]
    measured = [row for row in rows if not row["trivial"]]
    trivial = [row for row in rows if row["trivial"]]
    shares = sorted({row["share"] for row in rows})
    kind, suffix = ("log", " (log scale)") if shares[0] > 0 else ("linear", "")
    scale = {"type": kind, "domain": [shares[0], shares[-1]]}
    x = number("share", over + suffix, scale, values=shares, format="~%", grid=False)
    y = number("mean", metric, {"zero": False, "padding": 6})
    colors = dict(zip(distinct(measured, "series"), OKABE_ITO, strict=False))
    color = category("series", "method", colors)
    styles = dict(zip(distinct(trivial, "series"), map(list, DASHES), strict=False))
    legend = {"legend": {"symbolSize": 600, "symbolStrokeColor": "#666666"}}
    dash = category("series", "trivial baseline", styles) | legend

    def layer(rows: Rows, mark: Spec, **encoding: Spec) -> Spec:
        return {"data": values(rows), "mark": mark, "encoding": {"x": x, "y": y, **encoding}}

    banded = [row for row in measured if row["low"] is not None]
    ends = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
    layers = [
        layer(trivial, {"type": "line", "color": "#666666", "strokeWidth": 1.5}, strokeDash=dash),
        layer(banded, {"type": "area", "opacity": 0.15}, **ends, color=color),
        layer(measured, THIN | {"point": True}, color=color),
    ]
    return framed({"layer": layers, "width": 470, "height": 340}, title, note)


def framed(spec: Spec, title: str, note: str) -> Spec:
    """Return a chart for a file, with a title, a note below it, and the style of such charts."""
    heading = {"text": title, "subtitle": wrap(note, 100), "anchor": "start"}
    heading |= {"fontSize": 15, "offset": 12}
    frame = {"title": heading, "background": "white", "padding": 8, "config": FILE_CONFIG}
    return spec | frame


def save(spec: Spec, file: Path) -> None:
    """Write a chart as SVG or PNG, by the suffix of the file.

    Raises:
        ConfigError: The suffix is another one, or the extra `report` is not installed.
    """
    require()
    import vl_convert

    if file.suffix == ".svg":
        atomic.write_text(file, vl_convert.vegalite_to_svg(spec))
    elif file.suffix == ".png":
        with atomic.new_file(file) as partial:
            partial.write_bytes(vl_convert.vegalite_to_png(spec))
    else:
        raise ConfigError(f"{file} has no known suffix for a chart; end it in .svg or .png")


def distinct(rows: Rows, key: str) -> list[str]:
    """Return the distinct values of a key, in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def values(rows: Rows) -> Spec:
    """Return rows as the data of a chart; numbers that are not finite become gaps."""

    def is_gap(value: Any) -> bool:
        return isinstance(value, float) and not isfinite(value)

    return {"values": [{k: None if is_gap(v) else v for k, v in row.items()} for row in rows]}


def bins(beliefs: Beliefs, epoch: str, weight: str) -> list[dict[str, Any]]:
    """Return the bins of a histogram: `from`, `to`, and `part`, the share of the pairs."""
    return [
        {"from": at / BINS, "to": (at + 1) / BINS, "part": n / beliefs.n_pairs}
        for at, n in enumerate(beliefs.counts[epoch][weight])
    ]


def bars(title: str) -> Spec:
    """Return the encoding of a histogram's `bins`."""
    return {
        "x": number("from", title, UNIT, tickCount=5),
        "x2": {"field": "to"},
        "y": number("part", "share of pairs", format="%", tickCount=4),
        "y2": {"datum": 0},
    }


def judged_steps(judges: Judges) -> list[dict[str, Any]]:
    """Return the drawn judged steps as rows: `step`, `loss`, `choice`."""
    steps = zip(judges.steps, judges.losses, judges.choices, strict=True)
    return [{"step": step, "loss": loss, "choice": choice} for step, loss, choice in steps]


def number(field: str, title: str, scale: Spec | None = None, **axis: Any) -> Spec:
    """Encode a number as a position, with the options of its scale and axis."""
    kind = {"field": field, "type": "quantitative", "title": title}
    return kind | {"scale": scale or {}, "axis": axis}


def category(field: str, title: str | None, looks: Mapping[str, Any]) -> Spec:
    """Encode a name by its look: a color, a shape, or a dash."""
    scale = {"domain": list(looks), "range": list(looks.values())}
    return {"field": field, "type": "nominal", "title": title, "scale": scale}


def dot(size: float) -> Spec:
    """Return a filled point of some area in square pixels."""
    return {"type": "point", "filled": True, "opacity": 1, "size": size}


def _intervals(channel: str, axis: Spec, series: Sequence[Series]) -> list[Spec]:
    """Return the marks of a value and its interval, along the channel `x` or `y`."""
    ends = {channel: axis | {"field": "low"}, f"{channel}2": {"field": "high"}}
    rule = {"mark": {"type": "rule", "strokeWidth": 2.5}, "encoding": ends}
    return [rule, {"mark": dot(75), "encoding": {channel: axis, "shape": _look(series, "shape")}}]


def _look(series: Sequence[Series], channel: str) -> Spec:
    """Encode the run of a row by its `color` or `shape`; baselines are gray circles."""
    looks = {one.name: getattr(one, channel) for one in series}
    trivial = {"test": "datum.trivial", "value": TRIVIAL[channel]}
    return category("run", None, looks) | {"legend": None, "condition": trivial}


def _tips(**formats: str) -> list[Spec]:
    """Return the tooltip of a mark: format by field, empty for text."""
    number = {"type": "quantitative"}
    kinds = [
        number | {"format": form} if form else {"type": "nominal"} for form in formats.values()
    ]
    return [{"field": name, **kind} for name, kind in zip(formats, kinds, strict=True)]


def _shown(series: Sequence[Series]) -> Spec:
    """Return the parameter with the names of the runs to draw."""
    return {"name": "shown", "value": [one.name for one in series]}


def _page_chart(
    rows: Rows, encoding: Spec, marks: list[Spec], series: Sequence[Series] = (), shown: str = SHOWN
) -> Spec:
    """Return a chart of the page; one of `series` draws the rows for which `shown` holds."""
    spec = {"width": "container", "height": HEIGHT, "data": values(rows), "layer": marks}
    if not series:
        return spec | {"encoding": encoding}
    chosen = {"params": [_shown(series)], "transform": [{"filter": shown}]}
    return spec | chosen | {"encoding": encoding | {"color": _look(series, "color")}}
