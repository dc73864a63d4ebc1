"""The paper measured again: its table and its figures, as data, plots and a page.

```
OUT/
  data/  cells/  baselines/   an experiment folder, as `invlearn compare` makes
  paper.md                    the page, unless another place was named for it
  paper/                      beside the page: results.json, figures and their data
```
"""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from invlearn import atomic
from invlearn.data.catalogue import prepare_known
from invlearn.data.dataset import Dataset
from invlearn.environment import commit, machine
from invlearn.errors import ConfigError, DataError, RunError
from invlearn.experiments.cell import Cell, CellFolder
from invlearn.experiments.crew import work_together
from invlearn.experiments.search import require as require_search
from invlearn.paper.collect import as_tree, differences_of, table_of
from invlearn.paper.figures import figure_data
from invlearn.paper.page import page as written
from invlearn.paper.plan import Request, Source, figure_cells, table_cells
from invlearn.paper.plots import Dot, figure_chart, table2_chart
from invlearn.paper.results import Plot, Results, Table
from invlearn.paper.rows import Figure, figures
from invlearn.paper.stand_in import SHRUNK, StandIn
from invlearn.paper.verdict import METRICS, STAND_IN
from invlearn.plots import require, save
from invlearn.progress import Progress, silent

What = Literal["table2", "figure3", "figure4", "figure5", "figure6", "all"]

INTERVALS = (
    "Intervals hold 95 % and cover both which users were tested (bootstrap, 1,000 draws) and the "
    "seed of the training."
)


