"""What a training takes: memory, disk and messages of one of its processes, by formulas."""

from dataclasses import dataclass
from typing import final

import torch

from invlearn.backbones import BACKBONES
from invlearn.backbones.backbone import Key
from invlearn.config.schema import RunConfig
from invlearn.data.features import FeatureCard
from invlearn.data.sampling.order import BUCKET_ROWS
from invlearn.data.types import LabelledRows, Pairs
from invlearn.evaluation.scoring import BLOCK_PAIRS
from invlearn.runtime.memory import resident
from invlearn.strategies import Strategy
from invlearn.strategies.history import WeightedByHistory
from invlearn.training.capacity.param_count import (
    FLOAT,
    LONG,
    Counts,
    ParamCount,
    count_params,
    distinct,
)
from invlearn.training.capacity.step_cost import Calls, calls_of, traffic
from invlearn.training.class_lookup import strategy_class
from invlearn.training.settings import exposed_fraction
from invlearn.training.stores.update_rules import update_rule

MALLOC_KEEPS = 1 << 26
"""Bytes that glibc's malloc does not give back, once blocks of 32 MiB were freed (`man mallopt`,
M_MMAP_THRESHOLD: the threshold for trimming becomes twice that of the largest of them)."""
LOADED_LATER = 1 << 25
"""Bytes of code and buffers that the first steps of a process load."""
PER_PAIR, IDS_PER_PAIR = 12, 12
"""Numbers that a pair takes in addition to its rows (its ids, logit, loss, their gradients), and
ids of eight bytes that it takes from the sampler to the scatter of its gradients."""
COPIES, COPIES_OF_MOVES = 8, 3
"""Tensors as large as the gathered parameters in a step: these, gradients, moments, the update; and
more of them if the strategy tries other parameters."""
BELIEF_PAIRS, SAMPLED_BYTES, EXPOSED_BYTES = 10_000, 82, 50
"""Labelled rows for which a run draws pairs to keep beliefs of, and bytes of a pair by source."""
READING = {
    "svdpp": (145, 0),
    "wide-deep": (225, 24),
    "lightgcn": (210, 40),
    "exposure-hybrid": (300, 60),
}
"""Bytes for each exposed row while a backbone reads them, and bytes that it keeps, as measured."""
WEIGHING = 120
"""Bytes for each labelled row while a strategy weighs them by their losses after an epoch."""

