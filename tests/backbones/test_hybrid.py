"""The backbone that mixes exposures, histories and regressions: by hand, and as a whole."""

from math import sqrt

import numpy as np
import pytest
import torch

import invlearn
from invlearn.backbones.exposure_hybrid.exposure_factors import fit_exposure_factors
from invlearn.backbones.exposure_hybrid.hybrid import ExposureHybrid
from invlearn.backbones.exposure_hybrid.mixed_model import fit_mixed_model
from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Proposal
from invlearn.evaluation.evaluation import evaluate
from invlearn.training.stores import DenseStore, RowStore
from toys import checkerboard, drawn, every_pair, random_batch, small_exposures

N_USERS, N_ITEMS = 8, 7
SMALL = {"dim": 3, "factors": 4, "crossed": 2}


def exposures():
    return small_exposures(N_USERS, N_ITEMS, n=33)


def made(*, read=True):
    module = ExposureHybrid(N_USERS, N_ITEMS, **SMALL)
    if read:
        module.fit_exposures(exposures())
    return drawn(module)


def by_hand(module, user, item, *, leave_out):
    """The trained part's logit, term by term."""
    w = {name: weight.detach().double().numpy() for name, weight in module.state_dict().items()}
    own = [(i, y) for u, i, y in zip(*exposures(), strict=True) if u == user]
    n_labelled = sum(y >= 0 for _, y in own)
    x, its = w["user_features"][user], w["item_features"][item]
    person = w["users"][user] + x @ w["user_map"]
    for j, y in own:
        if leave_out and j == item:
            continue
        person = person + w["shown"][j] / sqrt(len(own))
        if y >= 0:
            person = person + w["liked" if y else "disliked"][j] / sqrt(n_labelled)
    return (
        person @ (w["items"][item] + its @ w["item_map"])
        + x @ w["between"] @ its
        + x @ w["user_coefficients"]
        + its @ w["item_coefficients"]
        + w["user_bias"][user]
        + w["item_bias"][item]
        + w["bias"][0]
    )


@pytest.mark.parametrize("training", [True, False])
def test_the_trained_part_by_hand(training):
    """While it trains the pair itself is left out; at rest it is a pair like any other."""
    module = made().train(training)
    found = module(*every_pair(N_USERS, N_ITEMS)).detach().numpy()
    for number, (user, item) in enumerate(zip(*every_pair(N_USERS, N_ITEMS), strict=True)):
        expected = by_hand(module, int(user), int(item), leave_out=training)
        assert found[number] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def members(module):
    """Logits of every pair by each member of the mix, in its order."""
    users, items = every_pair(N_USERS, N_ITEMS)
    alone = made()
    alone.mix.copy_(torch.eye(4)[0])
    sizes = {"shape": (N_USERS, N_ITEMS)}
    models = [
        fit_exposure_factors(exposures(), factors=4, **sizes),
        fit_mixed_model(exposures(), factors=4, crossed=2, **sizes),
        fit_mixed_model(exposures(), factors=0, **sizes),
    ]
    own = alone.eval()(users, items).detach().numpy()
    return np.stack([own, *(model.score(users.numpy(), items.numpy()) for model in models)])


def test_at_rest_it_is_the_mix_of_its_members():
    module, (users, items) = made(), every_pair(N_USERS, N_ITEMS)
    mix = np.array([0.4, 0.2, 0.3, 0.1])
    module.mix.copy_(torch.from_numpy(mix))
    module.eval()
    expected = mix @ members(module)
    np.testing.assert_allclose(module(users, items).detach(), expected, rtol=1e-3, atol=1e-4)
    factors = module.as_factors()
    products = (factors.users @ factors.items.T).flatten()
    np.testing.assert_allclose(products, expected, rtol=1e-3, atol=1e-4)


def test_validation_decides_the_mix():
    """Labels that one member made are that member's; the mix found is no worse than any member."""
    users, items = (ids.numpy() for ids in every_pair(N_USERS, N_ITEMS))
    for logits in members(made()):
        module = made()
        labels = (logits > np.median(logits)).astype(np.int8)
        module.mix.copy_(torch.tensor([0.25, 0.25, 0.25, 0.25]))
        module.train().fit_on_validation(users, items, labels)
        assert module.training
        found = module.eval()(*every_pair(N_USERS, N_ITEMS)).detach().numpy()
        auc = evaluate(users, labels, found, draws=0, name="here").values["auc"]
        assert auc > 0.99
        assert float(module.mix.sum()) == pytest.approx(1)
    before = module.mix.clone()
    module.fit_on_validation(users, items, np.ones_like(labels))
    assert torch.equal(module.mix, before)


