"""What was measured when the paper was repeated: the tree that the page is made of.

It is kept as JSON; `validated(Results, tree)` reads it back, and `invlearn.paper.merge` puts what
several calls measured together. Metrics have the names that
`test.json` gives them, such as `auc`, `gauc` and `ndcg@20`.
"""

from collections.abc import Iterable
from statistics import fmean
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from invlearn.config.schema import Settings
from invlearn.paper.rows import DatasetName, Published

Way = Literal["printed", "released", "ablated", "tuned"]
"""How a row was repeated; ablated: as released, without the unlabelled step."""


class Gap(Settings):
    """A paired difference and the interval around it."""

    mean: float
    """Over seeds."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of it."""


class Level(Settings):
    """A metric of several runs that differ in their seed only."""

    mean: float
    """Over seeds."""
    sd: float | None = None
    """Standard deviation over seeds; none for a single one."""
    low: float | None = None
    """Lower end of the 95 % interval of the mean, if there is one."""
    high: float | None = None
    """Upper end of it."""


class Provenance(Settings):
    """Where numbers come from; several entries where they come from several calls."""

    commits: tuple[str, ...] = ()
    """Of the code that trained, as the records say; empty where they do not."""
    dates: tuple[str, ...]
    """Days on which the records were written, the last of each call."""
    machines: tuple[str, ...]
    """In words."""
    commands: tuple[str, ...]
    """That make them again."""

    @classmethod
    def together(cls, sources: Iterable["Provenance"]) -> "Provenance":
        """All of several, each entry once, in order."""
        found = list(sources)

        def distinct(name: str) -> tuple[str, ...]:
            return tuple(dict.fromkeys(text for one in found for text in getattr(one, name)))

        return cls(**{name: distinct(name) for name in cls.model_fields})


class MeasuredRow(Settings):
    """A row of the table, repeated in one way."""

    metrics: dict[str, Level]
    """Test metrics by name."""
    n_seeds: PositiveInt
    """Runs behind the means."""
    n_planned: PositiveInt
    """Runs that were asked for; those that are missing failed."""
    seconds: NonNegativeFloat
    """Training time of a run, mean over seeds."""
    best_epochs: tuple[PositiveInt, ...]
    """The best epoch of each run, from 1."""
    epoch_cap: PositiveInt
    """Epochs that a run has at most."""
    peak_bytes: int | None = None
    """Largest memory of a run, where it was measured."""
    settings: dict[str, Any] = Field(default={})
    """Settings that tuning chose, by dotted name; none where they were fixed."""
    at_end: tuple[str, ...] = ()
    """Those of them that lie at an end of their range."""
    trials: dict[str, NonNegativeInt] = Field(default={})
    """Trials of the search by how they ended; none where settings were fixed."""
    provenance: Provenance
    """Where the numbers come from."""

    @property
    def best_epoch(self) -> float:
        """Epochs up to the best one, mean over seeds."""
        return fmean(self.best_epochs)

    @property
    def at_cap(self) -> bool:
        """Whether most runs were best in their last epoch, so that more might have helped."""
        return 2 * sum(e >= self.epoch_cap for e in self.best_epochs) > len(self.best_epochs)


class TableRow(Settings):
    """A backbone trained by a method."""

    backbone: str
    """As the paper writes it."""
    method: str
    """As the paper writes it."""
    published: Published | None = None
    """Printed numbers; none for a method that the paper does not have."""
    ways: dict[Way, MeasuredRow] = Field(default={})
    """What was measured."""


class Table(Settings):
    """Table 2 of one data set."""

    dataset: DatasetName
    """Which one of the paper's."""
    stand_in: str | None = None
    """A sentence on the simulated data that stand in for it; none for the data themselves."""
    fingerprint: str
    """Of the dataset folder; rows that were measured on different ones share no table."""
    rows: tuple[TableRow, ...]
    """In the order of the paper."""
    baselines: dict[str, dict[str, float | None]] = Field(default={})
    """Test metrics of the trivial baselines by name; null where one has no such metric."""
    failures: dict[str, tuple[str, ...]] = Field(default={})
    """Trials and reported trainings that failed, with their reasons, by row and way; empty where
    none did."""

    @property
    def provenance(self) -> Provenance:
        """Where its rows come from."""
        return Provenance.together(found.provenance for found in self.measured())

    def measured(self) -> list[MeasuredRow]:
        """Every row in every way."""
        return [found for row in self.rows for found in row.ways.values()]


class Side(Settings):
    """One of two things that are compared."""

    method: str
    """As the paper writes it."""
    way: Way
    """How it was repeated."""


class Comparison(Settings):
    """One row less another on the same users, runs of one seed paired."""

    dataset: DatasetName
    """Data set of both."""
    backbone: str
    """Backbone of both."""
    of: Side
    """What is looked at."""
    less: Side
    """What it is measured against."""
    n_seeds: PositiveInt
    """Pairs of runs."""
    metrics: dict[str, Gap]
    """Differences by metric."""


class Plot(Settings):
    """A picture on the page."""

    title: str
    """What it shows."""
    file: str
    """Path of the SVG from the page."""
    caption: str
    """How to read it."""
    published: str = ""
    """What the paper says about its own."""
    stand_in: bool = False
    """Whether any part of it was drawn from simulated data."""
    provenance: Provenance
    """Where what it shows comes from."""


class Results(Settings):
    """Everything on the page."""

    tables: tuple[Table, ...] = ()
    """In the order of the page."""
    differences: tuple[Comparison, ...] = ()
    """In the order of the page."""
    plots: tuple[Plot, ...] = ()
    """In the order of the page."""
