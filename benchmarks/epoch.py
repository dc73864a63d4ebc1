"""One epoch end to end, beside the loop that people write and beside RecBole.

    python benchmarks/epoch.py --dataset ML1M [--quick] [--processor] [--recbole PYTHON]

ML1M is the dataset folder that `invlearn datasets prepare ml-1m` makes. Batch 1,024, 32 factors,
row store, Adam; medians over epochs after the first; whoever is compared takes turns, epoch by
epoch. An epoch is sampling, batching, steps and their record; validation and saving stand apart.
Set `OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE`: else one side's idle threads hold the other's core.

* `row_loop.py`, on one thread, its rows of Python's numbers or of tensors: it goes through a tenth
  of each phase of an epoch, at least 10 steps, and its seconds are scaled to the whole. Beside
  NeuMF stand the matrix products of its perceptron alone, forward and backward, without which no
  epoch can be: what the loop takes over them is the most that any ratio can be on such a machine.
* RecBole (PYTHON is that of an environment with `pip install recbole`), on one thread and on two:
  its NeuMF beside ours, its BPR beside our GMF, on the positive training rows with one sampled
  negative each, 1,024 and 1,024 in a batch on both sides. BPR's loss compares the two pairs of a
  row, ours takes each for itself (`ns`); both score as many pairs.

Writes `benchmarks/epoch.json`. Some five minutes; `--quick` takes fewer epochs, compiles nothing
and writes nothing, under a minute. `--processor` counts seconds of the processor instead of the
clock's, for a machine at other work, and leaves the two threads out.
"""

import argparse
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import torch
from row_loop import FORMS, RowLoop

from invlearn.config.schema import load_config
from invlearn.data.dataset import Dataset
from invlearn.data.parts import Part
from invlearn.data.sampling.sampler import Sampler
from invlearn.runtime.environment import commit, machine
from invlearn.runtime.errors import Stopped
from invlearn.runtime.progress import silent
from invlearn.training import trainer
from invlearn.training.job import Job
from invlearn.training.metrics_log import Recorder, read_lines
from invlearn.training.settings import complete
from invlearn.training.stores import RowStore
from invlearn.training.train_step import Stepper

BATCH, DIM, RATE, ALPHA, JUDGES = 1024, 32, 1e-3, 1e-4, 0.1
TOWER = (256, 128, 64, 32)
PLACES = {
    "sampling": [(Sampler, "batch")],
    "locating": [(RowStore, "locate")],
    "arithmetic": [(Stepper, "__call__")],
    "recording": [(Recorder, "step"), (Recorder, "flush"), (trainer, "_report")],
    "saving": [(Job, "_save")],
}
"""Where an epoch goes. A step is `locating`, which finds its rows, and `arithmetic`."""
OUTSIDE = ("sampling", "recording", "loop")
PEERS = {"NeuMF": "neumf", "BPR": "gmf"}
CLOCKS = {"clock": perf_counter, "processor": process_time}
HERE = Path(__file__).parent


