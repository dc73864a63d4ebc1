"""What a step of training costs: beside whole tables, beside a kernel by hand, at any size.

    python benchmarks/step.py [--quick] [--threads N]

Batches of 1,024 labelled and, where a strategy wants them, 1,024 unlabelled pairs, simulated with
popular and unpopular items (`timing.py`). Ways take turns in one process, so read the ratios.

* One step of `ig` by GMF of 32 factors: judged (dual gradient, three judgements, step) and plain;
  beside the released program's way over whole tables (`dense_reference.py`), and a kernel
  written by hand (`fused.py`, which needs the extra `bench`), both checked first.
* Strategies: each one's step over the plain step of `none` in the same store; by NeuMF and on two
  threads a few of them.
* Catalogue: 10 thousand to 10 million items beside a million users, GMF of 16 factors, eager and
  compiled; beside reading and writing the same rows and nothing else. Needs 5 GB of memory.
* Compiling: seconds until the first steps are done, and after how many steps that is earned.

Without `--threads`, all on one thread, and the first two on two. Writes `benchmarks/step.json`
unless `--quick` (one thread, GMF, fewer sizes and steps, about a minute). Some 20 minutes.
"""

import argparse
import json
import os
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from dense_reference import DenseReference
from fused import FusedGMF
from timing import RATE, apart, in_turn, plain, simulated, unjudged

from invlearn.backbones import BACKBONES
from invlearn.backbones.auxiliary import attach_auxiliary_models, tables_with_auxiliary
from invlearn.backbones.factorization import GMF
from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Batch, LabelledRows, Pairs
from invlearn.runtime.environment import commit, machine, peak_bytes, reset_peak
from invlearn.strategies import STRATEGIES
from invlearn.training.class_lookup import strategy_class
from invlearn.training.stores import DenseStore, RowStore
from invlearn.training.train_step import PAYING_STEPS, Stepper

SIZES = {"ml-1m": (6_041, 3_953), "micro-video": (37_692, 131_690)}
CATALOGUES, CATALOGUE_USERS, CATALOGUE_DIM = (10**4, 10**5, 10**6, 10**7), 10**6, 16
RELEASED = "reproduction.inverse_as_released:InverseGradientAsReleased"
BY_ROWS = [name for name, kind in STRATEGIES.items() if not kind().feed.whole_tables]
FEW = ["none", "ns", "idl", "ig", "ig-sample"]
"""Strategies to measure where compiling all of them would take an hour."""
MODES = {"eager": False, "compiled": True}
HERE = Path(__file__).parent


