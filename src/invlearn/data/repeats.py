"""One row a pair, and users and items with enough rows."""

from typing import Any, Literal, cast, get_args

import narwhals.stable.v2 as nw

from invlearn.data.logs import ROW
from invlearn.data.table import (
    ITEM,
    LABEL,
    PAIR,
    TIME,
    USER,
    Rows,
    Settle,
    collected,
    pieces,
    settled,
)
from invlearn.errors import unknown

Repeats = Literal["last", "first", "any-positive", "majority"]

_KEY = "__pair__"
_MERIT = "__merit__"


def repeats_named(name: str) -> Repeats:
    """Policy of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in get_args(Repeats):
        raise unknown("policy for repeated pairs", name, get_args(Repeats))
    return cast(Repeats, name)


def one_per_pair(rows: Rows, policy: Repeats, settle: Settle = settled) -> tuple[Rows, int, int]:
    """Keep one row of each (user, item) pair.

    A labelled row always beats unlabelled ones: clear feedback is not undone by an exposure that
    said nothing. Among rows of the same standing the latest by (time, row) is kept, under `first`
    the earliest. Which standing is best:

    * `last`, `first`: any labelled row;
    * `any-positive`: a positive row, else a negative one;
    * `majority`: a row with the pair's most frequent label.

    Args:
        rows: Settled rows with integer codes in `USER` and `ITEM`, anything that has an order in
            `TIME`, and with `LABEL`, `ROW`.
        policy: Which row stands for its pair.
        settle: How to settle what is kept, piece by piece.

    Returns:
        The kept rows, settled; the number of pairs that occurred more than once; the number of
        pairs that occurred with both labels (conflicts).
    """
    kept: list[Rows] = []
    repeated = conflicts = 0
    for piece in pieces(rows):
        frame = collected(piece.with_columns(PAIR.alias(_KEY))).sort(_KEY)
        same = (frame[_KEY].diff() == 0).fill_null(value=False)  # as in the row before
        is_repeat = same | same.shift(-1).fill_null(value=False)
        repeats = frame.filter(is_repeat)
        chosen = _chosen(repeats, policy)
        single = frame.filter(~is_repeat).drop(_KEY)
        kept.append(settle(nw.concat([single, chosen.drop(_KEY)]).lazy()))
        repeated += len(chosen)
        conflicts += _n_conflicts(repeats)
    return nw.concat(kept), repeated, conflicts


def core_of(rows: Rows, n_least: int, settle: Settle = settled) -> Rows:
    """Keep users and items with at least `n_least` rows each, repeated until all have them."""
    n_before, n_now, kept = -1, 0, rows
    enough: dict[str, Rows] = {}
    while n_before != n_now:
        for column in (USER, ITEM):
            sizes = kept.group_by(column).agg(nw.len().cast(nw.Int64).alias("n"))
            enough[column] = settled(sizes.filter(nw.col("n") >= n_least))
            kept = rows
            for name, members in enough.items():
                kept = kept.join(members.select(name), on=name, how="semi")
        n_before, n_now = n_now, collected(enough[ITEM])["n"].sum()
    return settle(kept)


def _chosen(repeats: nw.DataFrame[Any], policy: Repeats) -> nw.DataFrame[Any]:
    """The row of each pair that stands for it."""
    order = [_KEY, _MERIT, TIME, ROW]
    backward = [False, False, policy == "first", policy == "first"]
    ranked = repeats.with_columns(_merit(policy).alias(_MERIT)).sort(order, descending=backward)
    return ranked.unique(_KEY, keep="last").drop(_MERIT)


def _n_conflicts(repeats: nw.DataFrame[Any]) -> int:
    """How many pairs have both labels."""
    label = nw.col(LABEL)
    found = repeats.group_by(_KEY).agg(label.min().alias("low"), label.max().alias("high"))
    return len(found.filter(nw.col("low") < nw.col("high")))


def _merit(policy: Repeats) -> nw.Expr:
    """Standing of a row among the rows of its pair: 0 unlabelled, at most 2."""
    positive = nw.coalesce((nw.col(LABEL) == 1).cast(nw.Int64), nw.lit(0))
    negative = nw.coalesce((nw.col(LABEL) == 0).cast(nw.Int64), nw.lit(0))
    if policy == "any-positive":
        return positive * 2 + negative
    if policy == "majority":
        lead = (positive - negative).sum().over(_KEY)
        in_favour = positive * (lead >= 0).cast(nw.Int64) + negative * (lead <= 0).cast(nw.Int64)
        return positive + negative + in_favour
    return positive + negative
