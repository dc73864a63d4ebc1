"""Labelled rows of another log, in the dense ids of a dataset that is there already."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl

from invlearn.config import OtherLog
from invlearn.data import checks
from invlearn.data.dataset import Dataset, Part
from invlearn.data.grammar import parse_rules
from invlearn.data.labels import labelled
from invlearn.data.logs import ROW, Log, open_log
from invlearn.data.prepare import check_labels, read_rows
from invlearn.data.repeats import one_per_pair, repeats_named
from invlearn.data.settings import PrepareSettings
from invlearn.data.table import ITEM, LABEL, TIME, USER, Rows, counts, encoded, settled
from invlearn.errors import DataError

_ID, _CODE = "__id__", "__code__"


@dataclass(frozen=True, slots=True)
class FoundRows:
    """Labelled rows of a log, one a pair."""

    name: str
    """What to call the log."""
    rows: Part
    """Rows in dense ids."""
    left_out: dict[str, int]
    """Rows that were left out, by reason; reasons without rows are absent."""


def find_rows(other: OtherLog, dataset: Dataset) -> FoundRows:
    """Label the rows of a log, and find their users and items in a dataset.

    Args:
        other: The log, and how to read it.
        dataset: Gives the dense ids, and whatever `other` leaves open.

    Raises:
        ConfigError: A setting does not exist.
        DataError: The log lacks a column, has bad rows, gives no usable labels, or names users or
            items that the dataset does not have.
    """
    log = open_log(other.log, format=other.format)
    settings = _settings(other, log, dataset)
    rows, left_out = _labelled(log, settings)
    rows, n_unknown = _known(rows, dataset.folder, log.name, drop=other.unknown == "drop")
    n_rows = counts(rows).rows
    if not n_rows:
        raise DataError(
            f"no labelled row of {log.name} has a user and an item that the dataset has; "
            "compare its ids with the dataset's users.parquet and items.parquet"
        )
    rows, _, _ = one_per_pair(rows, repeats_named(settings.repeats))
    part = _part(rows)
    left_out |= {"unknown user or item": n_unknown, "repeats of a pair": n_rows - len(part)}
    return FoundRows(log.name, part, {why: n for why, n in left_out.items() if n})


def _settings(other: OtherLog, log: Log, dataset: Dataset) -> PrepareSettings:
    """What the log's user says, and for the rest what the dataset was prepared by."""
    card = dataset.card
    own: dict[str, Any] = {"rule": (), "repeats": "last", "columns": {}} | dict(card)
    columns = {"user": "user", "item": "item", "time": None} | own["columns"]
    there = log.rows.collect_schema().names()
    return PrepareSettings(
        rules=parse_rules(other.rule or own["rule"]),
        user=other.user or columns["user"],
        item=other.item or columns["item"],
        time=other.time or (columns["time"] if columns["time"] in there else None),
        repeats=own["repeats"],
        bad_rows=other.bad_rows,
    )


def _labelled(log: Log, settings: PrepareSettings) -> tuple[Rows, dict[str, int]]:
    """Rows with a label, settled, and how many were left out for which reason."""
    schema = log.rows.collect_schema()
    checks.check_columns(schema, settings.columns, log.name)
    wanted = settings.checks(schema)
    checks.check_types(schema, wanted, log.name)
    rows = read_rows(log, settings)
    rows, left_out = checks.without_bad(rows, wanted, log.name, drop=settings.bad_rows == "drop")
    time = nw.col(settings.time) if settings.time is not None else nw.lit(0, nw.Int64)
    rows = labelled(rows, settings.rules).select(ROW, USER, ITEM, LABEL, time.alias(TIME))
    rows = settled(rows)
    found = counts(rows)
    check_labels(found, settings.rules, log.name)
    rows, _ = encoded(settled(rows.filter(~nw.col(LABEL).is_null())), TIME)
    return settled(rows), left_out | {"unlabelled": found.unlabelled}


def _known(rows: Rows, folder: Path, log_name: str, *, drop: bool) -> tuple[Rows, int]:
    """Put dense ids for the log's own; count rows without, or refuse the log because of them."""
    for column, file in ((USER, "users.parquet"), (ITEM, "items.parquet")):
        ids = nw.from_native(pl.scan_parquet(folder / file).with_row_index(_CODE))
        # text compares ids that one log kept as integers and the other as strings
        ids = ids.select(nw.col("id").cast(nw.String).alias(_ID), nw.col(_CODE).cast(nw.Int64))
        rows = rows.with_columns(nw.col(column).cast(nw.String).alias(_ID))
        rows = rows.join(ids, on=_ID, how="left").drop(_ID)
        rows = rows.rename({column: f"{column}name", _CODE: column})
    rows = settled(rows)
    is_known = ~(nw.col(USER).is_null() | nw.col(ITEM).is_null())
    strangers = rows.filter(~is_known).sort(ROW).collect()
    if len(strangers) and not drop:
        raise _strangers(strangers.row(0), strangers.columns, len(strangers), log_name)
    return settled(rows.filter(is_known)), len(strangers)


def _strangers(first: Sequence[Any], columns: list[str], n_rows: int, log_name: str) -> DataError:
    value = dict(zip(columns, first, strict=True))
    names = [
        f"{kind} {value[f'{column}name']!r}"
        for kind, column in (("user", USER), ("item", ITEM))
        if value[column] is None
    ]
    return DataError(
        f"{n_rows:,} labelled rows of {log_name} name users or items that the dataset does not "
        f"have, the first in row {value[ROW] + 1:,} (data rows counted from 1): "
        f"{' and '.join(names)}; drop such rows with --unknown drop, or train on a log that has "
        "them"
    )


def _part(rows: Rows) -> Part:
    """Columns of settled rows, in the order (user, item)."""
    frame = rows.sort(USER, ITEM).collect()
    users, items = (frame[column].cast(nw.Int32).to_numpy() for column in (USER, ITEM))
    return Part(np.asarray(users), np.asarray(items), np.asarray(frame[LABEL].to_numpy()))
