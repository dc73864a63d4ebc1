"""Reduce rows to one per pair, and to users and items with enough rows."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np

from invlearn.data.engines.engine import IN_MEMORY, Engine, Rows
from invlearn.data.logs.logs import ROW
from invlearn.data.prepare.table import (
    ITEM,
    LABEL,
    PAIR,
    SPLIT,
    TIME,
    USER,
    n_rows_of,
    number_of,
    pieces,
    working,
)

Repeats = Literal["last", "first", "any-positive", "majority"]

_KEY = "__pair__"
_MERIT = "__merit__"
_CROSSED = "__crossed__"
_POSITIVE, _NEGATIVE = "__positive__", "__negative__"
"""Columns with the number of positive and negative rows of a pair."""


COPIES = "the same user, item, time and values as another row"


class RepeatedPairs(NamedTuple):
    """Numbers of pairs that occurred more than once."""

    repeated: int
    conflicts: int
    """Of these, pairs with both labels."""
    crossed: int
    """Of these, pairs in more than one part of a given split."""


def without_copies(
    rows: Rows, values: Sequence[str], engine: Engine = IN_MEMORY
) -> tuple[Rows, int]:
    """Drop rows that repeat an earlier one: an event that was logged several times.

    Args:
        rows: Materialized rows with integer codes in `USER` and `ITEM`, and with `TIME`, `SPLIT`,
            `ROW`.
        values: Log columns that must be equal as well.
        engine: Engine of the table.

    Returns:
        The other rows, and the number of dropped ones.
    """
    same = [USER, ITEM, TIME, SPLIT, *map(working, values)]
    kept = [
        engine.materialize(piece.group_by(*same).agg(nw.col(ROW).min()))
        for piece in pieces(rows, engine)
    ]
    single = nw.concat(kept).with_columns(nw.lit(None, nw.Int8).alias(LABEL))
    return single, n_rows_of(rows, engine) - n_rows_of(single, engine)


def one_per_pair(rows: Rows, policy: str, engine: Engine = IN_MEMORY) -> tuple[Rows, RepeatedPairs]:
    """Keep one row of each (user, item) pair.

    A labelled row always takes precedence over unlabelled ones: clear feedback is not undone by
    an exposure without feedback. Among rows of equal precedence the latest by (time, row) is kept,
    under `first` the earliest. Highest precedence:

    * `last`, `first`: any labelled row;
    * `any-positive`: a positive row, else a negative one;
    * `majority`: a row with the pair's most frequent label.

    Args:
        rows: Materialized rows with integer codes in `USER` and `ITEM`, sortable values in
            `TIME`, and with `LABEL`, `ROW`, `SPLIT`.
        policy: Which row of a pair to keep, one of `Repeats`.
        engine: Engine of the table.

    Returns:
        The kept rows, materialized, and numbers of repeated pairs.
    """
    kept: list[Rows] = []
    totals = np.zeros(3, np.int64)
    for piece in pieces(rows, engine):
        keyed = piece.with_columns(PAIR.alias(_KEY))
        repeats = engine.materialize(_repeats_of(keyed))
        single = keyed.join(repeats.select(_KEY), on=_KEY, how="anti")
        chosen = _chosen(keyed.join(repeats, on=_KEY, how="inner"), policy)
        kept.append(engine.materialize(nw.concat([t.drop(_KEY) for t in (single, chosen)])))
        both = (nw.col(_POSITIVE) > 0) & (nw.col(_NEGATIVE) > 0)
        crossed = number_of(nw.col(_CROSSED) > 0).alias("crossed")
        found = repeats.select(nw.len(), number_of(both).alias("both"), crossed)
        totals += [int(n) for n in engine.collect(found).row(0)]
    return nw.concat(kept), RepeatedPairs(*totals.tolist())


def core_of(rows: Rows, n_least: int, engine: Engine = IN_MEMORY) -> Rows:
    """Repeatedly drop users and items with fewer than `n_least` rows, until none remains."""
    n_before, n_now, kept = -1, 0, rows
    enough: dict[str, Rows] = {}
    while n_before != n_now:
        for column in (USER, ITEM):
            sizes = kept.group_by(column).agg(nw.len().cast(nw.Int64).alias("n"))
            enough[column] = engine.materialize(sizes.filter(nw.col("n") >= n_least))
            kept = rows
            for name, members in enough.items():
                kept = kept.join(members.select(name), on=name, how="semi")
        n_kept = engine.collect(enough[ITEM].select(nw.col("n").sum().cast(nw.Int64))).item()
        n_before, n_now = n_now, int(n_kept or 0)
    return engine.materialize(kept)


def _repeats_of(keyed: Rows) -> Rows:
    """Return the pairs that occur more than once, with their number of rows per label."""
    tally = keyed.group_by(_KEY).agg(
        nw.len().alias("n"),
        nw.col(LABEL).sum().alias(_POSITIVE),
        nw.col(LABEL).count().alias("labelled"),
        (nw.col(SPLIT).max() - nw.col(SPLIT).min()).alias(_CROSSED),
    )
    positive = nw.coalesce(nw.col(_POSITIVE).cast(nw.Int64), nw.lit(0))
    negative = nw.col("labelled").cast(nw.Int64) - positive
    counts = positive.alias(_POSITIVE), negative.alias(_NEGATIVE)
    return tally.filter(nw.col("n") > 1).select(_KEY, _CROSSED, *counts)


def _chosen(repeats: Rows, policy: str) -> Rows:
    """Choose one row of each pair."""
    sign, keep = (-1, "first") if policy == "first" else (1, "last")  # where the best one is
    ranked = repeats.with_columns((_merit(policy) * sign).alias(_MERIT))
    chosen = ranked.unique(_KEY, keep=keep, order_by=[_MERIT, TIME, ROW])
    return chosen.drop(_MERIT, _POSITIVE, _NEGATIVE, _CROSSED)


def _merit(policy: str) -> nw.Expr:
    """Return the precedence of a row within its pair: 0 (unlabelled) to 2."""
    positive = nw.coalesce((nw.col(LABEL) == 1).cast(nw.Int64), nw.lit(0))
    negative = nw.coalesce((nw.col(LABEL) == 0).cast(nw.Int64), nw.lit(0))
    if policy == "any-positive":
        return positive * 2 + negative
    if policy == "majority":
        lead = nw.col(_POSITIVE) - nw.col(_NEGATIVE)
        in_favour = positive * (lead >= 0).cast(nw.Int64) + negative * (lead <= 0).cast(nw.Int64)
        return positive + negative + in_favour
    return positive + negative