def reproduce(
    what: What,
    data: str | Path,
    out: str | Path,
    *,
    page: str | Path | None = None,
    request: Request | None = None,
    full_size: bool = False,
    stand_in: bool = True,
    workers: int = 1,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Measure Table 2 and Figures 3 to 6 again.

    Trainings that `out` holds already are not done again.

    Args:
        what: A table, a figure, or all.
        data: Folder with MovieLens-1M in the split of the paper's authors.
        out: Folder of the experiment.
        page: The page to write, with its data in a folder of the same name beside it.
        request: Rows and ways of the table, if not all.
        full_size: Simulate the stand-in for Micro Video at full size (hours).
        stand_in: Whether to measure on the stand-in at all.
        workers: Processes that share the work.
        progress: Told of trainings done.
        should_stop: Asked all the time; true stops.

    Returns:
        The page.

    Raises:
        ConfigError: An extra is not installed.
        DataError: The data are not there.
        Stopped: `should_stop` said so.
    """
    out, request = Path(out), request or Request()
    page = Path(page or out / "paper.md")
    drawn = [figure for figure in figures() if what in (figure.name, "all")]
    tabled = what in ("table2", "all")
    if not stand_in:
        drawn = [f for f in drawn if {panel.dataset for panel in f.panels} == {"ml-1m"}]
    _check(tabled, drawn, request, what)
    needed = {panel.dataset for figure in drawn for panel in figure.panels}
    out.mkdir(parents=True, exist_ok=True)
    with atomic.in_turn(out, "plan"):
        sources = list(_sources(Path(data), out, tabled, needed, full_size, stand_in, progress))
    tables = {s.name: table_cells(request, s, out) for s in sources} if tabled else {}
    panels = {figure.name: figure_cells(figure, sources) for figure in drawn}
    cells = [cell for rows in tables.values() for ways in rows.values() for cell in ways.values()]
    cells += [cell for found in panels.values() for cell in found]
    work_together(out, cells, workers=workers, progress=progress, should_stop=should_stop)

    found: dict[str, Any] = {}
    if tabled:
        measured = [(source, tables[source.name]) for source in sources]
        found["tables"] = as_tree([table_of(out, *pair) for pair in measured])
        differences = [d for pair in measured for d in differences_of(out, *pair)]
        found["differences"] = as_tree(differences)
    found["provenance"] = {
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "command": _command(what, data, out, request),
        "seeds": list(range(max(request.seeds.values()))),
        "intervals": INTERVALS,
    }
    with atomic.in_turn(out, "page"):
        place = page.with_suffix("")
        place.mkdir(parents=True, exist_ok=True)
        plots = [_drawn(figure, out, panels[figure.name], place) for figure in drawn]
        plots += _table_plots([Table.model_validate(t) for t in found.get("tables", [])], place)
        _write(page, place / "results.json", found | {"plots": as_tree(plots)})
    return page


def _check(tabled: bool, drawn: Sequence[Figure], request: Request, what: str) -> None:
    """Make sure that there is something to do and nothing is missing, before hours of work."""
    require()
    possible = [way for row in request.wanted() for way in request.ways if request.has(row, way)]
    if tabled and not possible:
        raise ConfigError(
            "none of the rows asked for can be repeated in the ways asked for, since no such code "
            "was released; take --way printed or tuned"
        )
    if tabled and "tuned" in request.ways:
        require_search()
    if not tabled and not drawn:
        raise ConfigError(
            f"{what} shows Micro Video, which was never released; leave --no-stand-in out"
        )


def _command(what: What, data: str | Path, out: Path, request: Request) -> str:
    """The command that makes the same, without folders that others do not have."""
    words = [f"invlearn reproduce {what} --data {Path(data).name} --out {out.name}"]
    words += [f'--row "{name}"' for name in request.rows]
    words += [f"--way {way}" for way in request.ways if request.ways != Request().ways]
    return " ".join(words)


def _sources(
    data: Path,
    out: Path,
    tabled: bool,
    needed: set[str],
    full_size: bool,
    stand_in: bool,
    progress: Progress,
) -> Iterator[Source]:
    """Prepare the data sets that are needed, each once."""
    folder = out / "data"
    if tabled or "ml-1m" in needed:
        known = folder / "ml-1m"
        atomic.recover(known)
        if not (known / "data.json").exists():
            prepare_known("ml-1m", known, folder=data, progress=progress)
        _check_split(known, data)
        yield Source("ml-1m", known)
    if stand_in and (tabled or "micro-video" in needed):
        made = StandIn(1 if full_size else SHRUNK)
        yield Source(
            "micro-video", made.prepared(folder, progress=progress), made.sentence, made.divisor
        )


def _check_split(folder: Path, data: Path) -> None:
    """Make sure that the split is the authors', or no number could be compared."""
    how = Dataset.open(folder).card.get("split", {}).get("how")
    if how != "column":
        raise DataError(
            f"{data} has no split of its own, so {folder} has a '{how}' one, and the paper's "
            "numbers are of the authors' split; give a folder whose ratings.parquet has the "
            f"columns user, item, rating, split (0, 1, 2), and remove {folder}"
        )


def _drawn(figure: Figure, out: Path, cells: Sequence[Cell], place: Path) -> Plot:
    """Write a figure's data and its picture."""
    folders = [CellFolder(out, cell) for cell in cells]
    for folder in folders:
        record = folder.record(0)
        if record is None or record.state == "failed":
            raise RunError(
                f"{figure.name} cannot be drawn, its training failed: "
                f"{record.reason if record else 'no record'}"
            )
    data = figure_data(figure, [folder.path / "seed-0" for folder in folders])
    simulated = any(panel.dataset == "micro-video" for panel in figure.panels)
    atomic.write_json(place / f"{figure.name}.json", data.to_json())
    save(figure_chart(data), place / f"{figure.name}.svg")
    return Plot(
        title=f"{figure.name.replace('figure', 'Figure ')}: {figure.title}",
        file=f"{place.name}/{figure.name}.svg",
        caption=data.caption,
        published=figure.published,
        stand_in=simulated,
    )


def _table_plots(tables: Sequence[Table], place: Path) -> Iterator[Plot]:
    """Draw each table as dots."""
    for table in tables:
        name = "Micro Video" if table.stand_in else "ML-1M"
        mark = f" ({STAND_IN})" if table.stand_in else ""
        title = f"Table 2, {name}{mark}"
        file = f"table2-{table.dataset}.svg"
        save(table2_chart(_dots(table), title), place / file)
        yield Plot(
            title=title,
            file=f"{place.name}/{file}",
            caption=f"Means over seeds with their 95 % intervals. {INTERVALS}",
            stand_in=table.stand_in is not None,
        )


def _dots(table: Table) -> Iterator[Dot]:
    words = {"printed": "as printed", "released": "as released", "tuned": "tuned"}
    for row in table.rows:
        for metric, label in METRICS.items():
            if row.published:
                value = getattr(row.published, metric.partition("@")[0])
                yield Dot(row.backbone, row.method, "published", label, value)
            for way, word in words.items():
                level = row.ways[way].metrics.get(metric) if way in row.ways else None
                if level:
                    yield Dot(
                        row.backbone, row.method, word, label, level.mean, level.low, level.high
                    )


def _write(page: Path, file: Path, found: dict[str, Any]) -> None:
    """Write the page, with whatever an earlier call measured and this one did not."""
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    plots = {plot["title"]: plot for plot in [*before.get("plots", []), *found["plots"]]}
    merged = {"tables": [], **before, **found, "plots": sorted(plots.values(), key=_order)}
    tree = Results.model_validate(merged).model_dump(mode="json")
    atomic.write_json(file, tree)
    atomic.write_text(page, written(tree))


def _order(plot: dict[str, Any]) -> str:
    return ("0" if plot["title"].startswith("Table") else "1") + plot["title"]
