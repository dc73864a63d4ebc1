"""Backbones that read features: their formulas by hand, and what features are good for."""

from itertools import combinations, count

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import invlearn
from invlearn.backbones import BACKBONES
from invlearn.backbones.backbone import InnerProduct, ReadsFeatures
from invlearn.backbones.deepfm import DeepFM, second_order
from invlearn.backbones.two_tower import TwoTower
from invlearn.data.features import Features, SideCard, SideFeatures
from invlearn.runtime.errors import ConfigError, Stopped
from invlearn.training import checkpoint
from invlearn.training.class_lookup import options_of
from toys import drawn, every_pair, part, small_features, write_toy

N_USERS, N_ITEMS = 6, 5
FEATURED = [name for name, kind in BACKBONES.items() if issubclass(kind, ReadsFeatures)]
on_both = pytest.mark.parametrize("name", FEATURED)


@given(
    n_fields=st.integers(1, 6), dim=st.integers(1, 4), seed=st.integers(0, 99), n=st.integers(0, 5)
)
def test_the_second_order_term_is_the_double_loop(n_fields, dim, seed, n):
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(n, n_fields, dim, generator=generator, dtype=torch.float64)
    expected = torch.zeros(n, dtype=torch.float64)
    for f, g in combinations(range(n_fields), 2):
        expected += (factors[:, f] * factors[:, g]).sum(-1)
    torch.testing.assert_close(second_order(factors), expected)


def made(kind, *, with_features=True, **options):
    """A backbone in float64 with drawn weights, and its weights as arrays."""
    features = small_features(N_USERS, N_ITEMS)
    card = {"features": features.card} if with_features else {}
    module = drawn(kind(N_USERS, N_ITEMS, dim=3, **card, **options), scale=0.5).double()
    module.read_features(features)
    return module, {n: w.detach().numpy() for n, w in module.named_parameters()}


def fields_by_hand(weights, kind, number, features):
    """Rows of weights of one user or item, one a field."""
    rows = [weights[f"fields.{kind}.ids.weight"][number]]
    first = 0
    for code, n_codes in zip(
        features.codes[number], features.card.categorical.values(), strict=True
    ):
        rows.append(weights[f"fields.{kind}.categories"][first + code])
        first += n_codes
    for column, value in enumerate(features.values[number]):
        rows.append(float(value) * weights[f"fields.{kind}.coefficients"][column])
    return rows


def layers_by_hand(weights, name, numbers, x):
    """A perceptron with a rectifier after each layer."""
    for number in numbers:
        weight, bias = (weights[f"{name}.{number}.{part}"] for part in ("weight", "bias"))
        x = np.maximum(weight @ x + bias, 0)
    return x


def sides(with_features):
    found = small_features(N_USERS, N_ITEMS)
    empty = Features(SideFeatures.none(N_USERS), SideFeatures.none(N_ITEMS))
    return found if with_features else empty


@pytest.mark.parametrize("with_features", [True, False])
def test_deepfm_by_hand(with_features):
    module, weights = made(DeepFM, with_features=with_features, layers=2, width=4)
    found = module(*every_pair(N_USERS, N_ITEMS)).detach().numpy().reshape(N_USERS, N_ITEMS)
    features = sides(with_features)
    for user, item in np.ndindex(N_USERS, N_ITEMS):
        rows = fields_by_hand(weights, "user", user, features.users)
        rows += fields_by_hand(weights, "item", item, features.items)
        assert len(rows) == (6 if with_features else 2)
        first = sum(row[0] for row in rows)
        second = sum(a[1:] @ b[1:] for a, b in combinations(rows, 2))
        hidden = layers_by_hand(weights, "tower", (1, 4), np.concatenate([r[1:] for r in rows]))
        deep = weights["output.weight"][0] @ hidden + weights["output.bias"][0]
        assert found[user, item] == pytest.approx(first + second + deep, rel=1e-6)


@pytest.mark.parametrize("with_features", [True, False])
def test_two_tower_by_hand_and_as_factors(with_features):
    module, weights = made(TwoTower, with_features=with_features, layers=2, width=4)
    found = module(*every_pair(N_USERS, N_ITEMS)).detach().numpy().reshape(N_USERS, N_ITEMS)
    features = sides(with_features)

    def vector(kind, number, side):
        x = np.concatenate(fields_by_hand(weights, kind, number, side))
        x = layers_by_hand(weights, f"{kind}_tower.0", (1, 4), x)
        return weights[f"{kind}_tower.1.weight"] @ x + weights[f"{kind}_tower.1.bias"]

    for user, item in np.ndindex(N_USERS, N_ITEMS):
        left, right = vector("user", user, features.users), vector("item", item, features.items)
        expected = left[1:] @ right[1:] + left[0] + right[0]
        assert found[user, item] == pytest.approx(expected, rel=1e-6)
    assert isinstance(module, InnerProduct)
    factors = module.as_factors()
    np.testing.assert_allclose((factors.users @ factors.items.T).detach().numpy(), found, rtol=1e-9)


@on_both
def test_nothing_is_known_before_it_is_read(name):
    features = small_features(N_USERS, N_ITEMS)
    module = drawn(BACKBONES[name](N_USERS, N_ITEMS, features=features.card, dim=3))
    unread = module(*every_pair(N_USERS, N_ITEMS))
    nothing = Features(
        *(
            SideFeatures(s.card, np.zeros_like(s.codes), np.zeros_like(s.values))
            for s in (features.users, features.items)
        )
    )
    module.read_features(nothing)
    assert torch.equal(module(*every_pair(N_USERS, N_ITEMS)), unread)
    module.read_features(features)
    assert not torch.equal(module(*every_pair(N_USERS, N_ITEMS)), unread)


