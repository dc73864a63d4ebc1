"""What the paper published, and the trainings that repeat it.

`published/` has one YAML file for each row of Table 2 and each figure: the published numbers, the
settings that repeat them, and a comment where the paper is silent. Lin et al., Inverse Learning
with Extremely Sparse Feedback for Recommendation, WSDM 2024
(https://doi.org/10.1145/3616855.3635797).
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PositiveFloat

from invlearn.config.schema import RunConfig, Settings, load_config, validated
from invlearn.data.dataset import Dataset
from invlearn.experiments.cell import Cell
from invlearn.experiments.grid import cells_of_grid, load_experiment
from invlearn.experiments.search import require as require_search
from invlearn.reporting.charts import require as require_charts
from invlearn.runtime.errors import ConfigError, unknown
from invlearn.training.class_lookup import backbone_class, complete_options, strategy_class
from invlearn.training.settings import complete

HERE = Path(__file__).parent
DatasetName = Literal["ml-1m", "micro-video"]
What = Literal["table2", "figure3", "figure4", "figure5", "figure6", "all"]
FixedWay = Literal["printed", "released", "ablated"]
Way = Literal["printed", "released", "ablated", "tuned"]
"""How a row is repeated; ablated: as released, without the unlabelled step."""

SEEDS: dict[Way, int] = {"printed": 3, "released": 5, "ablated": 5, "tuned": 5}
"""Seeds of each way."""
NAMES = {"gmf": "GMF", "neumf": "NeuMF"}
"""Backbones as the paper writes them."""
STRATEGIES = {"None": "none", "NS": "ns", "T-CE": "t-ce", "R-CE": "r-ce", "IDL": "idl", "IG": "ig"}
"""The paper's methods in its order, and the strategy that repeats each when it is tuned."""
METHODS = tuple(STRATEGIES)
Share = Annotated[float, Field(ge=0, le=1)]


class Published(Settings):
    """What Table 2 prints for one data set."""

    ndcg: Share
    """NDCG: @10 by Section 4.1.2, @20 by the released inverse-gradient code."""
    auc: Share
    """AUC over all test rows."""
    gauc: Share
    """Mean AUC of users, each counting 1."""


class Row(Settings):
    """A row of Table 2: a backbone trained by a method."""

    name: str
    """Backbone and method, as in `GMF IG`."""
    backbone: str
    """Name of the backbone in this library."""
    method: str
    """Name of the method in the paper."""
    published: dict[DatasetName, Published]
    """Published numbers by data set."""
    rates: dict[DatasetName, PositiveFloat]
    """Learning rate by data set."""
    printed: dict[str, Any]
    """Settings of a run as the paper describes it, without backbone and learning rate."""
    released: dict[str, Any] | None = None
    """What the released code does differently; none where no code was released."""
    ablated: dict[str, Any] | None = None
    """What differs as released without the unlabelled step; none where there is no such step."""

    def has(self, way: Way) -> bool:
        """Return whether the row can be repeated in a way."""
        return way == "tuned" or getattr(self, way) is not None

    def config(self, way: FixedWay, dataset: DatasetName) -> RunConfig:
        """Return the settings of a run that repeats the row, every option written out.

        Raises:
            ConfigError: The row cannot be repeated in this way, or its file does not fit today's
                settings.

        Example:
            >>> row("GMF None").config("printed", "ml-1m").optimizer.lr
            0.0001
        """
        changes: dict[str, Any] | None = getattr(self, way)
        if changes is None:
            raise ConfigError(
                f"{self.name} has no way '{way}': no such code was released; take 'printed'"
            )
        rate = {"backbone": self.backbone, "optimizer": {"lr": self.rates[dataset]}}
        return _completed(load_config(changes, load_config(rate, load_config(self.printed))))


class Panel(Settings):
    """A part of a figure, drawn from one run."""

    title: str
    """Title above the panel."""
    row: str
    """Name of the row whose settings the run has."""
    dataset: DatasetName
    """Data set of the run."""
    method: dict[str, Any] = Field(default={})
    """Options of the strategy that differ from the row's."""


