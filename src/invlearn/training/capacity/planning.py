"""What a training takes: memory, disk and messages of one of its processes."""

import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from invlearn.backbones.backbone import Key
from invlearn.config.schema import RunConfig
from invlearn.data.features import FeatureCard
from invlearn.data.sampling.order import BUCKET_ROWS
from invlearn.evaluation.bootstrap import DRAWS_AT_ONCE
from invlearn.evaluation.evaluation import evaluate
from invlearn.evaluation.scoring import BLOCK_PAIRS
from invlearn.runtime.memory import resident
from invlearn.runtime.random import stream
from invlearn.strategies.strategy import Feed
from invlearn.training.build import exposed_fraction
from invlearn.training.capacity.param_count import (
    FLOAT,
    LONG,
    Counts,
    Numbers,
    numbers_of,
    rows_in_play,
)
from invlearn.training.capacity.step_cost import QueriedPairs, asked_by, scoring_bytes, traffic
from invlearn.training.registry import strategy_class
from invlearn.training.stores.optimizers import update_rule

SAMPLE_ROWS = 100_000
"""Rows at most of which an evaluation is taken to see what a row costs."""
MALLOC_KEEPS = 1 << 26
"""Bytes that glibc's malloc does not give back, once blocks of 32 MiB were freed (`man mallopt`,
M_MMAP_THRESHOLD: the threshold for trimming becomes twice that of the largest of them)."""
TEST_DRAWS = 1000
"""Bootstrap draws at the end of a training; a validation takes none."""


class Part(NamedTuple):
    """One thing that takes memory."""

    name: str
    n_bytes: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What each of several processes takes to train."""

    counts: Counts
    config: RunConfig
    n_processes: int
    lasting: tuple[Part, ...]
    """Memory that is held from beginning to end."""
    passing: tuple[Part, ...]
    """Memory that is held for a while, one after the other."""
    mapped: float
    """Bytes of the dataset's columns, mapped from disk; the system takes them back at need."""
    scratch: float
    """Bytes on disk for orders of many rows, while it trains."""
    checkpoint: float
    """Bytes of one checkpoint, all processes together."""
    steps: dict[str, int]
    """Steps of an epoch: `plain` ones and `judged` ones."""
    traffic: dict[str, float]
    """Bytes that a process sends in a step, by the same names."""

    @property
    def most_passing(self) -> Part:
        """The one of the passing parts that counts."""
        return max(self.passing, key=lambda part: part.n_bytes)

    @property
    def kept(self) -> Part:
        """What the other passing parts leave behind: memory that is free, but not given back."""
        others = sum(part.n_bytes for part in self.passing) - self.most_passing.n_bytes
        return Part("freed and kept by malloc", min(MALLOC_KEEPS, others))

    @property
    def memory(self) -> float:
        """Bytes of memory of one process at its peak."""
        parts = (*self.lasting, self.most_passing, self.kept)
        return sum(part.n_bytes for part in parts)

    @property
    def to_come(self) -> float:
        """Of that, what a process does not hold already when it begins."""
        return self.memory - self.lasting[0].n_bytes


class _Tables(NamedTuple):
    """Bytes of all weights, and the part of the tables that a process holds."""

    trained: float
    frozen: float
    whole: float
    """Trained, in no table."""
    fixed: float
    cut_late: float
    largest: float
    """All tables of one key together, which are as much as the largest one, or more."""
    n_moments: int
    part: float

    @property
    def moments(self) -> float:
        """What the optimizer remembers on a process."""
        return self.n_moments * (self.part * self.trained + self.whole)

    @property
    def weights(self) -> float:
        """What a process holds of all."""
        return self.part * (self.trained + self.frozen) + self.whole + self.fixed


def plan(config: RunConfig, counts: Counts, features: FeatureCard, *, n_processes: int = 1) -> Plan:
    """Work out what a training takes.

    Args:
        config: Settings, complete.
        counts: How much there is to train on.
        features: Which features there are of users and items.
        n_processes: How many share it.
    """
    strategy = strategy_class(config.strategy)(**config.method)
    feed = strategy.feed
    numbers = numbers_of(config, counts, features, feed.n_auxiliary)
    tables = _tables(config, counts, numbers, n_processes)
    steps, held, sent = _steps(config, counts, feed), 0.0, {}
    for kind in steps:
        asked = asked_by(config, features, strategy, is_meta_batch=kind == "judged")
        n_bytes, sent[kind] = _step(config, counts, numbers, asked, n_processes)
        held = max(held, n_bytes)
    order, index, scratch = _rows(config, counts, feed)
    scored = min(BLOCK_PAIRS, max(counts.valid, counts.test))
    lasting = (
        Part("Python, PyTorch, Polars", resident()),
        Part("weights", tables.weights),
        Part("moments", tables.moments),
        Part("order of the rows", order),
        Part("index of shown pairs", index),
        Part("ledger", 6 * FLOAT * counts.train * feed.row_state),
    )
    n_rows = counts.train + counts.valid + counts.test
    return Plan(
        counts,
        config,
        n_processes,
        lasting,
        (
            Part("a step", held),
            Part("scoring", scored * scoring_bytes(config, features, strategy)),
            *_beside_steps(counts, tables),
        ),
        mapped=9 * n_rows + 8 * counts.unlabelled,
        scratch=scratch,
        checkpoint=tables.n_moments * (tables.trained + tables.whole)
        + (tables.trained + tables.frozen + tables.whole + tables.fixed),
        steps=steps,
        traffic=sent,
    )