@on_both
def test_features_of_another_dataset_are_refused(name):
    features = small_features(N_USERS, N_ITEMS)
    card = features.card.model_copy(update={"user": SideCard(categorical={"town": 3})})
    module = BACKBONES[name](N_USERS, N_ITEMS, features=card)
    with pytest.raises(ConfigError, match=r"built for the features user town, .* item genre"):
        module.read_features(features)


@on_both
def test_the_card_is_no_option(name):
    assert "features" not in options_of(BACKBONES[name])
    assert "use_features" in options_of(BACKBONES[name])


# A feed in which only features tell


def tastes(folder, *, n_users=24, n_items=60, n_new=20):
    """Write a dataset in which users like the items of their colour; tested are new items.

    The colour of an item is its category, that of a user the sign of a number.
    """
    users, items = (ids.numpy() for ids in every_pair(n_users, n_items))
    labels = (users % 2 == items % 2).astype(np.int8)
    is_new, is_valid = items < n_new, (users + items // 2) % 7 == 0
    parts = {"train": ~is_new & ~is_valid, "valid": ~is_new & is_valid, "test": is_new}
    parts = {k: part(users[rows], items[rows], labels[rows]) for k, rows in parts.items()}
    signs = pl.DataFrame({"user": range(n_users), "taste": [u % 2 - 0.5 for u in range(n_users)]})
    scale = {"taste": {"mean": 0.0, "spread": 0.5}}
    user_card = SideCard.model_validate({"numeric": scale})
    features = Features(
        SideFeatures(
            user_card,
            np.empty((n_users, 0), np.int32),
            2 * signs.select("taste").to_numpy().astype(np.float32),
        ),
        SideFeatures(
            SideCard(categorical={"colour": 3}),
            1 + np.arange(n_items, dtype=np.int32)[:, None] % 2,
            np.empty((n_items, 0), np.float32),
        ),
    )
    return write_toy(folder, parts, n_users=n_users, n_items=n_items, features=features)


@pytest.fixture(scope="module")
def taste(tmp_path_factory):
    return tastes(tmp_path_factory.mktemp("taste") / "data")


def train(dataset, out, backbone, **options):
    settings = {"epochs": 8, "batch_size": 64, "optimizer": {"lr": 0.02}, "model": {"dim": 8}}
    return invlearn.train(dataset.folder, out, backbone=backbone, **(settings | options))


@on_both
def test_features_tell_of_items_that_are_new(name, taste, tmp_path):
    known = train(taste, tmp_path / "known", name)
    alone = train(taste, tmp_path / "alone", name, model={"dim": 8, "use_features": False})
    assert known.test["auc"] > 0.95
    assert alone.test["auc"] < 0.7
    assert alone.epochs[-1]["valid"]["auc"] > 0.95


def test_ids_do_not_tell_of_items_that_are_new(taste, tmp_path):
    run = train(taste, tmp_path / "run", "gmf")
    assert run.test["auc"] < 0.7
    assert run.epochs[-1]["valid"]["auc"] > 0.95


@on_both
def test_a_trained_run_needs_no_dataset_to_score(name, taste, tmp_path):
    data = tastes(tmp_path / "data")
    run = train(data, tmp_path / "run", name, epochs=1)
    assert run.card.features == data.feature_card
    scores = run.score(data.test.users, data.test.items)
    (tmp_path / "data").rename(tmp_path / "away")
    again = invlearn.Run.open(tmp_path / "run").score(data.test.users, data.test.items)
    assert np.array_equal(scores, again)
    assert len(set(scores.tolist())) > 10


def stopping_after(n_steps):
    steps = count(1)
    return lambda: next(steps) >= n_steps


@on_both
@pytest.mark.parametrize("store", ["row", "dense"])
def test_a_stop_leaves_no_trace(name, store, taste, tmp_path):
    options = {"epochs": 2, "store": store, "strategy": "ns"}
    train(taste, tmp_path / "whole", name, **options)
    with pytest.raises(Stopped):
        train(taste, tmp_path / "cut", name, should_stop=stopping_after(17), **options)
    invlearn.resume(tmp_path / "cut")
    found, expected = (
        checkpoint.load(tmp_path / run / "checkpoints", "last") for run in ("cut", "whole")
    )
    for one, other in ((found.weights, expected.weights), (found.optimizer, expected.optimizer)):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[n], other[n]) for n in one)


@on_both
def test_ids_alone_train_as_on_a_dataset_without_features(name, taste, tmp_path):
    names = ("train", "valid", "test")
    parts = {part_: getattr(taste, part_) for part_ in names}
    plain = write_toy(tmp_path / "plain", parts, n_users=taste.n_users, n_items=taste.n_items)
    runs = [
        train(taste, tmp_path / "a", name, epochs=1, model={"dim": 4, "use_features": False}),
        train(plain, tmp_path / "b", name, epochs=1, model={"dim": 4}),
    ]
    one, other = (run.module.state_dict() for run in runs)
    assert all(torch.equal(one[n], other[n]) for n in one)
    assert "features" not in runs[1].card.model_fields_set


@on_both
def test_a_module_from_python_says_itself_which_features_it_knows(name, taste, tmp_path):
    sizes = taste.n_users, taste.n_items
    module = BACKBONES[name](*sizes, features=taste.feature_card, dim=4)
    run = train(taste, tmp_path / "run", module, epochs=1, model={})
    assert run.module.fields.item.codes.max() == 2
    card = small_features(*sizes).card
    with pytest.raises(ConfigError, match="the dataset has the features user taste, item colour"):
        train(taste, tmp_path / "no", BACKBONES[name](*sizes, features=card), model={})
