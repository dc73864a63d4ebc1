"""The wide and deep backbone: by hand, what moves in training, rows against whole tables."""

from math import log

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

import invlearn
from invlearn.backbones import BACKBONES
from invlearn.backbones.pretraining import PRETRAINING
from invlearn.backbones.rates import PSEUDO_ROWS
from invlearn.backbones.wide import Wide
from invlearn.backbones.wide_deep import WideDeep
from invlearn.config.schema import OptimizerConfig
from invlearn.data.exposures import Exposures
from invlearn.strategies import STRATEGIES
from invlearn.training.class_lookup import options_of
from invlearn.training.stores import DenseStore, RowStore
from toys import assert_near, drawn, every_pair, part, random_batch, small_exposures, write_toy

N_USERS, N_ITEMS = 8, 7
SMALL = {"dim": 3, "layers": 2, "factors": 4}
DEEP = ("gmf", "mf", "mlp", "neumf")
SOURCES = [("none", False), ("svd", False), ("svd", True), ("als", False), ("als", True)]
on_every_deep_part = pytest.mark.parametrize("deep", DEEP)
from_every_source = pytest.mark.parametrize(("pretrained", "trainable"), SOURCES)


def exposures():
    return small_exposures(N_USERS, N_ITEMS, n=33)


def made(**options):
    """In double precision, before anything is read."""
    torch.manual_seed(0)
    return WideDeep(N_USERS, N_ITEMS, **SMALL, **options).double()


# By hand


def slow_rate(shown, column, wanted, left_out):
    """Logit of the shrunk rate of a user's or an item's rows, one row left out."""
    known = [y for *_, y in zip(*shown, strict=True) if y >= 0]
    mean = (sum(known) + 1) / (len(known) + 2)
    own = [
        row[2]
        for row in zip(*shown, strict=True)
        if row[column] == wanted and row[2] >= 0 and row[:2] != left_out
    ]
    rate = (sum(own) + PSEUDO_ROWS * mean) / (len(own) + PSEUDO_ROWS)
    return log(rate / (1 - rate)), log(mean / (1 - mean))


def slow_wide(weights, shown, user, item, *, training):
    """The wide part's logit, term by term."""
    found = 0.0
    for column, (side, wanted) in enumerate((("user", user), ("item", item))):
        ids = shown[column].tolist()
        counts = [log(1 + ids.count(other)) for other in range((N_USERS, N_ITEMS)[column])]
        count = (counts[wanted] - np.mean(counts)) / np.std(counts)
        left_out = (user, item) if training else None
        rate, middle = slow_rate(shown, column, wanted, left_out)
        found += weights[f"{side}_bias.weight"][wanted, 0]
        found += weights["count_coefficients"][column] * count
        found += np.exp(weights["log_rate_coefficients"][column]) * (rate - middle)
    return found + middle


@pytest.mark.parametrize("training", [True, False])
def test_the_wide_part_by_hand(training):
    """While it trains a labelled pair is left out of its own rates, at rest it is in them."""
    module, shown = drawn(Wide(N_USERS, N_ITEMS).double(), scale=0.5), exposures()
    module.fit_exposures(shown)
    weights = {name: weight.detach().numpy() for name, weight in module.named_parameters()}
    users, items = every_pair(N_USERS, N_ITEMS)
    expected = [
        slow_wide(weights, shown, *pair, training=training)
        for pair in zip(users.tolist(), items.tolist(), strict=True)
    ]
    found = module.train(training)(users, items).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def plain(deep):
    """The deep part as a backbone of its own, and the embeddings that factors go into."""
    known = {name: SMALL[name] for name in ("dim", "layers") if name in options_of(BACKBONES[deep])}
    module = BACKBONES[deep](N_USERS, N_ITEMS, **known).double()
    return module, [name for name in module.tables if "bias" not in name]


@on_every_deep_part
@from_every_source
def test_before_the_first_step_factors_are_added_to_the_embeddings(deep, pretrained, trainable):
    module = made(deep=deep, pretrained=pretrained, trainable=trainable)
    alone, embeddings = plain(deep)
    weights = {name: module.get_parameter(f"deep.{name}") for name in alone.state_dict()}
    alone.load_state_dict(weights)
    module.fit_exposures(exposures())
    if pretrained != "none":
        factors = PRETRAINING[pretrained](exposures(), (N_USERS, N_ITEMS), factors=SMALL["factors"])
        for name in embeddings:
            side = factors[name.startswith("item")]
            side = torch.from_numpy(side / np.sqrt((side**2).sum(axis=1).mean()))
            weight = alone.get_parameter(name).data
            width = min(side.shape[1], weight.shape[1])
            weight[:, :width] += side[:, :width]
    pairs = every_pair(N_USERS, N_ITEMS)
    expected = module.wide(*pairs) + alone(*pairs)
    torch.testing.assert_close(module(*pairs), expected, rtol=1e-9, atol=1e-9)


def test_the_map_of_fixed_factors_by_hand():
    module = drawn(made(deep="gmf"))
    module.fit_exposures(exposures())
    w = {name: tensor.detach().numpy() for name, tensor in module.deep.state_dict().items()}
    user, item = (
        w[f"{side}_embedding.weight"] + w[f"{side}_embedding.factors"] @ w[f"{side}_embedding.map"]
        for side in ("user", "item")
    )
    expected = (user * w["output.weight"]) @ item.T + w["output.bias"]
    found = module.deep(*every_pair(N_USERS, N_ITEMS)).detach().numpy()
    np.testing.assert_allclose(found, expected.flatten(), rtol=1e-9)


