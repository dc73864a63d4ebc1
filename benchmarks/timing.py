"""What `step.py` measures with: simulated batches, and steps of several ways in turn."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from multiprocessing import get_context
from statistics import median
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from invlearn.data.types import Batch, Pairs
from invlearn.runtime.random import stream

RATE = 1e-3


def simulated(
    n_users: int, n_items: int, *, n: int = 200, size: int = 1024, skew: bool = True
) -> list[Batch]:
    """Judged batches as a sampler cuts them: unlabelled pairs of the same users, items uniform.

    Skewed, a labelled pair's user is number `n_users x^2`, its item `n_items x^3` of a random
    order, `x` uniform: the first tenth of the items has 46 % of the pairs.
    """
    rng = stream(0, "batches")
    orders = [rng.permutation(n_users), rng.permutation(n_items)]

    def drawn(order: np.ndarray, power: int) -> torch.Tensor:
        return torch.from_numpy(order[(len(order) * rng.random(size) ** power).astype(np.int64)])

    def batch(step: int) -> Batch:
        powers = (2, 3) if skew else (1, 1)
        labelled = Pairs(*map(drawn, orders, powers))
        unlabelled = Pairs(labelled.users.clone(), drawn(orders[1], 1))
        labels = torch.from_numpy(rng.integers(2, size=size).astype(np.float32))
        return Batch(labelled, labels, unlabelled, is_meta_batch=True, step=step, lr=RATE)

    return [batch(step) for step in range(n)]


def plain(batches: list[Batch]) -> list[Batch]:
    """The batches with their labelled pairs alone."""
    return [
        batch._replace(
            unlabelled=Pairs(*(ids[:0] for ids in batch.unlabelled)), is_meta_batch=False
        )
        for batch in batches
    ]


def unjudged(batches: list[Batch]) -> list[Batch]:
    """The batches without judges."""
    return [batch._replace(is_meta_batch=False) for batch in batches]


def in_turn(
    ways: dict[str, tuple[Callable, list]], *, seconds: float, blocks: int = 5
) -> dict[str, float]:
    """Median milliseconds of a step of each way.

    Ways take turns, a block of steps each, so that whatever else the machine does hits all alike.
    The first steps of a block are left out: they find the caches full of another way's weights.
    On one thread these are times of the processor, else of the clock.

    Args:
        ways: What takes a step, and what it takes them with, in order, round and round.
        seconds: A way goes on for so long in each block.
        blocks: Turns of each way.
    """
    clock = process_time if torch.get_num_threads() == 1 else perf_counter
    taken: dict[str, list[float]] = {name: [] for name in ways}
    turns = {name: cycle(batches) for name, (_, batches) in ways.items()}
    for name, (way, _) in ways.items():
        way(next(turns[name]))
    for _ in range(blocks):
        for name, (way, _) in ways.items():
            ends, steps = perf_counter() + seconds, []
            while perf_counter() < ends or len(steps) < 3:
                batch = next(turns[name])
                started = clock()
                way(batch)
                steps.append(clock() - started)
            taken[name] += steps[1 + len(steps) // 10 :]
    return {name: 1e3 * median(steps) for name, steps in taken.items()}


def apart(function: Callable, *arguments: object, **environment: str) -> Any:
    """What a function returns in a process of its own, under some environment variables."""
    with (
        patch.dict(os.environ, environment),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        return pool.submit(function, *arguments).result()
