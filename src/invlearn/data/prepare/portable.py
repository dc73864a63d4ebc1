"""Conversion of ids and times to types that all engines support, and of ids back.

Only Polars fully supports unsigned 64-bit and 128-bit integers. For other engines, unsigned 64-bit
integers are shifted down by 2^63, which keeps their order; 128-bit integers are refused.
"""

import narwhals.stable.v2 as nw
import polars as pl
from narwhals.stable.v2.dtypes import DType

from invlearn.data.engines.engine import Engine, Frame
from invlearn.runtime.errors import ConfigError

_SHIFT = 2**63


def id_of(column: str, dtype: DType, engine: Engine) -> nw.Expr:
    """Return an id expression for a log column: integers, or text for any other type.

    Raises:
        ConfigError: The engine does not support the integer type.
    """
    if dtype.is_integer():
        return _integers(column, dtype, engine)
    return nw.col(column).cast(nw.String)


def time_of(column: str, dtype: DType, engine: Engine) -> nw.Expr:
    """Return an expression with the same order as the times in a log column.

    Raises:
        ConfigError: The engine does not support the integer type.
    """
    if dtype.is_temporal():
        return nw.col(column).cast(nw.Int64)  # exact in Python too
    if dtype.is_integer():
        return _integers(column, dtype, engine)
    return nw.col(column).cast(nw.Float64) if dtype.is_float() else nw.col(column)


def restored(ids: Frame, column: str, dtype: DType) -> pl.Series:
    """Return ids from `id_of` in the type of the log column; text if that is not an integer type.

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


def _integers(column: str, dtype: DType, engine: Engine) -> nw.Expr:
    if engine.name == "polars":
        return nw.col(column)
    if any(dtype == kind for kind in (nw.Int128, nw.UInt128)):
        raise ConfigError(
            f"column '{column}' is of type {dtype}, which {engine.name} does not have; use "
            "--engine polars"
        )
    if dtype == nw.UInt64:
        shifted = nw.col(column).cast(nw.Int128) - nw.lit(_SHIFT, nw.Int128)
        return shifted.cast(nw.Int64)
    return nw.col(column).cast(nw.Int64)
