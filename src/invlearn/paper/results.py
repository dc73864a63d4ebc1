"""What was measured when the paper was repeated: the tree that the page is made of.

It is kept as JSON; `validated(Results, tree)` reads it back. Metrics have the names that
`test.json` gives them, such as `auc`, `gauc` and `ndcg@20`.
"""

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from invlearn.config import Settings
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


class Measured(Settings):
    """A row of the table, repeated in one way."""

    metrics: dict[str, Level]
    """Test metrics by name."""
    n_seeds: PositiveInt
    """Runs behind the means."""
    seconds: NonNegativeFloat
    """Training time of a run, mean over seeds."""
    epochs: NonNegativeFloat
    """Epochs up to the best one, mean over seeds."""
    peak_bytes: int | None = None
    """Largest memory of a run, where it was measured."""
    settings: dict[str, Any] = Field(default={})
    """Settings that tuning chose, by dotted name; none where they were fixed."""


class TableRow(Settings):
    """A backbone trained by a method."""

    backbone: str
    """As the paper writes it."""
    method: str
    """As the paper writes it."""
    published: Published | None = None
    """Printed numbers; none for a method that the paper does not have."""
    ways: dict[Way, Measured] = Field(default={})
    """What was measured."""


class Table(Settings):
    """Table 2 of one data set."""

    dataset: DatasetName
    """Which one of the paper's."""
    stand_in: str | None = None
    """A sentence on the simulated data that stand in for it; none for the data themselves."""
    rows: tuple[TableRow, ...]
    """In the order of the paper."""
    baselines: dict[str, dict[str, float | None]] = Field(default={})
    """Test metrics of the trivial baselines by name; null where one has no such metric."""


class Side(Settings):
    """One of two things that are compared."""

    method: str
    """As the paper writes it."""
    way: Way
    """How it was repeated."""


class Difference(Settings):
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


class Provenance(Settings):
    """Where the numbers come from."""

    commit: str
    """Of the code that measured them."""
    date: str
    """Of the measurement."""
    machine: str
    """In words."""
    command: str
    """That makes them again."""
    seeds: tuple[int, ...]
    """Of the runs, the longest list; fewer where a table says so."""
    intervals: str
    """A sentence on what the intervals cover."""


class Results(Settings):
    """Everything on the page."""

    provenance: Provenance
    """Where the numbers come from."""
    tables: tuple[Table, ...]
    """In the order of the page."""
    differences: tuple[Difference, ...] = ()
    """In the order of the page."""
    plots: tuple[Plot, ...] = ()
    """In the order of the page."""
