"""Lists of items for many users, written to a file block by block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars import selectors

from invlearn.data.engines.parquet import sink_parquet, write_parquet
from invlearn.data.ids import UNKNOWN, IdMap, Integers, read_ids
from invlearn.data.types import IntegerIds
from invlearn.evaluation.ranking import TopItems
from invlearn.inference.recommend.ann import ItemIndex, factors_of
from invlearn.inference.recommend.recommendation import (
    MODEL,
    Fallback,
    LeaveOut,
    Lists,
    Recommender,
)
from invlearn.runtime import atomic
from invlearn.runtime.errors import ConfigError, DataError
from invlearn.runtime.progress import Progress, silent
from invlearn.runtime.text import clipped, counted
from invlearn.training.run import Run

ENDINGS = (".parquet", ".pq", ".csv", ".jsonl", ".ndjson")
BUFFERED_ROWS = 100_000
FORMULA = r"^[=+\-@\t\r\n\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
"""How what a spreadsheet computes begins; the last four are the wide forms of the first four."""
NUMBER = r"^[+-][0-9]+(\.[0-9]+)?$"
"""What of it is only a number."""
NOBODY = Lists(
    np.empty(0, np.int64),
    TopItems(np.empty(0, np.int64), np.empty((0, 1), np.int64), np.empty((0, 1), np.float32)),
    MODEL,
)
SHOWN_IDS = 3
"""Ids that an error shows of those that it met."""
DEFAULT_FALLBACK: Fallback = "item-rate"
SAMPLED_USERS = 256
"""Users whose exact lists tell how much an index misses."""

Ids = str | Path | Sequence[Any] | pl.Series
"""Original ids, or a file of them (`invlearn.data.ids.read_ids`)."""


@dataclass(frozen=True, slots=True)
class Recommended:
    """What was written, and for whom."""

    file: Path
    k: int
    n_users: dict[str, int]
    """Users who got a list, by its source: `model`, or the name of the fallback."""
    n_unanswered: int
    """Users without a list, since training did not know them and there is no fallback."""
    n_unknown: int
    """Users among all of them whose id the run does not have."""
    n_unknown_items: int
    """Ids of `items` and `exclude_items` that the run does not have; they change nothing."""
    n_rows: int
    """Rows of the file."""
    n_short: int
    """Users whose list has fewer than `k` items, for want of items that are left."""
    n_items: int
    """Different items in all lists."""
    n_catalogue: int
    """Items that could have been in one."""
    recall: float | None
    """Of an approximate search: part of the exact lists that it found, on a sample of users."""


def recommend(
    run: Run | str | Path,
    out: str | Path,
    *,
    k: int = 10,
    users: Ids | None = None,
    items: Ids | None = None,
    exclude_items: Ids | None = None,
    leave_out: LeaveOut = "labelled",
    fallback: Fallback | None = None,
    approximate: float | None = None,
    dataset: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Recommended:
    """Write the `k` items that come first for each user: columns user, rank, item, score, source.

    The search is exact, and never more than a block of scores is in memory. Users whom the model
    answers come first, then those of the fallback, each in the order that was asked for.

    Args:
        run: The run, or its folder.
        out: File to write, `.parquet`, `.csv`, or `.jsonl` (JSON lines).
        k: Length of the lists.
        users: Whom to answer; everybody in the run by default.
        items: Recommend only these.
        exclude_items: Never recommend these.
        leave_out: Pairs that are not recommended: `labelled` in training, `shown` in training,
            `all` of the dataset, or `nothing`.
        fallback: What answers for users whom training did not know: `item-rate`, `popularity` or
            `none`. The score is then a logit, a number of likes, or there is no list. Without one
            named it is `item-rate`, and the run must know somebody of those asked for.
        approximate: Part of an index of the items that is looked at in place of all of them, such
            as 0.05; for backbones that are inner products.
        dataset: Where the run's dataset is now, if it was moved.
        overwrite: Replace a file of that name.
        progress: Told of each block.

    Raises:
        ConfigError: A choice does not exist, does not fit the backbone or needs an extra.
        DataError: A file of ids is damaged or has no id of the run, or the dataset is damaged.
        RunError: The run is damaged, or the dataset is not its own.
        InvlearnError: `out` exists, or cannot be written.
    """
    out = _checked(Path(out), k, overwrite=overwrite)
    run = run if isinstance(run, Run) else Run.open(run)
    answers = DEFAULT_FALLBACK if fallback is None else fallback
    ready = Recommender.of(run, leave_out=leave_out, fallback=answers, dataset=dataset)
    asked, dense = _asked(ready, users)
    if fallback is None and (dense == UNKNOWN).all():
        raise _nobody(ready, asked)
    excluded, n_unknown_items = _excluded(ready, items, exclude_items)
    index = None
    if approximate is not None:
        factors = factors_of(run.module, run.config.backbone)
        index = ItemIndex(factors, probed=approximate, excluded=excluded)
    tally = _Tally(len(ready.items))
    blocks = ready.lists(dense, k=k, excluded=excluded, index=index, progress=progress)
    tables = (_table(block, asked, ready.items) for block in tally.counted(blocks, k))
    _write(chain(tables, [_table(NOBODY, asked, ready.items)]), out, overwrite=overwrite)
    return Recommended(
        file=out,
        k=k,
        n_users=tally.users,
        n_unanswered=len(asked) - sum(tally.users.values()),
        n_unknown=int((dense == UNKNOWN).sum()),
        n_unknown_items=n_unknown_items,
        n_rows=tally.rows,
        n_short=tally.short,
        n_items=int(tally.found.sum()),
        n_catalogue=len(ready.items) - len(excluded),
        recall=_recall(ready, dense, k, excluded, index) if index else None,
    )


def _checked(out: Path, k: int, *, overwrite: bool) -> Path:
    if out.suffix not in ENDINGS:
        raise ConfigError(
            f"the ending of a file says how lists are written, one of {', '.join(ENDINGS)}; "
            f"found '{out.name}'"
        )
    if k < 1:
        raise ConfigError(f"a list cannot have the length {k}; give k of at least 1")
    atomic.need_folder(out)
    atomic.need_absent(out, overwrite=overwrite)
    return out


def _asked(ready: Recommender, users: Ids | None) -> tuple[pl.Series, Integers]:
    """Original and dense ids of those who are to get a list."""
    if users is None:
        return ready.users.ids, np.arange(len(ready.users))
    asked = ready.users.in_type(read_ids(users, "user", own=ready.columns.get("user")))
    return asked, ready.users.dense(asked)


def _nobody(ready: Recommender, asked: pl.Series) -> DataError:
    """Error for ids that are most likely none, or those of another dataset."""
    return DataError(
        f"the run has none of the users asked for: read {counted(len(asked), 'id')}, "
        f"{_some(asked)}; the run's own ids are like {_some(ready.users.ids)}; give such ids, or "
        f"ask for the same list for everybody with --fallback {DEFAULT_FALLBACK}"
    )


def _some(ids: pl.Series) -> str:
    texts = ids.head(SHOWN_IDS).cast(pl.String).to_list()
    shown = ", ".join(repr(clipped(text)) for text in texts)
    return f"{shown}, ..." if len(ids) > SHOWN_IDS else shown


def _excluded(ready: Recommender, only: Ids | None, never: Ids | None) -> tuple[IntegerIds, int]:
    """Dense ids of the items that nobody is to get, and how many ids the run does not have.

    Raises:
        ConfigError: No item is left.
    """
    allowed = np.full(len(ready.items), only is None)
    n_unknown = 0
    for ids, value in ((only, True), (never, False)):
        if ids is not None:
            dense = ready.items.dense(read_ids(ids, "item", own=ready.columns.get("item")))
            n_unknown += int((dense == UNKNOWN).sum())
            allowed[dense[dense != UNKNOWN]] = value
    if not allowed.any():
        raise ConfigError("no item of the run is left to recommend; compare the ids of the items")
    return np.flatnonzero(~allowed), n_unknown


class _Tally:
    """Counts what goes by."""

    def __init__(self, n_items: int) -> None:
        self.users: dict[str, int] = {}
        self.rows = self.short = 0
        self.found = np.zeros(n_items, np.bool_)

    def counted(self, blocks: Iterator[Lists], k: int) -> Iterator[Lists]:
        for block in blocks:
            items = block.top.items
            lengths = (items >= 0).sum(axis=1)
            self.users[block.source] = self.users.get(block.source, 0) + len(lengths)
            self.rows += int(lengths.sum())
            self.short += int((lengths < k).sum())
            self.found[items[items >= 0]] = True
            yield block


def _table(block: Lists, asked: pl.Series, items: IdMap) -> pl.DataFrame:
    """Rows of a block of lists, in original ids."""
    row, column = np.nonzero(block.top.items >= 0)
    return pl.DataFrame(
        {
            "user": asked.gather(block.places[row]),
            "rank": pl.Series(column + 1, dtype=pl.Int32),
            "item": items.original(block.top.items[row, column]),
            "score": block.top.scores[row, column],
            "source": pl.repeat(block.source, len(row), eager=True),
        }
    )


def _write(tables: Iterator[pl.DataFrame], out: Path, *, overwrite: bool) -> None:
    """Gather tables in files of some size, and these in the one that was asked for."""
    with atomic.scratch(out) as place, atomic.new_file(out, overwrite=overwrite) as partial:
        parts: list[Path] = []
        for number, table in enumerate(_gathered(tables)):
            parts.append(Path(place, f"{number:08}.parquet"))
            write_parquet(table, parts[-1])
        rows = pl.scan_parquet(parts, glob=False)
        if out.suffix == ".csv":
            _harmless(rows).sink_csv(partial)
        elif out.suffix in (".jsonl", ".ndjson"):
            rows.sink_ndjson(partial)
        else:
            sink_parquet(rows, partial)


def _harmless(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows whose texts no spreadsheet takes for formulas: an apostrophe is put before those.

    Numbers are left as they are. The other kinds of files have every id unchanged.
    """
    texts = selectors.by_dtype(pl.String, pl.Categorical, pl.Enum).cast(pl.String)
    is_formula = texts.str.contains(FORMULA) & ~texts.str.contains(NUMBER)
    return rows.with_columns(pl.when(is_formula).then("'" + texts).otherwise(texts).name.keep())


def _gathered(tables: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Tables of some `BUFFERED_ROWS` rows."""
    held: list[pl.DataFrame] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= BUFFERED_ROWS:
            yield pl.concat(held)
            held = held[:0]
    if held:
        yield pl.concat(held)


def _recall(
    ready: Recommender, users: IntegerIds, k: int, excluded: IntegerIds, index: ItemIndex
) -> float | None:
    """Part of the exact lists that an index finds, on evenly spread users."""
    known = users[ready.known(users)]
    if not len(known):
        return None
    some = known[np.unique(np.linspace(0, len(known) - 1, SAMPLED_USERS).astype(np.int64))]
    exact, near = (
        [set(row[row >= 0]) for b in blocks if b.source == MODEL for row in b.top.items]
        for blocks in (
            ready.lists(some, k=k, excluded=excluded),
            ready.lists(some, k=k, excluded=excluded, index=index),
        )
    )
    wanted = sum(map(len, exact))
    return sum(len(a & b) for a, b in zip(exact, near, strict=True)) / wanted if wanted else None
