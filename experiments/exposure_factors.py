"""ML-1M on the paper authors' split: what the baselines reach when training labels are hidden.

    python experiments/exposure_factors.py --data FOLDER/ml-1m --work /tmp/ml1m

A seeded permutation keeps 1, 5, 20 and 100 % of the training labels; the other training rows are
exposed without a label. Test metrics of each share and seed go to
`experiments/exposure_factors.json`, and a table to the screen. A few minutes on one core.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from invlearn import Dataset
from invlearn.data.parts import Part
from invlearn.evaluation.assessment import measure_baselines
from invlearn.runtime.random import stream

SHARES = (0.01, 0.05, 0.2, 1.0)
NAMES = ("item+user-rate", "exposure-factors")
METRICS = ("auc", "gauc", "ndcg@10", "log_loss")
HERE = Path(__file__).parent


def main() -> None:
    """Prepare what is missing, measure, collect, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    given = parser.parse_args()
    folder = given.work / "ml1m"
    if not folder.exists():
        program = Path(sys.executable).with_name("invlearn")
        words = ("datasets", "prepare", "ml-1m", "--from", given.data, "--out", folder)
        subprocess.run([program, *words], check=True, stdout=subprocess.DEVNULL)
    dataset = Dataset.open(folder)
    results = []
    for share in SHARES:
        for seed in given.seeds:
            hidden = hide(dataset, share, seed)
            found = measure_baselines(hidden, dataset.test, names=NAMES, draws=0, seed=seed)
            results += [
                {"share": share, "seed": seed, "baseline": name}
                | {metric: evaluation.values[metric] for metric in METRICS}
                for name, evaluation in found.items()
            ]
    (HERE / "exposure_factors.json").write_text(json.dumps(results, indent=1) + "\n")
    show(results)


def hide(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Keep labels of a share of the training rows; the others stay exposed."""
    train, shown = dataset.train, dataset.unlabelled
    order = stream(seed, "hidden labels").permutation(len(train))
    kept, hidden = np.split(order, [round(share * len(train))])
    kept.sort()
    return replace(
        dataset,
        train=Part(train.users[kept], train.items[kept], train.labels[kept]),
        unlabelled=Part(
            np.concatenate([shown.users, train.users[hidden]]),
            np.concatenate([shown.items, train.items[hidden]]),
            shown.labels,
        ),
    )


def show(results: list[dict]) -> None:
    """Print mean and spread over the seeds, as rows of a Markdown table."""
    for share in SHARES:
        for name in NAMES:
            cells = [f"{share:.0%}", f"`{name}`"]
            for metric in METRICS:
                values = [
                    r[metric] for r in results if (r["share"], r["baseline"]) == (share, name)
                ]
                spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
                cells.append(f"{fmean(values):.4f}{spread}")
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
