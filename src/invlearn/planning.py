"""Whether a training fits before it starts: memory, disk and messages of one of its processes."""

import os
import re
import tracemalloc
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from invlearn.composition import exposed_fraction
from invlearn.config import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.data.order import BUCKET_ROWS
from invlearn.errors import ConfigError
from invlearn.evaluation import evaluate
from invlearn.features import FeatureCard
from invlearn.randomness import stream
from invlearn.registry import strategy_class
from invlearn.sizing import FLOAT, LONG, Asked, Counts, asked_by, numbers_of, rows_in_play, traffic
from invlearn.stores.optimizers import update_rule

SAMPLE_ROWS = 100_000
"""Rows of which an evaluation is taken to see what a row costs."""
MARGIN = 0.9
"""Part of the memory that there is which a training may take by this account."""


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
    def memory(self) -> float:
        """Bytes of memory of one process at its peak."""
        passing = max((part.n_bytes for part in self.passing), default=0)
        return sum(part.n_bytes for part in self.lasting) + passing


def plan(config: RunConfig, counts: Counts, features: FeatureCard, *, n_processes: int = 1) -> Plan:
    """Work out what a training takes.

    Args:
        config: Settings, complete.
        counts: How much there is to train on.
        features: Which features there are of users and items.
        n_processes: How many share it.
    """
    strategy = strategy_class(config.strategy)(**config.method)
    feed, sharded = strategy.feed, config.store == "sharded"
    numbers = numbers_of(config, counts, features, feed.n_peers)
    n_moments, _ = update_rule(config.optimizer)
    part = 1 / n_processes if sharded else 1
    tables = FLOAT * (
        counts.users * numbers.trained["user"] + counts.items * numbers.trained["item"]
    )
    frozen = FLOAT * (counts.users * numbers.frozen["user"] + counts.items * numbers.frozen["item"])
    whole = FLOAT * numbers.whole

    n_judges = round(feed.judge_fraction * counts.train)
    steps = {"plain": -(-(counts.train - n_judges) // config.batch_size)}
    steps |= {"judged": -(-n_judges // config.batch_size)} if n_judges else {}
    n_unlabelled = config.batch_size * config.unlabelled.per_labelled * config.unlabelled.hardest_of
    sent, largest = {}, 0.0
    for kind in steps:
        asked = asked_by(config, features, strategy, judges=kind == "judged")
        n_beside = n_unlabelled if asked.by_unlabelled else 0
        pairs = (config.batch_size, n_beside)
        share = sum(pairs) / n_processes
        rows = rows_in_play(counts, share if sharded else sum(pairs))
        sent[kind] = traffic(asked, numbers, pairs, rows, n_processes, sharded=sharded)
        held = numbers.of_rows(rows) if config.store != "dense" else tables / FLOAT
        largest = max(largest, _step(asked, share, sum(pairs), held + numbers.whole))

    order, index, scratch = _rows(config, counts, n_unlabelled if feed.unlabelled else 0)
    lasting = (
        Part("Python, PyTorch, Polars", resident()),
        Part("weights", part * (tables + frozen) + whole + FLOAT * numbers.fixed),
        Part("moments", n_moments * (part * tables + whole)),
        Part("order of the rows", order),
        Part("index of shown pairs", index),
        Part("ledger", 6 * FLOAT * counts.train * feed.ledger),
    )
    passing = (
        Part("a step", largest),
        Part("shuffling", 2 * LONG * min(counts.train, BUCKET_ROWS)),
        Part("evaluation", max(counts.valid, counts.test) * bytes_per_row()),
    )
    checkpoint = (1 + n_moments) * (tables + whole) + frozen + FLOAT * numbers.fixed
    mapped = 9 * (counts.train + counts.valid + counts.test) + 8 * counts.unlabelled
    return Plan(
        counts,
        config,
        n_processes,
        lasting,
        passing,
        mapped,
        scratch,
        checkpoint,
        steps,
        sent,
    )


def _step(asked: Asked, share: float, n_pairs: float, numbers: float) -> float:
    """Bytes of a step: rows in play, their slopes and trials, the update, what the way back needs."""
    copies = 8 + 3 * asked.moves
    ids = 12 * LONG * n_pairs
    return copies * FLOAT * numbers + (asked.saved + 2 * FLOAT) * share + ids


def _rows(config: RunConfig, counts: Counts, n_unlabelled: int) -> tuple[float, float, float]:
    """Bytes of the labelled rows' order, of the index of shown pairs, and of either on disk."""
    few = counts.train <= BUCKET_ROWS
    order = counts.train * (LONG + 4) if few else 0
    scratch = 0 if few else LONG * counts.train
    index = 0.0
    if n_unlabelled and exposed_fraction(config) < 1:
        shown = counts.train + counts.unlabelled
        is_big = shown > BUCKET_ROWS
        index = shown * (1 if is_big else LONG + 4) + 3 * LONG * counts.users
        scratch += LONG * shown if is_big else 0
    if n_unlabelled and exposed_fraction(config) > 0 and counts.unlabelled > BUCKET_ROWS:
        scratch += LONG * min(counts.unlabelled, counts.train)
    return order, index, scratch


def bytes_per_row() -> float:
    """Bytes of memory that an evaluation takes for each row, measured on some."""
    rng = stream(0, "evaluation")
    users = np.sort(rng.integers(SAMPLE_ROWS // 10, size=SAMPLE_ROWS)).astype(np.int32)
    labels = rng.integers(2, size=SAMPLE_ROWS).astype(np.int8)
    scores = rng.random(SAMPLE_ROWS).astype(np.float32)
    tracemalloc.start()
    try:
        evaluate(users, labels, scores, draws=0)
        return tracemalloc.get_traced_memory()[1] / SAMPLE_ROWS + FLOAT
    finally:
        tracemalloc.stop()


def resident() -> float:
    """Bytes of memory that this process holds now."""
    with suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def available() -> float:
    """Bytes of memory that a new process may take here: what is free, or what its group may."""
    found = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    with suppress(OSError, ValueError, AttributeError):
        free = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        found.append(int(free[1]) * 1024)  # pyright: ignore[reportOptionalSubscript]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            found.append(float(Path(file).read_text()))
    return min(found)


def counts_of(dataset: Dataset) -> Counts:
    """How much a dataset holds."""
    return Counts(
        dataset.n_users,
        dataset.n_items,
        len(dataset.train),
        len(dataset.valid),
        len(dataset.test),
        len(dataset.unlabelled),
    )


def check_fits(found: Plan, *, n_here: int = 1) -> None:
    """Refuse a training that this machine has no memory for.

    Args:
        found: What it takes.
        n_here: Processes of it on this machine.

    Raises:
        ConfigError: It does not fit; says what takes most, and what could be done.
    """
    room, needed = available() * MARGIN, found.memory * n_here
    if needed <= room:
        return
    largest = max(found.lasting + found.passing, key=lambda part: part.n_bytes)
    raise ConfigError(
        f"this training would take {gib(needed)} of memory on this machine, and {gib(room)} can be "
        f"had; most of it are {largest.name} ({gib(largest.n_bytes)} a process). Take a smaller "
        "--model.dim, more machines with --store sharded (`invlearn plan` says how many), or "
        "--optimizer.name sgd, which keeps no moments"
    )


def gib(n_bytes: float) -> str:
    """Bytes as a person reads them.

    Example:
        >>> gib(3 * 2**29), gib(5e6)
        ('1.5 GiB', '4.8 MiB')
    """
    if n_bytes >= 2**30:
        return f"{n_bytes / 2**30:,.1f} GiB"
    return f"{n_bytes / 2**20:,.1f} MiB"
