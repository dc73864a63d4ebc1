"""Pairs to score: the unlabelled pairs of a dataset, or the pairs of a file.

They are read in blocks, never all at once, and can be iterated repeatedly.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt
import polars as pl

from invlearn.data.dataset import Dataset
from invlearn.data.engines.engine import Rows
from invlearn.data.engines.engines import EngineSettings, starting
from invlearn.data.features import Kind
from invlearn.data.ids import UNKNOWN, IdMap
from invlearn.data.logs.formats import reading
from invlearn.data.logs.logs import ROW, Log, open_log
from invlearn.data.logs.text import Role
from invlearn.data.prepare import checks
from invlearn.data.prepare.grammar import parse_rule
from invlearn.data.prepare.labels import Bounds, Given, Percentile, Rule, for_types, labelled
from invlearn.data.prepare.table import ID_COLUMNS, ITEM, LABEL, USER, working
from invlearn.runtime.errors import ConfigError, DataError
from invlearn.runtime.text import counted

BLOCK_PAIRS = 1 << 18
"""Pairs in a block."""


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
    rule, named = _rule(truth), {"user": "user", "item": "item"} | dataset.card.columns
    columns: dict[Kind, str] = {"user": user or named["user"], "item": item or named["item"]}
    roles: dict[str, Role] = {c.column: "number" for c in (rule.checks() if rule else ())}
    roles |= dict.fromkeys(columns.values(), "id")
    log = open_log(source, format=format, roles=roles, every=False)
    ids = {kind: IdMap.of(dataset.ids(kind)) for kind in columns}
    with starting(EngineSettings(), place) as engine:
        with reading(log.name):  # damage inside a file is detected only here
            rows = engine.import_lazy(_checked(log, columns, rule))
        table: pl.LazyFrame = nw.to_native(_with_truth(rows, log, rule))
        n_pairs = int(table.select(pl.len()).collect().item())

        def blocks() -> Iterator[Block]:
            for start in range(0, n_pairs, BLOCK_PAIRS):
                block = table.slice(start, BLOCK_PAIRS).collect()
                pairs = block.select(user=USER, item=ITEM)
                users, items = (ids[kind].dense(pairs[kind]).astype(np.int32) for kind in columns)
                labels = block[LABEL].fill_null(UNKNOWN).to_numpy() if rule else None
                yield Block(pairs, users, items, labels)

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


def _checked(log: Log, columns: Mapping[Kind, str], rule: Rule | None) -> Rows:
    """Return the required columns of a log under their working names."""
    truth_checks = rule.checks() if rule else ()
    checks.check_columns(log, [*columns.values(), *(check.column for check in truth_checks)])
    schema = log.rows.collect_schema()
    wanted = [
        checks.identifies(name, ID_COLUMNS[kind], schema[name]) for kind, name in columns.items()
    ]
    wanted += truth_checks
    checks.check_types(log.rows, wanted, log.name)
    ids = {ID_COLUMNS[kind]: nw.col(name) for kind, name in columns.items()}
    values = {working(check.column): nw.col(check.column) for check in truth_checks}
    return log.rows.select(ROW, **values, **ids)


def _with_truth(rows: Rows, log: Log, rule: Rule | None) -> Rows:
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
    return labelled(good, for_types([rule], log.rows.collect_schema()))
