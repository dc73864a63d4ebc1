"""Checks of log rows before label rules are applied, and their error messages."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import narwhals.stable.v2 as nw
import polars as pl
from narwhals.stable.v2.dtypes import DType

from invlearn.data.engines.engine import IN_MEMORY, Engine, Rows
from invlearn.data.logs.logs import ROW, Log
from invlearn.data.logs.text import MISSING, Text
from invlearn.data.prepare.table import SPLIT, TIME, n_rows_of, number
from invlearn.runtime.errors import DataError

LEAST_NUMBERS = 10
"""Fewest ids that are numbers, for each that is a word, for this to be taken for a mistake."""

BAD = "__bad__"
"""Position of the first check that a row fails; null in good rows."""

NO_ID = sorted({*map(str.lower, MISSING), "nat", "nil", "(null)"})
"""Text that means a missing id, in lower case."""
MOST_WORDS = 0.01
"""Largest share of ids that are words, among ids that are numbers, to be taken for mistakes; one
word is always taken for one."""
LEADING_ZERO = r"^\s*[-+]?0[0-9]"
NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """A condition that every row must satisfy."""

    column: str
    """Name in the log."""
    wanted: str
    """Description of valid values, as it follows "wanted" in a message."""
    holds: nw.Expr
    """True for valid rows; null counts as false. Uses the working names of columns."""
    suits: Callable[[DType], bool]
    """Returns whether the check applies to a column type."""
    hint: str = ""
    """Text to append to the error message."""


def identifies(column: str, kind: str, dtype: DType, *, any_text: bool = False) -> Check:
    """Check that an id is not missing; ids are integers or strings, since floats are not exact.

    Args:
        column: Name in the log.
        kind: `USER` or `ITEM`.
        dtype: Type of the column.
        any_text: Whether text such as `none` is an id; otherwise it means that there is none.
    """
    there = ~nw.col(kind).is_null()
    if is_text(dtype) and not any_text:
        there = there & ~nw.col(kind).str.to_lowercase().is_in(NO_ID)
    hint = "; if this is an id, add --text-ids" if is_text(dtype) else ""
    return Check(column, "an integer or string id", there, _discrete, hint)


NUMBERS: dict[str, Callable[[nw.Expr], nw.Expr]] = {
    "a number": lambda value: value.is_finite(),
    "a number >= 0": lambda value: value.is_finite() & (value >= 0),
    "a number > 0": lambda value: value.is_finite() & (value > 0),
    "a number >= 0, true, false or null": lambda value: (
        (value.is_finite() & (value >= 0)) | value.is_null()
    ),
    "1, 0 or null": lambda value: value.is_null() | (value == 0) | (value == 1),
}
"""Conditions on numeric columns, by what they want."""


def numeric(column: str, wanted: str, *, hint: str = "") -> Check:
    """Check that a column of numbers or booleans satisfies one of `NUMBERS`."""
    holds = NUMBERS[wanted](number(column))
    return Check(column, wanted, holds, lambda t: t.is_numeric() or t == nw.Boolean, hint)


def orders(column: str, dtype: DType) -> Check:
    """Check that a column can order rows: numbers, dates, times, or ISO 8601 text."""
    there = ~nw.col(TIME).is_null()
    if dtype.is_float():
        there = there & nw.col(TIME).is_finite()
    wanted = "a time (a number, a date, or text such as 2024-01-31 23:59:59)"

    def suits(kind: DType) -> bool:
        return (kind.is_numeric() and not _is_wide(kind)) or kind.is_temporal() or is_text(kind)

    return Check(column, wanted, there, suits)


def one_of(column: str, words: Sequence[str]) -> Check:
    """Check that a split column holds one of `words`, ignoring case, or its number."""
    return Check(column, f"one of {', '.join(words)}", ~nw.col(SPLIT).is_null(), _discrete)


def check_columns(log: Log, columns: Sequence[str]) -> None:
    """Check that the log has every required column.

    Raises:
        DataError: A column is missing; the message names it, the nearest match, and all columns.
    """
    for column in columns:
        if column not in log.names:
            near = get_close_matches(column, log.names, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'? Its" if near else "its"
            raise DataError(
                f"{log.name} has no column '{column}'; {hint} columns: {', '.join(log.names)}"
            )


def check_types(rows: Rows, checks: Sequence[Check], log_name: str) -> None:
    """Check that each column has a type to which its check applies.

    Raises:
        DataError: A type is wrong; the message names column, found type and expected values, and
            in a text column of mostly numbers, the first row that is not a number.
    """
    schema = rows.collect_schema()
    for check in checks:
        found = schema[check.column]
        if not check.suits(found):
            why = text_among_numbers(rows, check.column) if found == nw.String else ""
            todo = "fix or remove such rows" if why else "convert it or name another column"
            raise DataError(
                f"column '{check.column}' of {log_name} is of type {found}{why}, wanted "
                f"{check.wanted}; {todo}"
            )


def text_among_numbers(rows: Rows, column: str, *, is_feature: bool = False) -> str:
    """Describe the first non-numeric row of a text column, if most rows are numbers.

    Args:
        rows: A table with `ROW`.
        column: The column.
        is_feature: Whether leading zeros, empty texts, and more than a few words are allowed.
    """
    value = nw.col(column).cast(nw.String)
    is_text = ~value.str.contains(NUMBER)
    has_zero = value.str.contains(LEADING_ZERO)
    is_text = is_text & (value != "") if is_feature else is_text | has_zero
    text = rows.filter(is_text).select(ROW, column)
    n_text, n_rows = n_rows_of(text), n_rows_of(rows)
    if not 0 < 2 * n_text < n_rows:
        return ""
    # many words are no mistakes but texts such as `20,43`
    if is_feature and n_text > MOST_WORDS * n_rows and n_rows_of(text.select(column).unique()) > 1:
        return ""
    row, value = IN_MEMORY.collect(text.sort(ROW).head(1)).rows()[0]
    zero = re.match(LEADING_ZERO, str(value))
    return (
        f" since {n_text:,} of its {n_rows:,} rows {'holds' if n_text == 1 else 'hold'} "
        f"{'a number with a leading zero' if zero else 'no number'}, "
        f"first row {row + 1:,} (data rows counted from 1) with '{value}'"
    )


def without_bad(
    rows: Rows, checks: Sequence[Check], log: Log, *, drop: bool, engine: Engine = IN_MEMORY
) -> tuple[Rows, dict[str, int]]:
    """Drop the rows that fail a check, or raise if `drop` is false.

    Args:
        rows: A materialized table with the checked columns, and `ROW`.
        checks: Checks of each row; a row that fails several is counted under the first.
        log: The log of the rows.
        drop: Whether to drop bad rows; otherwise they are an error.
        engine: Engine of the table.

    Returns:
        The good rows, lazy, and the number of dropped rows by reason.

    Raises:
        DataError: There are bad rows and `drop` is false; the message shows the first one.
    """
    failed = [
        nw.when(~nw.coalesce(check.holds, nw.lit(False))).then(nw.lit(position, nw.Int32))
        for position, check in enumerate(checks)
    ]
    marked = rows.with_columns(nw.coalesce(*failed, nw.lit(None, nw.Int32)).alias(BAD))
    bad = marked.filter(~nw.col(BAD).is_null())
    tally = engine.collect(bad.group_by(BAD).agg(nw.len().alias("n")))
    found = {int(check): int(n) for check, n in tally.select(BAD, "n").iter_rows()}
    if found and not drop:
        row, position = engine.collect(bad.select(ROW, BAD).sort(ROW).head(1)).row(0)
        raise _bad_row(int(row), checks[int(position)], log, sum(found.values()))
    reasons = {f"{checks[n].column} is not {checks[n].wanted}": found[n] for n in sorted(found)}
    return (marked.filter(nw.col(BAD).is_null()) if found else marked).drop(BAD), reasons


def _bad_row(row: int, check: Check, log: Log, n_bad: int) -> DataError:
    value = IN_MEMORY.collect(log.rows.filter(nw.col(ROW) == row).select(check.column)).item()
    is_text = log.format and isinstance(log.format.scan, Text)
    nothing = "nothing (an empty field, or a word such as nan)" if is_text else "nothing (null)"
    found = nothing if value is None else repr(value)
    others = f"; {n_bad:,} bad rows in all" if n_bad > 1 else ""
    return DataError(
        f"{log.place(row)}, column '{check.column}': "
        f"found {found}, wanted {check.wanted}{others}; "
        f"fix the log or drop such rows with --bad-rows drop{check.hint}"
    )


def check_text_ids(ids: Sequence[str], column: str, log: Log) -> None:
    """Check that text ids are not numbers but for a few words, or numbers of which some are floats.

    A repeated header, a word such as `unknown`, or ids that passed through floats would else become
    users and items of their own.

    Args:
        ids: The distinct ids.
        column: Name in the log.
        log: The log.

    Raises:
        DataError: There are such ids; the message names the first row.
    """
    texts = pl.Series(ids, dtype=pl.String)
    is_number = texts.str.contains(NUMBER)
    words, n_numbers = texts.filter(~is_number), int(is_number.sum())
    few = len(words) == 1 or len(words) <= MOST_WORDS * n_numbers
    if words.is_empty():
        wrong = texts.filter(texts.str.contains(r"^[-+]?[0-9]*\.[0-9]*$|\..*[eE]"))
        why = "a float, which may be the same as another id"
    else:
        wrong = words if few and n_numbers >= LEAST_NUMBERS * len(words) else words.clear()
        why = f"while {n_numbers:,} of the {len(texts):,} ids are numbers"
    if wrong.is_empty():
        return
    rows = log.rows.filter(nw.col(column).cast(nw.String).is_in(wrong.head(1000).to_list()))
    row, value = IN_MEMORY.collect(rows.select(ROW, column).sort(ROW).head(1)).row(0)
    raise DataError(
        f"{log.place(row)}, column '{column}': found {value!r}, {why}; fix it or, if it is meant, "
        "add --text-ids"
    )


def is_text(dtype: DType) -> bool:
    """Return whether a column holds text."""
    return any(dtype == kind for kind in (nw.String, nw.Categorical, nw.Enum))


def _discrete(dtype: DType) -> bool:
    return (dtype.is_integer() and not _is_wide(dtype)) or is_text(dtype)


def _is_wide(dtype: DType) -> bool:
    """Return whether a type is an integer that only Polars has."""
    return any(dtype == kind for kind in (nw.Int128, nw.UInt128))
