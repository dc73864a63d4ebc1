"""What a report is made of: sections of words, tables, charts and pictures.

Everything is plain text; the page escapes it. Nothing here knows of runs or of HTML.
"""

from dataclasses import dataclass
from math import isnan
from typing import Any, NamedTuple

DASH, MINUS = "\u2013", "\u2212"


class Cell(NamedTuple):
    """One cell of a table."""

    text: str
    """What it says."""
    detail: str = ""
    """Smaller, below it, such as an interval."""
    order: float | None = None
    """What it is sorted by; none for text, which is sorted as such."""
    tone: str = ""
    """`good`, `bad` or `even`, where a number is for or against something."""


class Row(NamedTuple):
    """One row of a table; its first cell is its head."""

    cells: tuple[Cell, ...]
    run: str = ""
    """The run that it is about, if it is about one alone."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    folded: bool = False
    """Whether it is folded away at first."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing for eyes, with the table behind it for everybody."""

    title: str
    description: str
    """What it shows, for those who do not see it."""
    spec: dict[str, Any]
    """In Vega-Lite."""
    table: Table | None = None
    run: str = ""
    """The run that it is about, if it is about one alone."""


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts, and tables that belong to them, side by side where there is room."""

    charts: tuple[Chart | Table, ...]
    columns: int = 3
    """At most."""


class Node(NamedTuple):
    """A bar of a flow."""

    label: str
    rows: int
    kind: str
    x: float
    y: float
    height: float


class Ribbon(NamedTuple):
    """What goes from one bar of a flow to another."""

    path: str
    """In SVG."""
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Flow:
    """Where rows went, as ribbons whose width is a number of rows."""

    width: int
    height: int
    nodes: tuple[Node, ...]
    ribbons: tuple[Ribbon, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A flow drawn for wide and for narrow screens; the table after it says the same."""

    wide: Flow
    narrow: Flow
    description: str


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    words: str


@dataclass(frozen=True, slots=True)
class Code:
    """Lines to copy, folded away unless they are `open`."""

    label: str
    text: str
    open: bool = False
    run: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section."""

    words: str


Block = Text | Heading | Table | Charts | Picture | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading and an address."""

    key: str
    """Its address within the page."""
    title: str
    blocks: tuple[Block, ...]


class Finding(NamedTuple):
    """One sentence at the top of the page."""

    words: str
    is_caution: bool = False


class Series(NamedTuple):
    """How a run is told from the others in every chart."""

    name: str
    colour: str
    shape: str
    about: str
    """Strategy and backbone."""


@dataclass(frozen=True, slots=True)
class Page:
    """All of a report."""

    title: str
    findings: tuple[Finding, ...]
    series: tuple[Series, ...]
    sections: tuple[Section, ...]
    made_by: str


def decimals(value: float | None, places: int = 4, *, sign: bool = False) -> str:
    """A number as the page writes it, with a true minus; a dash for what is none.

    Example:
        >>> decimals(0.82461), decimals(0.5, 2, sign=True), decimals(None)
        ('0.8246', '+0.50', '–')
    """
    if value is None or isnan(value):
        return DASH
    return f"{value:{'+' if sign else ''}.{places}f}".replace("-", MINUS)


def count(value: float | None) -> Cell:
    """A cell with a whole number."""
    return Cell(DASH) if value is None else Cell(f"{value:,.0f}", order=value)


def measure(value: float | None, places: int = 4) -> Cell:
    """A cell with a number."""
    known = None if value is None or isnan(value) else value
    return Cell(decimals(value, places), order=known)
