"""What earlier calls measured stays on the page, unless it was measured again."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from invlearn.config.schema import in_words
from invlearn.paper.results import Comparison, Level, Plot, Results, Side, Table
from invlearn.paper.rows import METHODS
from invlearn.runtime.errors import RunError


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
        why = in_words(Results, error) if isinstance(error, ValidationError) else str(error)
        raise RunError(
            f"{file} does not fit what this version writes ({why[:200]}); remove it, and the page "
            "is made anew from the trainings"
        ) from error


def merged(before: Results, now: Results) -> Results:
    """Put the results of this call over those of earlier ones.

    Rows go by data set, backbone, method and way, comparisons by what they compare, plots by their
    title. A table of other data is replaced as a whole, and a comparison goes with the numbers that
    it compared.
    """
    tables = _tables(before.tables, now.tables)
    kept = [c for c in before.differences if _stands(c, before.tables, tables)]
    differences = {(c.dataset, c.backbone, c.of, c.less): c for c in [*kept, *now.differences]}
    plots = {plot.title: plot for plot in [*before.plots, *now.plots]}
    return Results(
        tables=tables,
        differences=tuple(sorted(differences.values(), key=lambda c: _at(c.backbone, c.of.method))),
        plots=tuple(sorted(plots.values(), key=_order)),
    )


def _tables(before: Sequence[Table], now: Sequence[Table]) -> tuple[Table, ...]:
    found = {table.dataset: table for table in before}
    for table in now:
        old = found.get(table.dataset)
        same = old and old.fingerprint == table.fingerprint
        found[table.dataset] = _joined(old, table) if old and same else table
    return tuple(sorted(found.values(), key=lambda table: table.stand_in is not None))


def _joined(old: Table, new: Table) -> Table:
    """Two tables of the same data as one."""
    rows = {(row.backbone, row.method): row for row in old.rows}
    for row in new.rows:
        kept = rows.get((row.backbone, row.method), row)
        ways = {**kept.ways, **row.ways}
        rows[row.backbone, row.method] = row.model_copy(update={"ways": ways})
    ordered = tuple(sorted(rows.values(), key=lambda row: _at(row.backbone, row.method)))
    return new.model_copy(update={"rows": ordered, "failures": {**old.failures, **new.failures}})


def _stands(found: Comparison, before: Sequence[Table], after: Sequence[Table]) -> bool:
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


def _at(backbone: str, method: str) -> tuple[str, int]:
    """Place of a row in the paper's table."""
    return backbone, METHODS.index(method)


def _order(plot: Plot) -> str:
    return ("0" if plot.title.startswith("Table") else "1") + plot.title
