"""What it costs to visit the same tenth of the rows last in every epoch, as Algorithm 1 does.

    python experiments/judges_last.py --dataset ML1M [--seeds 0 1 2 3 4] [--workers 2]

ML1M is the dataset folder that `invlearn datasets prepare ml-1m` makes. Plain training of NeuMF and
GMF on the labelled rows, nothing unlabelled and nothing judged, by PyTorch alone: Adam at 1e-3,
batches of 1,024, 4 epochs (GMF 8). The rows of an epoch are in a new random order (`none`), or
a tenth of them, drawn once, comes `last` or `first` in each. Validation AUC and GAUC each epoch.

Writes `experiments/judges_last.json`.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t
from torch.nn.functional import binary_cross_entropy_with_logits as log_loss

from invlearn.backbones import BACKBONES
from invlearn.data.dataset import Dataset
from invlearn.evaluation.evaluation import evaluate
from invlearn.evaluation.scoring import score_pairs
from invlearn.runtime.environment import commit, machine

EPOCHS = {"neumf": 4, "gmf": 8}
ORDERS = ("none", "last", "first")
HERE = Path(__file__).parent


def main() -> None:
    """Train in every order with every seed, print the best epochs, and write all down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    cells = [*product(EPOCHS, ORDERS, given.seeds)]
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        curves = [*pool.map(trained, [given.dataset] * len(cells), *zip(*cells, strict=True))]
    result: dict = {"machine": machine(), "commit": commit(), "curves": {}}
    for (backbone, order, seed), curve in zip(cells, curves, strict=True):
        result["curves"].setdefault(f"{backbone} {order}", {})[seed] = curve
    summarize(result["curves"])
    (HERE / "judges_last.json").write_text(json.dumps(result, indent=1) + "\n")


def summarize(curves: dict[str, dict[int, list[dict[str, float]]]]) -> None:
    """Print the best validation AUC of each order, and its paired difference from `none`.

    ± is the standard deviation over seeds; the interval holds 95 % by Student's t over seeds.
    """
    best = {
        name: np.array([max(epoch["auc"] for epoch in curve) for curve in found.values()])
        for name, found in curves.items()
    }
    for name, scores in best.items():
        less = scores - best[f"{name.split()[0]} none"]
        mean = less.mean()
        wide = t.ppf(0.975, len(less) - 1) * less.std(ddof=1) / len(less) ** 0.5
        print(
            f"{name:14}{scores.mean():.4f} ± {scores.std(ddof=1):.4f}   less none "
            f"{mean:+.4f} ({mean - wide:+.4f} to {mean + wide:+.4f})"
        )


def trained(dataset: str, backbone: str, order: str, seed: int) -> list[dict[str, float]]:
    """Validation metrics after every epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = Dataset.open(dataset)
    users, items, labels = (
        torch.tensor(column) for column in (data.train.users, data.train.items, data.train.labels)
    )
    users, items, labels = users.long(), items.long(), labels.float()
    module = BACKBONES[backbone](data.n_users, data.n_items).train()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    block, rest = torch.randperm(len(labels)).tensor_split([len(labels) // 10])
    curve = []
    for _ in range(EPOCHS[backbone]):
        for rows in in_order(order, block, rest).split(1024):
            loss = log_loss(module(users[rows], items[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        valid = data.valid
        scores = score_pairs(module, valid.users, valid.items)
        found = evaluate(valid.users, valid.labels, scores, draws=0, name="valid").values
        curve.append({name: round(found[name], 5) for name in ("auc", "gauc")})
    return curve


def in_order(order: str, block: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """The rows of an epoch."""
    if order == "none":
        rows = torch.cat([block, rest])
        return rows[torch.randperm(len(rows))]
    parts = [part[torch.randperm(len(part))] for part in (block, rest)]
    return torch.cat(parts if order == "first" else parts[::-1])


if __name__ == "__main__":
    main()
