"""Each unlabelled pair judged by itself (`ig-sample`) beside `none`, `idl` and `ig`, same backbone.

    python experiments/ig_sample.py --data data --work work [--only ml-1m-0.05 ...]

Biased factors. `none`, `idl` and `ig` train with the settings that the search of `equal_terms/`
chose in ten trials; `ig-sample` gets the same ten trials (the same rates and penalties), and has to
find policy and weight of the unlabelled part, 0 among them, in them as well. Five fresh seeds,
paired intervals.
"""

import json
from typing import Any

import yaml
from recommended import HERE, run_cells, settings

METHODS = ("none", "idl", "ig", "ig-sample")


def main() -> None:
    """Run the cells that are asked for."""
    run_cells(__doc__, compared, reference="ig-sample")


def compared(dataset: str, share: float) -> dict[str, Any]:
    """Grid of a cell; where no settings are committed, all four are searched for."""
    committed = json.loads((HERE / "equal_terms" / f"{dataset}.json").read_text())
    rows = {
        row["method"]: row
        for row in committed["rows"]
        if row["label_share"] == share and row.get("backbone") == "mf" and not row["trivial"]
    }
    if not rows:
        plan = yaml.safe_load((HERE / "equal_terms_small.yaml").read_text())
        factors = {**plan["settings"], "backbone": "mf"}
        methods = {name: {"settings": {**factors, "strategy": name}} for name in METHODS}
        return {"methods": methods, "tuning": plan["tuning"]}
    methods = {
        name: {"settings": settings(committed, rows[name]), "tuned": False}
        for name in METHODS
        if name in rows
    }
    plan = committed["experiments"][str(rows["none"]["experiment"])]["plan"]
    factors = {**plan["settings"], "backbone": "mf"}
    methods["ig-sample"] = {"settings": {**factors, "strategy": "ig-sample"}}
    tuning = yaml.safe_load((HERE / "equal_terms.yaml").read_text())["tuning"]
    return {"methods": methods, "tuning": tuning}


if __name__ == "__main__":
    main()
