"""Small datasets and batches with known answers, for the tests of training."""

from pathlib import Path

import numpy as np
import polars as pl
import torch

from invlearn.backbones import BACKBONES
from invlearn.backbones.auxiliary import attach_auxiliary_models, tables_with_auxiliary
from invlearn.backbones.backbone import FitsExposures, ReadsFeatures
from invlearn.config.schema import OptimizerConfig
from invlearn.data.dataset import Dataset
from invlearn.data.exposures import Exposures
from invlearn.data.feature_files import write_side
from invlearn.data.features import Features, Scale, SideCard, SideFeatures
from invlearn.data.parts import Part, write_dataset
from invlearn.data.types import Batch, LabelledRows, Pairs
from invlearn.runtime.atomic import new_folder
from invlearn.runtime.random import stream
from invlearn.training.class_lookup import options_of
from invlearn.training.stores import DenseStore

FITTING = {
    "nnpu": {"prior": 0.1},
    "co-teaching": {"forget_fraction": 0.05},
    "deca": {"c1": 3.0, "c2": 3.0},
}
"""Options that methods made for noisy or one-sided labels need on data whose labels are right."""


ACTIVE = {
    "t-ce": {"drop_fraction": 0.3, "ramp_steps": 2},
    "dcf": {"drop_fraction": 0.3, "ramp_steps": 2, "relabel_fraction": 0.5},
    "pseudo-label": {"ramp_start": 0, "ramp_end": 1},
    "udt": {"warmup_epochs": 1, "least": 0.1},
    "pld": {"warmup_epochs": 1},
    "co-teaching": {"ramp_epochs": 1},
}
"""Options with which methods that hold back at first do all that they do from the first steps."""


def part(users=(), items=(), labels=()):
    """Part of a dataset from columns of any kind."""
    return Part(
        np.asarray(users, np.int32), np.asarray(items, np.int32), np.asarray(labels, np.int8)
    )


def write_toy(folder, parts, *, n_users, n_items, features=None):
    """Write a dataset folder of `parts` (missing ones are empty) and open it."""
    with new_folder(Path(folder)) as partial:
        pl.DataFrame({"id": np.arange(n_users)}).write_parquet(partial / "users.parquet")
        pl.DataFrame({"id": np.arange(n_items)}).write_parquet(partial / "items.parquet")
        names = ("train", "valid", "test", "unlabelled")
        full = {name: parts.get(name, part()) for name in names}
        card = {"n_users": n_users, "n_items": n_items}
        if features is not None:
            write_side(partial, "user", features.users)
            write_side(partial, "item", features.items)
            card["features"] = features.card.model_dump()
        write_dataset(partial, full, card)
    return Dataset.open(folder)


