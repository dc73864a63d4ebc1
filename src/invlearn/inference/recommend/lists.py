"""Lists of items for many users, written to a file block by block."""

from collections import Counter
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
from invlearn.inference.recommend.recommendation import Fallback, LeaveOut, Lists, Recommender
from invlearn.runtime import atomic
from invlearn.runtime.errors import ConfigError, DataError
from invlearn.runtime.progress import Progress, silent
from invlearn.runtime.text import clipped, counted
from invlearn.training.run import Run

ENDINGS = (".parquet", ".pq", ".csv", ".jsonl", ".ndjson")
BUFFERED_ROWS = 100_000
FORMULA = r"^[=+\-@\t\r\n\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
"""First characters of spreadsheet formulas; the last four are wide forms of the first four."""
NUMBER = r"^[+-][0-9]+(\.[0-9]+)?$"
"""Texts that match `FORMULA` but are numbers."""
NO_IDS = np.empty(0, np.int64)
NO_LISTS = Lists(NO_IDS, TopItems(NO_IDS, NO_IDS[:, None], np.empty((0, 1), np.float32)), "")
SHOWN_IDS = 3
"""Ids that an error message shows."""
DEFAULT_FALLBACK: Fallback = "item-rate"
SAMPLED_USERS = 256
"""Users for whom the recall of an index is measured."""

Ids = str | Path | Sequence[Any] | pl.Series
"""Original ids, or a file of them (`invlearn.data.ids.read_ids`)."""


