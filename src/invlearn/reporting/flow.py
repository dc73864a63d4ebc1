"""The label audit as a flow: from rows of the log, over labels, to the parts of the dataset.

The picture is as wide as it is told, so that one can be drawn for a phone and one for a desk; bars
and ribbons of one picture share one scale, rows a pixel.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from invlearn.data.prepare.audit import Audit
from invlearn.data.prepare.table import Counts
from invlearn.reporting.blocks import Flow, Node, Ribbon
from invlearn.runtime.text import counted

CLASSES = ("positive", "negative", "unlabelled")
BAR = 10
"""Width of a bar in pixels."""
GAP = 24
"""Between bars of one column, so that their labels have room."""
TOP = 26
"""Room for the heads of the columns."""


class Stream(NamedTuple):
    """So many rows of one kind go from one bar to another."""

    source: str
    target: str
    kind: str
    rows: int


def streams(audit: Audit) -> tuple[Stream, ...] | None:
    """Where the rows of a log went; none if the audit does not add up to rows of a log.

    Every row read becomes positive, negative, unlabelled or is dropped, and every row with such a
    standing goes to a part of the dataset or is dropped: repeats of a pair, rows of rare users.
    """
    after = {stage.name: stage.after for stage in audit.stages}
    if not {"read", "label"} <= after.keys():
        return None
    labelled, final = after["label"], audit.final
    lost = {kind: _rows(labelled, kind) - _rows(final, kind) for kind in CLASSES}
    bad = after["read"].rows - labelled.rows
    found = [Stream("log", kind, kind, _rows(labelled, kind)) for kind in CLASSES]
    found.append(Stream("log", "unusable", "dropped", bad))
    for kind in ("positive", "negative"):
        found += [
            Stream(kind, name, kind, getattr(facts, kind)) for name, facts in audit.parts.items()
        ]
    found.append(Stream("unlabelled", "unlabelled part", "unlabelled", final.unlabelled))
    found += [Stream(kind, "dropped", "dropped", n_rows) for kind, n_rows in lost.items()]
    if min(stream.rows for stream in found) < 0:
        return None
    return tuple(stream for stream in found if stream.rows)


def drawn(found: Sequence[Stream], *, width: int, height: int) -> Flow:
    """Lay a flow out in three columns, the bars of one below the other.

    Args:
        found: From `streams`.
        width: Of the picture in pixels.
        height: Of its bars together, gaps left out.
    """
    columns = (
        ("log",),
        (*CLASSES, "unusable"),
        ("train", "valid", "test", "unlabelled part", "dropped"),
    )
    total = sum(stream.rows for stream in found if stream.source == "log")
    scale = height / total
    # The last column needs room for its labels, right of its bars.
    places = (0.0, width * 0.42, width * 0.78)
    nodes: dict[str, Node] = {}
    for names, x in zip(columns, places, strict=True):
        y = float(TOP)
        for name in names:
            rows = _through(name, found)
            if rows:
                nodes[name] = Node(
                    name.removesuffix(" part"), rows, _kind(name), x, y, rows * scale
                )
                y += rows * scale + GAP
    deepest = max(node.y + node.height for node in nodes.values())
    ribbons = tuple(_ribbons(found, nodes, scale))
    return Flow(width, round(deepest + GAP / 2), tuple(nodes.values()), ribbons)


def _rows(counts: Counts, kind: str) -> int:
    return int(getattr(counts, kind))


def _through(name: str, found: Sequence[Stream]) -> int:
    """Rows that come to a bar; of the first one, rows that leave it."""
    into = sum(stream.rows for stream in found if stream.target == name)
    return into or sum(stream.rows for stream in found if stream.source == name)


def _kind(name: str) -> str:
    if name in CLASSES:
        return name
    return {"unusable": "dropped", "dropped": "dropped", "unlabelled part": "unlabelled"}.get(
        name, "rows"
    )


def _ribbons(found: Sequence[Stream], nodes: Mapping[str, Node], scale: float) -> list[Ribbon]:
    """Ribbons in the order of their bars, each below the one before on both of its sides."""
    left = {name: node.y for name, node in nodes.items()}
    right = dict(left)
    ribbons: list[Ribbon] = []
    for stream in found:
        source, target, thick = nodes[stream.source], nodes[stream.target], stream.rows * scale
        path = _path(
            source.x + BAR, right[stream.source], target.x, left[stream.target], max(thick, 0.75)
        )
        right[stream.source] += thick
        left[stream.target] += thick
        title = f"{counted(stream.rows, 'row')}: {stream.source} to {stream.target}"
        ribbons.append(Ribbon(path, stream.kind, title))
    return ribbons


def _path(x0: float, y0: float, x1: float, y1: float, thick: float) -> str:
    """Outline of a ribbon that leaves and arrives level."""
    middle = (x0 + x1) / 2
    there = f"M{x0:.1f},{y0:.1f}C{middle:.1f},{y0:.1f} {middle:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
    down, back = y1 + thick, y0 + thick
    again = (
        f"L{x1:.1f},{down:.1f}C{middle:.1f},{down:.1f} {middle:.1f},{back:.1f} {x0:.1f},{back:.1f}Z"
    )
    return there + again
