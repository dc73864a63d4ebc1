"""The page's pictures: figures of the paper and the table as dots, written beside the page."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from invlearn.experiments.cell import Cell, CellFolder
from invlearn.paper.collect import provenance_of
from invlearn.paper.figures import figure_data
from invlearn.paper.outcome import METRICS
from invlearn.paper.page import INTERVALS
from invlearn.paper.plots import Dot, figure_chart, table2_chart
from invlearn.paper.results import Plot, Table
from invlearn.paper.rows import Figure, figures
from invlearn.paper.verdict import STAND_IN
from invlearn.reporting.plots import save
from invlearn.runtime import atomic
from invlearn.runtime.errors import RunError


def draw_figure(
    figure: Figure, experiment: Path, cells: Sequence[Cell], place: Path, command: str
) -> Plot:
    """Write a figure's data and its picture.

    Args:
        figure: Which one, with the panels that are drawn.
        experiment: Folder of the experiment.
        cells: Behind the panels, in order.
        place: Folder to write to, beside the page.
        command: That made all this.

    Raises:
        RunError: A training behind it failed.
    """
    folders = [CellFolder(experiment, cell) for cell in cells]
    for folder in folders:
        record = folder.record(0)
        if record is None or record.state == "failed":
            raise RunError(
                f"{figure.name} cannot be drawn, its training failed: "
                f"{record.reason if record else 'no record'}"
            )
    data = figure_data(figure, [folder.path / "seed-0" for folder in folders])
    atomic.write_json(place / f"{figure.name}.json", data.to_json())
    save(figure_chart(data), place / f"{figure.name}.svg")
    return Plot(
        title=f"{figure.name.replace('figure', 'Figure ')}: {figure.title}",
        file=f"{place.name}/{figure.name}.svg",
        caption=(
            f"{data.caption} One training a panel, {_VARIANTS[figure.variant]}, with seed 0."
            f"{_left_out(figure)}"
        ),
        published=figure.published,
        stand_in=any(panel.dataset == "micro-video" for panel in figure.panels),
        provenance=provenance_of(experiment, cells, command),
    )


_VARIANTS = {"printed": "as printed", "released": "as released", "tuned": "tuned"}


def draw_table(table: Table, place: Path) -> Plot:
    """Draw a table as dots."""
    name = "Micro Video" if table.stand_in else "ML-1M"
    title = f"Table 2, {name}" + (f" ({STAND_IN})" if table.stand_in else "")
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
    """Every value of a table; published ones only beside values of the same data."""
    words = {"printed": "as printed", "released": "as released", "tuned": "tuned"}
    for row in table.rows:
        for metric, label in METRICS.items():
            if row.published and not table.stand_in:
                value = getattr(row.published, metric.partition("@")[0])
                yield Dot(row.backbone, row.method, "published", label, value)
            for way, word in words.items():
                level = row.ways[way].metrics.get(metric) if way in row.ways else None
                if level:
                    yield Dot(
                        row.backbone, row.method, word, label, level.mean, level.low, level.high
                    )


def _left_out(figure: Figure) -> str:
    """What of the whole figure is not drawn."""
    whole = next(found for found in figures() if found.name == figure.name)
    missing = [panel.title for panel in whole.panels if panel not in figure.panels]
    return f" Left out, by --no-stand-in: {'; '.join(missing)}." if missing else ""
