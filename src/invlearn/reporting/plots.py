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

from invlearn.runtime import atomic
from invlearn.runtime.environment import require_extra
from invlearn.runtime.errors import ConfigError

METHOD_COLOURS = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#F0E442",
)  # fmt: skip
PACKAGES = ("altair", "vl_convert", "jinja2")
"""What the extra `report` installs."""
DASHES = ((2, 2), (6, 3), (10, 3, 2, 3), (1, 4), (14, 4))


@dataclass(frozen=True, slots=True)
class Reading:
    """A measured value of a series at a share of labels, with its interval."""

    series: str
    """Method, or trivial baseline."""
    share: float
    """Part of the labels that was kept, or flipped."""
    mean: float
    """Mean over seeds."""
    low: float | None = None
    """Lower end of the interval, if there is one."""
    high: float | None = None
    """Upper end of it."""
    trivial: bool = False
    """Whether the series is a trivial baseline."""


def share_chart(
    readings: Iterable[Reading],
    title: str,
    metric: str,
    note: str = "",
    over: str = "training labels kept",
) -> Any:
    """A metric over a share of labels: methods with bands, trivial baselines dashed.

    The axis is logarithmic unless there is a share of 0.

    Args:
        readings: Points of all series; a band is drawn where there are intervals.
        title: What is compared, and where.
        metric: Name for the axis, such as `test AUC`.
        note: Stands below the title, such as what the intervals cover.
        over: What the share is of.

    Raises:
        ConfigError: The extra `report` is not installed.
    """
    alt = altair_module()
    rows = [asdict(reading) for reading in readings]
    measured = [row for row in rows if not row["trivial"]]
    trivial = [row for row in rows if row["trivial"]]
    methods, baselines = distinct(measured, "series"), distinct(trivial, "series")
    shares = sorted({row["share"] for row in rows})
    kind = "log" if shares[0] > 0 else "linear"
    x = alt.X(
        "share:Q", title=over + (" (log scale)" if kind == "log" else ""),
        scale=alt.Scale(type=kind, domain=[shares[0], shares[-1]]),
        axis=alt.Axis(values=shares, format="~%", grid=False),
    )  # fmt: skip
    y = alt.Y("mean:Q", title=metric, scale=alt.Scale(zero=False, padding=6))
    colour = coloured(alt, "series", "method", dict(zip(methods, METHOD_COLOURS, strict=False)))
    dash = alt.StrokeDash(
        "series:N", title="trivial baseline",
        scale=alt.Scale(domain=baselines, range=[list(d) for d in DASHES]),
        legend=alt.Legend(symbolSize=600, symbolStrokeColor="#666666"),
    )  # fmt: skip
    banded = alt.Chart(values(alt, [r for r in measured if r["low"] is not None]))
    lines = alt.Chart(values(alt, measured))
    chart = alt.layer(
        alt.Chart(values(alt, trivial)).mark_line(color="#666666", strokeWidth=1.5).encode(
            x=x, y=y, strokeDash=dash
        ),
        banded.mark_area(opacity=0.15).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour),
        lines.mark_line(point=True, strokeWidth=2).encode(x=x, y=y, color=colour),
    )  # fmt: skip
    return framed(chart.properties(width=470, height=340), title, note)


def is_installed() -> bool:
    """Whether charts can be drawn."""
    return all(find_spec(package) for package in PACKAGES)


def require() -> None:
    """Make sure that charts can be drawn, before hours of work for them.

    Raises:
        ConfigError: The extra `report` is not installed.
    """
    require_extra("report", PACKAGES, "a chart")


def save(chart: Any, file: Path) -> None:
    """Write a chart as SVG or PNG, by the suffix of the file.

    Raises:
        ConfigError: The suffix is another one, or the extra `report` is not installed.
    """
    require()
    import vl_convert

    content = chart.to_dict()
    if file.suffix == ".svg":
        atomic.write_text(file, vl_convert.vegalite_to_svg(content))
    elif file.suffix == ".png":
        with atomic.new_file(file) as partial:
            partial.write_bytes(vl_convert.vegalite_to_png(content))
    else:
        raise ConfigError(f"{file} has no known suffix for a chart; end it in .svg or .png")


def coloured(alt: Any, field: str, title: str, colours: Mapping[str, str]) -> Any:
    """Colour by a field, in the order of `colours`."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    legend = alt.Legend(symbolOpacity=1)
    return alt.Color(f"{field}:N", title=title, scale=scale, legend=legend)


def shaped(alt: Any, field: str, title: str, shapes: Mapping[str, str]) -> Any:
    """Shape by a field, in the order of `shapes`."""
    scale = alt.Scale(domain=list(shapes), range=list(shapes.values()))
    return alt.Shape(f"{field}:N", title=title, scale=scale)


def framed(chart: Any, title: str, note: str) -> Any:
    """Title, note and looks that all charts share."""
    alt = altair_module()
    heading = alt.Title(title, subtitle=wrap(note, 100), anchor="start", fontSize=15, offset=12)
    chart = chart.properties(title=heading, background="white", padding=8)
    return (
        chart.configure_view(stroke="#DDDDDD")
        .configure_axis(gridColor="#EEEEEE", labelFontSize=11, titleFontSize=11)
        .configure_title(fontSize=12, subtitleFontSize=10, subtitleColor="#444444", anchor="start")
        .configure_legend(labelFontSize=11, titleFontSize=11)
        .configure(aria=False)
    )


def distinct(rows: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    """Distinct values of a key, in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def values(alt: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as data within the chart."""
    return alt.Data(values=list(rows))


def altair_module() -> Any:
    """Altair, or a `ConfigError` that says how to install it."""
    require()
    import altair

    return altair
