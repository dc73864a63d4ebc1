"""Measure the paper's table and figures again, and write the page.

```
OUT/
  data/  cells/  baselines/   an experiment folder, as `invlearn compare` makes it
  paper.md                    the page, unless --page names another file
  paper/                      next to the page: results.json, figures and their data
                              (a notes.txt that you put there is shown on the page)
```
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from invlearn.data.catalogue import find, prepare_known
from invlearn.data.dataset import Dataset
from invlearn.data.logs.logs import open_log
from invlearn.data.prepare.prepare import prepare
from invlearn.data.simulation.simulate import simulate
from invlearn.experiments.cell import Cell
from invlearn.experiments.compare import check_folder
from invlearn.experiments.work import work_together
from invlearn.runtime import atomic, locks
from invlearn.runtime.errors import ConfigError, DataError, RunError
from invlearn.runtime.progress import Progress, silent
from reproduction.collect import Cells, comparisons_of, table_of
from reproduction.figures import draw_figure, draw_table
from reproduction.page import TITLE, headlines
from reproduction.page import page as page_of
from reproduction.plans import DatasetName, Request, Source, figure_cells, table_cells
from reproduction.results import Results, merged, read_results

USERS, ITEMS, IMPRESSIONS = 37_692, 131_690, 14_850_000
"""Users and items of Micro Video in Table 1; so many simulated impressions have its 9.46 million
labels."""
RULE = "play_time_ms / duration_ms >= 1, < 0.55"
"""Labels 64 % of simulated impressions, 52 % of those positive, as in Table 1."""
SHRUNK = 50
"""Divisor of the stand-in's size unless the full size is asked for."""


