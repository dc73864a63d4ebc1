"""Why another implementation of Algorithm 1 measured less on ML-1M: two habits of released code.

    python experiments/ig_variants.py --dataset /tmp/ml1m/ml1m [--seeds 0 1 2]

The paper splits the labelled training rows 90/10 and names Adam. The package draws the judges at
random and keeps one Adam. The released code takes the last tenth of the file as judges (so a few
users are judges with all they have) and makes Adam again for each step on them (so that such a step
goes by the sign of the gradient). Both are put on here from outside, one at a time and together.
Writes `experiments/ig_variants.json`; about 20 seconds a run.
"""

import argparse
import json
import tempfile
from itertools import product
from pathlib import Path
from statistics import fmean
from unittest.mock import patch

import numpy as np

from invlearn.data.sampling import sampler
from invlearn.training.run import train
from invlearn.training.stores import STORES, DenseStore

METRICS = ("auc", "gauc", "ndcg@20")
BEFORE = {1e-3: (0.8334, 0.7657, 0.9535), 1e-4: (0.7754, 0.7251, 0.9418)}
HERE = Path(__file__).parent


class NewAdamForJudges:
    """A dense store that forgets its moments before each step on judges."""

    def __init__(self, module, tables, config, *, seed):
        self._make = lambda: DenseStore(module, tables, config, seed=seed)
        self._store = self._make()

    def locate(self, batch):
        return self._store.index(batch)

    def gather_indexed(self, indexed):
        return self._store.gather_indexed(indexed)

    def apply(self, context, proposal):
        (self._make() if context.batch.is_meta_batch else self._store).update(context, proposal)

    def remember(self, memory):
        self._store.remember(memory)

    def state(self):
        return self._store.state()


def last_rows(n_rows, feed, seed):
    """Judges are the last rows; rows are in the order (user, item)."""
    n_judges = round(feed.judge_fraction * n_rows)
    return np.arange(n_rows - n_judges), np.arange(n_rows - n_judges, n_rows)


def main() -> None:
    """Train every variant and print means over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    results = []
    print(f"{'rate':8}{'judges':10}{'Adam':16}" + "".join(f"{name:>10}" for name in METRICS))
    for lr, last, again in product(BEFORE, (False, True), (False, True)):
        found = [one(given.dataset, lr, seed, last=last, again=again) for seed in given.seeds]
        results += found
        names = f"{'last' if last else 'random':10}{'new for judges' if again else 'one':16}"
        means = "".join(f"{fmean(r[name] for r in found):10.4f}" for name in METRICS)
        print(f"{lr:<8}{names}{means}", flush=True)
        if last and again:
            before = "".join(f"{value:10.4f}" for value in BEFORE[lr])
            print(f"{lr:<8}{'measured before, one seed':26}{before}", flush=True)
    (HERE / "ig_variants.json").write_text(json.dumps(results, indent=1) + "\n")


def one(dataset: str, lr: float, seed: int, *, last: bool, again: bool) -> dict:
    """Train one variant and read its test metrics."""
    split = last_rows if last else sampler._judge_split
    store = NewAdamForJudges if again else DenseStore
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(sampler, "_judge_split", split),
        patch.dict(STORES, {"dense": store}),
    ):
        run = train(
            dataset,
            Path(folder, "run"),
            strategy="ig",
            store="dense",
            seed=seed,
            epochs=10,
            optimizer={"lr": lr},
        )
        test = run.test
    options = {"rate": lr, "seed": seed, "judges_last": last, "adam_anew": again}
    return options | {name: test[name] for name in ("epoch", *METRICS)}


if __name__ == "__main__":
    main()
