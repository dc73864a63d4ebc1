"""Are the promises of an annotation kept where the truth is known?

    python experiments/annotation.py --data FOLDER --work WORK [--seeds 0 1 2]

FOLDER holds `ml-1m/ratings.parquet` (with the split of Lin et al. as a column), and of KuaiRec's
fully observed block `kuairec/watch_ratio.parquet` (some of its cells with their watch ratios) and
`kuairec/small_matrix_watched_twice.npz` (all of its cells, as bits: watch ratio at least 2).

- `ml-1m 20 %`: the labels of four training rows in five are hidden, and annotated.
- `kuairec clear 20 %`: the same of the rows with a watch ratio of at least 1.5 or below 0.2.
- `kuairec block 2 %`: 2 % of all cells say whether a video was watched twice; the rest is asked.
- `kuairec rows to block`: the rows of `watch_ratio.parquet` say whether it was watched twice; all
  other cells are asked, of which those rows are no even sample.
- `kuairec clear to block`: trained on clear rows alone, asked about every cell, clear or not.

Each with `mf` and with `--config recommended`. What is there already in WORK is not done again.
Writes `experiments/annotation.json`, and prints the table of docs/annotation.md.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

import invlearn
from invlearn.runtime.atomic import write_json
from invlearn.runtime.environment import commit, machine
from invlearn.training.run import Run

MF: dict[str, Any] = {
    "backbone": "mf",
    "optimizer": {"lr": 0.02, "l2": 1e-4},
    "epochs": 30,
    "patience": 3,
    "select_by": "auc",
}
WAYS: dict[str, dict[str, Any]] = {"mf": MF, "recommended": {"config": "recommended"}}
OUT = Path(__file__).with_suffix(".json")


class Case(NamedTuple):
    """What is annotated after which training."""

    name: str
    dataset: Path
    pairs: dict[str, Any]
    """Options of `annotate`; nothing for the dataset's own pairs, whose labels were hidden."""


def main() -> None:
    """Prepare, train, annotate, write down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    cases = [*prepared(given.data, given.work)]
    for seed in given.seeds:
        for case in cases:
            for way, options in WAYS.items():
                summary = annotated(case, way, options, seed, given.work)
                found.append({"case": case.name, "way": way, "seed": seed, **summary})
                write_json(OUT, {"machine": machine(), "commit": commit(), "runs": found})
                print(f"{case.name}, {way}, seed {seed}: done", flush=True)
    print("\n".join(table(found)))


def prepared(data: Path, work: Path) -> Iterator[Case]:
    """Datasets of all cases, and what is asked after training on each."""
    block = work / "block.parquet"
    if not block.exists():
        unpacked(data / "kuairec" / "small_matrix_watched_twice.npz").write_parquet(block)
    clear, rows = data / "kuairec", data / "kuairec" / "watch_ratio.parquet"
    asked = {"pairs": block, "truth": "twice"}

    def made(name: str, make: Any, *source: Any, **options: Any) -> Path:
        out = work / name
        if not out.exists():
            make(*source, out, **options)
        return out

    def known(name: str, folder: Path) -> Path:
        if not (work / name).exists():
            invlearn.prepare_known(name, work / name, folder=folder)
        return work / name

    def weaker(folder: Path, share: float) -> Path:
        return made(f"{folder.name}-{share}", invlearn.corrupt_labels, folder, label_share=share)

    ninety = {"valid_fraction": 0.02, "test_fraction": 0.02}
    whole = made("block", invlearn.prepare, block, rule="label(twice)", **ninety)
    some = made("rows", invlearn.prepare, rows, rule="watch_ratio >= 2")
    yield Case("ml-1m 20 %", weaker(known("ml-1m", data / "ml-1m"), 0.2), {})
    yield Case("kuairec clear 20 %", weaker(known("kuairec", clear), 0.2), {})
    yield Case("kuairec block 2 %", weaker(whole, 0.02), {})
    yield Case("kuairec rows to block", some, asked)
    yield Case("kuairec clear to block", known("kuairec", clear), asked)


def unpacked(file: Path) -> pl.DataFrame:
    """The fully observed block as pairs: was the video watched twice or longer?"""
    packed = np.load(file)
    cells = np.unpackbits(packed["packed"], axis=1)[:, : packed["shape"][1]]
    users, items = np.divmod(np.arange(cells.size), cells.shape[1])
    return pl.DataFrame(
        {
            "user": packed["user_ids"][users],
            "item": packed["item_ids"][items],
            "twice": cells.ravel().astype(np.int8),
        }
    )


def annotated(
    case: Case, way: str, options: dict[str, Any], seed: int, work: Path
) -> dict[str, Any]:
    """Train and annotate; return the summary without what is long."""
    place = work / f"{case.name.replace(' ', '-').replace('%', 'percent')}-{way}-{seed}"
    file = place.with_suffix(".json")
    if not file.exists():
        run = Run.open(place) if (place / "test.json").exists() else None
        run = run or invlearn.train(case.dataset, place, seed=seed, overwrite=True, **options)
        invlearn.annotate(run, place.with_suffix(".parquet"), overwrite=True, **case.pairs)
    summary = json.loads(file.read_text())
    del summary["calibration"]["map"]
    for facts in (summary["calibration"]["raw"], summary["calibration"]["calibrated"]):
        del facts["table"]
    for name in ("test", "truth"):
        del summary[name]["table"]
    return {name: value for name, value in summary.items() if name not in ("run", "from")}


def table(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: AUC and ECE by truth, and for each promise what validation and truth say."""
    promises = [p["precision"] for p in runs[0]["promises"]]
    heads = [f"{p:.0%} {sign}" for p in promises for sign in "+-"]
    yield (
        "| case | model | seeds | AUC valid | AUC truth | ECE raw | ECE truth | "
        + " | ".join(heads)
        + " |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|" + "--:|" * len(heads)
    for case, way in dict.fromkeys((run["case"], run["way"]) for run in runs):
        same = [run for run in runs if (run["case"], run["way"]) == (case, way)]
        measures = (
            [run["calibration"]["calibrated"]["auc"] for run in same],
            [run["truth"]["auc"] for run in same],
            [run["calibration"]["raw"]["ece"] for run in same],
            [run["truth"]["ece"] for run in same],
        )
        numbers = [f"{np.mean(values):.4f}" for values in measures]
        cells = [
            kept([run["promises"][k][name] for run in same])
            for k in range(len(promises))
            for name in ("positive", "negative")
        ]
        yield f"| {case} | `{way}` | {len(same)} | " + " | ".join([*numbers, *cells]) + " |"


def kept(labels: list[dict[str, Any]]) -> str:
    """Precision by validation, by truth: means over the seeds that reach the promise."""
    reached = [label for label in labels if label["threshold"] is not None]
    if not reached:
        return "none"
    valid = np.mean([label["validation"]["precision"] for label in reached])
    truth = np.mean([label["truth"]["precision"] for label in reached])
    missing = f" ({len(reached)} of {len(labels)} seeds)" if len(reached) < len(labels) else ""
    return f"{valid:.1%}, {truth:.1%}{missing}"


if __name__ == "__main__":
    main()
