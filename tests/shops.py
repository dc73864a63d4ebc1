"""Runs of small backbones without a training, for the tests of what runs are used for."""

import json

import numpy as np
import polars as pl

from invlearn.config.schema import RunConfig
from invlearn.training.run import Run
from invlearn.training.run_folder import RunCard, new_run
from toys import part, small_backbone, small_features, write_toy

N_USERS, N_ITEMS = 12, 30
KNOWN = 9
"""Users from here on have no training label; the last one has no row in training at all."""


def original(kind, dense):
    """Original ids of the shop: in another order, and not the dense ones."""
    return [(2000 if kind == "user" else 5000) - 3 * int(i) for i in dense]


def shop(place, name="gmf", *, seed=0, features=False):
    """Make a dataset folder and an opened run of a backbone whose weights are drawn."""
    rng = np.random.default_rng(seed)
    users, items = np.divmod(np.sort(rng.permutation(N_USERS * N_ITEMS)[:180]), N_ITEMS)
    homes = rng.integers(4, size=180)
    homes[users >= KNOWN] = 3
    homes[users == N_USERS - 1] = 2
    labels = rng.integers(2, size=180)
    parts = {
        name: part(users[homes == n], items[homes == n], labels[homes == n] if n < 3 else ())
        for n, name in enumerate(("train", "valid", "test", "unlabelled"))
    }
    given = small_features(N_USERS, N_ITEMS) if features else None
    size = {"n_users": N_USERS, "n_items": N_ITEMS}
    data = write_toy(place / "data", parts, **size, features=given)
    config = RunConfig(backbone=name)
    with new_run(place / "run", data, config, overwrite=False):
        pass
    for kind, n in (("user", N_USERS), ("item", N_ITEMS)):
        ids = pl.DataFrame({"id": original(kind, range(n))})
        ids.write_parquet(place / "run" / f"{kind}s.parquet")
    card = json.loads((place / "run" / "run.json").read_text())
    del card["ids"]  # they are others than the dataset's
    module = small_backbone(name, N_USERS, N_ITEMS, seed=seed).eval()
    return Run(place / "run", config, module, RunCard.model_validate(card)), data
