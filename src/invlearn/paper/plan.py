"""The trainings behind the tables and figures: every row in every way, as cells."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from invlearn.config.schema import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.experiments.cell import Cell
from invlearn.experiments.grid import cells_of_grid, load_experiment
from invlearn.paper.results import Way
from invlearn.paper.rows import DatasetName, Figure, Row, VariantName, published_rows, row
from invlearn.runtime.errors import ConfigError
from invlearn.training.build import complete

SEEDS: dict[Way, int] = {"printed": 3, "released": 5, "ablated": 5, "tuned": 5}
"""Seeds of each way."""
STRATEGIES = {"None": "none", "NS": "ns", "T-CE": "t-ce", "R-CE": "r-ce", "IDL": "idl", "IG": "ig"}
"""Strategy that stands for a method of the paper when it is tuned."""
FIXED: tuple[VariantName, ...] = ("printed", "released", "ablated")


@dataclass(frozen=True, slots=True)
class Source:
    """A data set of the paper, prepared."""

    name: DatasetName
    folder: Path
    stand_in: str | None = None
    """What stands in for it, in words."""
    rate_factor: int = 1
    """What fixed learning rates are multiplied by."""

    def cell(self, config: RunConfig, seeds: Sequence[int]) -> Cell:
        """A cell with fixed settings on this data set."""
        dataset = Dataset.open(self.folder)
        rate = config.optimizer.lr * self.rate_factor
        optimizer = config.optimizer.model_copy(update={"lr": rate})
        settings = complete(config.model_copy(update={"optimizer": optimizer}), dataset, None)
        return Cell(
            dataset=self.folder.resolve(),
            config=settings,
            seeds=tuple(seeds),
            fingerprint=dataset.fingerprint,
        )


@dataclass(frozen=True, slots=True)
class Request:
    """What of the paper to repeat."""

    rows: tuple[str, ...] = ()
    """Names of rows; all if empty."""
    ways: tuple[Way, ...] = ("printed", "released", "ablated", "tuned")
    """How to repeat them."""
    seeds: Mapping[Way, int] = field(default_factory=lambda: SEEDS)
    """How often."""
    trials: int | None = None
    """Budget of the tuned way, if not the plan's own."""

    @classmethod
    def of(
        cls,
        *,
        rows: Sequence[str] | None = None,
        ways: Sequence[Way] | None = None,
        seeds: int | None = None,
        trials: int | None = None,
    ) -> "Request":
        """A request from what was given; the defaults for what was not.

        Raises:
            ConfigError: There is no row of a name, or a number is below 1.
        """
        for name in rows or ():
            row(name)
        for kind, number in (("seeds", seeds), ("trials", trials)):
            if number is not None and number < 1:
                raise ConfigError(f"{kind} must be 1 or more; found {number}")
        return cls(
            rows=tuple(rows or ()),
            ways=tuple(ways) if ways else cls().ways,
            seeds=SEEDS if seeds is None else dict.fromkeys(SEEDS, seeds),
            trials=trials,
        )

    def wanted(self) -> list[Row]:
        """The rows."""
        return [r for r in published_rows() if not self.rows or r.name in self.rows]

    def has(self, found: Row, way: Way) -> bool:
        """Whether a row is to be repeated in a way, and can be."""
        return way in self.ways and (way == "tuned" or getattr(found, way) is not None)


def table_cells(request: Request, source: Source, experiment: Path) -> dict[str, dict[Way, Cell]]:
    """Cells of Table 2 for one data set, by name of the row and by way.

    Args:
        request: Which rows and ways.
        source: The data set.
        experiment: Folder of the experiment.

    Raises:
        ConfigError: A data file does not fit today's settings.
    """
    cells: dict[str, dict[Way, Cell]] = {found.name: {} for found in request.wanted()}
    for found in request.wanted():
        for way in FIXED:
            if request.has(found, way):
                seeds = range(request.seeds[way])
                cells[found.name][way] = source.cell(found.config(way, source.name), seeds)
    if "tuned" in request.ways:
        for name, cell in _tuned(request, source, experiment).items():
            cells[name]["tuned"] = cell
    return cells


def figure_cells(figure: Figure, sources: Iterable[Source]) -> list[Cell]:
    """The cell behind each panel of a figure, with one seed."""
    known = {source.name: source for source in sources}
    return [
        known[panel.dataset].cell(config, (0,))
        for panel, config in zip(figure.panels, figure.configs(), strict=True)
    ]


def tuned_plan() -> dict[str, Any]:
    """The plan of the tuned way, as `load_experiment` reads it once it has data sets."""
    return yaml.safe_load((files("invlearn.paper") / "tuned.yaml").read_text(encoding="utf-8"))


def _tuned(request: Request, source: Source, experiment: Path) -> dict[str, Cell]:
    """Cells of the tuned way by name of the row."""
    rows = request.wanted()
    plan = tuned_plan()
    plan["datasets"] = {source.name: source.folder}
    plan["backbones"] = list(dict.fromkeys(r.backbone for r in rows))
    names = dict.fromkeys(STRATEGIES[r.method] for r in rows)
    plan["strategies"] = {name: plan["strategies"][name] for name in names}
    plan["seeds"] = request.seeds["tuned"]
    if request.trials is not None:
        plan["tuning"]["trials"] = request.trials
    grid = cells_of_grid(load_experiment(plan), experiment)
    found = {(place.backbone, place.strategy): cell for place, cell in grid.items()}
    return {r.name: found[r.backbone, STRATEGIES[r.method]] for r in rows}