def main() -> None:
    """Measure, print, and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--processor", action="store_true")
    parser.add_argument("--recbole", metavar="PYTHON")
    given = parser.parse_args()
    seconds_of = "processor" if given.processor else "clock"
    rounds, ways = (1, WAYS[:1]) if given.quick else (3, WAYS)
    plan = Plan(Dataset.open(given.dataset), ways, rounds, Meter(seconds_of))
    result = {"machine": machine(), "commit": commit(), "seconds_of": seconds_of, "rounds": rounds}
    torch.set_num_threads(1)
    result["row_loop"] = found = {}
    for name in ("gmf none", "gmf ig", "neumf none", "neumf ig"):
        found[name] = against_row_loop(plan, *name.split())
        show(name, found[name])
    result["recbole"] = found = {}
    for threads in ((1,) if given.processor else (1, 2)) if given.recbole else ():
        torch.set_num_threads(threads)
        for model in PEERS:
            name = f"{model}, threads: {threads}"
            found[name] = against_recbole(plan, given.recbole, model, threads)
            show(name, found[name])
    if not given.quick:
        (HERE / "epoch.json").write_text(json.dumps(result, indent=1) + "\n")


class Meter:
    """Seconds that each of `PLACES` takes, without those of another one within it."""

    def __init__(self, seconds_of: str) -> None:
        self.seconds_of, self.clock = seconds_of, CLOCKS[seconds_of]
        self.seconds: Counter[str] = Counter()
        self._inner = [0.0]
        trainer.perf_counter = self.clock
        for name, functions in PLACES.items():
            for owner, function in functions:
                setattr(owner, function, self._timed(name, getattr(owner, function)))

    def _timed(self, name: str, function: Callable) -> Callable:
        def timed(*args, **named):
            self._inner.append(0.0)
            started = self.clock()
            try:
                return function(*args, **named)
            finally:
                seconds = self.clock() - started
                self.seconds[name] += seconds - self._inner.pop()
                self._inner[-1] += seconds

        return timed


WAYS = ("eager", "compiled")


@dataclass(frozen=True, slots=True)
class Plan:
    """What all comparisons share."""

    data: Dataset
    ways: tuple[str, ...]
    rounds: int
    meter: Meter


def against_row_loop(plan: Plan, backbone: str, strategy: str) -> dict:
    """Epochs of ours and of the row loop in turn."""
    judges = JUDGES if strategy == "ig" else 0.0
    settings = {"dim": DIM, "batch_size": BATCH, "rate": RATE, "alpha": ALPHA}
    with ExitStack() as stack:
        ours = {way: Ours(stack, plan, way, backbone, strategy) for way in plan.ways}
        others: dict = {
            f"rows of {form}": RowLoop(
                plan.data, backbone, form, judge_fraction=judges, clock=plan.meter.clock, **settings
            )
            for form in FORMS
        }
        if backbone == "neumf":
            # A judged step also learns from unlabelled pairs once, and judges three times.
            n_steps = (1 + 2 * judges) * len(plan.data.train) / BATCH
            others["products alone"] = Products(n_steps, plan.meter.clock)
        return in_turn(ours, others, plan.rounds)


def against_recbole(plan: Plan, python: str, model: str, threads: int) -> dict:
    """Epochs of ours and of RecBole in turn, on the positive training rows."""
    rows = plan.data.train
    liked = rows.labels == 1
    rows = Part(rows.users[liked], rows.items[liked], rows.labels[liked])
    plan = replace(plan, data=replace(plan.data, train=rows))
    with ExitStack() as stack:
        ours = {way: Ours(stack, plan, way, PEERS[model], "ns") for way in plan.ways}
        command = [str(Path(python).absolute()), str(HERE / "recbole_peer.py"), model, str(threads)]
        peer = Peer(stack, rows, [*command, plan.meter.seconds_of])
        counts = {"ours": ours["eager"].counts, "RecBole": peer.counts}
        return {"counts": counts, **in_turn(ours, {"RecBole": peer}, plan.rounds)}


def in_turn(ours: Mapping, others: Mapping, rounds: int) -> dict:
    """Everyone's medians over the rounds after the first; how many times ours the others take."""
    parts = {**ours, **others}
    turns = [{name: part.epoch() for name, part in parts.items()} for _ in range(rounds + 1)][1:]
    found: dict = {}
    for name in parts:
        figures = [train_step[name] for train_step in turns]
        found[name] = {key: median(each[key] for each in figures) for key in figures[0]}
        found[name]["spread"] = [pick(each["seconds"] for each in figures) for pick in (min, max)]
    for name in ours:
        found[name]["times"] = {
            other: found[other]["seconds"] / found[name]["seconds"] for other in others
        }
    return found


