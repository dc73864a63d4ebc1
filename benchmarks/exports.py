"""How far ONNX Runtime is from PyTorch on exported runs of every backbone.

    OMP_NUM_THREADS=1 python benchmarks/exports.py --data FOLDER [FOLDER ...] [--quick]

On each dataset folder every backbone of the registry is trained as `invlearn train` does it, for as
many epochs as have 500 steps, which is one of MovieLens-1M, and exported by `invlearn.export`,
which compares 100,000 random pairs of its own choice. Then 100,000 others, drawn evenly from all
users and items, are scored by ONNX Runtime from the file and by PyTorch from the run. `relative` is
in units of the logit's size, or of 1 where that is larger. A backbone that cannot be exported is
listed with what it says.

Backbones that read side features read those that the dataset has. Writes `benchmarks/exports.json`.
Some eight minutes for MovieLens-1M, half of them for `lightgcn`; `--quick` exports two backbones
and writes nothing.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from math import ceil
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

import invlearn
from invlearn.backbones import BACKBONES
from invlearn.config.schema import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.inference.export.exporting import TOLERANCE
from invlearn.inference.export.onnx_file import OnnxScorer
from invlearn.runtime.environment import commit, machine
from invlearn.runtime.errors import InvlearnError
from invlearn.runtime.random import stream

PAIRS, STEPS = 100_000, 500
HERE = Path(__file__).parent


def main() -> None:
    """Measure on every dataset, print, and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = ["gmf", "deepfm"] if given.quick else list(BACKBONES)
    result = {"machine": machine(), "commit": commit(), "pairs": PAIRS, "tolerance": TOLERANCE}
    result["datasets"] = {}
    for folder in given.data:
        result["datasets"][folder.name] = found = size_of(folder)
        show_head(folder.name, found)
        for name in names:
            found["backbones"][name] = measured(folder, name, found["epochs"])
            show(name, found["backbones"][name])
    if not given.quick:
        (HERE / "exports.json").write_text(json.dumps(result, indent=1) + "\n")


def size_of(folder: Path) -> dict:
    """What of a dataset matters here."""
    data = Dataset.open(folder)
    sides = data.card.get("features", {})
    return {
        "users": data.n_users,
        "items": data.n_items,
        "rows": data.card.rows,
        "features": [name for side in sides.values() for kind in side.values() for name in kind],
        "epochs": ceil(STEPS / ceil(len(data.train) / RunConfig().batch_size)),
        "backbones": {},
    }


def measured(folder: Path, name: str, epochs: int) -> dict:
    """Train, export, and compare a backbone; or what it says when it is asked to."""
    with tempfile.TemporaryDirectory() as place:
        run, seconds = timed(lambda: invlearn.train(
            folder, Path(place) / "run", backbone=name, epochs=epochs,
        ))  # fmt: skip
        started = perf_counter()
        try:
            made = invlearn.export(run, Path(place) / "out")
        except InvlearnError as error:
            return {"refused": str(error), "export_seconds": perf_counter() - started}
        export_seconds = perf_counter() - started
        found = compared(run, made.folder / "model.onnx")
    model = {n: size for n, size in made.files.items() if n.startswith("model")}
    times = {"train_seconds": seconds, "export_seconds": export_seconds}
    return {"form": made.form, "bytes": sum(model.values()), **times, **found}


def compared(run: invlearn.Run, file: Path) -> dict:
    """Differences of random pairs' logits, and seconds of both."""
    rng = stream(1, "other pairs")
    sizes = run.card.n_users, run.card.n_items
    pairs = [rng.integers(n, size=PAIRS) for n in sizes]
    scorer = OnnxScorer(file)
    wanted, torch_seconds = timed(lambda: run.score(*pairs))
    found, onnx_seconds = timed(lambda: scorer(*pairs))
    apart = np.abs(found.astype(np.float64) - wanted)
    return {
        "largest_logit": float(np.abs(wanted).max()),
        "absolute": float(apart.max()),
        "relative": float((apart / np.maximum(1, np.abs(wanted))).max()),
        "torch_seconds": torch_seconds,
        "onnx_seconds": onnx_seconds,
    }


def timed(work: Callable) -> tuple:
    """What some work returns, and its seconds."""
    started = perf_counter()
    return work(), perf_counter() - started


def show_head(name: str, size: dict) -> None:
    """Print a dataset's size, and the head of its table."""
    features = ", ".join(size["features"]) or "none"
    print(f"\n{name}: {size['users']:,} users, {size['items']:,} items; features: {features}; "
          f"epochs: {size['epochs']}")  # fmt: skip
    print(f"{'':16}{'|logit|':>9}{'absolute':>10}{'relative':>10}{'KiB':>8}"
          f"{'export s':>10}{'torch ms':>10}{'onnx ms':>9}")  # fmt: skip


def show(name: str, found: dict) -> None:
    """Print a backbone's figures."""
    if "refused" in found:
        print(f"{name:16} {found['refused']}")
        return
    times = (1000 * found[f"{who}_seconds"] for who in ("torch", "onnx"))
    print(f"{name:16}{found['largest_logit']:9.2f}{found['absolute']:10.1e}"
          f"{found['relative']:10.1e}{found['bytes'] / 1024:8,.0f}{found['export_seconds']:10.1f}",
          *(f"{time:9.1f}" for time in times), sep="", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