def main() -> None:
    """Measure in processes of their own, print, and write down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args()
    threads = [given.threads] if given.threads else [1] if given.quick else [1, 2]
    result = {"machine": machine(), "commit": commit(), "agreement": apart(agreement)}
    print("mean difference of weights:", result["agreement"])
    for n in threads:
        result[f"{n} threads"] = measure(n, given.quick)
    if not given.quick:
        result["catalogue"] = catalogue(CATALOGUES)
        result["compiling"] = compiling(("gmf", "neumf"))
        (HERE / "step.json").write_text(json.dumps(result, indent=1) + "\n")


def measure(threads: int, quick: bool) -> dict:
    """Steps and strategies on so many threads, printed."""
    seconds = 0.15 if quick else 0.6
    result = {}
    for size in SIZES:
        result[size] = found = apart(one_step, size, threads, seconds)
        print(f"\n{size + f', {threads} threads':24}{'judged ms':>11}{'':9}{'plain ms':>11}"
              "  (times the compiled)")  # fmt: skip
        best = found["row, compiled"]
        for way, ms in found.items():
            over = [f"{ms[kind]:11.3f}{ms[kind] / best[kind]:8.2f}x" for kind in ms]
            print(f"{way:24}{''.join(over)}")
    for backbone in ("gmf",) if quick else ("gmf", "neumf"):
        names = BY_ROWS if backbone == "gmf" and threads == 1 else FEW
        names = ["none", "ig"] if quick else names
        result[backbone] = found = apart(strategies, backbone, names, threads, seconds)
        print(f"\n{backbone + ', over `none`':24}{'eager':>9}{'compiled':>11}")
        for step in found["eager"]:
            ratios = [found[mode][step] / found[mode]["none"] for mode in MODES]
            print(f"{step:24}{ratios[0]:8.2f}x{ratios[1]:10.2f}x")
    return result


def one_step(size: str, threads: int, seconds: float) -> dict[str, dict[str, float]]:
    """Milliseconds of a judged and a plain step of `ig` in each way."""
    torch.set_num_threads(threads)
    module, settings, strategy = GMF(*SIZES[size]).train(), OptimizerConfig(), STRATEGIES["ig"]()

    def stepper(kind: type, compiled_for: type | None = None) -> Stepper:
        store = kind(deepcopy(module), GMF.tables, settings, seed=0)
        return Stepper(store, strategy, compiled_for=compiled_for)

    ways = {
        "released, whole tables": DenseReference(deepcopy(module), lr=RATE, alpha_ratio=0.1),
        "dense store": stepper(DenseStore),
        "row, eager": stepper(RowStore),
        "row, compiled": stepper(RowStore, GMF),
        "by hand, one thread": FusedGMF(module, settings, alpha_ratio=0.1),
    }
    judged = simulated(*SIZES[size])
    by_kind = {"judged": judged, "plain": plain(judged)}
    found = {
        kind: in_turn({name: (way, batches) for name, way in ways.items()}, seconds=seconds)
        for kind, batches in by_kind.items()
    }
    return {way: {kind: found[kind][way] for kind in by_kind} for way in ways}


def strategies(
    backbone: str, names: list[str], threads: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Milliseconds of a step of each strategy; on the same store unless it needs one of its own."""
    torch.set_num_threads(threads)
    kind, size = BACKBONES[backbone], SIZES["micro-video"]
    judged = simulated(*size)
    rows = labelled_rows(judged)
    judged = [
        batch._replace(rows=torch.arange(k * 1024, (k + 1) * 1024), origin=batch.unlabelled)
        for k, batch in enumerate(judged)
    ]

    def store_with(n_auxiliary: int) -> RowStore:
        module = kind(*size).train()
        attach_auxiliary_models(module, n_auxiliary)
        tables = tables_with_auxiliary(module.tables, n_auxiliary)
        return RowStore(module, tables, OptimizerConfig(), seed=0)

    shared, found = store_with(0), {}
    for mode, compiled in MODES.items():
        ways = {}
        for name in names:
            strategy = STRATEGIES[name]()
            feed = strategy.feed
            store = store_with(feed.n_auxiliary) if feed.n_auxiliary or feed.row_state else shared
            step = Stepper(store, strategy, compiled_for=kind if compiled else None)
            step.init_row_state(rows)
            if strategy.feed.judge_fraction:
                ways |= {f"{name}, judged": (step, judged), f"{name}, plain": (step, plain(judged))}
            else:
                ways[name] = (step, (unjudged if strategy.feed.unlabelled else plain)(judged))
        found[mode] = ms = in_turn(ways, seconds=seconds)
        if "ig, judged" in ms:
            share = STRATEGIES["ig"]().judge_fraction
            ms["ig, whole epoch"] = share * ms["ig, judged"] + (1 - share) * ms["ig, plain"]
    return found


def labelled_rows(batches: list[Batch]) -> LabelledRows:
    """All labelled pairs of the batches, in order, for strategies that keep row state of them."""
    pairs = Pairs(*(torch.cat(ids) for ids in zip(*(b.labelled for b in batches), strict=True)))
    return LabelledRows(pairs, torch.cat([batch.labels for batch in batches]))


