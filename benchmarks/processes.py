"""Several processes against one: the same choices, and what they cost and send.

    python benchmarks/processes.py [--quick]

GMF of 32 factors, Adam, batches of 4,096 labelled and as many unlabelled pairs, simulated with
popular and unpopular items (`timing.py`), every second one judged where the strategy judges.
Processes are started by `torchrun` and talk by gloo.

* Agreement: 200 steps at 3.3 million table rows; choices (of `ig-sample`, what part of the pairs
  helps), the smallest gap between the two best losses of a choice, and the largest difference of a
  weight. Weights begin twenty times as wide as they are drawn, and `ig` tries steps of length 1:
  else its losses are equal to the last digit.
* Cost: median seconds of a step, peak memory of a process and bytes that it sends, for 3.3 and
  20 million table rows, replicated (`row`) and cut (`sharded`). What would not fit is left out.
* Traffic: mean bytes that a process sends in a step, over the loopback device, headers and all,
  beside what `invlearn.training.capacity.step_cost` expects.

Two cores: four processes take turns. Writes `benchmarks/processes.json` unless `--quick`
(0.3 million rows, 20 steps).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

HERE = Path(__file__).parent
SIZES = {"3.3 million": (2_000_000, 1_300_000), "20 million": (12_000_000, 8_000_000)}
QUICK = {"0.3 million": (200_000, 100_000)}
DIM, BATCH = 32, 4096
STRATEGIES = ("none", "idl", "ig", "ig-sample")
SMALL = 4e6
"""Table rows up to which weights are compared."""
ROOM = 20e9
"""Bytes of memory that tables and moments may take on this machine."""


def main() -> None:
    """Start workers, compare what they say, print and write down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--worker", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(*given.worker)
        return
    from invlearn.runtime.environment import commit, machine

    sizes = QUICK if given.quick else SIZES
    result = {"machine": machine(), "commit": commit(), "agreement": [], "cost": []}
    with TemporaryDirectory() as folder:
        for size in sizes.values():
            for strategy in STRATEGIES if sum(size) < SMALL else ("none", "ig"):
                n_steps = 20 if given.quick or sum(size) > SMALL else 200
                measure(Path(folder), size, strategy, n_steps, result)
    for found in result["agreement"]:
        print(found)
    if not given.quick:
        (HERE / "processes.json").write_text(json.dumps(result, indent=1) + "\n")


def measure(folder: Path, size: tuple, strategy: str, n_steps: int, result: dict) -> None:
    """Every way of training with one strategy, beside one process alone."""
    alone = None
    for store, n in (("row", 1), ("row", 2), ("row", 4), ("sharded", 2), ("sharded", 4)):
        if sum(size) * DIM * 12 * (n if store == "row" else 1) > ROOM:
            print(f"{sum(size):,} rows, {store}, {n} processes: would not fit")
            continue
        found = started(folder, n, store, *size, strategy, n_steps)
        alone = alone or found
        if n > 1 and sum(size) < SMALL:
            result["agreement"].append(compared(found, alone))
            Path(found["weights"]).unlink()
        result["cost"].append({k: v for k, v in found.items() if k not in LONG})
        print(line(result["cost"][-1]), flush=True)


LONG = ("choices", "weights")


def started(
    folder: Path, n: int, store: str, n_users: int, n_items: int, strategy: str, steps: int
) -> dict:
    """What the first of `n` processes wrote after `steps` steps."""
    out = folder / "found.json"
    given = [store, str(n_users), str(n_items), strategy, str(steps), str(out)]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n)]
    command += [__file__, "--worker", *given]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return json.loads(out.read_text())


def compared(found: dict, alone: dict) -> dict:
    """How far several processes are from one."""
    import torch

    ours, theirs = (torch.load(one["weights"], weights_only=True) for one in (found, alone))
    apart = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)
    return {
        **{key: found[key] for key in ("store", "processes", "strategy", "rows")},
        "steps": found["steps"],
        "choices_equal": found["choices"] == alone["choices"],
        "n_choices": len(found["choices"]),
        "kinds_of_choices": len(set(found["choices"])),
        "smallest_gap": found["smallest_gap"],
        "largest_difference": apart,
    }


def work(store: str, n_users: str, n_items: str, strategy: str, steps: str, out: str) -> None:
    """Take steps as one of several processes; the first one writes what came of it."""
    import torch

    from invlearn.runtime.distributed import joined
    from invlearn.runtime.environment import peak_bytes

    sizes, n_steps = (int(n_users), int(n_items)), int(steps)
    with joined() as group:
        module, stepper, batches = made(store, sizes, strategy, group)
        expected = expectation(sizes, strategy, group, sharded=store == "sharded")
        taken = [
            step(stepper, batches[number % len(batches)]._replace(step=number), group, expected)
            for number in range(n_steps)
        ]
        peaks = torch.zeros(group.size, dtype=torch.int64)
        peaks[group.rank] = peak_bytes()
        peaks = group.all_reduce(peaks).tolist()
        path = Path(out).with_name(f"{store}-{group.size}-{strategy}.pt")
        save(module, group, store, path)
        if group.is_first:
            found = {
                "store": store,
                "processes": group.size,
                "strategy": strategy,
                "rows": sum(sizes),
                "steps": n_steps,
                "seconds": median(one.seconds for one in taken[2:]),
                "peak_bytes": max(peaks),
                "loopback_bytes": mean(one.sent for one in taken[2:]) / group.size,
                "expected_bytes": mean(one.expected for one in taken),
                "choices": [one.choice for one in taken if one.choice is not None],
                "smallest_gap": min(
                    (one.gap for one in taken if one.gap is not None), default=None
                ),
                "weights": str(path),
            }
            Path(out).write_text(json.dumps(found))


