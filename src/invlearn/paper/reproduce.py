"""The paper measured again: its table and its figures, as data, plots and a page.

```
OUT/
  data/  cells/  baselines/   an experiment folder, as `invlearn compare` makes
  paper.md                    the page, unless another place was named for it
  paper/                      beside the page: results.json, figures and their data
```
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from invlearn.data.catalogue import find, prepare_known
from invlearn.data.dataset import Dataset
from invlearn.data.logs.logs import open_log
from invlearn.experiments.cell import Cell
from invlearn.experiments.compare import check_folder
from invlearn.experiments.workers import work_together
from invlearn.paper.call import Call, What
from invlearn.paper.collect import Cells, comparisons_of, table_of
from invlearn.paper.drawing import draw_figure, draw_table
from invlearn.paper.merge import merged, read_results
from invlearn.paper.page import TITLE
from invlearn.paper.page import page as written
from invlearn.paper.plan import Request, Source, figure_cells, table_cells
from invlearn.paper.results import Results
from invlearn.paper.rows import DatasetName
from invlearn.paper.stand_in import SHRUNK, StandIn
from invlearn.runtime import atomic, locks
from invlearn.runtime.errors import ConfigError, DataError, RunError
from invlearn.runtime.progress import Progress, silent


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
        ConfigError: An extra is not installed, or nothing can be done.
        DataError: The data are not there.
        RunError: `out` was made from other data, or the page's data do not fit.
        Stopped: `should_stop` said so.
    """
    call = Call(what, Path(data), Path(out), request or Request(), full_size, stand_in)
    place = Path(page or call.out / "paper.md")
    call.check()
    check_folder(call.out)
    _check_page(place)
    read_results(_results_file(place))  # a damaged one must not be found out after hours
    call.out.mkdir(parents=True, exist_ok=True)
    with locks.in_turn(call.out, "plan"):
        work = _Work.planned(call, progress)
    work_together(
        call.out, work.cells(), workers=workers, progress=progress, should_stop=should_stop
    )
    with locks.in_turn(call.out, "page"):
        _write(call, work, place)
    return place


@dataclass(frozen=True, slots=True)
class _Work:
    """The trainings behind a call."""

    sources: tuple[Source, ...]
    tables: Mapping[DatasetName, Cells]
    """Behind each table, by data set."""
    panels: Mapping[str, list[Cell]]
    """Behind each figure, by its name."""

    @classmethod
    def planned(cls, call: Call, progress: Progress) -> "_Work":
        """Prepare the data and list what has to be trained on them."""
        known = tuple(_sources(call, progress))
        return cls(
            known,
            {s.name: table_cells(call.request, s, call.out) for s in known if call.is_tabled},
            {figure.name: figure_cells(figure, known) for figure in call.drawn},
        )

    def cells(self) -> list[Cell]:
        """All of it."""
        tabled = [ways for rows in self.tables.values() for ways in rows.values()]
        cells = [cell for ways in tabled for cell in ways.values()]
        return cells + [cell for found in self.panels.values() for cell in found]


def _write(call: Call, work: _Work, page: Path) -> None:
    """Write the page, with whatever an earlier call measured and this one did not."""
    file = _results_file(page)
    file.parent.mkdir(parents=True, exist_ok=True)
    results = merged(read_results(file), _measured(call, work, file.parent))
    drawn = [draw_table(t, file.parent) for t in results.tables if t.dataset in work.tables]
    tree = merged(results, Results(plots=tuple(drawn))).model_dump(mode="json")
    atomic.write_json(file, tree)
    atomic.write_text(page, written(tree))


def _measured(call: Call, work: _Work, place: Path) -> Results:
    """What this call found."""
    pairs = [(source, work.tables[source.name]) for source in work.sources if call.is_tabled]
    return Results(
        tables=tuple(table_of(call.out, *pair, call.command) for pair in pairs),
        differences=tuple(found for pair in pairs for found in comparisons_of(call.out, *pair)),
        plots=tuple(
            draw_figure(figure, call.out, work.panels[figure.name], place, call.command)
            for figure in call.drawn
        ),
    )


def _check_page(page: Path) -> None:
    """Make sure that the page replaces nothing but itself."""
    if page.suffix != ".md":
        raise ConfigError(f"the page {page} is Markdown; let its name end in .md")
    if page.exists() and not (page.is_file() and page.read_bytes().startswith(TITLE.encode())):
        raise ConfigError(f"{page} exists and is no page of this command; choose another --page")


def _results_file(page: Path) -> Path:
    return page.with_suffix("") / "results.json"


def _sources(call: Call, progress: Progress) -> Iterator[Source]:
    """Prepare the data sets that are needed, each once."""
    folder = call.out / "data"
    needed = {panel.dataset for figure in call.drawn for panel in figure.panels}
    if call.is_tabled or "ml-1m" in needed:
        known = folder / "ml-1m"
        atomic.recover(known)
        if (known / "data.json").exists():
            _check_source(known, call.data)
        else:
            prepare_known("ml-1m", known, folder=call.data, progress=progress)
        _check_split(known, call.data)
        yield Source("ml-1m", known)
    if call.stand_in and (call.is_tabled or "micro-video" in needed):
        made = StandIn(1 if call.full_size else SHRUNK)
        prepared = made.prepared(folder, progress=progress)
        yield Source("micro-video", prepared, made.sentence, made.divisor)


def _check_source(folder: Path, data: Path) -> None:
    """Make sure that what was prepared before came from the files that are given now."""
    recipe = find("ml-1m", data)
    given = open_log(recipe.files, format=recipe.form.format).sha256
    source = Dataset.open(folder).card["source"]
    if given != source["sha256"]:
        raise RunError(
            f"{folder} was prepared from another {source['name']} than the one in {data} (checksum "
            f"{source['sha256'][:12]}, given {given[:12]}); take another --out, or remove {folder}"
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
