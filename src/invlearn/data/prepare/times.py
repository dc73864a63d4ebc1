"""Times as integers that every engine can sort."""

from typing import NamedTuple

import narwhals.stable.v2 as nw
import polars as pl

from invlearn.data.engines.engine import IN_MEMORY
from invlearn.data.logs.logs import ROW, Log
from invlearn.runtime.errors import DataError

_DAY = r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
_CLOCK = r"[T ]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
_ZONE = r" ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)"


class _Form(NamedTuple):
    name: str
    pattern: str


FORMS = (
    _Form("a date", rf"^{_DAY}$"),
    _Form("a time without a time zone", rf"^{_DAY}{_CLOCK}$"),
    _Form("a time with a time zone", rf"^{_DAY}{_CLOCK}{_ZONE}$"),
)
"""ISO 8601 forms of times in text. A column has one of them: between two, no order is sure."""


def instant(column: str) -> pl.Expr:
    """Return the nanoseconds since 1970, UTC, of times in text; null where it is no time.

    Times without a time zone count as UTC; years from 1678 to 2261 have such a number.
    """
    text = pl.col(column).cast(pl.String).str.strip_chars()
    parts = text.str.extract_groups(rf"^{_DAY}(?:{_CLOCK}(?:{_ZONE})?)?$").struct
    day, clock, second, fraction, zone = (parts.field(str(n)) for n in range(1, 6))
    # a group that does not occur is null
    written = pl.concat_str(
        day, pl.lit(" "), clock.fill_null("00:00"), pl.lit(":"), second.fill_null("00")
    )
    moment = written.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    micros = moment.cast(pl.Int64)
    digits = zone.str.replace("Z", "+0000", literal=True).str.replace(":", "", literal=True)
    digits = digits.str.pad_end(5, "0")
    minutes = digits.str.slice(1, 2).cast(pl.Int64) * 60 + digits.str.slice(3, 2).cast(pl.Int64)
    offset = pl.when(digits.str.starts_with("-")).then(-minutes).otherwise(minutes).fill_null(0)
    nanos = fraction.str.pad_end(9, "0").cast(pl.Int64).fill_null(0)
    in_range = moment.dt.year().is_between(1678, 2261)
    return pl.when(in_range).then((micros - offset * 60_000_000) * 1000 + nanos)


def check_one_form(log: Log, column: str) -> None:
    """Check that the times in a text column have one form.

    Raises:
        DataError: They have several, between which no order is sure; the message names the first
            row of two of them.
    """
    text = pl.col(column).cast(pl.String).str.strip_chars()
    rows: pl.LazyFrame = nw.to_native(log.rows)
    first = rows.select(
        pl.col(ROW).filter(text.str.contains(form.pattern)).min().alias(form.name) for form in FORMS
    )
    found = {
        name: row
        for name, row in first.collect(engine="streaming").row(0, named=True).items()
        if row is not None
    }
    if len(found) < 2:
        return
    (one, row), (other, later) = sorted(found.items(), key=lambda pair: pair[1])[:2]
    picked = IN_MEMORY.collect(log.rows.filter(nw.col(ROW).is_in([row, later])).sort(ROW))
    values = picked[column].to_list()
    raise DataError(
        f"column '{column}' holds {one} in {log.place(row)}, '{values[0]}', and {other} in "
        f"{log.place(later)}, '{values[1]}', and their order is not sure; write all times alike"
    )
