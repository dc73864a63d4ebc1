"""Conversion of ids and times to types that all engines support, and of ids back.

Only Polars fully supports unsigned 64-bit integers. For other engines, they are shifted down by
2^63, which keeps their order.
"""

import narwhals.stable.v2 as nw
import polars as pl
from narwhals.stable.v2.dtypes import DType

from invlearn.data.engines.engine import Engine, Frame

_SHIFT = 2**63


def portable(column: str, dtype: DType, engine: Engine) -> nw.Expr:
    """Return the ids or times of a log column: integers, floats or text, in the same order."""
    value = nw.col(column)
    if dtype.is_temporal():
        return value.cast(nw.Int64)  # exact in Python too
    if dtype.is_float():
        return value.cast(nw.Float64)
    if not dtype.is_numeric():
        return value.cast(nw.String)
    if engine.name == "polars" or not dtype.is_integer():
        return value
    if dtype == nw.UInt64:
        value = value.cast(nw.Int128) - nw.lit(_SHIFT, nw.Int128)
    return value.cast(nw.Int64)


def restored(ids: Frame, column: str, dtype: DType) -> pl.Series:
    """Return ids from `portable` in the type of the log column if that is an integer type.

    Args:
        ids: Table with the ids; unsigned 64-bit integers may be shifted.
        column: Name of their column.
        dtype: Type of the log column.
    """
    value = nw.col(column)
    if dtype == nw.UInt64 and ids.schema[column] == nw.Int64:
        value = value.cast(nw.Int128) + nw.lit(_SHIFT, nw.Int128)
    value = value.cast(dtype) if dtype.is_integer() else value
    return ids.select(value.alias("id")).to_native()["id"]
