"""Selection of the k-th value of a table larger than memory."""

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw

from invlearn.data.engines.engine import IN_MEMORY, Engine, Rows
from invlearn.data.prepare.table import PAIR, n_rows_of, number_of

ENOUGH_ROWS = 1_000_000
"""Maximum number of values to sort in memory."""

SAMPLE_ROWS = 10_000
N_PIVOTS = 32


def value_at(rows: Rows, column: str, place: int, engine: Engine = IN_MEMORY) -> tuple[Any, int]:
    """Return the value at a position in sort order, and the number of rows with lower values.

    Rows are counted between pivot values from a sample, and the search continues between the two
    pivots around the position, until few enough rows are left to sort. Every round excludes its
    pivots, so the search ends; with a fair sample, a 32nd of the rows is left per round.

    Args:
        rows: Materialized, with integer codes in `USER` and `ITEM`, used for sampling.
        column: Column of sortable values without nulls.
        place: Position, from 0, below the number of rows.
        engine: Engine of the table.

    Example:
        >>> import polars as pl
        >>> codes = {"__user__": [0, 0, 1, 1], "__item__": [0, 1, 0, 1]}
        >>> value_at(nw.from_native(pl.LazyFrame(codes | {"day": [9, 4, 4, 7]})), "day", 2)
        (7, 2)
    """
    n_below, n_rows = 0, n_rows_of(rows, engine)
    while n_rows > ENOUGH_ROWS:
        counted = _counted(rows, column, _pivots(rows, column, n_rows, engine), engine)
        wanted = place - n_below
        for pivot, n_less, n_equal in counted:
            if n_less <= wanted < n_less + n_equal:
                return pivot, n_below + n_less
        below = [(pivot, less + equal) for pivot, less, equal in counted if less + equal <= wanted]
        above = [(pivot, less) for pivot, less, _ in counted if less > wanted]
        if above:
            rows, n_rows = rows.filter(nw.col(column) < above[0][0]), above[0][1]
        if below:
            rows = rows.filter(nw.col(column) > below[-1][0])
            n_below, n_rows = n_below + below[-1][1], n_rows - below[-1][1]
    values = engine.collect(rows.select(column)).sort(column)[column]
    value = values[place - n_below]
    return value, n_below + int((values < value).sum())


def _pivots(rows: Rows, column: str, n_rows: int, engine: Engine) -> list[Any]:
    """Return sorted pivot values from a sample."""
    step = n_rows // SAMPLE_ROWS | 1
    sample = engine.collect(rows.filter(PAIR % step == 0).select(column))
    if not len(sample):
        sample = engine.collect(rows.select(column).head(1))
    values = sample[column].sort()
    return values[:: -(-len(values) // N_PIVOTS)].unique().sort().to_list()


def _counted(
    rows: Rows, column: str, pivots: Sequence[Any], engine: Engine
) -> list[tuple[Any, int, int]]:
    """Return each pivot, and the number of rows with a lower and with an equal value."""
    value = nw.col(column)
    less = {f"less {n}": number_of(value < pivot) for n, pivot in enumerate(pivots)}
    equal = {f"equal {n}": number_of(value == pivot) for n, pivot in enumerate(pivots)}
    found = [int(n) for n in engine.collect(rows.select(**less, **equal)).row(0)]
    return list(zip(pivots, found[: len(pivots)], found[len(pivots) :], strict=True))
