"""Whether a training fits before it starts: memory, disk and messages of one of its processes."""

import os
import re
import tracemalloc
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from invlearn.backbones import BACKBONES
from invlearn.backbones.backbone import Key
from invlearn.composition import complete, exposed_fraction, settled
from invlearn.config import RunConfig, load_config
from invlearn.data.dataset import Dataset
from invlearn.data.order import BUCKET_ROWS
from invlearn.errors import ConfigError
from invlearn.evaluation import evaluate
from invlearn.features import NO_FEATURES, FeatureCard
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
    n_rows: dict[Key, int] = {"user": counts.users, "item": counts.items}
    tables = FLOAT * sum(n * numbers.trained[key] for key, n in n_rows.items())
    frozen = FLOAT * sum(n * numbers.frozen[key] for key, n in n_rows.items())
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
    """Bytes of a step: rows in play, slopes, trials, the update, what the way back needs."""
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
    with suppress(OSError):
        found += group_limits(Path("/proc/self/cgroup").read_text(), Path("/sys/fs/cgroup"))
    return min(found)


def group_limits(groups: str, root: Path) -> list[float]:
    """Bytes of memory that a process' control groups allow, and the groups around them.

    Args:
        groups: Lines of `hierarchy:controllers:path`, as in `/proc/self/cgroup`; version 1 or 2.
        root: Where control groups are mounted.
    """
    found: list[float] = []
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        file = "memory.limit_in_bytes" if controllers else "memory.max"
        inner = Path(path.lstrip("/"))
        for group in (inner, *inner.parents):
            with suppress(OSError, ValueError):  # no such group in sight, or no limit ("max")
                found.append(float((root / controllers / group / file).read_text()))
    return found


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


def check_room(config: RunConfig, dataset: Dataset, *, n_processes: int, n_here: int) -> None:
    """Refuse a training that this machine has no memory for, before any of it is taken.

    Args:
        config: Settings, complete.
        dataset: What is to be trained on.
        n_processes: How many share it.
        n_here: How many of them run on this machine.

    Raises:
        ConfigError: It does not fit; says what takes most, and what could be done.
    """
    if config.backbone not in BACKBONES:
        return  # whoever made it knows what it takes; it may have effects when it is made
    found = plan(config, counts_of(dataset), dataset.feature_card, n_processes=n_processes)
    room, needed = available() * MARGIN, found.memory * n_here
    if needed <= room:
        return
    largest = max(found.lasting + found.passing, key=lambda part: part.n_bytes)
    raise ConfigError(
        f"this training would take {gib(needed)} of memory on this machine, of which {gib(room)} "
        f"can be had; {largest.name} alone {gib(largest.n_bytes)} for each of {n_here} processes "
        "here. Take a smaller --model.dim, --optimizer.name sgd, which keeps no moments, or more "
        "machines with --store sharded; `invlearn plan` says what each would take"
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


def plan_for(
    dataset: str | Path | None,
    sizes: Mapping[str, int | None],
    *,
    config: RunConfig | str | Path | None = None,
    n_processes: int = 1,
    **options: Any,
) -> Plan:
    """Work out what a training takes, on a dataset or on one that is not there yet.

    Args:
        dataset: Dataset folder, if there is one.
        sizes: Else `users`, `items`, `rows` (labelled, a tenth of them to validate and a tenth to
            test) and `unlabelled_rows`.
        config: Settings, or a YAML file of them.
        n_processes: How many share it.
        options: Settings that override `config`.

    Raises:
        ConfigError: A setting or a size is wrong, or neither a dataset nor sizes are given.
        DataError: The dataset is missing or damaged.
    """
    settings = load_config(options, config)
    if n_processes < 1:
        raise ConfigError(f"there must be at least one process; found --processes {n_processes}")
    if dataset is not None:
        data = Dataset.open(dataset)
        settings = complete(settings, data, None)
        return plan(settings, counts_of(data), data.feature_card, n_processes=n_processes)
    lacking = [name for name in ("users", "items", "rows") if not sizes.get(name)]
    if lacking:
        raise ConfigError(
            "a plan needs a dataset folder, or --users, --items and --rows; "
            f"--{lacking[0]} is missing"
        )
    users, items, rows = (int(sizes[name] or 0) for name in ("users", "items", "rows"))
    tenth, unlabelled = rows // 10, int(sizes.get("unlabelled_rows") or 0)
    counts = Counts(users, items, rows - 2 * tenth, tenth, tenth, unlabelled)
    settings = settled(settings, n_train=counts.train, n_unlabelled=unlabelled)
    return plan(settings, counts, NO_FEATURES, n_processes=n_processes)


_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def room_of(memory: str | None) -> float:
    """Bytes of a text such as 64GiB; without one, what this machine can give.

    Example:
        >>> room_of("1.5 GiB") == 1.5 * 2**30
        True

    Raises:
        ConfigError: It is no amount of memory.
    """
    if memory is None:
        return available()
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", memory, re.IGNORECASE)
    if not found:
        raise ConfigError(f"'{memory}' is no amount of memory; write one such as 64GiB")
    return float(found[1]) * _UNITS[found[2].lower()]
