"""What was measured, as the tree that the page is made of, and how several calls are merged.

The tree is kept as JSON. Metrics have the names that `test.json` gives them, such as `ndcg@20`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, ValidationError

from invlearn.config.schema import Settings
from invlearn.config.validation_errors import describe_validation_error
from invlearn.runtime.errors import RunError
from reproduction.plans import METHODS, DatasetName, Published, Way

METRICS = {"auc": "AUC", "gauc": "GAUC", "ndcg@20": "NDCG@20"}
"""Metrics on the page, by name, and how they are written."""


class Gap(Settings):
    """A paired difference, mean over seeds, and its 95 % interval."""

    mean: float
    low: float
    high: float


class Level(Settings):
    """A metric of several runs that differ in their seed only."""

    mean: float
    sd: float | None = None
    """Standard deviation over seeds; none for one seed."""
    low: float | None = None
    """Lower end of the 95 % interval of the mean, if there is one."""
    high: float | None = None
    """Upper end of the interval."""


class Provenance(Settings):
    """Where numbers come from; several entries where they come from several calls."""

    commits: tuple[str, ...] = ()
    """Commits of the code that trained, where the records say them."""
    dates: tuple[str, ...]
    """Days on which the records were written, the last of each call."""
    machines: tuple[str, ...]
    """Processors and version of torch."""
    commands: tuple[str, ...]
    """Commands that make the numbers again."""

    @classmethod
    def merged(cls, sources: Iterable["Provenance"]) -> "Provenance":
        """Return all entries of several, each once, in order."""
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
    """Runs that were asked for; the missing ones failed."""
    seconds: NonNegativeFloat
    """Training time of a run, mean over seeds."""
    best_epochs: tuple[PositiveInt, ...]
    """Best epoch of each run, from 1."""
    epoch_cap: PositiveInt
    """Largest number of epochs of a run."""
    peak_bytes: int | None = None
    """Largest memory of a run, where it was measured."""
    settings: dict[str, Any] = Field(default={})
    """Settings that tuning chose, by dotted name; empty where they were fixed."""
    at_end: tuple[str, ...] = ()
    """Chosen settings that lie at an end of the tried range."""
    trials: dict[str, NonNegativeInt] = Field(default={})
    """Trials of the search by state; empty where settings were fixed."""
    provenance: Provenance

    @property
    def best_epoch(self) -> float:
        """Best epoch, mean over seeds."""
        return fmean(self.best_epochs)

    @property
    def at_cap(self) -> bool:
        """Whether most runs were best in their last epoch, so more epochs might have helped."""
        return 2 * sum(e >= self.epoch_cap for e in self.best_epochs) > len(self.best_epochs)


class TableRow(Settings):
    """A backbone trained by a method."""

    backbone: str
    """As the paper writes it."""
    method: str
    """As the paper writes it."""
    published: Published | None = None
    """Published numbers, if the paper has the method."""
    ways: dict[Way, MeasuredRow] = Field(default={})

    def level(self, way: Way, metric: str) -> Level | None:
        """Return a measured metric, if there is one."""
        return self.ways[way].metrics.get(metric) if way in self.ways else None

    def published_value(self, metric: str) -> float | None:
        """Return a published metric, if there is one."""
        return getattr(self.published, metric.partition("@")[0], None)


class Table(Settings):
    """Table 2 of one data set."""

    dataset: DatasetName
    stand_in: str | None = None
    """A sentence on the simulated data that stand in for it; none for the real data."""
    fingerprint: str
    """Fingerprint of the dataset folder; a table has the rows of one fingerprint only."""
    rows: tuple[TableRow, ...]
    """In the order of the paper."""
    baselines: dict[str, dict[str, float | None]] = Field(default={})
    """Test metrics of the trivial baselines by name; null where a baseline has no such metric."""
    failures: dict[str, tuple[str, ...]] = Field(default={})
    """Failed trials and trainings with their reasons, by row and way."""

    @property
    def provenance(self) -> Provenance:
        """Where its rows come from."""
        return Provenance.merged(way.provenance for row in self.rows for way in row.ways.values())


class Side(Settings):
    """One of two things that are compared."""

    method: str
    way: Way


class Comparison(Settings):
    """One row minus another on the same users; runs are paired by seed."""

    dataset: DatasetName
    backbone: str
    of: Side
    less: Side
    """What is subtracted."""
    n_seeds: PositiveInt
    """Pairs of runs."""
    metrics: dict[str, Gap]
    """Differences by metric."""


class Plot(Settings):
    """A picture on the page."""

    title: str
    file: str
    """Path of the SVG from the page."""
    caption: str
    published: str = ""
    """What the paper says about its own figure."""
    stand_in: bool = False
    """Whether any part was drawn from simulated data."""
    provenance: Provenance


class Results(Settings):
    """Everything that was measured, in the order of the page."""

    tables: tuple[Table, ...] = ()
    differences: tuple[Comparison, ...] = ()
    plots: tuple[Plot, ...] = ()


def read_results(file: Path) -> Results:
    """Read what earlier calls measured; nothing if there is no such file.

    Raises:
        RunError: The file is damaged or of another version.
    """
    if not file.exists():
        return Results()
    try:
        return Results.model_validate_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        why = (
            describe_validation_error(Results, error)
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise RunError(
            f"{file} does not fit what this version writes ({why[:200]}); remove it, and the page "
            "is made again from the trainings"
        ) from error


def merged(before: Results, now: Results) -> Results:
    """Return earlier results with the results of this call in their place where both have them.

    Rows are identified by data set, backbone, method and way, comparisons by what they compare,
    plots by their title. A table of other data is replaced as a whole. A comparison is dropped
    when a number that it compared has changed.
    """
    tables = _merged_tables(before.tables, now.tables)
    kept = [c for c in before.differences if _is_current(c, before.tables, tables)]
    differences = {(c.dataset, c.backbone, c.of, c.less): c for c in [*kept, *now.differences]}
    plots = {plot.title: plot for plot in [*before.plots, *now.plots]}
    return Results(
        tables=tables,
        differences=tuple(
            sorted(differences.values(), key=lambda c: _place(c.backbone, c.of.method))
        ),
        plots=tuple(
            sorted(plots.values(), key=lambda p: (not p.title.startswith("Table"), p.title))
        ),
    )


def _merged_tables(before: Sequence[Table], now: Sequence[Table]) -> tuple[Table, ...]:
    found = {table.dataset: table for table in before}
    for table in now:
        old = found.get(table.dataset)
        same = old and old.fingerprint == table.fingerprint
        found[table.dataset] = _merged_table(old, table) if old and same else table
    return tuple(sorted(found.values(), key=lambda table: table.stand_in is not None))


def _merged_table(old: Table, new: Table) -> Table:
    """Two tables of the same data as one."""
    rows = {(row.backbone, row.method): row for row in old.rows}
    for row in new.rows:
        kept = rows.get((row.backbone, row.method), row)
        ways = {**kept.ways, **row.ways}
        rows[row.backbone, row.method] = row.model_copy(update={"ways": ways})
    ordered = tuple(sorted(rows.values(), key=lambda row: _place(row.backbone, row.method)))
    return new.model_copy(update={"rows": ordered, "failures": {**old.failures, **new.failures}})


def _is_current(found: Comparison, before: Sequence[Table], after: Sequence[Table]) -> bool:
    """Whether both sides of a comparison still have the values that it was made of."""
    return all(
        _values(before, found, side) == _values(after, found, side)
        for side in (found.of, found.less)
    )


def _values(tables: Sequence[Table], found: Comparison, side: Side) -> dict[str, Level] | None:
    for table in tables:
        for row in table.rows:
            here = (table.dataset, row.backbone, row.method)
            if here == (found.dataset, found.backbone, side.method) and side.way in row.ways:
                return row.ways[side.way].metrics
    return None


def _place(backbone: str, method: str) -> tuple[str, int]:
    """Place of a row in the paper's table."""
    return backbone, METHODS.index(method)
