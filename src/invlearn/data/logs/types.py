"""One type for a column whose type differs between the files of a log."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import polars as pl

from invlearn.runtime.errors import DataError

_TEXTS: tuple[type[pl.DataType], ...] = (pl.String, pl.Categorical, pl.Enum)
_UNITS: list[Literal["ms", "us", "ns"]] = ["ms", "us", "ns"]


def one_type_each(
    frames: Sequence[pl.LazyFrame],
    files: Sequence[Path],
    columns: Sequence[str],
    ids: Sequence[str] = (),
) -> list[pl.LazyFrame]:
    """Return the columns of all files in common types, which hold the same values.

    Integers of several widths get one that holds them all, and so do floats, and times of several
    units or time zones. Integers become floats, and true and false become 1 and 0, where other
    files have such numbers.

    Args:
        frames: The files, opened lazily.
        files: Their names, for messages.
        columns: Columns that all of them have.
        ids: Columns of ids, which are not converted to floats.

    Raises:
        DataError: Two types of a column differ in meaning, such as numbers and text; the message
            names the column and two files.
    """
    kinds = [frame.collect_schema() for frame in frames]
    casts: list[list[pl.Expr]] = [[] for _ in frames]
    for column in columns:
        types = {kind[column] for kind in kinds} - {pl.Null()}
        target = common_type([*types]) if types else pl.Null()
        if column in ids and target is not None and target.is_float() and len(types) > 1:
            target = None
        for number, (frame, kind) in enumerate(zip(frames, kinds, strict=True)):
            found = kind[column]
            if target is None or not _fits(frame, column, found, target):
                raise _differ(column, [kind[column] for kind in kinds], files, number)
            casts[number].append(_as(column, found, target))
    return [frame.select(exprs) for frame, exprs in zip(frames, casts, strict=True)]


def common_type(types: Sequence[pl.DataType]) -> pl.DataType | None:
    """Return the type for the values of several types; None if they differ in meaning.

    Example:
        >>> common_type([pl.Int8(), pl.UInt32()]), common_type([pl.Int64(), pl.String()])
        (Int64, None)
    """
    if len({*types}) == 1:
        return types[0]
    if all(dtype.is_integer() for dtype in types):
        is_unsigned = all(dtype.is_unsigned_integer() for dtype in types)
        return pl.UInt64() if is_unsigned else pl.Int64()
    if all(dtype.is_integer() or dtype == pl.Boolean for dtype in types):
        return pl.Int64()
    if all(d.is_integer() or d.is_float() or d == pl.Boolean for d in types):
        return pl.Float64()
    if all(isinstance(dtype, _TEXTS) for dtype in types):
        return pl.String()
    if all(isinstance(dtype, pl.Datetime) for dtype in types):
        times = cast(list[pl.Datetime], types)
        zones = {time.time_zone for time in times}
        unit = _UNITS[max(_UNITS.index(time.time_unit) for time in times)]
        if len(zones) == 1:
            return pl.Datetime(unit, zones.pop())
        return None if None in zones else pl.Datetime(unit, "UTC")
    return None


def _as(column: str, found: pl.DataType, target: pl.DataType) -> pl.Expr:
    value = pl.col(column)
    if isinstance(target, pl.Datetime) and isinstance(found, pl.Datetime) and target.time_zone:
        value = value.dt.convert_time_zone(target.time_zone)
    return value if found == target else value.cast(target)


def _fits(frame: pl.LazyFrame, column: str, found: pl.DataType, target: pl.DataType) -> bool:
    """Return whether all values of a file can be converted and are still the same."""
    to_float = found.is_integer() and target.is_float()
    to_signed = found == pl.UInt64 and target == pl.Int64
    if not (to_float or to_signed or (isinstance(found, pl.Datetime) and found != target)):
        return True
    value = pl.col(column)
    back = value.cast(target, strict=False).cast(found, strict=False)
    return bool(frame.select(back.eq_missing(value).all()).collect(engine="streaming").item())


def _differ(
    column: str, types: Sequence[pl.DataType], files: Sequence[Path], number: int
) -> DataError:
    """Return the error for a column whose types differ; `number` is a file that shows it."""
    other = next(
        (n for n, dtype in enumerate(types) if dtype not in (types[number], pl.Null())), number
    )
    first, second = sorted((number, other))
    return DataError(
        f"column '{column}' is of type {types[first]} in {files[first]} and of type "
        f"{types[second]} in {files[second]}, and such values cannot be compared; write it with "
        "one type in all files"
    )
