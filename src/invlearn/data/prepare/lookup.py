"""Labelled rows of another log, in the dense ids of an existing dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt
import polars as pl

from invlearn.config.schema import OtherLog
from invlearn.data.dataset import Dataset
from invlearn.data.engines.engine import IN_MEMORY, Rows
from invlearn.data.logs.logs import ROW, Log, open_log
from invlearn.data.parts import Part
from invlearn.data.prepare import checks
from invlearn.data.prepare.grammar import parse_rules
from invlearn.data.prepare.labels import labelled
from invlearn.data.prepare.prepare import check_labels, read_rows
from invlearn.data.prepare.repeats import one_per_pair, repeats_named
from invlearn.data.prepare.settings import PrepareSettings
from invlearn.data.prepare.table import ITEM, LABEL, TIME, USER, counts, encoded
from invlearn.runtime.errors import DataError
from invlearn.runtime.text import counted

Ids = npt.NDArray[np.integer[Any]]

_ID, _CODE = "__id__", "__code__"
_NAME = "name"
"""Suffix of the columns with the original ids of the log."""


@dataclass(frozen=True, slots=True)
class FoundRows:
    """Labelled rows of a log, one per pair."""

    name: str
    """Name of the log."""
    rows: Part
    """Rows in dense ids."""
    n_seen: int
    """Number of rows whose pair is in the dataset's training or validation part."""
    left_out: dict[str, int]
    """Number of rows left out, by reason; reasons without rows are absent."""


def find_rows(other: OtherLog, dataset: Dataset) -> FoundRows:
    """Return the labelled rows of a log, with users and items mapped to a dataset's dense ids.

    Args:
        other: The log, and how to read it.
        dataset: Provides the dense ids, and defaults for settings that `other` leaves open.

    Raises:
        ConfigError: A setting is unknown.
        DataError: The log lacks a column, has bad rows, gives no usable labels, or contains users
            or items that the dataset does not have, or pairs that were trained on.
    """
    log = open_log(other.log, format=other.format)
    settings = _settings(other, log, dataset)
    rows, left_out = _labelled(log, settings)
    rows, n_unknown = _known(rows, dataset, log, drop=other.unknown == "drop")
    if not counts(rows).rows:
        raise DataError(
            f"no labelled row of {log.name} has a user and an item that the dataset has; "
            "compare its ids with the dataset's users.parquet and items.parquet"
        )
    n_dropped = 0
    if other.seen != "keep":
        rows, n_dropped = _unseen(rows, dataset, log, drop=other.seen == "drop")
    n_rows = counts(rows).rows
    rows, _, _ = one_per_pair(rows, repeats_named(settings.repeats))
    part = _part(rows)
    left_out |= {
        "unknown user or item": n_unknown,
        "pair of the training or validation part": n_dropped,
        "repeats of a pair": n_rows - len(part),
    }
    n_seen = int(_is_seen(part.users, part.items, dataset).sum())
    return FoundRows(log.name, part, n_seen, {why: n for why, n in left_out.items() if n})


def _settings(other: OtherLog, log: Log, dataset: Dataset) -> PrepareSettings:
    """Return the settings of the log, with those of the dataset as defaults."""
    card = dataset.card
    columns: dict[str, Any] = {"user": "user", "item": "item", "time": None} | card.columns
    there = log.rows.collect_schema().names()
    return PrepareSettings(
        rules=parse_rules(other.rule or card.rule),
        user=other.user or columns["user"],
        item=other.item or columns["item"],
        time=other.time or (columns["time"] if columns["time"] in there else None),
        repeats=card.repeats,
        bad_rows=other.bad_rows,
    )


def _labelled(log: Log, settings: PrepareSettings) -> tuple[Rows, dict[str, int]]:
    """Return the labelled rows, materialized, and the number of rows left out by reason."""
    schema = log.rows.collect_schema()
    checks.check_columns(schema, settings.columns, log.name)
    wanted = settings.checks(schema)
    checks.check_types(log.rows, wanted, log.name)
    rows = read_rows(log, settings)
    rows, left_out = checks.without_bad(rows, wanted, log, drop=settings.bad_rows == "drop")
    time = nw.lit(0, nw.Int64) if settings.time is None else nw.col(TIME)
    rows = labelled(rows, settings.rules).select(ROW, USER, ITEM, LABEL, time.alias(TIME))
    rows = IN_MEMORY.materialize(rows)
    found = counts(rows)
    check_labels(found, settings.rules, log.name)
    rows, _ = encoded(IN_MEMORY.materialize(rows.filter(~nw.col(LABEL).is_null())), TIME)
    return IN_MEMORY.materialize(rows), left_out | {"unlabelled": found.unlabelled}