Parts = dict[str, float]
"""Bytes of memory by what takes them."""


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """What each of several processes takes to train."""

    config: RunConfig
    counts: Counts
    params: ParamCount
    strategy: Strategy
    n_processes: int
    base: float
    """Bytes that this process holds already: Python and what it has loaded."""

    @property
    def lasting(self) -> Parts:
        """Memory that is held from beginning to end, except `base`."""
        counts, index = self.counts, 0
        if self.strategy.feed.unlabelled and exposed_fraction(self.config) < 1:  # it is made
            bytes_each = 20 if counts.exposed <= BUCKET_ROWS else 1
            index = bytes_each * counts.exposed + 3 * LONG * counts.users
        ids = torch.arange(32)
        state = self.strategy.init_row_state(LabelledRows(Pairs(ids, ids), (ids % 2).float()))
        state_bytes = sum(one.nbytes for one in state.values() if one.dim())
        return {
            "libraries that are loaded later": LOADED_LATER,
            "parameters": self._parameters(self._share),
            "moments of the optimizer": self._moments(self._share),
            "order of the rows": (LONG + 4) * counts.train * (counts.train <= BUCKET_ROWS),
            "index of shown pairs": index,
            "state of the strategy": counts.train / 32 * state_bytes,
            "exposures": self._reading[1] * counts.exposed,
        }

    @property
    def passing(self) -> Parts:
        """Memory that is held for a while, one after the other."""
        counts, config, exposed = self.counts, self.config, exposed_fraction(self.config)
        belief_bytes = exposed * EXPOSED_BYTES + (1 - exposed) * SAMPLED_BYTES
        beliefs = BELIEF_PAIRS * self._per_labelled * self.strategy.feed.unlabelled
        is_weighing = isinstance(self.strategy, WeightedByHistory)
        is_cut_late = config.store == "sharded" and config.backbone not in BACKBONES
        cut_off = self._parameters(1) - self._parameters(self._share)
        largest = FLOAT * max(n * self.params.trained[key] for key, n in counts.ids.items())
        early = {  # before there are moments
            "building whole tables": cut_off * is_cut_late,
            "moving a table": self._share * largest * (config.store != "dense"),
            "reading exposures (at most)": self._reading[0] * counts.exposed,
        }
        moments = self._moments(self._share)
        return {
            "a step (at most)": max(map(self._step, self._calls.values())),
            **{name: max(n - moments, 0) for name, n in early.items()},
            "scoring (at most)": min(BLOCK_PAIRS, max(counts.valid, counts.test)) * self._per_pair,
            "drawing pairs for beliefs": belief_bytes * beliefs,
            "weighing rows": WEIGHING * counts.train * is_weighing,
            "shuffling": 2 * LONG * min(counts.train, BUCKET_ROWS),
            "validation": evaluation_bytes(counts.valid, counts.users),
            "test": evaluation_bytes(counts.test, counts.users),
        }

    @property
    def peak(self) -> str:
        """The largest of the passing parts, which is the one that counts."""
        passing = self.passing
        return max(passing, key=passing.__getitem__)

    @property
    def kept(self) -> float:
        """Bytes that are free after the other passing parts, but that malloc does not give back."""
        passing = sorted(self.passing.values())
        return min(MALLOC_KEEPS, sum(passing[:-1]))

    @property
    def to_come(self) -> float:
        """Bytes that a process takes at its peak in addition to what it holds already."""
        return sum(self.lasting.values()) + max(self.passing.values()) + self.kept

    @property
    def memory(self) -> float:
        """Bytes of memory of one process at its peak."""
        return self.base + self.to_come

    @property
    def mapped(self) -> float:
        """Bytes of the dataset's columns, mapped from disk; the system takes them back at need."""
        counts = self.counts
        return 9 * (counts.train + counts.valid + counts.test) + 8 * counts.unlabelled

    @property
    def scratch(self) -> float:
        """Bytes on disk for the order of many rows, while it trains."""
        counts, drawn = self.counts, exposed_fraction(self.config)
        orders = [counts.train]
        if self.strategy.feed.unlabelled:
            orders += [counts.exposed] * (drawn < 1) + [counts.unlabelled] * (drawn > 0)
        return LONG * sum(n for n in orders if n > BUCKET_ROWS)

    @property
    def checkpoint(self) -> float:
        """Bytes of one checkpoint, all processes together."""
        return self._parameters(1) + self._moments(1)

    @property
    def steps(self) -> dict[str, int]:
        """Steps of an epoch: `plain` ones and `judged` ones."""
        size = self.config.batch_size
        n_judges = round(self.strategy.feed.judge_fraction * self.counts.train)
        steps = {"plain": -(-(self.counts.train - n_judges) // size)}
        return steps | ({"judged": -(-n_judges // size)} if n_judges else {})

    @property
    def traffic(self) -> dict[str, float]:
        """Bytes that a process sends in a step, by the same names."""
        n, is_sharded = self.n_processes, self.config.store == "sharded"
        return {
            kind: traffic(
                calls, self.params, self._pairs(calls), self._rows(calls), n, is_sharded=is_sharded
            )
            for kind, calls in self._calls.items()
        }

    @property
    def _share(self) -> float:
        """Part of the tables that a process holds."""
        return 1 / self.n_processes if self.config.store == "sharded" else 1

    def _parameters(self, share: float) -> float:
        """Bytes of a part of all tables, trained and frozen, and of what is in no table."""
        ids, params = self.counts.ids, self.params
        in_tables = params.of_rows(ids) + params.of_rows(ids, frozen=True)
        return FLOAT * (share * in_tables + params.whole + params.fixed)

    def _moments(self, share: float) -> float:
        """Bytes of the moments of a part of the tables, and of what is in no table."""
        n_moments, params = update_rule(self.config.optimizer)[0], self.params
        return FLOAT * n_moments * (share * params.of_rows(self.counts.ids) + params.whole)

    @property
    def _reading(self) -> tuple[int, int]:
        return READING.get(self.config.backbone, (0, 0))

    @property
    def _calls(self) -> dict[str, Calls]:
        """Calls of the backbone by kind of step."""
        return {
            kind: calls_of(self.strategy, is_meta_batch=kind == "judged") for kind in self.steps
        }

    @property
    def _per_labelled(self) -> int:
        """Unlabelled pairs that are drawn for each labelled one."""
        return self.config.unlabelled.per_labelled * self.config.unlabelled.hardest_of

    def _pairs(self, calls: Calls) -> tuple[int, int]:
        """Labelled and unlabelled pairs of a batch."""
        size = self.config.batch_size
        return size, size * self._per_labelled * bool(calls.unlabelled)

    def _rows(self, calls: Calls) -> dict[Key, float]:
        """Distinct users and items that a process gathers, if all are equally frequent."""
        n_pairs = self._share * sum(self._pairs(calls))
        is_dense = self.config.store == "dense"
        return {k: n if is_dense else distinct(n, n_pairs) for k, n in self.counts.ids.items()}

    @property
    def _per_pair(self) -> float:
        """Bytes that a forward pass takes for each pair, at most: the rows that it uses."""
        numbers, model = self.params.per_pair + PER_PAIR, self.config.model
        if self.config.backbone == "svdpp":  # the factors of each item of a history
            numbers += model["history"] * (model["dim"] + 4)
        return FLOAT * numbers

    def _per_pass(self, rows: dict[Key, float]) -> float:
        """Bytes that a forward pass takes whatever the number of pairs."""
        counts, model = self.counts, self.config.model
        if self.config.backbone == "lightgcn":  # messages of two kinds in each layer
            nodes = counts.users + counts.items
            return FLOAT * nodes * model["dim"] * (1 + 3 * model["layers"])
        if self.config.backbone == "exposure-hybrid":  # factors of all that its users were shown
            n_users = min(rows["user"], self.config.batch_size * (1 + self._per_labelled))
            return FLOAT * n_users * counts.exposed / counts.users * (model["dim"] + 16)
        return 0

    def _step(self, calls: Calls) -> float:
        """Bytes of memory that a step takes, at most."""
        pairs, rows = self._pairs(calls), self._rows(calls)
        gathered = FLOAT * (self.params.of_rows(rows) + self.params.whole)
        scored = (calls.labelled * pairs[0] + calls.unlabelled * pairs[1]) / self.n_processes
        return (
            (COPIES + COPIES_OF_MOVES * calls.moves) * gathered
            + scored * self._per_pair
            + max(calls.labelled, calls.unlabelled) * self._per_pass(rows)
            + IDS_PER_PAIR * LONG * sum(pairs)
        )


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
    return Plan(config, counts, params, strategy, n_processes, resident())


def evaluation_bytes(n_rows: int, n_users: int) -> float:
    """Bytes of memory that an evaluation takes: its sort, or its metrics and bootstrap.

    Args:
        n_rows: Labelled rows.
        n_users: Users who have them, all equally often; else fewer users have rows, and it takes
            less.
    """
    users = distinct(n_users, n_rows)
    return max(110 * n_rows + 85 * users, 86 * n_rows + 178 * users)
