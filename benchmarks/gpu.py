"""Samples a second on a GPU, beside the bytes that a step must move.

    python benchmarks/gpu.py [--device cuda] [--quick]

GMF and NeuMF of 32 factors at the size of Micro Video (37,692 x 131,690), row store, batches of
1,024 and 65,536 labelled pairs; `none`, and `ig` with as many unlabelled pairs and judges in every
batch; eager and compiled. First the steps of `ig` are checked against the processor's: choices,
and weights. Then steps are taken under `torch.cuda.set_sync_debug_mode("error")`, which raises
where the host waits for the device. Blocks of steps are timed
until the device has done the last, after a warm-up.

The floor is what a step has to move whatever computes it: the rows that its batch touches, with
both moments, once read and once written (4 bytes a number), over the bandwidth of a copy of 1 GiB
measured in the same run. `share` is floor over time.

Writes `benchmarks/gpu.json` for CUDA only; another device serves to try the script.
"""

import argparse
import json
from collections.abc import Generator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from timing import plain, simulated

from invlearn.backbones import BACKBONES
from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Batch
from invlearn.runtime.environment import commit, machine
from invlearn.strategies import STRATEGIES
from invlearn.training.stores import RowStore
from invlearn.training.train_step import Stepper

SIZE = (37_692, 131_690)
BATCHES = (1_024, 65_536)
HERE = Path(__file__).parent


def main() -> None:
    """Check, measure, print, and write down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here; --device cpu tries the script")
    bandwidth = copied_bytes_per_second(device, 2**24 if given.quick else 2**30)
    result: dict = {"machine": machine(), "commit": commit(), "bytes_per_second": bandwidth}
    result["device"] = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(f"{result['device']}: {bandwidth / 1e9:,.0f} GB/s read and written by a copy")
    print(f"{'':32}{'ms':>9}{'pairs/s':>13}{'floor ms':>10}{'share':>8}")
    for backbone in ("gmf", "neumf"):
        check_against_processor(backbone, device)
        for size in BATCHES[:1] if given.quick else BATCHES:
            for strategy in ("none", "ig"):
                for way in ("eager", "compiled"):
                    name = f"{backbone} {strategy} {size:,} {way}"
                    found = measured(backbone, strategy, size, way, device, quick=given.quick)
                    found["floor_ms"] = 1e3 * found.pop("row_bytes") / bandwidth
                    found["share"] = found["floor_ms"] / found["ms"]
                    result[name] = found
                    print(f"{name:32}{found['ms']:9.3f}{found['pairs_per_second']:13,.0f}"
                          f"{found['floor_ms']:10.4f}{found['share']:8.1%}")  # fmt: skip
    if device.type == "cuda":
        (HERE / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")


def batches_of(strategy: str, size: int, n: int) -> list[Batch]:
    """Judged batches for `ig`, labelled pairs alone for `none`."""
    judged = simulated(*SIZE, n=n, size=size)
    return judged if strategy == "ig" else plain(judged)


def stepper_of(
    backbone: str, strategy: str, device: torch.device, *, compiled: bool
) -> tuple[Stepper, RowStore, torch.nn.Module]:
    """A backbone of the same first weights wherever it is, its store and its steps."""
    torch.manual_seed(0)
    kind = BACKBONES[backbone]
    module = deepcopy(kind(*SIZE)).to(device).train()
    store = RowStore(module, module.tables, OptimizerConfig(), seed=0)
    stepper = Stepper(store, STRATEGIES[strategy](), compiled_for=kind if compiled else None)
    return stepper, store, module


def check_against_processor(backbone: str, device: torch.device) -> None:
    """Make sure that twenty steps of `ig` choose alike and end at like weights on both."""
    batches, ends, choices = batches_of("ig", 1_024, 20), [], []
    for place in (torch.device("cpu"), device):
        stepper, _, module = stepper_of(backbone, "ig", place, compiled=False)
        choices.append([int(stepper(batch).log["choice"]) for batch in batches])
        ends.append({name: weight.detach().cpu() for name, weight in module.named_parameters()})
    apart = max(float((ends[0][name] - ends[1][name]).abs().mean()) for name in ends[0])
    if choices[0] != choices[1] or apart > 1e-5:
        raise SystemExit(f"{backbone} on {device} differs from the processor: mean {apart:g}")


def measured(
    backbone: str, strategy: str, size: int, way: str, device: torch.device, *, quick: bool
) -> dict[str, float]:
    """Median milliseconds of a step over blocks of steps, and the bytes of its rows."""
    stepper, store, module = stepper_of(backbone, strategy, device, compiled=way == "compiled")
    batches = batches_of(strategy, size, 8)
    for batch in batches:  # all shapes seen, everything compiled
        stepper(batch)
    n_steps = 8 if quick else 64 if size > 10_000 else 512
    with no_waiting(device):
        for batch in batches:
            stepper(batch)
    taken = [block_seconds(stepper, batches, n_steps, device) / n_steps for _ in range(5)]
    rows = [store.index(batch).rows for batch in batches]
    return {
        "ms": 1e3 * median(taken),
        "pairs_per_second": size / median(taken),
        "row_bytes": median([bytes_of(module, found) for found in rows]),
    }


def bytes_of(module: torch.nn.Module, rows: dict[str, torch.Tensor]) -> float:
    """Bytes of the gathered rows and their two moments, read and written; other weights, too."""
    tables, n_numbers = module.tables, 0
    for name, weight in module.named_parameters():
        n_rows = len(rows[tables[name]]) if name in tables else len(weight)
        n_numbers += n_rows * weight[0].numel()
    return 2.0 * 3 * 4 * n_numbers


def block_seconds(
    stepper: Stepper, batches: list[Batch], n_steps: int, device: torch.device
) -> float:
    """Seconds of so many steps, until the device has done the last."""
    synchronize(device)
    started = perf_counter()
    for step in range(n_steps):
        stepper(batches[step % len(batches)])
    synchronize(device)
    return perf_counter() - started


def copied_bytes_per_second(device: torch.device, n_bytes: int) -> float:
    """Bytes read and written a second by copies of one tensor into another."""
    source = torch.zeros(n_bytes // 4, device=device)
    goal = torch.empty_like(source)
    taken = []
    for _ in range(10):
        synchronize(device)
        started = perf_counter()
        goal.copy_(source)
        synchronize(device)
        taken.append(perf_counter() - started)
    return 2 * n_bytes / median(taken)


def synchronize(device: torch.device) -> None:
    """Wait for a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def no_waiting(device: torch.device) -> Generator[None]:
    """Within it, a step for which the host waits for a CUDA device raises an error."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


if __name__ == "__main__":
    main()
