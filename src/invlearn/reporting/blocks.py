"""Vocabulary of a report: sections of text, tables, charts, code, and a flow chart.

All content is plain text, which the page escapes. Nothing here depends on runs or on HTML.
"""

from collections.abc import Iterable
from math import isnan
from typing import Any, NamedTuple

DASH, MINUS = "\u2013", "\u2212"


class Cell(NamedTuple):
    """One cell of a table."""

    text: str
    detail: str = ""
    """Small text below it, for example an interval."""
    order: float | None = None
    """Sort key; none: sort by the text."""
    tone: str = ""
    """`good`, `bad` or `even`, for a number that compares two runs."""
    run: str = ""
    """In the first cell of a row: the run that the row is about, if it is one."""


Value = Cell | str | float | None
"""Content of a cell: whole numbers get commas, others four decimals, nothing a dash."""


class Table(NamedTuple):
    """A table; the first cell of each row is its head."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False
    """Whether it is collapsed at first."""


class Chart(NamedTuple):
    """A chart with its numbers as a table."""

    title: str
    description: str
    """Text for readers who do not see the chart."""
    spec: dict[str, Any]
    """Vega-Lite specification."""
    table: Table | None = None
    run: str = ""
    """The run that it is about, if it is one."""


class Charts(NamedTuple):
    """Charts and their tables, in columns if the screen is wide enough."""

    charts: tuple[Chart | Table, ...]
    columns: int = 3
    """Maximum."""


class Bar(NamedTuple):
    """A bar of a flow chart."""

    label: str
    rows: int
    kind: str
    x: float
    """Left end in percent of the width."""
    y: float
    """Top in pixels."""
    height: float
    """In pixels."""


class Ribbon(NamedTuple):
    """A stream from one bar of a flow chart to another."""

    path: str
    """SVG path: x in percent of the width, y in pixels."""
    kind: str
    title: str


class Flow(NamedTuple):
    """A flow chart of rows; the thickness of a ribbon is its number of rows."""

    heads: tuple[tuple[str, float], ...]
    """Heads of the columns, with their left ends in percent of the width."""
    height: float
    """In pixels."""
    bars: tuple[Bar, ...]
    ribbons: tuple[Ribbon, ...]
    description: str = ""
    """Text for readers who do not see the chart."""


class Text(NamedTuple):
    """A paragraph."""

    words: str


class Heading(NamedTuple):
    """A heading within a section."""

    words: str


class Code(NamedTuple):
    """Lines to copy, collapsed unless `open`."""

    label: str
    text: str
    open: bool = False
    run: str = ""
    """The run that it is about, if it is one."""


Block = Text | Heading | Table | Charts | Flow | Code


class Section(NamedTuple):
    """A part of the page with a heading."""

    key: str
    """Address within the page."""
    title: str
    blocks: tuple[Block, ...]


class Finding(NamedTuple):
    """One sentence at the top of the page."""

    words: str
    is_caution: bool = False


class Series(NamedTuple):
    """Look of a run in every chart."""

    name: str
    color: str
    shape: str
    about: str
    """Strategy and backbone."""


class Page(NamedTuple):
    """Content of a report."""

    title: str
    findings: tuple[Finding, ...]
    series: tuple[Series, ...]
    sections: tuple[Section, ...]
    made_by: str


def table(
    caption: str, heads: Iterable[str], rows: Iterable[Iterable[Value]], *, folded: bool = False
) -> Table:
    """Return a table of plain values."""
    return Table(caption, tuple(heads), tuple(tuple(map(cell, row)) for row in rows), folded)


def cell(value: Value, places: int = 4) -> Cell:
    """Return the cell of a value; `places` are the decimals of a number that is not whole.

    Example:
        >>> cell(1234).text, cell(0.5).text, cell(None).text
        ('1,234', '0.5000', '–')
    """
    if isinstance(value, Cell):
        return value
    if isinstance(value, str):
        return Cell(value)
    if value is None or isnan(value):
        return Cell(DASH)
    text = f"{value:,}" if isinstance(value, int) else decimals(value, places)
    return Cell(text, order=value)


def run_cell(name: str, detail: str = "") -> Cell:
    """Return the first cell of a row about a run."""
    return Cell(name, detail, run=name)


def decimals(value: float | None, places: int = 4, *, sign: bool = False) -> str:
    """Format a number with a minus sign of its own width, or as a dash if there is none.

    Example:
        >>> decimals(0.82461), decimals(0.5, 2, sign=True), decimals(None)
        ('0.8246', '+0.50', '–')
    """
    if value is None or isnan(value):
        return DASH
    return f"{value:{'+' if sign else ''}.{places}f}".replace("-", MINUS)
