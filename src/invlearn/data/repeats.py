"""One row a pair, and users and items with enough rows."""

from typing import Literal, cast, get_args

import narwhals.stable.v2 as nw

from invlearn.data.logs import ROW
from invlearn.data.table import ITEM, LABEL, TIME, USER, Rows, settled
from invlearn.errors import unknown

Repeats = Literal["last", "first", "any-positive", "majority"]

_RANK = "__rank__"


def repeats_named(name: str) -> Repeats:
    """Policy of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in get_args(Repeats):
        raise unknown("policy for repeated pairs", name, get_args(Repeats))
    return cast(Repeats, name)


def one_per_pair(rows: Rows, policy: Repeats) -> tuple[Rows, int, int]:
    """Keep one row of each (user, item) pair.

    A labelled row always beats unlabelled ones: clear feedback is not undone by an exposure that
    said nothing. Among rows of the same standing the latest by (time, row) is kept, under `first`
    the earliest. Which standing is best:

    * `last`, `first`: any labelled row;
    * `any-positive`: a positive row, else a negative one;
    * `majority`: a row with the pair's most frequent label.

    Args:
        rows: Settled rows with integer codes in `USER`, `ITEM`, `TIME`, and with `LABEL`, `ROW`.
        policy: Which row stands for its pair.

    Returns:
        The kept rows, settled; the number of pairs that occurred more than once; the number of
        pairs that occurred with both labels (conflicts).
    """
    ranked = rows.with_columns(_merit(policy).alias(_RANK))
    ranked = settled(ranked.with_columns(_rank(rows, policy).alias(_RANK)))
    pairs = settled(
        ranked.group_by(USER, ITEM).agg(
            nw.col(_RANK).max(),
            nw.len().alias("rows"),
            nw.col(LABEL).min().alias("lowest"),
            nw.col(LABEL).max().alias("highest"),
        )
    )
    tally = pairs.select(
        repeated=(nw.col("rows") > 1).cast(nw.Int64).sum(),
        conflicts=(nw.col("lowest") < nw.col("highest")).cast(nw.Int64).sum(),
    ).collect()
    kept = ranked.join(pairs.select(_RANK), on=_RANK, how="semi").drop(_RANK)
    repeated, conflicts = (int(value or 0) for value in tally.row(0))
    return settled(kept), repeated, conflicts


def core_of(rows: Rows, n_least: int) -> Rows:
    """Keep users and items with at least `n_least` rows each, repeated until all have them."""
    n_before, n_now = -1, _n_rows(rows)
    while n_before != n_now:
        for column in (USER, ITEM):
            sizes = rows.group_by(column).agg(nw.len().alias("n"))
            enough = sizes.filter(nw.col("n") >= n_least).select(column)
            rows = settled(rows.join(enough, on=column, how="semi"))
        n_before, n_now = n_now, _n_rows(rows)
    return rows


def _merit(policy: Repeats) -> nw.Expr:
    """Standing of a row among the rows of its pair: 0 unlabelled, at most 2."""
    positive = nw.coalesce((nw.col(LABEL) == 1).cast(nw.Int64), nw.lit(0))
    negative = nw.coalesce((nw.col(LABEL) == 0).cast(nw.Int64), nw.lit(0))
    if policy == "any-positive":
        return positive * 2 + negative
    if policy == "majority":
        lead = (positive - negative).sum().over(USER, ITEM)
        in_favour = positive * (lead >= 0).cast(nw.Int64) + negative * (lead <= 0).cast(nw.Int64)
        return positive + negative + in_favour
    return positive + negative


def _rank(rows: Rows, policy: Repeats) -> nw.Expr:
    """One integer for (merit, time, row); below 2^62 for up to a thousand million rows."""
    ends = rows.select(nw.col(TIME).max(), nw.col(ROW).max()).collect()
    last_time, last_row = (int(value or 0) for value in ends.row(0))
    time, row = nw.col(TIME), nw.col(ROW).cast(nw.Int64)
    if policy == "first":
        time, row = last_time - time, last_row - row
    return (nw.col(_RANK) * (last_time + 1) + time) * (last_row + 1) + row


def _n_rows(rows: Rows) -> int:
    return int(rows.select(nw.len()).collect().item())