def checkerboard(folder, *, n_users=30, n_items=30, seed=0):
    """Write a dataset in which even users like even items, odd users odd ones.

    A tenth of the pairs is shown without a label, all of them dislikes, so that taking them for
    negatives is right; as many likes are never shown, so that labels are in balance. Of the rest,
    7 in 10 train, the others validate and test.
    """
    users, items = np.divmod(stream(seed, "board").permutation(n_users * n_items), n_items)
    labels = (users % 2 == items % 2).astype(np.int8)
    n_aside = len(users) // 10
    shown = np.flatnonzero(labels == 0)[:n_aside]
    rest = np.setdiff1d(np.arange(len(users)), [*shown, *np.flatnonzero(labels == 1)[:n_aside]])
    ends = [7 * len(rest) // 10, 85 * len(rest) // 100]
    parts = {
        name: part(users[rows], items[rows], labels[rows])
        for name, rows in zip(("train", "valid", "test"), np.split(rest, ends), strict=True)
    }
    parts["unlabelled"] = part(users[shown], items[shown])
    return write_toy(folder, parts, n_users=n_users, n_items=n_items)


def random_batch(*, n_users, n_items, n_labelled=24, n_unlabelled=24, seed=0, **fields):
    """Batch of uniformly drawn pairs."""
    rng = stream(seed, "batch")

    def pairs(n):
        users, items = rng.integers(n_users, size=n), rng.integers(n_items, size=n)
        return Pairs(torch.from_numpy(users), torch.from_numpy(items))

    labels = torch.from_numpy(rng.integers(2, size=n_labelled).astype(np.float32))
    given = {"is_meta_batch": False, "step": 0, "lr": 0.1} | fields
    return Batch(pairs(n_labelled), labels, pairs(n_unlabelled), **given)


def small_backbone(name, n_users, n_items, *, seed=0, scale=0.5, **options):
    """Make a small backbone whose weights are large enough to tell pairs apart."""
    given = {"dim": 4, "layers": 2, "width": 8} | options
    known = options_of(BACKBONES[name])
    chosen = {key: value for key, value in given.items() if key in known}
    features = small_features(n_users, n_items, seed=seed)
    if issubclass(BACKBONES[name], ReadsFeatures):
        chosen["features"] = features.card
    module = BACKBONES[name](n_users, n_items, **chosen)
    if isinstance(module, ReadsFeatures):
        module.read_features(features)
    if isinstance(module, FitsExposures):
        module.fit_exposures(small_exposures(n_users, n_items, n=n_users * n_items // 2, seed=seed))
    return drawn(module, seed=seed, scale=scale)


def with_ledger(batch, strategy, *, n_epochs=0, seed=0):
    """The batch as a sampler and a store complete it for a strategy that keeps row state.

    Its labelled pairs are all labelled rows that there are, under mixed-up numbers. The row state
    is that after `n_epochs`, in each of which drawn values were noted.
    """
    order = torch.from_numpy(stream(seed, "rows").permutation(len(batch.labels)))
    places = torch.argsort(order)
    rows = LabelledRows(Pairs(*(ids[places] for ids in batch.labelled)), batch.labels[places])
    row_state = dict(strategy.init_row_state(rows))
    for epoch in range(n_epochs):
        drawn = stream(seed, "losses", epoch).exponential(size=len(order)).astype(np.float32)
        row_state |= {name: torch.from_numpy(drawn) for name in ("losses",) if name in row_state}
        row_state = dict(strategy.on_epoch_end(row_state))
    if not strategy.feed.row_state:
        return batch._replace(row_state=row_state)
    return batch._replace(rows=order, origin=batch.unlabelled, row_state=row_state)


def small_exposures(n_users, n_items, *, n, seed=0):
    """Pairs that occur once each, a third of them without a label."""
    cells = stream(seed, "shown").permutation(n_users * n_items)[:n]
    return Exposures(*np.divmod(cells, n_items), (np.arange(n) % 3 - 1).astype(np.int8))


def small_features(n_users, n_items, *, seed=0):
    """Two categories and a number of users, a category of items."""
    rng = stream(seed, "features")

    def side(n_ids, card):
        codes = [rng.integers(n_codes, size=n_ids) for n_codes in card.categorical.values()]
        values = rng.standard_normal((n_ids, len(card.numeric)))
        return SideFeatures(card, np.stack(codes, 1).astype(np.int32), values.astype(np.float32))

    scales = {"age": Scale(mean=40.0, spread=9.0)}
    users = SideCard(categorical={"town": 3, "device": 2}, numeric=scales)
    return Features(side(n_users, users), side(n_items, SideCard(categorical={"genre": 4})))


def every_pair(n_users, n_items):
    """All users with all items."""
    users, items = np.divmod(np.arange(n_users * n_items), n_items)
    return torch.from_numpy(users), torch.from_numpy(items)


def drawn(module, *, seed=0, scale=1.0):
    """The module with weights large enough to tell pairs apart."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(scale * torch.randn(weight.shape, generator=generator))
    return module


def row_pool(n_users, n_items, *, n_rows=400, seed=0):
    """Labelled rows for strategies that keep row state of them."""
    batch = random_batch(n_users=n_users, n_items=n_items, n_labelled=n_rows, seed=seed)
    return LabelledRows(batch.labelled, batch.labels)


def of_rows(batch, pool, *, seed=0):
    """The batch with as many labelled rows of a pool in place of its labelled pairs."""
    drawn = stream(seed, "rows").permutation(len(pool.labels))[: len(batch.labels)]
    rows = torch.from_numpy(drawn)
    return batch._replace(
        labelled=Pairs(*(ids[rows] for ids in pool.pairs)),
        labels=pool.labels[rows],
        rows=rows,
        origin=batch.unlabelled,
    )


def gather_small(backbone_name, batch, *, n_auxiliary=0):
    """Score function, point and batch as a store of 9 users and 7 items shows them."""
    module = small_backbone(backbone_name, 9, 7)
    torch.manual_seed(0)
    attach_auxiliary_models(module, n_auxiliary)
    tables = tables_with_auxiliary(getattr(module, "tables", {}), n_auxiliary)
    return DenseStore(module, tables, OptimizerConfig(), seed=0).gather(batch)


def assert_near(found, expected, *, rtol=1e-4, atol=1e-6):
    """Compare two dicts of tensors."""
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=rtol, atol=atol)
