"""The recommended default beside the paper's methods, the trivial baselines, and ig-sample.

    python experiments/recommended.py --data data --work work [--only ml-1m-0.05 ...]

`--data` holds the datasets that `invlearn datasets prepare` made. In each cell (dataset x share of
the training labels that is kept) the default is trained with five seeds as it is, without a search.
It is paired with every method over biased factors or GMF whose mean AUC in `equal_terms/` is within
`NEAR` of the best of the twelve there, trained again with the settings that the search had chosen;
where `equal_terms/` has no such cell, the six methods over biased factors are searched for here.

A cell is an experiment of its own (`invlearn.compare`) and goes on after a stop. `curves.py`
collects them, `leads.py` sums them up.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import invlearn

HERE = Path(__file__).parent
DATASETS = ("kuairec", "ml-100k", "kuairand", "ml-1m")
SHARES = (0.01, 0.05, 0.2, 0.5, 1.0)
NEAR = 0.005
"""AUC within which a method is trained again to be paired."""
STRATEGIES = ("none", "ns", "t-ce", "r-ce", "idl", "ig")
LARGE = {("kuairand", 0.5)}
"""Cells without committed settings that have more than some 50,000 labelled training rows; there
`ns`, `t-ce` and `r-ce` are left out, which lose to `none` on KuaiRand at every other share."""


def main() -> None:
    """Run the cells that are asked for."""
    run_cells(__doc__, opponents)


def run_cells(
    description: str | None, grid_of: Callable[[str, float], dict[str, Any]], **options: Any
) -> None:
    """Compare in each cell that the command line asks for, in that order; or in all of them.

    Args:
        description: What `--help` says.
        grid_of: From dataset and share of the labels to methods and tuning.
        options: Of every comparison.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    every = {f"{dataset}-{share:g}": (dataset, share) for share in SHARES for dataset in DATASETS}
    parser.add_argument("--only", nargs="+", choices=every, default=list(every))
    given = parser.parse_args()
    for name in given.only:
        dataset, share = every[name]
        print(name, flush=True)
        grid = {"datasets": {dataset: given.data / dataset}, "label_shares": [share]}
        grid |= grid_of(dataset, share)
        invlearn.compare(grid, given.work / name, workers=given.workers, **options)


def opponents(dataset: str, share: float) -> dict[str, Any]:
    """The default and the methods to pair it with, and how those are tuned."""
    committed = json.loads((HERE / "equal_terms" / f"{dataset}.json").read_text())
    rows = [r for r in committed["rows"] if r["label_share"] == share and not r["trivial"]]
    if not rows:
        return searched(large=(dataset, share) in LARGE)
    best = max(row["auc"]["mean"] for row in rows)
    methods: dict[str, Any] = {"recommended": None}
    for row in rows:
        if row["auc"]["mean"] >= best - NEAR:
            methods[f"{row['backbone']} {row['method']}"] = {"settings": settings(committed, row)}
    return {"methods": methods, "tuning": {"trials": 1}}


def settings(committed: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Settings of a committed row, those of its search put over them."""
    plan = committed["experiments"][str(row["experiment"])]["plan"]
    found: dict[str, Any] = dict(plan["settings"])
    for kind, name in (("backbones", row["backbone"]), ("strategies", row["method"])):
        found |= plan[kind][name]["settings"]
    for name, value in row["settings"].items():
        group, _, key = name.partition(".")
        found[group] = {**found.get(group, {}), key: value} if key else value
    return found


def searched(*, large: bool) -> dict[str, Any]:
    """The default, and the six methods over biased factors as in `equal_terms*.yaml`."""
    plan = yaml.safe_load((HERE / f"equal_terms{'' if large else '_small'}.yaml").read_text())
    methods: dict[str, Any] = {"recommended": None}
    for name in ("none", "idl", "ig") if large else STRATEGIES:
        own = (plan["strategies"][name] or {}).get("settings", {"strategy": name})
        methods[f"mf {name}"] = {"settings": {**plan["settings"], "backbone": "mf", **own}}
    return {"methods": methods, "tuning": plan["tuning"]}


if __name__ == "__main__":
    main()