def test_a_mix_of_scores_that_are_no_numbers_is_left_alone():
    module, (users, items) = made(), every_pair(N_USERS, N_ITEMS)
    with torch.no_grad():
        module.bias.fill_(torch.nan)
    before = module.mix.clone()
    module.fit_on_validation(users.numpy(), items.numpy(), np.arange(len(users)) % 2)
    assert torch.equal(module.mix, before)


def test_without_exposures_it_is_a_factor_model_with_biases():
    module = made(read=False).train()
    users, items = every_pair(N_USERS, N_ITEMS)
    w = dict(module.named_parameters())
    expected = (w["users"][users] * w["items"][items]).sum(1)
    expected = expected + w["user_bias"][users] + w["item_bias"][items] + w["bias"]
    torch.testing.assert_close(module(users, items), expected)
    assert module.penalties == {}


@pytest.mark.parametrize("kind", [DenseStore, RowStore])
def test_penalties_are_part_of_the_coefficient(kind):
    module = made().train()
    config = OptimizerConfig(name="sgd", lr=1.0)
    store = kind(module, {}, config, seed=0)
    before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    context = store.gather(random_batch(n_users=N_USERS, n_items=N_ITEMS, lr=0.5))
    nothing = {name: torch.zeros_like(weight) for name, weight in context.params.items()}
    store.apply(context, Proposal(context.params, nothing, {"loss": torch.zeros(())}))
    assert module.penalties.keys() < before.keys()
    for name, weight in module.named_parameters():
        kept = 1 - 0.5 * module.penalties.get(name, 0.0)
        torch.testing.assert_close(weight.detach(), kept * before[name])


def test_penalties_are_in_rows():
    n_labelled = int((exposures().labels >= 0).sum())
    penalties = made().penalties
    ratios = penalties["shown"][1:] / penalties["shown"][:-1]
    assert float(penalties["shown"][0]) == pytest.approx(1 / n_labelled)
    assert float(penalties["shown"][-1]) == pytest.approx(64 / n_labelled)
    assert ratios.numpy() == pytest.approx(float(ratios[0]))
    assert penalties["between"] == pytest.approx(60 / n_labelled)
    plain = fit_mixed_model(exposures(), shape=(N_USERS, N_ITEMS), factors=0)
    assert penalties["user_bias"] == pytest.approx(plain.penalties["user_bias"] / n_labelled)


def test_tables_of_a_regression_are_its_scores():
    users, items = (ids.numpy() for ids in every_pair(N_USERS, N_ITEMS))
    model = fit_exposure_factors(exposures(), shape=(N_USERS, N_ITEMS), factors=4)
    tables = model.tables()
    found = (tables.left @ tables.right.T)[users, items] + tables.users[users] + tables.items[items]
    np.testing.assert_allclose(found, model.score(users, items), rtol=1e-9, atol=1e-9)


def test_it_trains_with_every_part_of_the_library(tmp_path):
    board = checkerboard(tmp_path / "data")
    run = invlearn.train(
        board.folder,
        tmp_path / "run",
        backbone="exposure-hybrid",
        strategy="ig-sample",
        model={"dim": 8, "most_shrinkage": 1.0},
        epochs=20,
        batch_size=64,
        optimizer={"lr": 0.02},
        select_by="auc",
    )
    assert run.config.store == "dense"
    assert run.test["auc"] > 0.95
    assert sum(run.test["fitted_on_validation"].values()) == pytest.approx(1)
    scores = run.score(board.test.users, board.test.items)
    (tmp_path / "data").rename(tmp_path / "away")
    again = invlearn.Run.open(tmp_path / "run")
    assert np.array_equal(scores, again.score(board.test.users, board.test.items))


def test_logits_of_pairs_do_not_depend_on_their_neighbors():
    module, (users, items) = made().train(), every_pair(N_USERS, N_ITEMS)
    whole = module(users, items)
    alone = torch.cat([module(users[[n]], items[[n]]) for n in range(len(users))])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)
