"""The working table of preparation: its columns, its counts, its dense codes.

Everything is a Narwhals expression on lazy tables, so that any engine can run it. Work is really
done where a table is settled, in memory (`settled`) or on disk (`invlearn.data.spill`), and where
a few numbers are `collected`. What needs rows side by side is done in `pieces`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from invlearn.data.logs import ROW

Rows = nw.LazyFrame[Any]
"""A lazy table of any engine."""

Settle = Callable[[Rows], Rows]
"""Carries out all that was planned for a table, once; what follows starts from the result."""

PIECE_ROWS = 8_000_000
"""Rows that are held in memory side by side; more only if they are all of one user."""

STRETCH_ROWS = 20_000_000
"""Rows whose distinct values are looked for at a time."""

USER = "__user__"
ITEM = "__item__"
TIME = "__time__"
SPLIT = "__split__"
LABEL = "__label__"
"""Int8: 1 positive, 0 negative, null unlabelled."""
PART = "__part__"
"""Int8: position in `invlearn.data.dataset.PARTS`."""

PAIR = nw.col(USER).cast(nw.Int64) * 2**31 + nw.col(ITEM)
"""One integer for the dense codes of user and item, in the same order."""

_CODE = "__code__"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a table holds at one moment."""

    positive: int
    negative: int
    unlabelled: int
    users: int
    items: int

    @property
    def rows(self) -> int:
        """All rows."""
        return self.positive + self.negative + self.unlabelled

    @property
    def labelled_fraction(self) -> float:
        """Part of the rows that has a label; 0 for an empty table."""
        return (self.positive + self.negative) / max(self.rows, 1)


def settled(rows: Rows) -> Rows:
    """Settle a table in memory."""
    return collected(rows).lazy()


def collected(rows: Rows) -> nw.DataFrame[Any]:
    """Carry out all that was planned for `rows`, batch by batch where the engine can do that."""
    return rows.collect(engine="streaming") if rows.implementation.is_polars() else rows.collect()


def pieces(rows: Rows) -> Iterator[Rows]:
    """Cut a settled table by ranges of users into pieces of about `PIECE_ROWS` rows.

    Args:
        rows: With integer codes in `USER`.
    """
    sizes = collected(rows.group_by(USER).agg(nw.len().cast(nw.Int64).alias("n")).sort(USER))
    users, n_rows = sizes[USER].to_numpy(), sizes["n"].to_numpy()
    _, starts = np.unique(n_rows.cumsum() // PIECE_ROWS, return_index=True)
    for first, end in pairwise([0, *users[starts[1:]].tolist(), 2**31]):
        yield rows.filter((nw.col(USER) >= first) & (nw.col(USER) < end))


def counts(rows: Rows) -> Counts:
    """Count classes, users and items; null ids count as nobody, and rows may lack `LABEL`."""
    if LABEL not in rows.collect_schema().names():
        rows = rows.with_columns(nw.lit(None, nw.Int8).alias(LABEL))
    planned = rows.select(
        rows=nw.len(),
        positive=_number(nw.col(LABEL) == 1),
        negative=_number(nw.col(LABEL) == 0),
    )
    n_rows, positive, negative = (int(value or 0) for value in collected(planned).row(0))
    users, items = (n_rows_of(distinct(rows, column).drop_nulls()) for column in (USER, ITEM))
    return Counts(positive, negative, n_rows - positive - negative, users, items)


def n_rows_of(rows: Rows) -> int:
    """Count rows."""
    return int(collected(rows.select(nw.len())).item())


def distinct(rows: Rows, column: str) -> Rows:
    """Values of a column, each once, settled in memory.

    Rows of a log are looked at in stretches, since engines keep many copies of a value until they
    have seen all rows.
    """
    if ROW not in rows.collect_schema().names():
        return settled(rows.select(column).unique())
    last = collected(rows.select(nw.col(ROW).max())).item() or 0
    found = rows.select(column).head(0)
    for start in range(0, last + 1, STRETCH_ROWS):
        stretch = rows.filter((nw.col(ROW) >= start) & (nw.col(ROW) < start + STRETCH_ROWS))
        found = settled(nw.concat([found, stretch.select(column)]).unique())
    return found


def encoded(rows: Rows, column: str) -> tuple[Rows, Rows]:
    """Replace the values of a column by dense integers, in sort order of the values.

    Args:
        rows: A settled table without nulls in `column`.
        column: What to encode.

    Returns:
        The table with Int32 codes, still lazy, and the codes (see `codes_of`).
    """
    codes = codes_of(rows, column)
    return coded(rows, column, codes), codes


def codes_of(rows: Rows, column: str) -> Rows:
    """Number the values of a column from 0, in sort order.

    Returns:
        The columns `column` (the values) and `code` (Int32), settled in memory.
    """
    codes = distinct(rows, column).with_row_index("code", order_by=column)
    return settled(codes.with_columns(nw.col("code").cast(nw.Int32)))


def coded(rows: Rows, column: str, codes: Rows) -> Rows:
    """Replace the values of a column by what `codes_of` numbered them with."""
    codes = codes.rename({"code": _CODE})
    return rows.join(codes, on=column, how="left").drop(column).rename({_CODE: column})


def _number(condition: nw.Expr) -> nw.Expr:
    """How often a condition holds; the cast is there because some engines cannot add booleans."""
    return condition.cast(nw.Int64).sum()