def made(store: str, sizes: tuple, strategy: str, group) -> tuple:
    """A backbone in its store, and what it is shown."""
    import torch
    from timing import plain, simulated

    from invlearn.backbones.factorization import GMF
    from invlearn.backbones.layers import shares
    from invlearn.config.schema import OptimizerConfig
    from invlearn.runtime.distributed import ALONE
    from invlearn.training.stores import RowStore, ShardedStore
    from invlearn.training.train_step import Stepper

    chosen = strategy_of(strategy)
    batches = simulated(*sizes, n=20, size=BATCH)
    if not chosen.feed.unlabelled:
        batches = plain(batches)
    elif chosen.feed.judge_fraction > 0:
        batches[::2] = plain(batches[::2])
    torch.manual_seed(0)
    with shares(group if store == "sharded" else ALONE):
        module = GMF(*sizes, dim=DIM)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(20)
    given = {"seed": 0, "group": group}
    if store == "sharded":
        rows = {"user": sizes[0], "item": sizes[1]}
        held = ShardedStore(module, GMF.tables, OptimizerConfig(), n_rows=rows, **given)
    else:
        held = RowStore(module, GMF.tables, OptimizerConfig(), **given)
    return module, Stepper(held, chosen), batches


def strategy_of(name: str):
    """A strategy whose choices rounding does not make."""
    from invlearn.strategies import STRATEGIES

    return STRATEGIES[name](**({"alpha_ratio": 1000.0} if name == "ig" else {}))


def expectation(sizes: tuple, strategy: str, group, *, sharded: bool):
    """A function of a batch, and of whether the step began elsewhere, to bytes of a process."""
    from invlearn.config.schema import RunConfig
    from invlearn.data.features import NO_FEATURES
    from invlearn.training.capacity.param_count import Counts, count_params
    from invlearn.training.capacity.step_cost import calls_of, traffic

    config = RunConfig(backbone="gmf", model={"dim": DIM}, batch_size=BATCH)
    params = count_params(config, Counts(*sizes, train=BATCH), NO_FEATURES)
    chosen = strategy_of(strategy)
    calls = {j: calls_of(chosen, is_meta_batch=j) for j in (True, False)}

    def expected(batch, moved: bool) -> float:
        pairs = len(batch.labels), len(batch.unlabelled.users)
        kind = calls[batch.is_meta_batch]
        return mean(
            traffic(kind._replace(moves=moved), params, pairs, rows, group.size, is_sharded=sharded)
            for rows in in_play(batch, group.size if sharded else 1)
        )

    return expected


class Step(NamedTuple):
    """What one step took and decided."""

    seconds: float
    sent: float
    expected: float
    choice: float | None
    gap: float | None


def step(stepper, batch, group, expected) -> Step:
    """Take a step that all processes begin and end together."""
    group.barrier()
    device, start = loopback(), perf_counter()
    log = stepper(batch).log
    group.barrier()
    seconds, sent = perf_counter() - start, loopback() - device
    choice = gap = None
    if "choice" in log:
        best = sorted(log["judge_losses"].tolist())
        choice, gap = int(log["choice"]), best[1] / best[0] - 1
    elif "helpful" in log:
        choice = float(log["helpful"])
    moved = "choice" in log and bool(choice)
    return Step(seconds, sent, expected(batch, moved), choice, gap)


def save(module, group, store: str, path: Path) -> None:
    """Whole weights, where they are small enough to be compared."""
    import torch

    weights = {name: weight.detach() for name, weight in module.named_parameters()}
    if sum(map(len, weights.values())) * group.size > 2e7:
        return
    if store == "sharded" and not group.is_alone:
        for name, weight in weights.items():
            if name in module.tables:
                pieces = [weight.reshape(-1)] * group.size
                lengths = group.lengths(pieces)
                came = group.all_to_all(pieces, lengths)
                weights[name] = torch.cat(came).view(-1, weight.shape[1])
    if group.is_first:
        torch.save(weights, path)
    group.barrier()


def in_play(batch, n: int) -> list[dict]:
    """Distinct users and items of each of `n` shares of a batch."""
    from invlearn.runtime.distributed import Group

    def rows(column: int, group: Group) -> int:
        cut = [
            ids[column][group.share(len(ids[column]))] for ids in (batch.labelled, batch.unlabelled)
        ]
        return len({*cut[0].tolist(), *cut[1].tolist()})

    groups = [Group(rank, n) for rank in range(n)]
    return [{"user": rows(0, group), "item": rows(1, group)} for group in groups]


def loopback() -> int:
    """Bytes that went over the loopback device so far."""
    return int(Path("/sys/class/net/lo/statistics/tx_bytes").read_text())


def line(found: dict) -> str:
    """One row of the table."""
    return (
        f"{found['rows']:>12,}  {found['strategy']:10}{found['store']:9}{found['processes']:2}"
        f"  {1e3 * found['seconds']:9.1f} ms{found['peak_bytes'] / 2**20:9,.0f} MiB"
        f"{found['loopback_bytes'] / 2**20:9.2f} MiB sent, expected "
        f"{found['expected_bytes'] / 2**20:.2f}"
    )


if __name__ == "__main__":
    main()