@dataclass(frozen=True, slots=True)
class Recommended:
    """Counts of the written lists."""

    file: Path
    k: int
    n_users: dict[str, int]
    """Users with a list, by its source: `model`, or the name of the fallback."""
    n_unanswered: int
    """Users without a list: unknown to training, and there is no fallback."""
    n_unknown: int
    """Users whose id is unknown to the run."""
    n_unknown_items: int
    """Ids in `items` and `exclude_items` that are unknown to the run; they have no effect."""
    n_rows: int
    """Rows of the file."""
    n_short: int
    """Users whose list has fewer than `k` items, because no more are left."""
    n_items: int
    """Different items in all lists."""
    n_catalogue: int
    """Items that are not excluded."""
    recall: float | None
    """Fraction of the exact lists that an approximate search found, on a sample of users."""


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
    """Write the `k` highest-scoring items of each user: columns user, rank, item, score, source.

    The search is exact, and memory holds one block of scores at a time. The file has first the
    users with lists of the model, then those with lists of the fallback, in the given order.

    Args:
        run: The run, or its folder.
        out: File to write: `.parquet`, `.csv`, or `.jsonl` (JSON lines).
        k: Length of the lists.
        users: Users that get a list; default: all users of the run.
        items: Recommend only these.
        exclude_items: Never recommend these.
        leave_out: Pairs that are not recommended: `labelled` in training, `shown` in training,
            `all` of the dataset, or `nothing`.
        fallback: Source of lists for users unknown to training: `item-rate` (the score is a
            logit), `popularity` (a number of likes), or `none` (no list). Default: `item-rate`,
            if the run knows at least one of the users.
        approximate: Fraction of an index of the items to search instead of all items, for example
            0.05; for backbones that are inner products.
        dataset: Path of the run's dataset, if it was moved.
        overwrite: Replace an existing file.
        progress: Called for each block.

    Raises:
        ConfigError: A choice does not exist, does not fit the backbone, or needs an extra.
        DataError: A file of ids is damaged or has no id of the run, or the dataset is damaged.
        RunError: The run is damaged, or the dataset is not its own.
        InvlearnError: `out` exists, or cannot be written.
    """
    out = _checked(Path(out), k, overwrite=overwrite)
    run = run if isinstance(run, Run) else Run.open(run)
    source = fallback or DEFAULT_FALLBACK
    ready = Recommender.of(run, leave_out=leave_out, fallback=source, dataset=dataset)
    original, dense = _users(ready, users)
    if fallback is None and (dense == UNKNOWN).all():
        raise _all_unknown(ready, original)
    chosen = _items(ready, items), _items(ready, exclude_items)
    excluded, n_unknown_items = ready.excluded(*chosen)
    if len(excluded) == len(ready.items):
        raise ConfigError("no item of the run is left to recommend; compare the ids of the items")
    index = None
    if approximate is not None:
        factors = factors_of(run.module, run.config.backbone)
        index = ItemIndex(factors, probed=approximate, excluded=excluded)
    tally = _Tally(len(ready.items))
    blocks = ready.lists(dense, k=k, excluded=excluded, index=index, progress=progress)
    tables = (_table(tally.add(block, k), original, ready.items) for block in blocks)
    _write(chain(tables, [_table(NO_LISTS, original, ready.items)]), out, overwrite=overwrite)
    return Recommended(
        file=out,
        k=k,
        n_users=dict(tally.users),
        n_unanswered=len(original) - tally.users.total(),
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


def _users(ready: Recommender, users: Ids | None) -> tuple[pl.Series, Integers]:
    """Return original and dense ids of the users that get a list."""
    if users is None:
        return ready.users.ids, np.arange(len(ready.users))
    original = ready.users.in_type(read_ids(users, "user", own=ready.columns.get("user")))
    return original, ready.users.dense(original)


def _items(ready: Recommender, items: Ids | None) -> Integers | None:
    """Return dense ids of items."""
    own = ready.columns.get("item")
    return None if items is None else ready.items.dense(read_ids(items, "item", own=own))


def _all_unknown(ready: Recommender, asked: pl.Series) -> DataError:
    """Return the error for users that are all unknown; most likely they are no ids."""
    return DataError(
        f"the run has none of the users asked for: read {counted(len(asked), 'id')}, "
        f"{_some(asked)}; the run's own ids are like {_some(ready.users.ids)}; give such ids, or "
        f"ask for the same list for everybody with --fallback {DEFAULT_FALLBACK}"
    )


def _some(ids: pl.Series) -> str:
    texts = ids.head(SHOWN_IDS).cast(pl.String).to_list()
    shown = ", ".join(repr(clipped(text)) for text in texts)
    return f"{shown}, ..." if len(ids) > SHOWN_IDS else shown


class _Tally:
    """Counts over all blocks of lists."""

    def __init__(self, n_items: int) -> None:
        self.users: Counter[str] = Counter()
        self.rows = self.short = 0
        self.found = np.zeros(n_items, np.bool_)

    def add(self, block: Lists, k: int) -> Lists:
        """Count a block, and return it."""
        items = block.top.items
        lengths = (items >= 0).sum(axis=1)
        self.users[block.source] += len(lengths)
        self.rows += int(lengths.sum())
        self.short += int((lengths < k).sum())
        self.found[items[items >= 0]] = True
        return block


def _table(block: Lists, users: pl.Series, items: IdMap) -> pl.DataFrame:
    """Return the rows of a block of lists, in original ids."""
    row, column = np.nonzero(block.top.items >= 0)
    return pl.DataFrame(
        {
            "user": users.gather(block.places[row]),
            "rank": pl.Series(column + 1, dtype=pl.Int32),
            "item": items.original(block.top.items[row, column]),
            "score": block.top.scores[row, column],
            "source": pl.repeat(block.source, len(row), eager=True),
        }
    )


def _write(tables: Iterator[pl.DataFrame], out: Path, *, overwrite: bool) -> None:
    """Write tables to parts of about `BUFFERED_ROWS` rows, and these to one file."""
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
    """Return rows without spreadsheet formulas: texts that look like one get an apostrophe.

    Numbers stay as they are. Other kinds of files contain every id unchanged.
    """
    texts = selectors.by_dtype(pl.String, pl.Categorical, pl.Enum).cast(pl.String)
    is_formula = texts.str.contains(FORMULA) & ~texts.str.contains(NUMBER)
    return rows.with_columns(pl.when(is_formula).then("'" + texts).otherwise(texts).name.keep())


def _gathered(tables: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield tables of about `BUFFERED_ROWS` rows."""
    held: list[pl.DataFrame] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= BUFFERED_ROWS:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)


def _recall(
    ready: Recommender, users: IntegerIds, k: int, excluded: IntegerIds, index: ItemIndex
) -> float | None:
    """Return the fraction of the exact lists that an index finds, on evenly spaced users."""
    known = users[ready.known(users)]
    if not len(known):
        return None
    some = known[np.unique(np.linspace(0, len(known) - 1, SAMPLED_USERS).astype(np.int64))]
    exact, near = (
        [
            set(row[row >= 0])
            for block in ready.lists(some, k=k, excluded=excluded, index=searched)
            for row in block.top.items
        ]
        for searched in (None, index)
    )
    wanted = sum(map(len, exact))
    return sum(len(a & b) for a, b in zip(exact, near, strict=True)) / wanted if wanted else None