def catalogue(sizes: tuple[int, ...]) -> dict[str, dict]:
    """Steps beside their rows alone in catalogues of several sizes, printed."""
    found = {f"{n:,}": apart(in_catalogue, n) for n in sizes}
    smallest = found[f"{sizes[0]:,}"]["ms"]
    for ids in smallest:
        print(f"\n{ids + ' ids, judged step':24}{'eager ms':>11}{'':11}{'compiled ms':>11}{'':11}"
              f"{'rows alone':>11}{'':11}{'of growth':>11}{'peak MiB':>11}")  # fmt: skip
        for n, figures in found.items():
            ms, first = figures["ms"][ids], smallest[ids]
            over = [f"{ms[way]:11.3f}{ms[way] / first[way]:8.2f}x  " for way in ms]
            grown = ms["compiled"] - first["compiled"]
            share = (ms["rows"] - first["rows"]) / grown if grown else 0.0
            print(f"{n + ' items':24}{''.join(over)}{share:11.0%}"
                  f"{figures['step_growth_bytes'] / 2**20:11.1f}")  # fmt: skip
    print("\nresident over tables and moments:",
          *(f"{n} {f['resident_bytes'] / f['table_bytes']:.3f}" for n, f in found.items()),
          sep="  ")  # fmt: skip
    return found


def in_catalogue(n_items: int) -> dict:
    """Steps and rows alone in one store, and the memory that they take."""
    torch.set_num_threads(1)
    size = CATALOGUE_USERS, n_items
    drawn = {ids: simulated(*size, skew=ids == "skewed") for ids in ("uniform", "skewed")}
    before = resident()
    module = GMF(*size, dim=CATALOGUE_DIM).train()
    store = RowStore(module, GMF.tables, OptimizerConfig(), seed=0)
    kept = resident() - before
    tensors = module.state_dict() | store.state()
    tables = [
        (tensors[name + part], key) for name, key in GMF.tables.items() for part in ("", ":0", ":1")
    ]

    def rows_alone(rows: dict[str, torch.Tensor]) -> None:
        read = [tensor.index_select(0, rows[key]) for tensor, key in tables]
        for (tensor, key), values in zip(tables, read, strict=True):
            tensor.index_copy_(0, rows[key], values)

    steppers = {
        mode: Stepper(store, STRATEGIES["ig"](), compiled_for=GMF if compiled else None)
        for mode, compiled in MODES.items()
    }
    found = {}
    for ids, batches in drawn.items():
        ways = {mode: (stepper, batches) for mode, stepper in steppers.items()}
        ways["rows"] = (rows_alone, [store.index(batch).rows for batch in batches])
        found[ids] = in_turn(ways, seconds=0.5)
    before = resident()
    for stepper in steppers.values():
        for batch in drawn["uniform"]:
            stepper(batch)
    return {
        "ms": found,
        "table_bytes": sum(tensor.nbytes for tensor, _ in tables),
        "resident_bytes": kept,
        "step_growth_bytes": peak_bytes() - before,
    }


def resident() -> int:
    """Bytes in memory now; the peak begins here."""
    reset_peak()
    return peak_bytes()


def compiling(backbones: tuple[str, ...]) -> dict[str, dict]:
    """Seconds that compiling takes, and the steps that earn them, printed."""
    print(f"\n{'compiling':24}{'cold s':>9}{'warm s':>9}{'earned by steps of 128':>25}"
          f"{'of 1,024':>11}{'default':>11}")  # fmt: skip
    result = {}
    for backbone in backbones:
        for strategy in ("none", "ig"):
            with TemporaryDirectory() as folder:
                cold, warm = (
                    apart(first_steps, backbone, strategy, TORCHINDUCTOR_CACHE_DIR=folder)
                    for _ in range(2)
                )
            found = {"cold_seconds": cold["seconds"], "warm_seconds": warm["seconds"],
                     "cold_processor_seconds": cold["processor_seconds"],
                     "eager_ms": warm["eager"], "compiled_ms": warm["compiled"]}  # fmt: skip
            found["earned_by"] = {
                size: 1e3 * cold["seconds"] / (ms - warm["compiled"][size])
                for size, ms in warm["eager"].items()
            }
            result[f"{backbone} {strategy}"] = found
            earned = found["earned_by"]
            print(f"{backbone + ' ' + strategy:24}{cold['seconds']:9.1f}{warm['seconds']:9.1f}"
                  f"{earned['128']:25,.0f}{earned['1024']:11,.0f}{PAYING_STEPS:11,}")  # fmt: skip
    return result


