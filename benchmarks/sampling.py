"""Verified unseen pairs a second, and batches a second, beside what people do instead.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py [--quick]

Rows are simulated: users of unequal activity, items of unequal popularity, no pair twice. All
times are processor seconds of one thread, the best of several rounds, so that other work on the
machine counts for little. Writes `benchmarks/sampling.json` unless `--quick` is given, which
leaves out the larger size. About two minutes and 4 GB of memory.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
from scipy.sparse import csr_matrix

from invlearn.data.dataset import Dataset
from invlearn.data.parts import DatasetCard, Part
from invlearn.data.sampling.sampler import Sampler, UnlabelledSource
from invlearn.data.sampling.unseen import UnseenItems
from invlearn.data.types import Feed
from invlearn.runtime.environment import commit, machine
from invlearn.runtime.random import stream

SIZES = {
    "ml-1m": (6_040, 3_706, 600_000, 100_000),
    "micro-video": (37_692, 131_690, 7_600_000, 5_200_000),
}
"""Users, items, labelled and exposed rows."""
BATCH = 1024
CALLS = {"unseen": (BATCH, 10**6), "keys": (BATCH, 10**5), "csr": (BATCH, 10**5), "set": (BATCH,)}
"""Pairs in a call, for each way of drawing."""
FEEDS = {
    "labelled only": (Feed(), 0.0),
    "1 sampled each": (Feed(unlabelled=True), 0.0),
    "1 exposed each": (Feed(unlabelled=True), 1.0),
}
HERE = Path(__file__).parent


def main() -> None:
    """Measure every size, print a table of each, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    sizes = {"ml-1m": SIZES["ml-1m"]} if given.quick else SIZES
    result = {"machine": machine(), "commit": commit(), "sizes": {}}
    for name, size in sizes.items():
        result["sizes"][name] = figures = measure(*size)
        show(name, figures)
    if not given.quick:
        (HERE / "sampling.json").write_text(json.dumps(result, indent=1) + "\n")


def measure(n_users: int, n_items: int, n_train: int, n_exposed: int) -> dict:
    """All figures of one size."""
    train, exposed = rows(n_users, n_items, n_train, n_exposed)
    n_rows, figures = n_train + n_exposed, {"draws": {}, "batches": {}}
    rng = stream(0, "draws")
    for name, make in MAKERS.items():
        started = process_time()
        index = make([train, exposed], n_items)
        found = {"build_seconds": process_time() - started}
        if name in ("unseen", "keys"):
            arrays = (a for a in vars(index).values() if isinstance(a, np.ndarray))
            found["bytes_per_row"] = sum(array.nbytes for array in arrays) / n_rows
        for n in CALLS[name]:
            users = [rng.choice(train.users, n) for _ in range(8)]
            calls = [lambda u=u, draw=index.draw: draw(u, rng) for u in users]
            found[f"pairs_per_second_{n}"] = n * len(calls) / best(calls)
        figures["draws"][name] = found
        del index, calls
    none = Part(*(np.empty(0, kind) for kind in (np.int32, np.int32, np.int8)))
    card = DatasetCard(fingerprint="", n_users=n_users, n_items=n_items, files={})
    data = Dataset(Path("simulated"), card, train, none, none, exposed)
    for name, (feed, fraction) in FEEDS.items():
        figures["batches"][name] = batches_per_second(data, feed, fraction)
    return figures


def rows(n_users: int, n_items: int, *n: int) -> list[Part]:
    """Parts of `n` rows each, without a pair in common, in the order (user, item)."""
    rng = stream(0, "rows")
    activity = np.cumsum(rng.lognormal(size=n_users))
    keys = np.empty(0, np.int64)
    while len(keys) < sum(n):
        users = np.searchsorted(activity, activity[-1] * rng.random(sum(n)))
        items = (n_items * rng.random(sum(n)) ** 2).astype(np.int64)
        keys = np.unique(np.concatenate([keys, users * n_items + items]))
    keys = np.split(rng.permutation(keys)[: sum(n)], np.cumsum(n)[:-1])
    pairs = [np.divmod(np.sort(part), n_items) for part in keys]
    return [
        Part(users.astype(np.int32), items.astype(np.int32), (items % 2).astype(np.int8))
        for users, items in pairs
    ]


