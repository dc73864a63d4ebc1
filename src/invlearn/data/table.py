"""The working table of preparation: its columns, its counts, its dense codes.

Everything is a Narwhals expression on lazy tables, so that any engine can run it. `settled` is the
one place where work is really done; an engine without a cheap `collect` replaces that function.
"""

from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw

Rows = nw.LazyFrame[Any]
"""A lazy table of any engine."""

USER = "__user__"
ITEM = "__item__"
TIME = "__time__"
SPLIT = "__split__"
LABEL = "__label__"
"""Int8: 1 positive, 0 negative, null unlabelled."""
PART = "__part__"
"""Int8: position in `invlearn.data.dataset.PARTS`."""

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
    """Carry out all that was planned for `rows`, once; what follows starts from the result."""
    return rows.collect().lazy()


def counts(rows: Rows) -> Counts:
    """Count classes, users and items; null ids count as nobody, and rows may lack `LABEL`."""
    if LABEL not in rows.collect_schema().names():
        rows = rows.with_columns(nw.lit(None, nw.Int8).alias(LABEL))
    found = rows.select(
        rows=nw.len(),
        positive=_number(nw.col(LABEL) == 1),
        negative=_number(nw.col(LABEL) == 0),
        users=nw.col(USER).n_unique() - nw.col(USER).is_null().cast(nw.Int64).max(),
        items=nw.col(ITEM).n_unique() - nw.col(ITEM).is_null().cast(nw.Int64).max(),
    ).collect()
    n_rows, positive, negative, users, items = (int(value or 0) for value in found.row(0))
    return Counts(positive, negative, n_rows - positive - negative, users, items)


def encoded(rows: Rows, column: str) -> tuple[Rows, Rows]:
    """Replace the values of `column` by dense integers from 0, in sort order of the values.

    Args:
        rows: A settled table without nulls in `column`.
        column: What to encode.

    Returns:
        The table with Int64 codes, and the map with the columns `column` (the old values) and
        `code`, both still lazy except that the map is settled.
    """
    known = rows.select(column).unique().with_row_index(_CODE, order_by=column)
    known = settled(known.with_columns(nw.col(_CODE).cast(nw.Int64)))
    coded = rows.join(known, on=column, how="left").drop(column).rename({_CODE: column})
    return coded, known.rename({_CODE: "code"})


def _number(condition: nw.Expr) -> nw.Expr:
    """How often a condition holds; the cast is there because some engines cannot add booleans."""
    return condition.cast(nw.Int64).sum()