def reproduce(
    request: Request,
    page: Path | None = None,
    *,
    workers: int = 1,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Measure Table 2 and Figures 3 to 6 again; trainings that `request.out` holds are reused.

    Args:
        request: What to repeat, and where.
        page: The page to write, with its data in a folder of the same name next to it; by default
            `paper.md` in `request.out`.
        workers: Processes that share the work.
        progress: Called as trainings are done.
        should_stop: Asked all the time; true stops.

    Returns:
        The page.

    Raises:
        ConfigError: An extra is not installed, or nothing can be done.
        DataError: The data are not there.
        RunError: `request.out` was made from other data, or the page's data do not fit.
        Stopped: `should_stop` said so.
    """
    page = page or request.out / "paper.md"
    request.check()
    check_folder(request.out)
    _check_page(page)
    read_results(results_file(page))  # a damaged file must be found before hours of work
    request.out.mkdir(parents=True, exist_ok=True)
    with locks.locked(request.out):
        work = _Work.planned(request, progress)
        work_together(
            request.out, work.cells(), workers=workers, progress=progress, should_stop=should_stop
        )
        _write(request, work, page)
    return page


def results_file(page: Path) -> Path:
    """Return the file of the numbers on a page."""
    return page.with_suffix("") / "results.json"


def write_page(page: Path) -> None:
    """Write a page from its `results.json` and the `notes.txt` next to that, if there is one."""
    results, notes = read_results(results_file(page)), page.with_suffix("") / "notes.txt"
    text = notes.read_text(encoding="utf-8") if notes.exists() else ""
    atomic.write_text(page, page_of(results, text))


def summary(page: Path) -> list[str]:
    """Return the main comparisons of a page as lines for a screen."""
    return list(headlines(read_results(results_file(page))))


@dataclass(frozen=True, slots=True)
class _Work:
    """The trainings behind a request."""

    sources: tuple[Source, ...]
    tables: Mapping[DatasetName, Cells]
    """Cells of each table, by data set."""
    panels: Mapping[str, list[Cell]]
    """Cells of each figure, by its name."""

    @classmethod
    def planned(cls, request: Request, progress: Progress) -> "_Work":
        """Prepare the data and list what has to be trained on them."""
        known = tuple(_sources(request, progress))
        return cls(
            known,
            {s.name: table_cells(request, s) for s in known if request.wants_table},
            {figure.name: figure_cells(figure, known) for figure in request.wanted_figures},
        )

    def cells(self) -> list[Cell]:
        """All of it."""
        tabled = [ways for rows in self.tables.values() for ways in rows.values()]
        cells = [cell for ways in tabled for cell in ways.values()]
        return cells + [cell for found in self.panels.values() for cell in found]


def _write(request: Request, work: _Work, page: Path) -> None:
    """Write the page, with whatever an earlier call measured and this one did not."""
    file = results_file(page)
    file.parent.mkdir(parents=True, exist_ok=True)
    results = merged(read_results(file), _measured(request, work, file.parent))
    drawn = [draw_table(t, file.parent) for t in results.tables if t.dataset in work.tables]
    results = merged(results, Results(plots=tuple(drawn)))
    atomic.write_json(file, results.model_dump(mode="json"))
    write_page(page)


def _measured(request: Request, work: _Work, place: Path) -> Results:
    """What this call measured."""
    tabled = [(source, work.tables[source.name]) for source in work.sources if request.wants_table]
    out, command = request.out, request.command
    return Results(
        tables=tuple(table_of(out, *pair, command) for pair in tabled),
        differences=tuple(found for pair in tabled for found in comparisons_of(out, *pair)),
        plots=tuple(
            draw_figure(figure, out, work.panels[figure.name], place, command)
            for figure in request.wanted_figures
        ),
    )


def _check_page(page: Path) -> None:
    """Make sure that the page replaces nothing but itself."""
    if page.suffix != ".md":
        raise ConfigError(f"the page {page} is Markdown; let its name end in .md")
    if page.exists() and not (page.is_file() and page.read_bytes().startswith(TITLE.encode())):
        raise ConfigError(f"{page} exists and is no page of this command; choose another --page")


# Data sets


def _sources(request: Request, progress: Progress) -> Iterator[Source]:
    """Prepare the data sets that are needed, each once."""
    folder = request.out / "data"
    needed = {panel.dataset for figure in request.wanted_figures for panel in figure.panels}
    if request.wants_table or "ml-1m" in needed:
        yield Source("ml-1m", _movielens(folder / "ml-1m", request.data, progress))
    if request.stand_in and (request.wants_table or "micro-video" in needed):
        yield stand_in(folder, 1 if request.full_size else SHRUNK, progress)


def _movielens(folder: Path, data: Path, progress: Progress) -> Path:
    atomic.recover(folder)
    if (folder / "data.json").exists():
        _check_source(folder, data)
    else:
        prepare_known("ml-1m", folder, folder=data, progress=progress)
    _check_split(folder, data)
    return folder


def _check_source(folder: Path, data: Path) -> None:
    """Make sure that what was prepared before came from the files that are given now."""
    recipe = find("ml-1m", data)
    given = open_log(recipe.files, format=recipe.form.format).sha256
    source = Dataset.open(folder).card.to_json()["source"]
    if given != source["sha256"]:
        raise RunError(
            f"{folder} was prepared from another {source['name']} than the one in {data} (checksum "
            f"{source['sha256'][:12]}, given {given[:12]}); take another --out, or remove {folder}"
        )


def _check_split(folder: Path, data: Path) -> None:
    """Make sure that the split is the authors', or no number could be compared."""
    how = Dataset.open(folder).card.to_json().get("split", {}).get("how")
    if how != "column":
        raise DataError(
            f"{data} has no split of its own, so {folder} has a '{how}' one, and the paper's "
            "numbers are of the authors' split; give a folder whose ratings.parquet has the "
            f"columns user, item, rating, split (0, 1, 2), and remove {folder}"
        )


def stand_in(folder: Path, divisor: int, progress: Progress = silent) -> Source:
    """Simulate and prepare a feed in the place of Micro Video, unless that was done.

    Args:
        folder: Folder of prepared data sets.
        divisor: How many times smaller than the original, in users, items and rows.
        progress: Called as rows are done.
    """
    name = "micro-video-stand-in" + (f"-1-{divisor}" if divisor > 1 else "")
    out, log = folder / name, folder / f"{name}-log"
    users, items = USERS // divisor, ITEMS // divisor
    atomic.recover(out)
    if not (out / "data.json").exists():
        rows = IMPRESSIONS // divisor
        simulate(log, users=users, items=items, rows=rows, overwrite=True, progress=progress)
        prepare(
            log, out, rule=RULE, user="user_id", item="video_id", time="timestamp",
            progress=progress,
        )  # fmt: skip
    size = f"1/{divisor} of its size" if divisor > 1 else "of its size"
    sentence = (
        f"Micro Video was never released; these numbers come from a simulated feed {size} "
        f"({users:,} users, {items:,} items) with its class balance."
    )
    if divisor > 1:
        sentence += (
            f" Fixed learning rates are multiplied by {divisor}, so that rate times steps is what "
            "it is at full size."
        )
    return Source("micro-video", out, sentence, divisor)