def _known(rows: Rows, dataset: Dataset, log: Log, *, drop: bool) -> tuple[Rows, int]:
    """Map ids to dense ids; count rows with unknown ids, or raise if `drop` is false."""
    for column, original in ((USER, dataset.ids("user")), (ITEM, dataset.ids("item"))):
        table = pl.LazyFrame({"id": original}).with_row_index(_CODE)
        # compared as text, since one log may hold integers where the other holds strings
        ids = nw.from_native(table).select(
            nw.col("id").cast(nw.String).alias(_ID), nw.col(_CODE).cast(nw.Int64)
        )
        rows = rows.with_columns(nw.col(column).cast(nw.String).alias(_ID))
        rows = rows.join(ids, on=_ID, how="left").drop(_ID)
        rows = rows.rename({column: f"{column}{_NAME}", _CODE: column})
    rows = IN_MEMORY.materialize(rows)
    is_known = ~(nw.col(USER).is_null() | nw.col(ITEM).is_null())
    unknown_ids = rows.filter(~is_known).sort(ROW).collect()
    if len(unknown_ids) and not drop:
        raise _unknown_ids(unknown_ids.row(0), unknown_ids.columns, len(unknown_ids), log)
    return IN_MEMORY.materialize(rows.filter(is_known)), len(unknown_ids)


def _unknown_ids(first: Sequence[Any], columns: list[str], n_rows: int, log: Log) -> DataError:
    value = dict(zip(columns, first, strict=True))
    names = [
        f"{kind} {value[f'{column}{_NAME}']!r}"
        for kind, column in (("user", USER), ("item", ITEM))
        if value[column] is None
    ]
    return DataError(
        f"{_of_log(n_rows, log, 'names', 'name')} users or items that the dataset does not "
        f"have, the first in {log.place(value[ROW])}: {' and '.join(names)}; "
        "drop such rows with --unknown drop, or train on a log that has them"
    )


def _of_log(n_rows: int, log: Log, does: str, do: str) -> str:
    """Format the number of labelled rows of a log, with a verb."""
    return counted(
        n_rows, f"labelled row of {log.name} {does}", f"labelled rows of {log.name} {do}"
    )


def _unseen(rows: Rows, dataset: Dataset, log: Log, *, drop: bool) -> tuple[Rows, int]:
    """Drop rows whose pair was trained or validated on, or raise if `drop` is false."""
    frame = rows.sort(ROW).collect()
    is_seen = _is_seen(frame[USER].to_numpy(), frame[ITEM].to_numpy(), dataset)
    n_seen = int(is_seen.sum())
    if n_seen and not drop:
        value = dict(zip(frame.columns, frame.row(int(is_seen.argmax())), strict=True))
        raise DataError(
            f"{_of_log(n_seen, log, 'has', 'have')} a pair that the runs were trained or "
            f"validated on, which flatters them, the first in {log.place(value[ROW])}: user "
            f"{value[USER + _NAME]!r} and item {value[ITEM + _NAME]!r}; leave such rows out with "
            "--seen drop, or measure on them all the same with --seen keep"
        )
    if n_seen == len(frame):
        raise DataError(
            f"every labelled row of {log.name} has a pair that the runs were trained or validated "
            "on; give a log of other pairs, or pass --seen keep"
        )
    return frame.filter((~is_seen).tolist()).lazy(), n_seen


def _is_seen(users: Ids, items: Ids, dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Return whether each pair is in the training or validation part, shape `(pairs,)`."""
    keys = users.astype(np.int64) * dataset.n_items + items
    found = np.zeros(len(keys), np.bool_)
    for part in (dataset.train, dataset.valid):
        known = part.users.astype(np.int64) * dataset.n_items + part.items
        found |= np.isin(keys, known)
    return found


def _part(rows: Rows) -> Part:
    """Return the columns of materialized rows, sorted by (user, item)."""
    frame = rows.sort(USER, ITEM).collect()
    users, items = (frame[column].cast(nw.Int32).to_numpy() for column in (USER, ITEM))
    return Part(np.asarray(users), np.asarray(items), np.asarray(frame[LABEL].to_numpy()))