def first_steps(backbone: str, strategy_name: str) -> dict:
    """Seconds until every kind of step was taken once, compiled; then what a step costs on average.

    Of ten steps of `ig`, one is judged.
    """
    torch.set_num_threads(1)
    kind, size, strategy = BACKBONES[backbone], SIZES["ml-1m"], STRATEGIES[strategy_name]()
    module = kind(*size).train()
    store = RowStore(module, module.tables, OptimizerConfig(), seed=0)
    share = strategy.feed.judge_fraction
    steppers = {
        mode: Stepper(store, strategy, compiled_for=kind if compiled else None)
        for mode, compiled in MODES.items()
    }
    result: dict = {mode: {} for mode in MODES}
    for n in (128, 1024):
        judged = simulated(*size, size=n)
        kinds = {"plain": plain(judged)} | ({"judged": judged} if share else {})
        started, worked = perf_counter(), sum(os.times()[:4])
        for batches in kinds.values():
            steppers["compiled"](batches[0])
        ended, work_done = perf_counter(), sum(os.times()[:4])
        result = {"seconds": ended - started, "processor_seconds": work_done - worked} | result
        for mode, stepper in steppers.items():
            ms = in_turn({k: (stepper, b) for k, b in kinds.items()}, seconds=0.5)
            result[mode][str(n)] = (1 - share) * ms["plain"] + share * ms.get("judged", 0.0)
    return result


def agreement() -> dict[str, float]:
    """Make sure that the references choose as the library does, and end at the same weights.

    Means are compared: an Adam made again steps by the sign of the gradient, and a few gradients
    are all rounding.
    """
    torch.set_num_threads(1)
    size, settings, lr, ratio = (300, 200), OptimizerConfig(), 0.03, 10.0
    module = GMF(*size).train()
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.4, generator=torch.Generator().manual_seed(0))
    batches = [b._replace(lr=lr) for b in simulated(*size, n=40, size=256)]

    def ours(kind: type, strategy: str, **options: object) -> tuple[Stepper, torch.nn.Module]:
        copy = deepcopy(module)
        store = kind(copy, GMF.tables, settings, seed=0)
        return Stepper(store, strategy_class(strategy)(**options)), copy

    eager, expected = ours(RowStore, "ig", alpha_ratio=ratio)
    fused = FusedGMF(module, settings, alpha_ratio=ratio)
    released, whole = ours(DenseStore, RELEASED, alpha_ratio=1.0, clear_gradients=True)
    dense = DenseReference(deepcopy(module), lr=lr, alpha_ratio=1.0)
    for ours_, reference in ((eager, fused), (released, dense)):
        chosen = [(int(ours_(batch).log["choice"]), reference(batch)) for batch in batches]
        if any(a != b for a, b in chosen):
            raise SystemExit(f"{type(reference).__name__} chose otherwise: {chosen}")
    pairs = {
        "by hand": (dict(expected.named_parameters()), fused.weights()),
        "whole tables": (dict(whole.named_parameters()), dict(dense.model.named_parameters())),
    }
    found = {
        name: max(float((a[n] - b[n]).detach().abs().mean()) for n in a)
        for name, (a, b) in pairs.items()
    }
    if max(found.values()) > lr / 100:
        raise SystemExit(f"references end at other weights: {found}")
    return found


if __name__ == "__main__":
    main()