class Ours:
    """A training in a folder of its own, told to stop after each epoch."""

    def __init__(self, stack: ExitStack, plan: Plan, way: str, backbone: str, strategy: str):
        folder = Path(stack.enter_context(TemporaryDirectory()))
        settings = {"batch_size": BATCH, "epochs": 1000, "store": "row", "device": "cpu"}
        settings |= {"model": {"dim": DIM}, "optimizer": {"lr": RATE}}
        settings |= {"compile": "on" if way == "compiled" else "off"}
        config = load_config({"backbone": backbone, "strategy": strategy, **settings})
        config = complete(config, plan.data, None)
        self._job, self._meter = Job.start(folder, plan.data, config, None), plan.meter
        self.counts = {
            "steps": self._job.trainer.sampler.steps_per_epoch,
            "pairs": len(plan.data.train) * (1 + self._job.trainer.strategy.feed.unlabelled),
            "parameters": sum(weight.numel() for weight in self._job.trainer.module.parameters()),
        }

    def epoch(self) -> dict[str, float]:
        """Train one epoch; its seconds, and where they went."""
        spent = self._meter.seconds
        spent.clear()
        with suppress(Stopped):
            self._job.work(
                progress=silent, should_stop=lambda: False, should_prune=lambda epoch, scores: True
            )
        *_, record = read_lines(self._job.folder / "epochs.jsonl")
        within = {place: spent[place] for place in PLACES if place != "saving"}
        within["loop"] = record["train_seconds"] - sum(within.values())
        return {
            "seconds": record["train_seconds"],
            **within,
            "outside_the_step": sum(within[place] for place in OUTSIDE) / record["train_seconds"],
            "validating": record["validate_seconds"],
            "saving": spent["saving"],
        }


class Products:
    """The matrix products of NeuMF's perceptron, and nothing else."""

    def __init__(self, n_steps: float, clock: Callable[[], float]) -> None:
        self._n_steps, self._clock = n_steps, clock
        self._layers = [
            (torch.randn(BATCH, before), torch.randn(before, after), torch.randn(BATCH, after))
            for before, after in pairwise(TOWER)
        ]

    def epoch(self) -> dict[str, float]:
        """Multiply for a twentieth of the steps; seconds of all."""
        n_steps = int(self._n_steps / 20)
        started = self._clock()
        for _ in range(n_steps):
            for inputs, weights, gradients in self._layers:
                _ = inputs @ weights, gradients @ weights.T, inputs.T @ gradients
        return {"seconds": (self._clock() - started) / n_steps * self._n_steps}


class Peer:
    """RecBole in a process of its own, which trains when it is its turn."""

    def __init__(self, stack: ExitStack, rows: Part, command: list[str]) -> None:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        (folder / "ml-1m").mkdir()
        lines = [f"{user}\t{item}\n" for user, item in zip(rows.users, rows.items, strict=True)]
        head = "user_id:token\titem_id:token\n"
        (folder / "ml-1m" / "ml-1m.inter").write_text(head + "".join(lines))
        noise = folder / "noise.txt"
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stack.enter_context(noise.open("w")),
            env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
            text=True,
        )
        stack.enter_context(self._process)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"RecBole did not start:\n{noise.read_text()}")
        self.counts = json.loads(answer)

    def epoch(self) -> dict[str, float]:
        """Let it train one epoch."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return {"seconds": float(self._process.stdout.readline())}


def show(name: str, found: dict) -> None:
    """Print everyone's seconds, what the others take of ours, and where ours goes."""
    ours, others = ([n for n in found if (n in WAYS) == mine] for mine in (True, False))
    others = [other for other in others if other != "counts"]
    print(f"\n{name:24}{'s an epoch':>11}{'from':>8}{'to':>8}", *(f"{way:>12}" for way in ours))
    for part in [*ours, *others]:
        figures = found[part]
        line = f"{part:24}{figures['seconds']:11.2f}{figures['spread'][0]:8.2f}"
        times = [f"{found[way]['times'][part]:11.2f}x" for way in ours if part in others]
        print(f"{line}{figures['spread'][1]:8.2f}", *times)
    for way in ours:
        figures = found[way]
        places = [place for place in (*PLACES, "loop") if place != "saving"]
        shares = ", ".join(f"{place} {figures[place] / figures['seconds']:.1%}" for place in places)
        print(f"  {way}: {shares}; outside the step {figures['outside_the_step']:.1%};")
        print(
            f"    then validating {figures['validating']:.2f} s, saving {figures['saving']:.2f} s"
        )
    for who, counts in found.get("counts", {}).items():
        named = (f"{counts[figure]:,} {figure}" for figure in ("steps", "pairs", "parameters"))
        print(f"  {who}:", ", ".join(named))


if __name__ == "__main__":
    main()