def test_a_label_leaves_no_trace_in_its_own_rates():
    """Labels turned one by one change every logit of training but their own."""
    shown = exposures()
    module = drawn(Wide(N_USERS, N_ITEMS).double())
    module.fit_exposures(shown)
    prior = module.prior.clone()
    known = np.flatnonzero(shown.labels >= 0)
    for row in known[:6]:
        pair = torch.tensor([shown.users[row]]), torch.tensor([shown.items[row]])
        logits = []
        for label in (0, 1):
            labels = shown.labels.copy()
            labels[row] = label
            module.fit_exposures(shown._replace(labels=labels))
            module.prior.copy_(prior)  # the mean of all rows keeps all labels
            logits.append((module.train()(*pair), module.eval()(*pair)))
        (one, at_rest), (two, other) = logits
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
        assert (other > at_rest).all()


def test_labels_of_chance_cannot_be_read_off_what_their_rates_leave_out():
    """What is left out of a rate is a label: with coefficients of either sign this loss comes to
    .13."""
    rng = np.random.default_rng(0)
    users, items = np.divmod(rng.permutation(40 * 40)[:800], 40)
    labels = rng.integers(2, size=800).astype(np.int8)
    module = Wide(40, 40)
    module.fit_exposures(Exposures(users, items, labels))
    pairs = torch.from_numpy(users), torch.from_numpy(items)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        logits = module(*pairs)
        loss = binary_cross_entropy_with_logits(logits, torch.from_numpy(labels).float())
        loss.backward()
        optimizer.step()
    assert loss.item() > 0.58


# In training


def trained(kind, n_steps=12, *, name="sgd", **options):
    """The module before and after some steps on random batches."""
    module = drawn(made(**options).float(), scale=0.5).train()
    module.fit_exposures(exposures())
    store = kind(module, module.tables, OptimizerConfig(name=name, l2=0.05), seed=0)
    before = {n: w.clone() for n, w in module.state_dict().items()}
    strategy = STRATEGIES["none"]()
    for step in range(n_steps):
        batch = random_batch(n_users=N_USERS, n_items=N_ITEMS, n_labelled=6, seed=step, step=step)
        context = store.gather(batch)
        store.apply(context, strategy.propose(context.score, context.params, context.batch))
    return module, before


@pytest.mark.covering
@on_every_deep_part
@pytest.mark.parametrize(("pretrained", "trainable"), SOURCES[:3])
def test_rows_equal_whole_tables(deep, pretrained, trainable):
    given = {"deep": deep, "pretrained": pretrained, "trainable": trainable}
    (by_rows, before), (whole, _) = (trained(kind, **given) for kind in (RowStore, DenseStore))
    found, expected = by_rows.state_dict(), whole.state_dict()
    assert_near(found, expected, rtol=1e-4, atol=1e-5)
    moved = {name for name in found if not torch.equal(found[name], before[name])}
    assert moved == {name for name, _ in by_rows.named_parameters()}


@pytest.mark.parametrize("kind", [RowStore, DenseStore])
def test_fixed_factors_stay_and_trainable_ones_move(kind):
    fixed, before = trained(kind, name="adam", deep="gmf")
    for side in ("user", "item"):
        table = fixed.deep.get_submodule(f"{side}_embedding")
        assert table.factors.any()
        assert torch.equal(table.factors, before[f"deep.{side}_embedding.factors"])
        assert not torch.equal(table.map, before[f"deep.{side}_embedding.map"])
    free, before = trained(kind, name="adam", deep="gmf", trainable=True)
    assert not any("factors" in name or "map" in name for name in before)
    for side in ("user", "item"):
        weight = free.deep.get_submodule(f"{side}_embedding").weight
        assert not torch.isclose(weight, before[f"deep.{side}_embedding.weight"]).any()


def told_by_exposures(folder, *, n_labelled=80, n=60):
    """Even users are mostly shown even items and like those; hardly any label says so."""
    rng = np.random.default_rng(1)
    users, items = np.divmod(rng.permutation(n * n), n)
    same = (users % 2 == items % 2).astype(np.int8)
    shown = np.flatnonzero(rng.random(n * n) < np.where(same, 0.6, 0.1))
    rest = np.setdiff1d(np.arange(n * n), shown)
    rows = np.split(rest, [n_labelled, n_labelled + 300])
    parts = {
        name: part(users[r], items[r], same[r])
        for name, r in zip(("train", "valid", "test"), rows, strict=True)
    }
    parts["unlabelled"] = part(users[shown], items[shown])
    return write_toy(folder, parts, n_users=n, n_items=n)


def test_few_labels_are_enough_where_exposures_tell(tmp_path):
    told = told_by_exposures(tmp_path / "data")
    ways = {
        "gmf": ("gmf", {"dim": 8}),
        "no factors": ("wide-deep", {"deep": "gmf", "dim": 8, "pretrained": "none"}),
        "svd": ("wide-deep", {"deep": "gmf", "dim": 8, "factors": 8}),
        "als": ("wide-deep", {"deep": "gmf", "dim": 8, "factors": 8, "pretrained": "als"}),
    }
    auc = {}
    for name, (backbone, model) in ways.items():
        run = invlearn.train(
            told.folder,
            tmp_path / name,
            backbone=backbone,
            model=model,
            epochs=40,
            batch_size=32,
            optimizer={"lr": 0.02, "l2": 0.02},
        )
        auc[name] = run.test["auc"]
    assert max(auc["gmf"], auc["no factors"]) < 0.7
    assert min(auc["svd"], auc["als"]) > 0.93