class Figure(Settings):
    """A figure of the paper: what it draws, and from which runs."""

    name: str
    """As in `figure3`."""
    title: str
    """What it shows."""
    kind: Literal["beliefs", "judges"]
    """beliefs: distributions of w1 and w0; judges: losses of training-test batches with choices."""
    variant: FixedWay
    """The way in which the rows are repeated."""
    panels: tuple[Panel, ...]
    """In reading order."""
    published: str
    """What the paper's text says that the figure shows."""

    def configs(self) -> tuple[RunConfig, ...]:
        """Return the settings of the run behind each panel."""
        rows = [row(panel.row).config(self.variant, panel.dataset) for panel in self.panels]
        return tuple(
            _completed(load_config({"method": panel.method}, config))
            for panel, config in zip(self.panels, rows, strict=True)
        )


@cache
def published_rows() -> tuple[Row, ...]:
    """Return all rows of Table 2, in its order."""
    rows = [validated(Row, content) for content in _contents("table2")]
    return tuple(sorted(rows, key=lambda r: (r.backbone, METHODS.index(r.method))))


def row(name: str) -> Row:
    """Return the row of Table 2 of a name such as `GMF IG`.

    Raises:
        ConfigError: There is no row of that name.
    """
    known = {found.name: found for found in published_rows()}
    if name not in known:
        raise unknown("row", name, known)
    return known[name]


def figures() -> tuple[Figure, ...]:
    """Return Figures 3 to 6, in order."""
    return tuple(validated(Figure, content) for content in _contents("figures"))


