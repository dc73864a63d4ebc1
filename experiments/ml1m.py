"""ML-1M on the paper authors' split: the rows that were measured before, with both stores.

    python experiments/ml1m.py --data FOLDER/ml-1m --work /tmp/ml1m [--seeds 0 1 2]

Every row is one `invlearn train` as a person would type it; the commands and the metrics of each
run go to `experiments/ml1m.json`, and a table to the screen. Runs that `--work` holds already are
not trained again. About 20 seconds a run on two cores.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev

ROWS = {
    # strategy, rate: AUC, GAUC, NDCG@20 measured before with another implementation, one seed
    ("none", "1e-3"): (0.8392, 0.7729, 0.9558),
    ("none", "1e-4"): (0.7897, 0.7344, 0.9440),
    ("ns", "1e-3"): (0.7879, 0.7474, 0.9533),
    ("idl", "1e-4"): (0.7818, 0.7446, 0.9474),
    ("idl", "1e-3"): (0.8069, 0.7140, 0.9353),
    ("ig", "1e-4"): (0.7754, 0.7251, 0.9418),
    ("ig", "1e-3"): (0.8334, 0.7657, 0.9535),
}
METRICS = ("auc", "gauc", "ndcg@20")
HERE = Path(__file__).parent


def main() -> None:
    """Train what is missing, collect, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    data = given.work / "ml1m"
    if not data.exists():
        run(f"invlearn datasets prepare ml-1m --from {given.data} --out {data}")
    results = [
        one(given.work, data, strategy, rate, store, seed)
        for strategy, rate in ROWS
        for store in ("dense", "row")
        for seed in given.seeds
    ]
    (HERE / "ml1m.json").write_text(json.dumps(results, indent=1) + "\n")
    show(results)


def one(work: Path, data: Path, strategy: str, rate: str, store: str, seed: int) -> dict:
    """Train one row unless it was, and read its test metrics."""
    out = work / f"{strategy}-{rate}-{store}-{seed}"
    command = (
        f"invlearn train {data.name} --backbone gmf --strategy {strategy} --store {store} "
        f"--optimizer.lr {rate} --epochs 10 --seed {seed} --out {out.name}"
    )
    if not (out / "test.json").exists():
        run(command + " --overwrite", work)
    test = json.loads((out / "test.json").read_text())
    return {
        "command": command,
        "strategy": strategy,
        "rate": rate,
        "store": store,
        "seed": seed,
        **{name: test[name] for name in ("epoch", *METRICS, "ndcg@10", "log_loss")},
    }


def run(command: str, folder: Path | None = None) -> None:
    """Run an `invlearn` command of this environment, quietly."""
    words = shlex.split(command)
    program = Path(sys.executable).with_name(words[0])
    subprocess.run([program, *words[1:]], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def show(results: list[dict]) -> None:
    """Print mean and spread over the seeds beside what was measured before."""
    print(f"{'strategy':9}{'rate':6}{'store':7}{'seeds':6}" + "".join(f"{m:>24}" for m in METRICS))
    for (strategy, rate), before in ROWS.items():
        for store in ("dense", "row"):
            key = (strategy, rate, store)
            found = [r for r in results if (r["strategy"], r["rate"], r["store"]) == key]
            cells = ""
            for metric, old in zip(METRICS, before, strict=True):
                values = [r[metric] for r in found]
                spread = f"±{stdev(values):.4f}" if len(values) > 1 else ""
                cells += f"{f'{fmean(values):.4f}{spread} ({fmean(values) - old:+.4f})':>24}"
            print(f"{strategy:9}{rate:6}{store:7}{len(found):<6}{cells}")


if __name__ == "__main__":
    main()