def _tables(config: RunConfig, counts: Counts, numbers: Numbers, n_processes: int) -> _Tables:
    """Bytes of the weights."""
    n_rows: dict[Key, int] = {"user": counts.users, "item": counts.items}
    trained, frozen, cut_late = (
        FLOAT * sum(n * kind[key] for key, n in n_rows.items())
        for kind in (numbers.trained, numbers.frozen, numbers.cut_late)
    )
    largest = FLOAT * max(n * numbers.trained[key] for key, n in n_rows.items())
    return _Tables(
        trained,
        frozen,
        FLOAT * numbers.whole,
        FLOAT * numbers.fixed,
        cut_late,
        largest if config.store != "dense" else 0,
        n_moments=update_rule(config.optimizer)[0],
        part=1 / n_processes if config.store == "sharded" else 1,
    )


def _steps(config: RunConfig, counts: Counts, feed: Feed) -> dict[str, int]:
    """Steps of an epoch by kind."""
    n_judges = round(feed.judge_fraction * counts.train)
    steps = {"plain": -(-(counts.train - n_judges) // config.batch_size)}
    return steps | ({"judged": -(-n_judges // config.batch_size)} if n_judges else {})


def _n_unlabelled(config: RunConfig) -> int:
    """Unlabelled pairs beside a batch."""
    return config.batch_size * config.unlabelled.per_labelled * config.unlabelled.hardest_of


def _step(
    config: RunConfig, counts: Counts, numbers: Numbers, asked: QueriedPairs, n_processes: int
) -> tuple[float, float]:
    """Bytes of memory that a step holds on a process, and bytes that this sends.

    Held are the rows in play, slopes, trials, the update, and what the way back needs.
    """
    pairs = config.batch_size, _n_unlabelled(config) if asked.by_unlabelled else 0
    share, is_cut = sum(pairs) / n_processes, config.store == "sharded"
    rows = rows_in_play(config.store, counts, share if is_cut else sum(pairs))
    in_play = FLOAT * (numbers.of_rows(rows) + numbers.whole)
    ids = 12 * LONG * sum(pairs)
    held = (8 + 3 * asked.moves) * in_play + (asked.saved + 2 * FLOAT) * share + ids
    return held, traffic(asked, numbers, pairs, rows, n_processes, sharded=is_cut)


def _beside_steps(counts: Counts, tables: _Tables) -> tuple[Part, ...]:
    """What is held for a while before, between and after the steps."""
    surplus = (1 - tables.part) * tables.cut_late
    return (  # moments come later than tables
        Part("making whole tables", max(surplus - tables.moments, 0)),
        Part("moving a table", max(tables.part * tables.largest - tables.moments, 0)),
        Part("shuffling", 2 * LONG * min(counts.train, BUCKET_ROWS)),
        Part("validation", evaluation_bytes(counts.valid, counts.users, draws=0)),
        Part("test", evaluation_bytes(counts.test, counts.users, draws=TEST_DRAWS)),
    )


def _rows(config: RunConfig, counts: Counts, feed: Feed) -> tuple[float, float, float]:
    """Bytes of the labelled rows' order, of the index of shown pairs, and of either on disk."""
    few = counts.train <= BUCKET_ROWS
    order = counts.train * (LONG + 4) if few else 0
    scratch = 0 if few else LONG * counts.train
    index = 0.0
    draws = feed.unlabelled and _n_unlabelled(config) > 0
    if draws and exposed_fraction(config) < 1:
        shown = counts.train + counts.unlabelled
        is_big = shown > BUCKET_ROWS
        index = shown * (1 if is_big else LONG + 4) + 3 * LONG * counts.users
        scratch += LONG * shown if is_big else 0
    if draws and exposed_fraction(config) > 0 and counts.unlabelled > BUCKET_ROWS:
        scratch += LONG * min(counts.unlabelled, counts.train)
    return order, index, scratch


@cache
def evaluation_bytes(n_rows: int, n_users: int, *, draws: int) -> float:
    """Bytes of memory that an evaluation takes, measured on some rows.

    Args:
        n_rows: Labelled rows.
        n_users: Users who have them, all equally often; else fewer users have rows, and it takes
            less.
        draws: Bootstrap draws.
    """
    n = min(n_rows, SAMPLE_ROWS)
    if n < 2:
        return 0
    n_drawn = max(1, round(n_users * n / n_rows))
    rng = stream(0, "evaluation")
    users = np.sort(rng.integers(n_drawn, size=n)).astype(np.int32)
    labels = (np.arange(n) % 2).astype(np.int8)
    scores = rng.random(n).astype(np.float32)
    evaluate(users[:2], labels[:2], scores[:2], draws=1)  # what is taken once is not counted
    with _traced() as before:
        evaluate(users, labels, scores, draws=min(draws, DRAWS_AT_ONCE))
        return n_rows * ((tracemalloc.get_traced_memory()[1] - before) / n + FLOAT)


@contextmanager
def _traced() -> Generator[int, None, None]:
    """Trace memory, if nobody does so yet, with a new peak; yields the bytes that are taken."""
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    tracemalloc.reset_peak()
    try:
        yield tracemalloc.get_traced_memory()[0]
    finally:
        if not was_tracing:
            tracemalloc.stop()