def tuned_plan() -> dict[str, Any]:
    """Return the plan of the tuned way: an experiment file without its data sets."""
    return yaml.safe_load((HERE / "tuned.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Request:
    """What to repeat: the options of `invlearn reproduce`."""

    what: What
    data: Path
    """Folder with MovieLens-1M."""
    out: Path
    """Folder of the experiment."""
    rows: tuple[str, ...] = ()
    """Names of rows; all rows if empty."""
    ways: tuple[Way, ...] = tuple(SEEDS)
    """How to repeat them."""
    seeds: int | None = None
    """Seeds of each row, if not `SEEDS`."""
    trials: int | None = None
    """Trials of the tuned way, if not the plan's number."""
    full_size: bool = False
    """Whether the simulated stand-in has the size of the original."""
    stand_in: bool = True
    """Whether to measure on the simulated stand-in for Micro Video."""

    @property
    def wants_table(self) -> bool:
        """Whether the table is wanted."""
        return self.what in ("table2", "all")

    @property
    def wanted_rows(self) -> list[Row]:
        """The rows that are wanted, in the order of the table."""
        return [r for r in published_rows() if not self.rows or r.name in self.rows]

    @property
    def wanted_figures(self) -> list[Figure]:
        """The figures that are wanted, with the panels whose data are."""
        wanted = [figure for figure in figures() if self.what in (figure.name, "all")]
        if self.stand_in:
            return wanted
        real = [(f, tuple(p for p in f.panels if p.dataset == "ml-1m")) for f in wanted]
        return [figure.model_copy(update={"panels": panels}) for figure, panels in real if panels]

    def seeds_of(self, way: Way) -> int:
        """Return the number of seeds of a way."""
        return SEEDS[way] if self.seeds is None else self.seeds

    @property
    def command(self) -> str:
        """The command that measures the same, without the paths to this machine's folders.

        Example:
            >>> Request("all", Path("/a/ml-1m"), Path("/b/out"), ("GMF IG",), seeds=2).command
            "invlearn reproduce all --data ml-1m --out out --row 'GMF IG' --seeds 2"
        """
        words = ["invlearn", "reproduce", self.what]
        words += ["--data", self.data.absolute().name, "--out", self.out.absolute().name]
        words += [word for name in self.rows for word in ("--row", name)]
        if self.ways != tuple(SEEDS):
            words += [word for way in self.ways for word in ("--way", way)]
        for option, number in (("--seeds", self.seeds), ("--trials", self.trials)):
            words += [] if number is None else [option, str(number)]
        words += ["--full-size"] * self.full_size + ["--no-stand-in"] * (not self.stand_in)
        return shlex.join(words)

    def check(self) -> None:
        """Check before hours of work that there is something to do and nothing is missing.

        Raises:
            ConfigError: An option does not fit, nothing can be done, or an extra is not installed.
        """
        for kind, number in (("seeds", self.seeds), ("trials", self.trials)):
            if number is not None and number < 1:
                raise ConfigError(f"{kind} must be 1 or more; found {number}")
        for name in self.rows:
            row(name)
        require_charts()
        if self.full_size and not self.stand_in:
            raise ConfigError("--full-size is of the stand-in; leave it or --no-stand-in out")
        if self.wants_table and not any(r.has(way) for r in self.wanted_rows for way in self.ways):
            raise ConfigError(
                "none of the rows asked for can be repeated in the ways asked for, since no such "
                "code was released; take --way printed or tuned"
            )
        if self.wants_table and "tuned" in self.ways:
            require_search()
        if not self.wants_table and not self.wanted_figures:
            raise ConfigError(
                f"{self.what} shows Micro Video, which was never released; leave --no-stand-in out"
            )


@dataclass(frozen=True, slots=True)
class Source:
    """A data set of the paper, prepared."""

    name: DatasetName
    folder: Path
    stand_in: str | None = None
    """A sentence on the simulated data that stand in for it; none for the real data."""
    rate_factor: int = 1
    """Factor of the fixed learning rates."""

    def cell(self, config: RunConfig, n_seeds: int) -> Cell:
        """Return a cell with fixed settings on this data set."""
        dataset = Dataset.open(self.folder)
        rate = config.optimizer.lr * self.rate_factor
        optimizer = config.optimizer.model_copy(update={"lr": rate})
        return Cell(
            dataset=self.folder.resolve(),
            config=complete(config.model_copy(update={"optimizer": optimizer}), dataset, None),
            seeds=tuple(range(n_seeds)),
            fingerprint=dataset.fingerprint,
        )


def table_cells(request: Request, source: Source) -> dict[str, dict[Way, Cell]]:
    """Return the cells of Table 2 for one data set, by name of the row and by way.

    Raises:
        ConfigError: A data file does not fit today's settings.
    """
    cells: dict[str, dict[Way, Cell]] = {found.name: {} for found in request.wanted_rows}
    for found in request.wanted_rows:
        for way in ("printed", "released", "ablated"):
            if way in request.ways and found.has(way):
                config = found.config(way, source.name)
                cells[found.name][way] = source.cell(config, request.seeds_of(way))
    if "tuned" in request.ways:
        for name, cell in _tuned(request, source).items():
            cells[name]["tuned"] = cell
    return cells


def figure_cells(figure: Figure, sources: Iterable[Source]) -> list[Cell]:
    """Return the cell behind each panel of a figure, with one seed."""
    known = {source.name: source for source in sources}
    return [
        known[panel.dataset].cell(config, 1)
        for panel, config in zip(figure.panels, figure.configs(), strict=True)
    ]


def _tuned(request: Request, source: Source) -> dict[str, Cell]:
    """Cells of the tuned way by name of the row."""
    rows, plan = request.wanted_rows, tuned_plan()
    plan["datasets"] = {source.name: source.folder}
    plan["backbones"] = _distinct([r.backbone for r in rows])
    names = _distinct([STRATEGIES[r.method] for r in rows])
    plan["strategies"] = {name: plan["strategies"][name] for name in names}
    plan["seeds"] = request.seeds_of("tuned")
    if request.trials is not None:
        plan["tuning"]["trials"] = request.trials
    grid = cells_of_grid(load_experiment(plan), request.out)
    found = {(place.backbone, place.strategy): cell for place, cell in grid.items()}
    return {r.name: found[r.backbone, STRATEGIES[r.method]] for r in rows}


def _distinct(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _completed(config: RunConfig) -> RunConfig:
    """Options of backbone and strategy checked and written out."""
    model = complete_options(backbone_class(config.backbone), config.model, "model")
    method = complete_options(strategy_class(config.strategy), config.method, "method")
    return config.model_copy(update={"model": model, "method": method})


def _contents(folder: str) -> list[dict[str, Any]]:
    """Contents of the data files of a folder, by name of the file."""
    files = sorted((HERE / "published" / folder).glob("*.yaml"))
    return [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
