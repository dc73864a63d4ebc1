"""What a training takes: memory, disk and messages of one of its processes, by formulas."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from invlearn.config.schema import RunConfig
from invlearn.data.features import FeatureCard
from invlearn.data.sampling.order import BUCKET_ROWS
from invlearn.data.types import Feed, LabelledRows, Pairs
from invlearn.evaluation.scoring import BLOCK_PAIRS
from invlearn.runtime.memory import resident
from invlearn.strategies import Strategy
from invlearn.strategies.history import WeightedByHistory
from invlearn.strategies.released import InverseGradientAsReleased
from invlearn.training.build import exposed_fraction
from invlearn.training.capacity.param_count import (
    FLOAT,
    LONG,
    Counts,
    ParamCount,
    count_params,
    distinct,
)
from invlearn.training.capacity.step_cost import (
    calls_of,
    n_beside,
    pair_bytes,
    pairs_of,
    step_bytes,
    step_rows,
    traffic,
)
from invlearn.training.registry import strategy_class
from invlearn.training.stores.optimizers import update_rule

MALLOC_KEEPS = 1 << 26
"""Bytes that glibc's malloc does not give back, once blocks of 32 MiB were freed (`man mallopt`,
M_MMAP_THRESHOLD: the threshold for trimming becomes twice that of the largest of them)."""
LOADED_LATER = 1 << 26
"""Bytes of code and tables that the first steps of a process load."""
BELIEF_PAIRS, BELIEF_BYTES = 10_000, 82
"""Labelled rows beside which a run draws pairs whose belief it keeps, and bytes of such a pair."""
READING = {
    "svdpp": (145, 0),
    "wide-deep": (225, 24),
    "lightgcn": (210, 40),
    "exposure-hybrid": (300, 60),
}
"""Bytes for each exposed row while a backbone reads them, and bytes that it keeps, as measured."""
WEIGHING, INDEXING = 120, 20
"""Bytes for each labelled row while a strategy weighs them after an epoch, and before the first
step."""


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
    """Bytes on disk for the order of many rows, while it trains."""
    checkpoint: float
    """Bytes of one checkpoint, all processes together."""
    steps: dict[str, int]
    """Steps of an epoch: `plain` ones and `judged` ones."""
    traffic: dict[str, float]
    """Bytes that a process sends in a step, by the same names."""

    @property
    def most_passing(self) -> Part:
        """The largest of the passing parts, which is the one that counts."""
        return max(self.passing, key=lambda part: part.n_bytes)

    @property
    def kept(self) -> Part:
        """What the other passing parts leave behind: memory that is free, but not given back."""
        others = sum(part.n_bytes for part in self.passing) - self.most_passing.n_bytes
        return Part("freed, but kept by malloc", min(MALLOC_KEEPS, others))

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
    """Bytes of all parameters, and the part of the tables that a process holds."""

    trained: float
    frozen: float
    whole: float
    """Trained, in no table."""
    fixed: float
    largest: float
    """All trained tables of one key together: the largest one, or more."""
    n_moments: int
    share: float
    """Part of the tables that is on this process."""

    @property
    def moments(self) -> float:
        """Moments of the optimizer on a process."""
        return self.n_moments * (self.share * self.trained + self.whole)

    @property
    def here(self) -> float:
        """Parameters and buffers on a process."""
        return self.share * (self.trained + self.frozen) + self.whole + self.fixed

    @property
    def checkpoint(self) -> float:
        """Parameters, buffers and moments of all processes."""
        learnt = (1 + self.n_moments) * (self.trained + self.whole)
        return learnt + self.frozen + self.fixed


def plan(config: RunConfig, counts: Counts, features: FeatureCard, *, n_processes: int = 1) -> Plan:
    """Estimate what a training takes.

    Args:
        config: Settings, complete.
        counts: Sizes of the dataset.
        features: Which features there are of users and items.
        n_processes: How many share it.

    Raises:
        ConfigError: The backbone cannot be built with these options.
    """
    strategy = strategy_class(config.strategy)(**config.method)
    params = count_params(config, counts, features, strategy.feed.n_auxiliary)
    tables = _tables(config, counts, params, n_processes)
    steps = _steps(config, counts, strategy.feed)
    step, sent = _step(config, counts, params, strategy, list(steps), n_processes)
    order, index, scratch = _rows(config, counts, strategy.feed)
    return Plan(
        counts,
        config,
        n_processes,
        lasting=(
            Part("Python, PyTorch, Polars", resident()),
            Part("libraries that are loaded later", LOADED_LATER),
            Part("parameters", tables.here),
            Part("moments of the optimizer", tables.moments),
            Part("order of the rows", order),
            Part("index of shown pairs", index),
            Part("state of the strategy", _state_bytes(strategy, counts, tables)),
            Part("exposures", READING.get(config.backbone, (0, 0))[1] * counts.exposed),
        ),
        passing=(
            Part("a step (at most)", step),
            *_before_steps(config, counts, params, tables, index),
            *_between_steps(config, counts, params, strategy),
        ),
        mapped=9 * (counts.train + counts.valid + counts.test) + 8 * counts.unlabelled,
        scratch=scratch,
        checkpoint=tables.checkpoint,
        steps=steps,
        traffic=sent,
    )


def _tables(config: RunConfig, counts: Counts, params: ParamCount, n_processes: int) -> _Tables:
    """Bytes of the parameters."""
    by_key = {key: n * params.trained[key] for key, n in counts.ids.items()}
    return _Tables(
        FLOAT * sum(by_key.values()),
        FLOAT * sum(n * params.frozen[key] for key, n in counts.ids.items()),
        FLOAT * params.whole,
        FLOAT * params.fixed,
        largest=FLOAT * max(by_key.values()),
        n_moments=update_rule(config.optimizer)[0],
        share=1 / n_processes if config.store == "sharded" else 1,
    )


def _steps(config: RunConfig, counts: Counts, feed: Feed) -> dict[str, int]:
    """Steps of an epoch by kind."""
    n_judges = round(feed.judge_fraction * counts.train)
    steps = {"plain": -(-(counts.train - n_judges) // config.batch_size)}
    return steps | ({"judged": -(-n_judges // config.batch_size)} if n_judges else {})


def _step(
    config: RunConfig,
    counts: Counts,
    params: ParamCount,
    strategy: Strategy,
    kinds: list[str],
    n_processes: int,
) -> tuple[float, dict[str, float]]:
    """Bytes of memory of the largest step, and bytes that a process sends in each kind of step."""
    held, sent = 0.0, {}
    for kind in kinds:
        calls = calls_of(strategy, is_meta_batch=kind == "judged")
        held = max(held, step_bytes(config, counts, params, calls, n_processes))
        sent[kind] = traffic(
            calls,
            params,
            pairs_of(config, calls),
            step_rows(config, counts, calls, n_processes),
            n_processes,
            is_sharded=config.store == "sharded",
        )
    return held, sent


def _before_steps(
    config: RunConfig, counts: Counts, params: ParamCount, tables: _Tables, index: float
) -> tuple[Part, ...]:
    """What is held for a while before the first step, less the moments, which come later."""
    whole_tables = (1 - tables.share) * (tables.trained + tables.frozen) * params.sharded_late
    moved = tables.share * tables.largest if config.store != "dense" else 0
    reading = READING.get(config.backbone, (0, 0))[0] * counts.exposed
    found = {
        "building whole tables": whole_tables,
        "moving a table": moved,
        "reading exposures (at most)": reading,
        "indexing shown pairs": INDEXING * counts.exposed * (index > 0),
    }
    return tuple(Part(name, max(n - tables.moments, 0)) for name, n in found.items())


def _between_steps(
    config: RunConfig, counts: Counts, params: ParamCount, strategy: Strategy
) -> tuple[Part, ...]:
    """What is held for a while between the steps and after them."""
    scored = min(BLOCK_PAIRS, max(counts.valid, counts.test))
    beliefs = BELIEF_PAIRS * n_beside(config) * strategy.feed.unlabelled
    is_weighing = isinstance(strategy, WeightedByHistory)
    weighing = (WEIGHING if is_weighing else INDEXING) * counts.train * strategy.feed.row_state
    return (
        Part("scoring (at most)", scored * pair_bytes(config, params)),
        Part("drawing pairs for beliefs", BELIEF_BYTES * beliefs),
        Part("weighing rows", weighing),
        Part("shuffling", 2 * LONG * min(counts.train, BUCKET_ROWS)),
        Part("validation", evaluation_bytes(counts.valid, counts.users)),
        Part("test", evaluation_bytes(counts.test, counts.users)),
    )


def _state_bytes(strategy: Strategy, counts: Counts, tables: _Tables) -> float:
    """Bytes of what a strategy keeps: for each labelled row, or as large as the parameters."""
    if isinstance(strategy, InverseGradientAsReleased):  # three sums of gradients, two moments
        return 5 * (tables.trained + tables.whole)
    if not strategy.feed.row_state:
        return 0
    n = 32
    ids = torch.arange(n)
    state = strategy.init_row_state(LabelledRows(Pairs(ids, ids), (ids % 2).float()))
    per_row = sum(tensor.nbytes for tensor in state.values() if tensor.dim()) / n
    return per_row * counts.train


def _rows(config: RunConfig, counts: Counts, feed: Feed) -> tuple[float, float, float]:
    """Bytes of the labelled rows' order, of the index of shown pairs, and of either on disk."""
    is_small = counts.train <= BUCKET_ROWS
    order = counts.train * (LONG + 4) if is_small else 0
    scratch = 0 if is_small else LONG * counts.train
    index = 0.0
    if feed.unlabelled and exposed_fraction(config) < 1:
        is_big = counts.exposed > BUCKET_ROWS
        index = counts.exposed * (1 if is_big else LONG + 4) + 3 * LONG * counts.users
        scratch += LONG * counts.exposed if is_big else 0
    if feed.unlabelled and exposed_fraction(config) > 0 and counts.unlabelled > BUCKET_ROWS:
        scratch += LONG * min(counts.unlabelled, counts.train)
    return order, index, scratch


def evaluation_bytes(n_rows: int, n_users: int) -> float:
    """Bytes of memory that an evaluation takes: its sort, or its metrics and bootstrap.

    Args:
        n_rows: Labelled rows.
        n_users: Users who have them, all equally often; else fewer users have rows, and it takes
            less.
    """
    users = distinct(n_users, n_rows)
    return max(110 * n_rows + 85 * users, 86 * n_rows + 178 * users)
