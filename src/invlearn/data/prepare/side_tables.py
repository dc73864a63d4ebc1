"""Read tables of user and item features, aligned with the dense ids, as feature columns.

Text, boolean, and named numeric columns are categories; all other numbers are standardized.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt
import polars as pl
from polars import selectors

from invlearn.data.engines.engine import IN_MEMORY
from invlearn.data.features import Codes, Kind, Scale, SideCard, SideFeatures, Values
from invlearn.data.logs.formats import reading
from invlearn.data.logs.logs import ROW, Log, open_log
from invlearn.data.prepare import checks
from invlearn.data.prepare.audit import SideFacts
from invlearn.data.prepare.table import USER
from invlearn.runtime.errors import ConfigError, DataError, unknown
from invlearn.runtime.text import counted

LEAST_IDS = 2
"""Minimum ids per category; a category of one id adds nothing to the id itself."""

_KEY, _THERE = "__key__", "__there__"


@dataclass(frozen=True, slots=True)
class SideTable:
    """A feature table, opened and checked."""

    log: Log
    id_column: str
    categorical: tuple[str, ...]
    """Categorical columns, in the order of the table."""
    numeric: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadSide:
    """Features of all users or items of a dataset, with vocabulary and audit facts."""

    features: SideFeatures
    vocabulary: pl.DataFrame
    """Columns `feature`, `code` and `value`."""
    facts: SideFacts


def open_tables(
    tables: Mapping[Kind, tuple[Any, str]], categorical: Sequence[str]
) -> dict[Kind, SideTable]:
    """Open feature tables, and determine the kind of each column.

    Args:
        tables: For `user` and `item`: a file, a folder, a glob, a table or None, and the name of
            its id column.
        categorical: Numeric columns to treat as categories.

    Raises:
        ConfigError: A categorical column is in none of the tables.
        DataError: A table is missing or damaged, lacks its id column or any other, or has a
            column of an unsupported type, a repeated or missing id, or an infinite number.
    """
    logs: dict[Kind, tuple[Log, str]] = {
        kind: (table if isinstance(table, Log) else open_log(table, roles={name: "id"}), name)
        for kind, (table, name) in tables.items()
        if table is not None
    }
    known = [c for log, name in logs.values() for c in log.rows.collect_schema() if c != name]
    for name in categorical:
        if not logs:
            raise ConfigError(
                f"'{name}' is to be categorical, and there is no table of features; give one with "
                "--user-features or --item-features"
            )
        if name not in known:
            raise unknown("feature", name, set(known) - {ROW})
    return {kind: _checked(log, name, categorical) for kind, (log, name) in logs.items()}


def read_side(table: SideTable, ids: pl.Series) -> ReadSide:
    """Return the features of a table in the order of the dense ids.

    Args:
        table: The table; rows of other ids are left out and counted.
        ids: Original ids, shape `(ids,)`; all features of an id without a row are missing.

    Raises:
        DataError: The table has none of the ids.
    """
    names = (*table.categorical, *table.numeric)
    rows = _rows(table, names)
    # compared as text, since the log may hold integers where the table holds strings
    wanted = ids.cast(pl.String).alias(_KEY).to_frame()
    columns = rows.select(_KEY, pl.lit(True).alias(_THERE), *names)
    placed = wanted.join(columns, on=_KEY, how="left", maintain_order="left")
    placed = placed.with_columns(selectors.float().fill_nan(None))
    n_found = placed[_THERE].count()
    if not n_found:
        raise DataError(
            f"no id in column '{table.id_column}' of {table.log.name} is one of the "
            f"{len(ids):,} of the log, of which the first is '{wanted.item(0, 0)}'; compare them"
        )
    coded = {name: _coded(placed[name]) for name in table.categorical}
    numbers = placed.select(pl.col(table.numeric).cast(pl.Float64).fill_null(float("nan")))
    scaled = {name: standardized(numbers[name].to_numpy()) for name in table.numeric}
    card = SideCard(
        categorical={name: 1 + len(words) for name, (_, words) in coded.items()},
        numeric={name: scale for name, (_, scale) in scaled.items()},
    )
    none = SideFeatures.none(len(ids))
    codes = np.column_stack([column for column, _ in coded.values()]) if coded else none.codes
    values = np.column_stack([column for column, _ in scaled.values()]) if scaled else none.values
    missing = {name: placed[name].null_count() for name in names}
    facts = SideFacts(
        name=table.log.name,
        sha256=table.log.sha256,
        without_row=len(ids) - n_found,
        not_in_log=len(rows) - n_found,
        missing=missing,
        rare={name: int((c == 0).sum()) - missing[name] for name, (c, _) in coded.items()},
    )
    vocabulary = [
        (name, code, word)
        for name, (_, words) in coded.items()
        for code, word in enumerate(words, 1)
    ]
    schema = {"feature": pl.String, "code": pl.Int32, "value": pl.String}
    frame = pl.DataFrame(vocabulary, schema, orient="row")
    return ReadSide(SideFeatures(card, codes, values), frame, facts)


def standardized(column: npt.NDArray[np.float64]) -> tuple[Values, Scale]:
    """Subtract the mean of a column and divide by its standard deviation.

    Both are computed over the values that are not missing. These are first divided by their
    largest magnitude, so that no square overflows, and shifted by the first value, so that small
    differences between large numbers stay exact. A constant column becomes zeros.

    Args:
        column: NaN where a value is missing, shape `(ids,)`.

    Returns:
        The column, 0 where a value is missing, and its scale.

    Example:
        >>> standardized(np.array([1.0, np.nan, 3.0]))
        (array([-1.,  0.,  1.], dtype=float32), Scale(mean=2.0, spread=1.0))
    """
    there = column[~np.isnan(column)]
    if not len(there) or (there == there[0]).all():
        mean = float(there[0]) if len(there) else 0.0
        return np.zeros(len(column), np.float32), Scale(mean=mean, spread=0.0)
    size = np.abs(there).max()
    first = there[0] / size
    moved, there = column / size - first, there / size - first
    mean, spread = there.mean(), there.std()
    values = np.nan_to_num((moved - mean) / spread).astype(np.float32)
    within = np.clip([first + mean, spread], -1, 1)  # rounding must not cause an overflow
    return values, Scale(mean=float(within[0] * size), spread=float(within[1] * size))


def _checked(log: Log, id_column: str, categorical: Sequence[str]) -> SideTable:
    schema = log.rows.collect_schema()
    checks.check_columns(log, [id_column])
    identifies = checks.identifies(id_column, USER, schema[id_column])
    checks.check_types(log.rows, [identifies], log.name)
    names = [name for name in schema if name not in (ROW, id_column)]
    if not names:
        raise DataError(
            f"{log.name} has no column besides '{id_column}'; give a table with features, or none"
        )
    if taken := {_KEY, _THERE} & set(names):
        raise DataError(
            f"{log.name} has a column '{taken.pop()}', a name that is needed here; give it another"
        )
    words = [name for name in names if not schema[name].is_numeric() or name in categorical]
    for name in words:
        dtype = schema[name]
        if not (dtype.is_numeric() or any(dtype == kind for kind in _CATEGORICAL)):
            raise DataError(
                f"column '{name}' of {log.name} is of type {dtype}, and features are text, true "
                "or false, or numbers; convert it or leave it out"
            )
        is_meant = dtype != nw.String or name in categorical
        if why := "" if is_meant else checks.text_among_numbers(log.rows, name, is_feature=True):
            raise DataError(
                f"column '{name}' of {log.name} would be categories{why}; fix these or, if the "
                f"numbers are categories, add --categorical {name}"
            )
    numbers = tuple(name for name in names if name not in words)
    table = SideTable(log, id_column, tuple(words), numbers)
    _check_values(_rows(table, numbers), table)
    return table


def _rows(table: SideTable, columns: Sequence[str]) -> pl.DataFrame:
    """Return some columns of a table, and its ids as text."""
    wanted = table.log.rows.select(ROW, table.id_column, *columns)
    with reading(table.log.name):
        rows = IN_MEMORY.collect(wanted).to_polars()
    return rows.with_columns(pl.col(table.id_column).cast(pl.String).alias(_KEY))


_CATEGORICAL = (nw.String, nw.Boolean, nw.Categorical, nw.Enum)


def _check_values(rows: pl.DataFrame, table: SideTable) -> None:
    """Raise on a missing or repeated id, and on an infinite number."""
    if len(bad := rows.filter(pl.col(_KEY).is_null())):
        raise DataError(
            f"{table.log.place(bad[ROW][0])}, column '{table.id_column}': found nothing (null), "
            f"wanted an id; fix or remove such rows ({len(bad):,} in all)"
        )
    if len(bad := rows.filter(~pl.col(_KEY).is_first_distinct())):
        raise DataError(
            f"{table.log.place(bad[ROW][0])} repeats the id {bad[table.id_column][0]!r} of column "
            f"'{table.id_column}'; {counted(len(bad), 'row repeats', 'rows repeat')} "
            "an id, and each may have one; keep the row that is meant"
        )
    for name in table.numeric:
        if len(bad := rows.filter(pl.col(name).cast(pl.Float64).is_infinite())):
            raise DataError(
                f"{table.log.place(bad[ROW][0])}, column '{name}': found {bad[name][0]}, wanted a "
                "number or nothing; fix it or leave it empty"
            )


def _coded(column: pl.Series) -> tuple[Codes, list[str]]:
    """Return the codes of a column, and the categories of codes 1, 2, ..., sorted."""
    column = column.cast(pl.String).alias("value")
    counts = column.drop_nulls().value_counts(name="n").filter(pl.col("n") >= LEAST_IDS)
    words = counts.select("value").sort("value").with_row_index("code", offset=1)
    found = column.to_frame().join(words, on="value", how="left", maintain_order="left")
    return found["code"].fill_null(0).cast(pl.Int32).to_numpy(), words["value"].to_list()
