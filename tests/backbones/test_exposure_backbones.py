"""Backbones that read exposures: their formulas on dense matrices, and what they read."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import invlearn
from invlearn.backbones.backbone import FitsExposures
from invlearn.backbones.graph import LightGCN
from invlearn.backbones.histories import SVDpp
from invlearn.data.exposures import Exposures, histories
from toys import checkerboard, drawn, every_pair, small_exposures

N_USERS, N_ITEMS = 6, 5


def exposures():
    return small_exposures(N_USERS, N_ITEMS, n=17)


@given(
    users=st.lists(st.integers(0, 5), max_size=40), length=st.integers(1, 9), seed=st.integers(0, 9)
)
def test_histories_hold_rows_of_the_user_each_once(users, length, seed):
    column = np.array(users, np.int64)
    table = histories(column, here=slice(0, 6), length=length, seed=seed)
    for user, row in enumerate(table):
        kept = row[row >= 0]
        assert (column[kept] == user).all()
        assert (np.diff(kept) > 0).all()
        assert len(kept) == min(length, np.count_nonzero(column == user))
        assert (row[len(kept) :] == -1).all()


def test_svdpp_by_hand():
    module, shown = drawn(SVDpp(N_USERS, N_ITEMS, dim=3, history=9)), exposures()
    module.fit_exposures(shown)
    weights = {name: weight.detach().numpy() for name, weight in module.named_parameters()}
    found = module(*every_pair(N_USERS, N_ITEMS)).detach().numpy().reshape(N_USERS, N_ITEMS)
    for user in range(N_USERS):
        own = [(item, label) for other, item, label in zip(*shown, strict=True) if other == user]
        for item in range(N_ITEMS):
            others = [(j, label) for j, label in own if j != item]
            summed = (
                sum(
                    weights["kinds"][int(label >= 0)] * weights["shown_factors"][j]
                    for j, label in others
                )
                / max(len(others), 1) ** 0.5
            )
            expected = (
                (weights["user_embedding.weight"][user] + summed)
                @ weights["item_embedding.weight"][item]
                + weights["user_bias.weight"][user, 0]
                + weights["item_bias.weight"][item, 0]
                + weights["bias"][0]
            )
            assert found[user, item] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def dense_graphs(shown):
    """Normalised adjacency of both kinds of edges, as printed."""
    n = N_USERS + N_ITEMS
    kinds = np.zeros((2, n, n))
    for user, item, label in zip(*shown, strict=True):
        for a, b in ((user, N_USERS + item), (N_USERS + item, user)):
            kinds[int(label >= 0), a, b] = 1
    degree = np.maximum(kinds.sum(axis=(0, 2)), 1)
    return kinds / np.sqrt(np.outer(degree, degree))


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_lightgcn_by_hand(layers):
    module, shown = drawn(LightGCN(N_USERS, N_ITEMS, dim=3, layers=layers)), exposures()
    module.fit_exposures(shown)
    weights = {n: weight.detach().double().numpy() for n, weight in module.named_parameters()}
    layer, graphs = weights["nodes.weight"], dense_graphs(shown)
    every = [layer]
    for unlabelled, labelled in weights["kinds"]:
        layer = unlabelled * graphs[0] @ layer + labelled * graphs[1] @ layer
        every.append(layer)
    nodes = np.mean(every, axis=0)
    expected = (
        nodes[:N_USERS] @ nodes[N_USERS:].T
        + weights["user_bias.weight"]
        + weights["item_bias.weight"].T
        + weights["bias"]
    )
    for mode in (True, False):
        found = module.train(mode)(*every_pair(N_USERS, N_ITEMS)).detach().numpy()
        np.testing.assert_allclose(found, expected.flatten(), rtol=1e-4, atol=1e-5)
    factors = module.as_factors()
    np.testing.assert_allclose(
        (factors.users @ factors.items.T).detach().numpy(), expected, rtol=1e-4, atol=1e-5
    )


def test_lightgcn_coefficients_in_both_modes():
    module = drawn(LightGCN(N_USERS, N_ITEMS, dim=2, layers=2)).double()
    shown = exposures()
    module.fit_exposures(shown)
    module._graphs = tuple(graph.double() for graph in module._graphs)
    pairs, names = every_pair(N_USERS, N_ITEMS), [name for name, _ in module.named_parameters()]

    def logits(*values):
        params = dict(zip(names, values, strict=True))
        return torch.func.functional_call(module, params, pairs)

    values = tuple(weight.detach().requires_grad_() for weight in module.parameters())
    assert torch.autograd.gradcheck(logits, values, check_forward_ad=True)


def test_what_is_read_is_the_training_and_the_unlabelled_rows(tmp_path):
    board = checkerboard(tmp_path / "data")
    found = Exposures.of(board.train, board.unlabelled)
    assert len(found.users) == len(board.train) + len(board.unlabelled)
    assert (found.labels >= 0).sum() == len(board.train)
    test = set(zip(board.test.users.tolist(), board.test.items.tolist(), strict=True))
    assert not test & set(zip(found.users.tolist(), found.items.tolist(), strict=True))


@pytest.mark.parametrize("backbone", ["svdpp", "lightgcn", "wide-deep"])
def test_a_trained_run_needs_no_dataset_to_score(backbone, tmp_path):
    board = checkerboard(tmp_path / "data")
    model = {"dim": 4} | {"svdpp": {"history": 7}}.get(backbone, {})
    run = invlearn.train(
        board.folder, tmp_path / "run", backbone=backbone, model=model, epochs=2, batch_size=64
    )
    assert isinstance(run.module, FitsExposures)
    scores = run.score(board.test.users, board.test.items)
    (tmp_path / "data").rename(tmp_path / "away")
    again = invlearn.Run.open(tmp_path / "run").score(board.test.users, board.test.items)
    assert np.array_equal(scores, again)
    bare = type(run.module)(board.n_users, board.n_items, **model)
    bare.load_state_dict(run.module.state_dict())
    assert len(set(scores.tolist())) > 10
