"""Labelled rows of another log, in the dense ids of an existing dataset."""

from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt
import polars as pl

from invlearn.config.schema import OtherLog
from invlearn.data.dataset import Dataset
from invlearn.data.engines.engine import IN_MEMORY
from invlearn.data.ids import IdMap
from invlearn.data.logs.logs import ROW, Log, open_log
from invlearn.data.parts import Part
from invlearn.data.prepare.grammar import parse_rules
from invlearn.data.prepare.labels import for_types, labelled
from invlearn.data.prepare.prepare import check_labels, good_rows, read_rows
from invlearn.data.prepare.repeats import one_per_pair
from invlearn.data.prepare.settings import PrepareSettings
from invlearn.data.prepare.table import ID_COLUMNS, ITEM, LABEL, SPLIT, TIME, USER, counts
from invlearn.runtime.errors import DataError
from invlearn.runtime.text import counted

Ids = npt.NDArray[np.integer[Any]]


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
    settings = _settings(other, dataset)
    log = open_log(other.log, format=other.format, roles=settings.roles, every=False)
    if other.time is None and settings.time not in log.names:
        settings = replace(settings, time=None)
    frame, left_out = _labelled(log, settings)
    users, items = (
        IdMap.of(dataset.ids(kind)).dense(frame[column]) for kind, column in ID_COLUMNS.items()
    )
    is_known = (users >= 0) & (items >= 0)
    if other.unknown != "drop" and not is_known.all():
        raise _unknown_ids(frame, users, items, log)
    if not is_known.any():
        raise DataError(
            f"no labelled row of {log.name} has a user and an item that the dataset has; "
            "compare its ids with the dataset's users.parquet and items.parquet"
        )
    is_kept = is_known & ~(_is_seen(users, items, dataset) & (other.seen != "keep"))
    if other.seen == "error" and (is_kept != is_known).any():
        seen = frame.filter(is_known & ~is_kept)
        raise DataError(
            f"{_of_log(len(seen), log, 'has', 'have')} a pair that the runs were trained or "
            f"validated on, which flatters them, the first in {log.place(seen[ROW][0])}: user "
            f"{seen[USER][0]!r} and item {seen[ITEM][0]!r}; leave such rows out with "
            "--seen drop, or measure on them all the same with --seen keep"
        )
    if not is_kept.any():
        raise DataError(
            f"every labelled row of {log.name} has a pair that the runs were trained or validated "
            "on; give a log of other pairs, or pass --seen keep"
        )
    dense = frame.with_columns(pl.Series(USER, users), pl.Series(ITEM, items)).filter(is_kept)
    rows, _ = one_per_pair(nw.from_native(dense.lazy()), settings.repeats)
    kept: pl.DataFrame = IN_MEMORY.collect(rows.sort(USER, ITEM)).to_native()
    pairs = kept.select(pl.col(USER, ITEM).cast(pl.Int32))
    part = Part(pairs[USER].to_numpy(), pairs[ITEM].to_numpy(), kept[LABEL].to_numpy())
    left_out |= {
        "unknown user or item": int((~is_known).sum()),
        "pair of the training or validation part": int((is_known & ~is_kept).sum()),
        "repeats of a pair": len(dense) - len(part),
    }
    n_seen = int(_is_seen(part.users, part.items, dataset).sum())
    return FoundRows(log.name, part, n_seen, {why: n for why, n in left_out.items() if n})


def _settings(other: OtherLog, dataset: Dataset) -> PrepareSettings:
    """Return the settings of the log, with those of the dataset as defaults."""
    card = dataset.card
    columns: dict[str, Any] = {"user": "user", "item": "item", "time": None} | card.columns
    return PrepareSettings(
        rules=parse_rules(other.rule or card.rule),
        user=other.user or columns["user"],
        item=other.item or columns["item"],
        time=other.time or columns["time"],
        repeats=card.repeats,
        bad_rows=other.bad_rows,
    )


def _labelled(log: Log, settings: PrepareSettings) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the labelled rows in log order, and the number of rows left out by reason."""
    rows, left_out = good_rows(read_rows(log, settings), settings, log)
    rules = for_types(settings.rules, log.rows.collect_schema())
    rows = labelled(rows, rules).select(ROW, USER, ITEM, LABEL, TIME, SPLIT)
    rows = IN_MEMORY.materialize(rows)
    found = counts(rows)
    check_labels(found, settings.rules, log.name)
    rows = rows.filter(~nw.col(LABEL).is_null()).sort(ROW)
    return IN_MEMORY.collect(rows).to_native(), left_out | {"unlabelled": found.unlabelled}


def _unknown_ids(frame: pl.DataFrame, users: Ids, items: Ids, log: Log) -> DataError:
    is_unknown = (users < 0) | (items < 0)
    at = int(is_unknown.argmax())
    names = [
        f"{kind} {frame[column][at]!r}"
        for (kind, column), ids in zip(ID_COLUMNS.items(), (users, items), strict=True)
        if ids[at] < 0
    ]
    return DataError(
        f"{_of_log(int(is_unknown.sum()), log, 'names', 'name')} users or items that the dataset "
        f"does not have, the first in {log.place(frame[ROW][at])}: {' and '.join(names)}; "
        "drop such rows with --unknown drop, or train on a log that has them"
    )


def _of_log(n_rows: int, log: Log, does: str, do: str) -> str:
    """Format the number of labelled rows of a log, with a verb."""
    return counted(
        n_rows, f"labelled row of {log.name} {does}", f"labelled rows of {log.name} {do}"
    )


def _is_seen(users: Ids, items: Ids, dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Return whether each pair is in the training or validation part, shape `(pairs,)`."""
    keys = users.astype(np.int64) * dataset.n_items + items
    found = np.zeros(len(keys), np.bool_)
    for part in (dataset.train, dataset.valid):
        known = part.users.astype(np.int64) * dataset.n_items + part.items
        found |= np.isin(keys, known)
    return found
