"""Ids and times in types that every engine has, and ids back in their own.

Polars alone knows unsigned integers of 64 bits in full, and integers of 128. Other engines get the
former moved down by 2^63, which keeps their order, and not the latter.
"""

import narwhals.stable.v2 as nw
from narwhals.stable.v2.dtypes import DType

from invlearn.data.engines.engine import Engine, Frame
from invlearn.runtime.errors import ConfigError

_SHIFT = 2**63


def id_of(column: str, dtype: DType, engine: Engine) -> nw.Expr:
    """Ids of a log's column: integers, or what else there is as text.

    Raises:
        ConfigError: The engine has no such integers.
    """
    if dtype.is_integer():
        return _integers(column, dtype, engine)
    return nw.col(column).cast(nw.String)


def time_of(column: str, dtype: DType, engine: Engine) -> nw.Expr:
    """Times of a log's column: something that has the same order.

    Raises:
        ConfigError: The engine has no such integers.
    """
    if dtype.is_temporal():
        return nw.col(column).cast(nw.Int64)  # exact in Python too
    if dtype.is_integer():
        return _integers(column, dtype, engine)
    return nw.col(column).cast(nw.Float64) if dtype.is_float() else nw.col(column)


def restored(ids: Frame, dtype: DType) -> Frame:
    """Ids as they were in a log's column of some type; text where that was no integer.

    Args:
        ids: With the column `id` that came of `id_of`.
        dtype: Type of the log's column.
    """
    found, value = ids.schema["id"], nw.col("id")
    if dtype == nw.UInt64 and found == nw.Int64:
        value = value.cast(nw.Int128) + nw.lit(_SHIFT, nw.Int128)
    return ids.select(value.cast(dtype)) if dtype.is_integer() else ids


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
