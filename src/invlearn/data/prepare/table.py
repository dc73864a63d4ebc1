"""The working table of preparation: columns, counts, dense codes.

All operations are Narwhals expressions on lazy tables, so any engine can run them (see
`invlearn.data.engines.engine`). They are executed when a table is materialized, or when a small
table is collected.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import narwhals.stable.v2 as nw
import numpy as np

from invlearn.data.engines.engine import IN_MEMORY, Engine, Frame, Rows
from invlearn.data.features import Kind
from invlearn.data.logs.logs import ROW

PIECE_ROWS = 8_000_000
"""Rows per chunk in memory, more only if they are all of one user; for engines that work in
chunks."""

STRETCH_ROWS = 20_000_000
"""Rows per chunk when finding distinct values."""

USER = "__user__"
ITEM = "__item__"
TIME = "__time__"
SPLIT = "__split__"
LABEL = "__label__"
"""Int8: 1 positive, 0 negative, null unlabelled."""
PART = "__part__"
"""Int8: position in `invlearn.data.dataset.PARTS`."""

ID_COLUMNS: dict[Kind, str] = {"user": USER, "item": ITEM}

PAIR = nw.col(USER).cast(nw.Int64) * 2**31 + nw.col(ITEM)
"""The dense codes of user and item as one integer, in the order (user, item)."""

_CODE = "__code__"


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of rows by label, of users and of items in a table."""

    positive: int
    negative: int
    unlabelled: int
    users: int
    items: int

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return self.positive + self.negative + self.unlabelled

    @property
    def labelled_fraction(self) -> float:
        """Fraction of the rows with a label; 0 for an empty table."""
        return (self.positive + self.negative) / max(self.rows, 1)


def working(column: str) -> str:
    """Return the name of a log column during preparation.

    Names that some engine would change or confuse, such as `User` and `user`, are hex-encoded.

    Example:
        >>> working("play_time_ms"), working("User")
        ('play_time_ms', '__log_55736572__')
    """
    plain = re.fullmatch(r"[a-z][a-z0-9_]*", column)
    return column if plain else f"__log_{column.encode().hex()}__"


def number(column: str) -> nw.Expr:
    """Return the values of a log column, by its working name, as Float64."""
    return nw.col(working(column)).cast(nw.Float64)


def pieces(rows: Rows, engine: Engine = IN_MEMORY) -> Iterator[Rows]:
    """Yield a materialized table in chunks by user range, if the engine works in chunks.

    Args:
        rows: Table with integer codes in `USER`.
        engine: Engine of the table.
    """
    if not engine.in_pieces:
        yield rows
        return
    sizes = engine.collect(rows.group_by(USER).agg(nw.len().cast(nw.Int64).alias("n")).sort(USER))
    users, n_rows = sizes[USER].to_numpy(), sizes["n"].to_numpy()
    _, starts = np.unique(n_rows.cumsum() // PIECE_ROWS, return_index=True)
    for first, end in pairwise([0, *users[starts[1:]].tolist(), 2**31]):
        yield rows.filter((nw.col(USER) >= first) & (nw.col(USER) < end))


def counts(rows: Rows, engine: Engine = IN_MEMORY, *, before: Counts | None = None) -> Counts:
    """Count classes, users and items; null ids are not counted.

    Args:
        rows: The table.
        engine: Engine of the table.
        before: Counts of a table with the same users and items, which are then not counted again.
    """
    positive, negative = (number_of(nw.col(LABEL) == label) for label in (1, 0))
    found = engine.collect(rows.select(nw.len(), positive=positive, negative=negative)).row(0)
    n_rows, n_positive, n_negative = map(int, found)
    if before:
        ids = (before.users, before.items)
    else:
        tables = (distinct(rows, column, engine).drop_nulls() for column in (USER, ITEM))
        ids = (n_rows_of(table, engine) for table in tables)
    return Counts(n_positive, n_negative, n_rows - n_positive - n_negative, *ids)


def n_rows_of(rows: Rows, engine: Engine = IN_MEMORY) -> int:
    """Return the number of rows."""
    return int(engine.collect(rows.select(nw.len())).item())


def distinct(rows: Rows, column: str, engine: Engine = IN_MEMORY) -> Rows:
    """Return the distinct values of a column.

    For an engine that works in chunks, rows of a log are processed in chunks, since it keeps many
    copies of a value until it has read all rows; the result is then in memory.
    """
    if not engine.in_pieces or ROW not in rows.collect_schema().names():
        return rows.select(column).unique()
    last = engine.collect(rows.select(nw.col(ROW).max())).item() or 0
    found = rows.select(column).head(0)
    for start in range(0, last + 1, STRETCH_ROWS):
        stretch = rows.filter((nw.col(ROW) >= start) & (nw.col(ROW) < start + STRETCH_ROWS))
        found = engine.collect(nw.concat([found, stretch.select(column)]).unique()).lazy()
    return found


def codes_of(rows: Rows, column: str, engine: Engine = IN_MEMORY) -> Frame:
    """Number the values of a column from 0, in sort order.

    Polars does this for all engines: so the order is the same (text by its bytes), and no window
    over the whole table is needed, which a cluster would run on one machine.

    Returns:
        The columns `column` (the values) and `code` (Int32).
    """
    codes = engine.collect(distinct(rows, column, engine)).sort(column).with_row_index("code")
    return codes.with_columns(nw.col("code").cast(nw.Int32))


def coded(rows: Rows, column: str, codes: Frame, engine: Engine = IN_MEMORY) -> Rows:
    """Replace the values of a column by their codes from `codes_of`."""
    lent = engine.from_polars(codes.rename({"code": _CODE}))
    return rows.join(lent, on=column, how="left").drop(column).rename({_CODE: column})


def number_of(condition: nw.Expr) -> nw.Expr:
    """Count the rows where a condition holds, Int64; some engines cannot sum booleans."""
    number = nw.coalesce(condition.cast(nw.Int64), nw.lit(0)).sum().cast(nw.Int64)
    return nw.coalesce(number, nw.lit(0))
