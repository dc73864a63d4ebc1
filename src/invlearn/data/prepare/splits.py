"""Split of rows into the parts of a dataset.

Only labelled rows go to valid and test. Unlabelled rows are used for training, unless they would
leak information from valid or test into training.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import narwhals.stable.v2 as nw

from invlearn.data.engines.engine import IN_MEMORY, Engine, Rows
from invlearn.data.prepare.quantile import value_at
from invlearn.data.prepare.table import (
    ITEM,
    LABEL,
    PAIR,
    PART,
    SPLIT,
    TIME,
    USER,
    n_rows_of,
    pieces,
)
from invlearn.runtime.errors import ConfigError, unknown

How = Literal["random", "per-user", "temporal", "column"]

TRAIN, VALID, TEST, UNLABELLED = range(4)
"""Positions in `invlearn.data.dataset.PARTS`."""

WORDS = {
    **dict.fromkeys(("0", "train", "training"), TRAIN),
    **dict.fromkeys(("1", "valid", "val", "validation", "dev"), VALID),
    **dict.fromkeys(("2", "test"), TEST),
}
"""Allowed values of a split column, and their parts."""

PRIME = 2**31 - 1
_HASH = "__hash__"
_SQUARE = "__square__"
_PLACE = "__place__"
_PAIR = "__pair__"
_KEYS = (0x243F6A88, 0x05A308D3)  # digits of pi: no structure in common with ids


@dataclass(frozen=True, slots=True)
class Split:
    """How labelled rows are split into train, valid and test."""

    how: str = "random"
    """`random`: by a hash of (user, item, seed). `per-user`: the same within each user, who keeps
    at least one training row. `temporal`: by the order (time, user, item), test last. `column`:
    as a column of the log says; if it marks no row valid, `valid_fraction` of the train rows are
    taken by the hash."""
    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise unknown("split", self.how, get_args(How))
        low = min(self.valid_fraction, self.test_fraction)
        if not (low > 0 and self.valid_fraction + self.test_fraction < 1):
            raise ConfigError(
                "valid_fraction and test_fraction must be above 0 and below 1 together; found "
                f"{self.valid_fraction} and {self.test_fraction}"
            )

    @property
    def dropped(self) -> str:
        """Reason for which the split drops unlabelled rows; empty if it drops none."""
        return {
            "temporal": "unlabelled, later than the first validation row",
            "column": "unlabelled, but marked valid or test",
        }.get(self.how, "")


def part_of(column: str) -> nw.Expr:
    """Return the part named in a split column of integers or strings, Int8; null if unknown."""
    word = nw.col(column).cast(nw.String).str.to_lowercase()
    meant = [nw.when(word == name).then(nw.lit(part, nw.Int8)) for name, part in WORDS.items()]
    return nw.coalesce(*meant)


def with_part(rows: Rows, split: Split, engine: Engine = IN_MEMORY) -> Rows:
    """Add the column `PART`, and drop unlabelled rows that would leak information.

    Args:
        rows: Materialized rows, one per pair, with integer codes in `USER` and `ITEM`, sortable
            values in `TIME` (if temporal), and the part in `SPLIT` (if by column).
        split: The split.
        engine: Engine of the table.

    Returns:
        The kept rows with columns `USER`, `ITEM`, `LABEL`, `PART`, materialized.
    """
    labelled = rows.filter(~nw.col(LABEL).is_null())
    unlabelled = rows.filter(nw.col(LABEL).is_null())
    match split.how:
        case "per-user":
            parted = [_per_user(piece, split, engine) for piece in pieces(labelled, engine)]
            labelled = nw.concat(parted)
        case "temporal":
            labelled, unlabelled = _temporal(labelled, unlabelled, split, engine)
        case "column":
            labelled = _by_column(labelled, split, engine)
            unlabelled = unlabelled.filter(nw.col(SPLIT) == TRAIN)
        case _:
            test = nw.col(_HASH) < split.test_fraction * PRIME
            judged = nw.col(_HASH) < (split.test_fraction + split.valid_fraction) * PRIME
            labelled = _parted(hashed(labelled, (USER, ITEM), split.seed), test, judged)
    unlabelled = unlabelled.with_columns(nw.lit(UNLABELLED, nw.Int8).alias(PART))
    columns = (USER, ITEM, LABEL, PART)
    return engine.materialize(nw.concat([labelled.select(*columns), unlabelled.select(*columns)]))


def hashed(rows: Rows, columns: tuple[str, ...], seed: int) -> Rows:
    """Add `__hash__`: a pseudo-random integer in [0, 2^31 - 1), equal on every engine.

    Rounds of `x -> (x + key)^5 mod p` with the prime `p = 2^31 - 1`, two for each column (the
    scheme of MiMC, Albrecht et al. 2016). The fifth power permutes the residues, so rows that
    differ in one column only never collide. No product reaches 2^62.

    Args:
        rows: A table.
        columns: Integer columns with values in [0, p).
        seed: Any integer; seeds that differ modulo `p` give independent hashes.
    """
    start = pow(pow(seed + _KEYS[0], 5, PRIME) + _KEYS[1], 5, PRIME)
    rows = rows.with_columns(nw.lit(start, nw.Int64).alias(_HASH))
    for column in columns:
        rows = _round(rows, nw.col(column).cast(nw.Int64) + _KEYS[0])
        rows = _round(rows, nw.lit(_KEYS[1], nw.Int64))
    return rows.drop(_SQUARE)


def _round(rows: Rows, key: nw.Expr) -> Rows:
    """Apply one round, one column per step; a single expression would grow fivefold per round."""
    value, square = nw.col(_HASH), nw.col(_SQUARE)
    rows = rows.with_columns(((value + key) % PRIME).alias(_HASH))
    rows = rows.with_columns((value * value % PRIME).alias(_SQUARE))
    rows = rows.with_columns((square * square % PRIME).alias(_SQUARE))
    return rows.with_columns((square * value % PRIME).alias(_HASH))


def _per_user(rows: Rows, split: Split, engine: Engine) -> Rows:
    """Split each user's rows.

    Counts are rounded up or down by the user's hash, so that the fractions hold over all users
    even if each has few rows; the last row is never in valid or test.
    """
    rows = hashed(rows, (USER,), split.seed).rename({_HASH: "__shift__"})
    rows = engine.materialize(hashed(rows, (USER, ITEM), split.seed))
    place = nw.col(_HASH).cum_count().over(USER, order_by=_HASH).cast(nw.Int64)
    rows = rows.with_columns(place.alias(_PLACE), nw.len().over(USER).alias("__n__"))
    place, n_rows, shift = nw.col(_PLACE), nw.col("__n__"), nw.col("__shift__") / PRIME
    test = (place < n_rows) & (place <= n_rows * split.test_fraction + shift)
    judged_fraction = split.test_fraction + split.valid_fraction
    judged = (place < n_rows) & (place <= n_rows * judged_fraction + shift)
    return engine.materialize(_parted(rows, test, judged))


def _by_column(rows: Rows, split: Split, engine: Engine) -> Rows:
    """Split by the column; if it marks no valid rows, some train rows become valid."""
    rows = rows.with_columns(nw.col(SPLIT).alias(PART))
    if n_rows_of(rows.filter(nw.col(PART) == VALID), engine):
        return rows
    chosen = (nw.col(PART) == TRAIN) & (nw.col(_HASH) < split.valid_fraction * PRIME)
    part = nw.when(chosen).then(nw.lit(VALID, nw.Int8)).otherwise(nw.col(PART))
    return hashed(rows, (USER, ITEM), split.seed).with_columns(part.alias(PART))


def _temporal(labelled: Rows, unlabelled: Rows, split: Split, engine: Engine) -> tuple[Rows, Rows]:
    """Split labelled rows, and keep unlabelled rows up to the first valid or test row."""
    n_rows = n_rows_of(labelled, engine)
    n_test = round(n_rows * split.test_fraction)
    n_judged = round(n_rows * (split.test_fraction + split.valid_fraction))
    if not n_judged:
        return _parted(labelled, nw.lit(value=False), nw.lit(value=False)), unlabelled
    judged = _at(labelled, n_rows - n_judged, engine)
    test = _at(labelled, n_rows - n_test, engine) if n_test else None
    is_test = _from(test) if test else nw.lit(value=False)
    return _parted(labelled, is_test, _from(judged)), unlabelled.filter(nw.col(TIME) <= judged[0])


def _at(rows: Rows, place: int, engine: Engine) -> tuple[Any, int]:
    """Return time and pair of the row at a position in the order (time, user, item)."""
    time, n_before = value_at(rows, TIME, place, engine)
    tied = rows.filter(nw.col(TIME) == time).with_columns(PAIR.alias(_PAIR))
    pair, _ = value_at(tied, _PAIR, place - n_before, engine)
    return time, pair


def _from(first: tuple[Any, int]) -> nw.Expr:
    """Return whether a row is `first` or later in the order (time, user, item)."""
    time, pair = first
    return (nw.col(TIME) > time) | ((nw.col(TIME) == time) & (pair <= PAIR))


def _parted(rows: Rows, test: nw.Expr, judged: nw.Expr) -> Rows:
    valid = nw.when(judged).then(nw.lit(VALID, nw.Int8)).otherwise(nw.lit(TRAIN, nw.Int8))
    return rows.with_columns(nw.when(test).then(nw.lit(TEST, nw.Int8)).otherwise(valid).alias(PART))