class BinarySearch:
    """The k-th unseen item by one binary search in all users' seen items laid end to end."""

    def __init__(self, seen: list[Part], n_items: int) -> None:
        keys = np.sort(keys_of(seen, n_items + 1))
        users = keys // (n_items + 1)
        self._starts = np.searchsorted(users, np.arange(users[-1] + 2))
        self._rank_bin = np.int64(n_items + 1)
        self._keys = keys - (np.arange(len(keys)) - self._starts[users])
        self._n_unseen = n_items - np.diff(self._starts)

    def draw(self, users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        k = rng.integers(self._n_unseen[users])
        n_before = np.searchsorted(self._keys, users * self._rank_bin + k, side="right")
        return k + n_before - self._starts[users]


class SparseMatrix:
    """Rejection of what a SciPy matrix of the seen pairs holds."""

    def __init__(self, seen: list[Part], n_items: int) -> None:
        users, items = (np.concatenate([getattr(p, c) for p in seen]) for c in ("users", "items"))
        self._seen = csr_matrix((np.ones(len(users), np.bool_), (users, items)))
        self._seen.resize(self._seen.shape[0], n_items)

    def draw(self, users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        items = rng.integers(self._seen.shape[1], size=len(users))
        again = np.arange(len(users))
        while len(again := again[np.asarray(self._seen[users[again], items[again]])[0]]):
            items[again] = rng.integers(self._seen.shape[1], size=len(again))
        return items


class PythonSet:
    """Rejection of what a set of the seen pairs holds, pair after pair."""

    def __init__(self, seen: list[Part], n_items: int) -> None:
        self._seen, self._n_items = set(keys_of(seen, n_items).tolist()), n_items

    def draw(self, users: np.ndarray, rng: np.random.Generator) -> list[int]:
        return [self._draw(user * self._n_items, rng) for user in users.tolist()]

    def _draw(self, key: int, rng: np.random.Generator) -> int:
        while key + (item := int(rng.integers(self._n_items))) in self._seen:
            pass
        return item


MAKERS = {"unseen": UnseenItems, "keys": BinarySearch, "csr": SparseMatrix, "set": PythonSet}


def keys_of(seen: list[Part], stride: int) -> np.ndarray:
    """One integer for each pair."""
    return np.concatenate([part.users.astype(np.int64) * stride + part.items for part in seen])


def best(calls: list[Callable[[], object]], rounds: int = 5) -> float:
    """Processor seconds that all of the calls take, in the best of several rounds."""
    seconds = []
    for _ in range(rounds):
        started = process_time()
        for call in calls:
            call()
        seconds.append(process_time() - started)
    return min(seconds)


def batches_per_second(data: Dataset, feed: Feed, exposed_fraction: float) -> dict:
    """Cut up to two thousand batches in order, and begin a new epoch."""
    source = UnlabelledSource(exposed_fraction)
    sampler = Sampler(data, feed, source, batch_size=BATCH, seed=0)
    n_steps = min(sampler.steps_per_epoch, 2000)
    shuffled = best([lambda: sampler.batch(0, 0, lr=0.1), lambda: sampler.batch(1, 0, lr=0.1)])
    sampler.batch(0, 0, lr=0.1)
    steps = [lambda k=k: sampler.batch(0, k, lr=0.1) for k in range(1, n_steps)]
    return {
        "batches_per_second": len(steps) / best(steps, rounds=3),
        "new_epoch_seconds": shuffled / 2,
        "steps_per_epoch": sampler.steps_per_epoch,
    }


def show(name: str, figures: dict) -> None:
    """Print a size's figures; ratios are against the set."""
    print(f"\n{name:16}{'call of':>10}{'pairs/s':>14}{'ratio':>8}{'build s':>9}{'bytes/row':>11}")
    slowest = figures["draws"]["set"][f"pairs_per_second_{BATCH}"]
    for way, found in figures["draws"].items():
        build, size = found["build_seconds"], found.get("bytes_per_row")
        for n in CALLS[way]:
            pairs = found[f"pairs_per_second_{n}"]
            kept = f"{size:11.1f}" if size else ""
            print(f"{way:16}{n:10,}{pairs:14,.0f}{pairs / slowest:8.1f}{build:9.2f}{kept}")
    print(f"{'':16}{'batches/s':>10}{'us a batch':>14}{'new epoch s':>17}")
    for way, found in figures["batches"].items():
        rate = found["batches_per_second"]
        print(f"{way:16}{rate:10,.0f}{1e6 / rate:14.1f}{found['new_epoch_seconds']:17.3f}")


if __name__ == "__main__":
    main()
