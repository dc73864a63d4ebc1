"""What it takes to measure ten million scored rows, and to rank a whole catalogue.

    python benchmarks/evaluation.py [--quick]

On one thread, random scores of random rows. Every reference is computed in the same run, right
beside what it is a reference for, so read the ratios. Times are seconds of the processor, since
other work may share the machine; the file has those on the clock of `evaluate`, too.

* Rows: all metrics by `evaluate`, without and with the 1,000 bootstrap draws, beside scikit-learn's
  AUC of all rows at once, and a plain loop over users with its AUC and NDCG (of 500 users, scaled).
* Catalogue: the 20 best of 131,690 items for each of 37,692 users, seen pairs left out, beside the
  matrix product alone and `torch.topk`, block by block in turn.

Writes `benchmarks/evaluation.json`. Some minutes; `--quick` takes a tenth of the rows and 600
users, some 20 seconds, and writes nothing.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from sklearn.metrics import ndcg_score, roc_auc_score

from invlearn.backbones.factorization import GMF
from invlearn.data.parts import Part
from invlearn.evaluation.evaluation import evaluate
from invlearn.evaluation.ranking import catalogue_top_k
from invlearn.evaluation.scoring import CatalogueScorer
from invlearn.evaluation.top_k import top_k
from invlearn.runtime.environment import commit, machine, peak_bytes, reset_peak

ROWS, ROW_USERS, LOOP_USERS = (1_000_000, 3_000_000, 10_000_000), 100_000, 500
USERS, ITEMS, DIM, K, SEEN, BLOCK = 37_692, 131_690, 32, 20, 200, 15
HERE = Path(__file__).parent


def main() -> None:
    """Measure, print, and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    rows = [measured_rows(n // 10 if quick else n) for n in ROWS]
    print(f"{'rows':>10}{'evaluate s':>12}{'1000 draws':>12}{'rows/s':>10}{'peak MiB':>10}"
          f"{'auc alone':>11}{'loop':>8}")  # fmt: skip
    for found in rows:
        plain, drawn = found["evaluate"], found["evaluate_1000_draws"]
        rate, auc, loop = (
            found[name] for name in ("rows_per_second", "auc_over_evaluate", "loop_over_evaluate")
        )
        print(f"{found['rows']:10,}{plain['seconds']:12.2f}{drawn['seconds']:12.2f}{rate:10,.0f}"
              f"{drawn['peak_mib']:10.0f}{auc:10.2f}x{loop:7.0f}x")  # fmt: skip
    lists = measured_lists(600 if quick else USERS)
    print(f"\n{'for each user, µs':26}{'':>8}{'over the product':>18}")
    for name, seconds in lists["seconds_per_user"].items():
        ratio = lists["over_the_product"][name]
        print(f"{name:26}{seconds * 1e6:8.0f}{ratio:17.2f}x")
    if not quick:
        result = {"machine": machine(), "commit": commit(), "threads": 1}
        result |= {"rows": rows, "catalogue": lists}
        (HERE / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")


def measured_rows(n_rows: int) -> dict:
    """Time, memory and references of `evaluate` on `n_rows` rows of 100,000 users."""
    rng = np.random.default_rng(0)
    users = rng.integers(ROW_USERS, size=n_rows, dtype=np.int32)
    scores = rng.standard_normal(n_rows, dtype=np.float32)
    labels = (scores + 2 * rng.standard_normal(n_rows) > 0).astype(np.int8)
    plain = timed(lambda: evaluate(users, labels, scores, draws=0))
    drawn = timed(lambda: evaluate(users, labels, scores))
    auc = timed(lambda: roc_auc_score(labels, scores))
    loop = timed(lambda: loop_over_users(users, labels, scores))
    scale = ROW_USERS / LOOP_USERS
    return {
        "rows": n_rows,
        "evaluate": plain,
        "evaluate_1000_draws": drawn,
        "scikit_learn_auc": auc,
        "loop_over_500_users": loop,
        "rows_per_second": n_rows / drawn["seconds"],
        "auc_over_evaluate": auc["seconds"] / plain["seconds"],
        "loop_over_evaluate": loop["seconds"] * scale / plain["seconds"],
    }


def loop_over_users(users: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> None:
    """AUC and NDCG of some users, one after the other; their rows are picked beforehand."""
    some = np.flatnonzero(users < LOOP_USERS)
    some = some[np.argsort(users[some], kind="stable")]
    for own in np.split(some, np.flatnonzero(np.diff(users[some])) + 1):
        if 0 < labels[own].sum() < len(own):
            roc_auc_score(labels[own], scores[own])
            for k in (10, 20):
                ndcg_score(labels[None, own], scores[None, own], k=k)


def timed(work: Callable[[], object]) -> dict:
    """Seconds of the processor and on the clock, and peak memory beyond what was held before."""
    reset_peak()
    before, processor, wall = peak_bytes() or 0, process_time(), perf_counter()
    work()
    return {
        "seconds": process_time() - processor,
        "wall_seconds": perf_counter() - wall,
        "peak_mib": ((peak_bytes() or 0) - before) / 2**20,
    }


def measured_lists(n_users: int) -> dict:
    """Time for each user of lists, of the product alone, and of other ways to search a block."""
    torch.manual_seed(0)
    module = GMF(USERS, ITEMS, dim=DIM)
    rng = np.random.default_rng(0)
    pairs = (rng.integers(n, size=n_users * SEEN, dtype=np.int32) for n in (n_users, ITEMS))
    seen = Part(*pairs, np.zeros(n_users * SEEN, np.int8))
    factors = module.as_factors()
    room = torch.zeros(BLOCK, ITEMS)
    spent = dict.fromkeys(("product", "product and lists", "torch.topk", "top_k"), 0.0)
    on_rising = {"torch.topk, rising scores": 0.0, "top_k, rising scores": 0.0}
    users = np.arange(n_users // BLOCK * BLOCK)
    lists = catalogue_top_k(CatalogueScorer(module, ITEMS), users, k=K, seen=[seen], block=BLOCK)
    with torch.no_grad():
        for start in range(0, len(users), BLOCK):
            own = factors.users[start : start + BLOCK]
            spent["product"] += clock(lambda own=own: torch.mm(own, factors.items.T, out=room))
            spent["product and lists"] += clock(lambda: next(lists))
            spent["torch.topk"] += clock(lambda: room.topk(K))
            spent["top_k"] += clock(lambda: top_k(room, K))
        rising = room.sort(dim=1).values
        on_rising["torch.topk, rising scores"] = clock(lambda: rising.topk(K)) / BLOCK
        on_rising["top_k, rising scores"] = clock(lambda: top_k(rising, K)) / BLOCK
    each = {name: seconds / len(users) for name, seconds in spent.items()} | on_rising
    return {
        "users": len(users),
        "items": ITEMS,
        "factors": DIM,
        "k": K,
        "seen_pairs": n_users * SEEN,
        "block": BLOCK,
        "seconds_per_user": each,
        "over_the_product": {name: seconds / each["product"] for name, seconds in each.items()},
    }


def clock(work: Callable[[], object]) -> float:
    """Seconds of the processor."""
    started = process_time()
    work()
    return process_time() - started


if __name__ == "__main__":
    main()
