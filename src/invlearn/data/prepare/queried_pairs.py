"""Pairs to score: the unlabelled pairs of a dataset, or the pairs of a file.

They are read in blocks, never all at once, and can be iterated repeatedly.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt
import polars as pl

from invlearn.data.dataset import Dataset
from invlearn.data.engines.engines import EngineSettings, starting
from invlearn.data.logs.formats import reading
from invlearn.data.logs.logs import ROW, Log, open_log
from invlearn.data.prepare import checks
from invlearn.data.prepare.grammar import parse_rule
from invlearn.data.prepare.labels import Bounds, Given, Percentile, Rule, labelled
from invlearn.data.prepare.table import ITEM, LABEL, USER, working
from invlearn.runtime.errors import ConfigError, DataError
from invlearn.runtime.text import counted

BLOCK_PAIRS = 1 << 18
"""Pairs in a block."""
UNKNOWN = -1
"""Dense id of a user or item that is not in the dataset, and value of an unknown truth."""

_IDS = {"user": (USER, "users.parquet"), "item": (ITEM, "items.parquet")}
_ID, _CODE = "__id__", "__code__"


class Block(NamedTuple):
    """A block of pairs, as columns."""

    ids: pl.DataFrame
    """Columns `user` and `item`: original ids, in the order of the source."""
    users: npt.NDArray[np.int32]
    """Dense ids, shape `(pairs,)`; `UNKNOWN` if not in the dataset."""
    items: npt.NDArray[np.int32]
    truth: npt.NDArray[np.int8] | None
    """1, 0 or `UNKNOWN`, shape `(pairs,)`; None if no truth column exists."""


@dataclass(frozen=True, slots=True)
class QueriedPairs:
    """Pairs to score."""

    name: str
    """Name of the pairs in messages."""
    n_pairs: int
    blocks: Callable[[], Iterator[Block]]
    """Function that yields all pairs in order, in blocks of `BLOCK_PAIRS`."""


def unlabelled_pairs(dataset: Dataset) -> QueriedPairs:
    """Return the dataset's unlabelled pairs, with their labels before these were hidden.

    Raises:
        DataError: There are none, or the dataset is damaged.
    """
    part = dataset.unlabelled
    if not len(part):
        raise DataError(
            f"{dataset.folder} has no unlabelled pairs; name a file of pairs with --pairs"
        )
    user_ids, item_ids = dataset.ids("user"), dataset.ids("item")

    def blocks() -> Iterator[Block]:
        for start in range(0, len(part), BLOCK_PAIRS):
            rows = slice(start, start + BLOCK_PAIRS)
            users, items = np.asarray(part.users[rows]), np.asarray(part.items[rows])
            ids = pl.DataFrame({"user": user_ids.gather(users), "item": item_ids.gather(items)})
            yield Block(ids, users, items, None if part.truth is None else part.truth[rows])

    return QueriedPairs(f"unlabelled pairs of {dataset.folder.name}", len(part), blocks)


@contextmanager
def pairs_of(
    source: Any,
    dataset: Dataset,
    *,
    place: Path,
    format: str = "auto",  # noqa: A002  the word users know
    user: str | None = None,
    item: str | None = None,
    truth: str | None = None,
) -> Generator[QueriedPairs, None, None]:
    """Yield the pairs of a file in its order, including repeated pairs and unknown ids.

    Args:
        source: Log files or a table, as for `open_log`.
        dataset: Provides the dense ids, and the default column names.
        place: Folder for a temporary file of the size of the pairs, deleted on exit.
        format: Format of the files.
        user: Column of user ids.
        item: Column of item ids.
        truth: Column of 1, 0 or null, or a label rule of bounds or events.

    Raises:
        ConfigError: The rule cannot be parsed, or uses percentiles.
        DataError: The source lacks a column or has invalid values in it.
        InvlearnError: The disk is full.
    """
    log = open_log(source, format=format)
    named = {"user": "user", "item": "item"} | dict(dataset.card.columns)
    columns = {"user": user or str(named["user"]), "item": item or str(named["item"])}
    with starting(EngineSettings(), place) as engine:
        named_rows = _named(log, columns, _rule(truth))
        with reading(log.name):  # damage inside a file is detected only here
            rows = engine.import_lazy(named_rows)
        told = _with_truth(rows, log, _rule(truth))
        with reading(f"an id map of {dataset.folder}"):
            rows = engine.materialize(_coded(told, dataset.folder))
        table: pl.LazyFrame = nw.to_native(rows)
        n_pairs = int(table.select(pl.len()).collect().item())

        def blocks() -> Iterator[Block]:
            for start in range(0, n_pairs, BLOCK_PAIRS):
                yield _block(table.slice(start, BLOCK_PAIRS).collect(), has_truth=bool(truth))

        yield QueriedPairs(log.name, n_pairs, blocks)


def _rule(truth: str | None) -> Rule | None:
    """Parse the truth rule; a plain name is a label column."""
    if truth is None:
        return None
    rule = parse_rule(truth) if any(sign in truth for sign in "<>(") else Given(truth)
    if isinstance(rule, Bounds) and isinstance(rule.quantity, Percentile):
        raise ConfigError(
            f"the truth cannot be told by '{truth}', since percentiles are among all rows of a log;"
            " name a column, or a rule of bounds or events"
        )
    return rule


def _named(log: Log, columns: dict[str, str], rule: Rule | None) -> Any:
    """Return the required columns, with ids under their working names."""
    schema = log.rows.collect_schema()
    told = [check.column for check in rule.checks()] if rule else []
    checks.check_columns(schema, [*columns.values(), *told], log.name)
    wanted = [checks.identifies(name, _IDS[kind][0]) for kind, name in columns.items()]
    checks.check_types(log.rows, [*wanted, *(rule.checks() if rule else ())], log.name)
    ids = {_IDS[key][0]: nw.col(column) for key, column in columns.items()}
    with reading(log.name):
        return log.rows.select(ROW, **{working(name): nw.col(name) for name in told}, **ids)


def _with_truth(rows: Any, log: Log, rule: Rule | None) -> Any:
    """Return the rows with `LABEL`, null where unknown."""
    if rule is None:
        return rows.with_columns(nw.lit(None, nw.Int8).alias(LABEL))
    good, bad = checks.without_bad(rows, rule.checks(), log, drop=True)
    if bad:
        reason, n_rows = next(iter(bad.items()))
        raise DataError(
            f"in {counted(n_rows, 'row')} of {log.name} {reason}, so that '{rule}' cannot tell the "
            "truth; fix or remove these rows"
        )
    return labelled(good, [rule])


def _coded(rows: Any, folder: Path) -> Any:
    """Add dense ids to the original ids, compared as text, since files may differ in type."""
    table: pl.LazyFrame = nw.to_native(rows)
    for key, (column, file) in _IDS.items():
        ids = pl.scan_parquet(folder / file, glob=False).with_row_index(_CODE)
        ids = ids.select(
            pl.col("id").cast(pl.String).alias(_ID), pl.col(_CODE).cast(pl.Int32).alias(key)
        )
        text = pl.col(column).cast(pl.String).alias(_ID)
        table = table.with_columns(text).join(ids, on=_ID, how="left", maintain_order="left")
        table = table.drop(_ID)
    return nw.from_native(table.select(USER, ITEM, *_IDS, LABEL))


def _block(frame: pl.DataFrame, *, has_truth: bool) -> Block:
    filled = frame.with_columns(pl.col(*_IDS, LABEL).fill_null(UNKNOWN))
    users, items, truth = (filled[name].to_numpy() for name in (*_IDS, LABEL))
    ids = frame.select(pl.col(USER).alias("user"), pl.col(ITEM).alias("item"))
    return Block(ids, users, items, truth if has_truth else None)
