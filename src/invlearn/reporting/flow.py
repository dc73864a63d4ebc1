"""Flow chart of the label audit: rows of the log, their labels, the parts of the dataset.

Bars and ribbons share one scale, rows per pixel. Widths are in percent and text has a fixed size,
so one chart fits every screen.
"""

from collections.abc import Sequence
from typing import NamedTuple

from invlearn.data.prepare.audit import Audit
from invlearn.reporting.blocks import Bar, Flow, Ribbon
from invlearn.runtime.text import counted

CLASSES = ("positive", "negative", "unlabelled")
COLUMNS: dict[tuple[str, float], tuple[str, ...]] = {
    ("log", 0): ("log",),
    ("label", 40): (*CLASSES, "unusable"),
    ("dataset", 74): ("train", "valid", "test", "unlabelled part", "dropped"),
}
"""Bars of each column, by its head and its left end in percent of the width."""
HEIGHT = 220
"""Height in pixels of the bars of a column, without gaps."""
GAP = 30
"""Pixels between the bars of a column; leaves space for labels of two lines."""
TOP = 32
"""Pixels above the bars; leaves space for the heads of the columns."""


class Stream(NamedTuple):
    """A number of rows of one kind, from one bar to another."""

    source: str
    target: str
    kind: str
    rows: int


def streams(audit: Audit) -> tuple[Stream, ...] | None:
    """Return where the rows of a log went; none if the numbers of the audit do not add up.

    Every row becomes positive, negative, unlabelled, or is dropped. A row with a label or without
    then goes to a part of the dataset, or is dropped: a repeated pair, or a row of a rare user.
    """
    after = {stage.name: stage.after for stage in audit.stages}
    if not {"read", "label"} <= after.keys():
        return None
    rows = {kind: getattr(after["label"], kind) for kind in CLASSES}
    kept = {kind: getattr(audit.final, kind) for kind in CLASSES}
    unusable = after["read"].rows - after["label"].rows
    flow = [
        *(Stream("log", kind, kind, n) for kind, n in rows.items()),
        Stream("log", "unusable", "dropped", unusable),
        *(
            Stream(kind, name, kind, getattr(part, kind))
            for kind in ("positive", "negative")
            for name, part in audit.parts.items()
        ),
        Stream("unlabelled", "unlabelled part", "unlabelled", kept["unlabelled"]),
        *(Stream(kind, "dropped", "dropped", rows[kind] - kept[kind]) for kind in CLASSES),
    ]
    if min(stream.rows for stream in flow) < 0:
        return None
    return tuple(stream for stream in flow if stream.rows)


def draw(flow: Sequence[Stream], description: str = "") -> Flow:
    """Lay out a flow in three columns, with the bars of a column below each other."""
    scale = HEIGHT / sum(stream.rows for stream in flow if stream.source == "log")
    bars: dict[str, Bar] = {}
    for (_, x), names in COLUMNS.items():
        y = float(TOP)
        for name in names:
            rows = sum(s.rows for s in flow if name == s.target or name == s.source == "log")
            if rows:
                label = name.removesuffix(" part")
                bars[name] = Bar(label, rows, _kind(label), x, y, rows * scale)
                y += rows * scale + GAP
    left = {name: bar.y for name, bar in bars.items()}
    right = dict(left)
    ribbons: list[Ribbon] = []
    for source, target, kind, rows in flow:
        ends = bars[source].x, right[source], bars[target].x, left[target]
        title = f"{counted(rows, 'row')}: {source} to {target}"
        ribbons.append(Ribbon(_path(*ends, max(rows * scale, 0.75)), kind, title))
        right[source] += rows * scale
        left[target] += rows * scale
    deepest = max(bar.y + bar.height for bar in bars.values())
    return Flow(
        tuple(COLUMNS), deepest + GAP / 2, tuple(bars.values()), tuple(ribbons), description
    )


def _kind(label: str) -> str:
    """Return the kind of a bar, which decides its color."""
    if label in CLASSES:
        return label
    return "dropped" if label in ("unusable", "dropped") else "rows"


def _path(x0: float, y0: float, x1: float, y1: float, thick: float) -> str:
    """Return the outline of a ribbon with horizontal ends."""
    middle, up, down = (x0 + x1) / 2, y0 + thick, y1 + thick
    return (
        f"M{x0:.1f},{y0:.1f}C{middle:.1f},{y0:.1f} {middle:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
        f"V{down:.1f}C{middle:.1f},{down:.1f} {middle:.1f},{up:.1f} {x0:.1f},{up:.1f}Z"
    )
