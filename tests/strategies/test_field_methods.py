"""The field's methods by hand: each formula as printed, in loops and float64."""

from dataclasses import replace
from math import exp, floor, log, log1p

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from invlearn.backbones.auxiliary import (
    as_auxiliary,
    attach_auxiliary_models,
    detach_auxiliary_models,
    is_auxiliary,
)
from invlearn.data.types import LabelledRows, Pairs
from invlearn.runtime.errors import ConfigError
from invlearn.strategies import STRATEGIES
from invlearn.strategies.agreement import CoTeaching, CrossModelAgreement, divergence
from invlearn.strategies.double_correction import DoubleCorrection
from invlearn.strategies.history import RankWeighted, ResampledPositives, UserTemperature, places
from invlearn.strategies.losses import entropy
from invlearn.strategies.positive_unlabelled import NonNegativePU, RelevanceMF
from invlearn.strategies.ranks import group_means, ranks
from invlearn.strategies.semi_supervised import EntropyMinimization, PseudoLabel
from toys import assert_near, gather_small, random_batch, small_backbone, with_ledger


def sigmoid(z):
    return 1 / (1 + exp(-z))


def l1(z):
    return log1p(exp(-z))


def l0(z):
    return log1p(exp(z))


def played(strategy, *, seed=0, n_labelled=24, step=100_000, n_epochs=0):
    """Score function, point and batch in double precision, and the logits of both kinds."""
    batch = random_batch(n_users=9, n_items=7, n_labelled=n_labelled, seed=seed, step=step)
    batch = with_ledger(batch, strategy, n_epochs=n_epochs)
    score, params, batch, _ = gather_small("mf", batch, n_auxiliary=strategy.feed.n_auxiliary)
    params = {name: weight.double() for name, weight in params.items()}
    batch = batch._replace(labels=batch.labels.double())
    labelled, unlabelled = (score(params, pairs) for pairs in (batch.labelled, batch.unlabelled))
    return score, params, batch, labelled.tolist(), unlabelled.tolist()


def loss_of(strategy, **given):
    score, params, batch, *_ = played(strategy, **given)
    return float(strategy.propose(score, params, batch).log["loss"])


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_entropy_by_hand(weight):
    strategy = EntropyMinimization(weight=weight)
    *_, batch, labelled, unlabelled = played(strategy)
    clear = mean(l1(z) if y else l0(z) for z, y in zip(labelled, batch.labels, strict=True))
    unclear = mean(sigmoid(z) * l1(z) + sigmoid(-z) * l0(z) for z in unlabelled)
    assert loss_of(strategy) == pytest.approx(clear + weight * unclear, rel=1e-6)


def test_the_slopes_of_entropy_and_deca_follow_all_that_they_should():
    """A probability that is held fixed has the same loss, and another gradient."""
    z = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    gradients = torch.autograd.grad(entropy(z).sum(), z)[0]
    torch.testing.assert_close(gradients, -z * z.sigmoid() * (-z).sigmoid())
    for step in (4, 5):
        strategy = CrossModelAgreement(alpha=0.3, c1=7.0, c2=3.0)
        score, params, batch, *_ = played(strategy, step=step)
        proposal, far = strategy.propose(score, params, batch), 1e-4
        for name in ("user_embedding.weight", "auxiliary_1.item_bias.weight", "auxiliary_2.bias"):
            way = torch.randn(
                params[name].shape, generator=torch.Generator().manual_seed(0)
            ).double()
            ends = [
                float(strategy.loss(score, params | {name: params[name] + a * way}, batch))
                for a in (far, -far)
            ]
            along = float((proposal.gradients[name] * way).sum())
            assert (ends[0] - ends[1]) / (2 * far) == pytest.approx(along, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize(("step", "alpha"), [(99, 0.0), (100, 0.0), (350, 1.5), (600, 3.0)])
@pytest.mark.parametrize("threshold", [0.5, 0.6])
def test_pseudo_label_by_hand(step, alpha, threshold):
    strategy = PseudoLabel(threshold=threshold)
    *_, batch, labelled, unlabelled = played(strategy, step=step)
    clear = mean(l1(z) if y else l0(z) for z, y in zip(labelled, batch.labels, strict=True))
    sure = [max(sigmoid(z), sigmoid(-z)) >= threshold for z in unlabelled]
    assert all(sure) == (threshold == 0.5)
    unclear = mean(s * min(l1(z), l0(z)) for z, s in zip(unlabelled, sure, strict=True))
    assert loss_of(strategy, step=step) == pytest.approx(clear + alpha * unclear, rel=1e-6)


def risks(batch, labelled, unlabelled, prior):
    """The terms of the positive-unlabelled risk, as printed."""
    positives = [z for z, y in zip(labelled, batch.labels, strict=True) if y]
    negatives = [z for z, y in zip(labelled, batch.labels, strict=True) if not y]
    of_positives = prior * mean(map(l1, positives))
    hidden = mean(map(l0, unlabelled)) - prior * mean(map(l0, positives))
    return of_positives, hidden, (1 - prior) * mean(map(l0, negatives))


@pytest.mark.parametrize("prior", [None, 0.3])
@pytest.mark.parametrize("eta", [0.0, 0.25, 1.0])
def test_nnpu_by_hand(prior, eta):
    strategy = NonNegativePU(prior=prior, unlabelled_weight=eta)
    *_, batch, labelled, unlabelled = played(strategy)
    share = float(batch.labels.mean()) if prior is None else prior
    of_positives, hidden, of_negatives = risks(batch, labelled, unlabelled, share)
    assert hidden > 0
    expected = (1 - eta) * (of_positives + of_negatives) + eta * (of_positives + hidden)
    assert loss_of(strategy) == pytest.approx(expected, rel=1e-6)


def test_nnpu_steps_back_where_its_negative_part_is_too_low():
    """Algorithm 1: the gradient is then `-gamma` times that of the negative part alone."""
    strategy = NonNegativePU(prior=0.99, unlabelled_weight=1.0, gamma=0.5)
    score, params, batch, *_ = played(strategy)
    positive = Pairs(*(ids[batch.labels > 0] for ids in batch.labelled))
    lowest = int(score(params, positive).argmin())
    low = batch._replace(unlabelled=Pairs(*(ids[[lowest]] for ids in positive)))

    def hidden(weights):
        risks = [softplus(score(weights, pairs)).mean() for pairs in (low.unlabelled, positive)]
        return risks[0] - 0.99 * risks[1]

    leaves = {name: weight.clone().requires_grad_() for name, weight in params.items()}
    value = hidden(leaves)
    assert value < 0
    gradients = torch.autograd.grad(value, list(leaves.values()))
    expected = {name: -0.5 * gradients for name, gradients in zip(leaves, gradients, strict=True)}
    proposal = strategy.propose(score, params, low)
    assert_near(proposal.gradients, expected)
    patient = replace(strategy, beta=10.0).propose(score, params, low)
    assert not torch.allclose(patient.gradients["bias"], proposal.gradients["bias"])


def test_nnpu_without_a_positive_in_the_batch_is_finite():
    strategy = NonNegativePU()
    score, params, batch, *_ = played(strategy)
    proposal = strategy.propose(score, params, batch._replace(labels=0 * batch.labels))
    assert all(gradients.isfinite().all() for gradients in proposal.gradients.values())


@pytest.mark.parametrize(("power", "least"), [(0.5, 0.009), (1.0, 0.6), (0.0, 0.1)])
def test_rel_mf_by_hand(power, least):
    strategy = RelevanceMF(power=power, least_propensity=least)
    *_, batch, labelled, unlabelled = played(strategy)
    items, clicks = batch.labelled.items.tolist(), batch.labels.tolist()
    counts = [sum(y for i, y in zip(items, clicks, strict=True) if i == item) for item in range(7)]
    total = 0.0
    for z, i, y in zip(labelled, items, clicks, strict=True):
        theta = max((counts[i] / max(counts)) ** power, least)
        total += y / theta * sigmoid(-z) ** 2 + (1 - y / theta) * sigmoid(z) ** 2
    total += sum(sigmoid(z) ** 2 for z in unlabelled)
    expected = total / (len(labelled) + len(unlabelled))
    assert loss_of(strategy) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("target", ["positives", "negatives", "both"])
@pytest.mark.parametrize(("n_epochs", "fraction"), [(0, 0.0), (5, 0.15), (20, 0.3)])
def test_co_teaching_by_hand(target, n_epochs, fraction):
    strategy = CoTeaching(target=target, forget_fraction=0.3, ramp_epochs=10)
    score, params, batch, *_ = played(strategy, n_epochs=n_epochs)
    n_labelled = len(batch.labels)
    labels = batch.labels.tolist() + [0.0] * len(batch.unlabelled.users)
    fits = []
    for weights in (params, as_auxiliary(params, 1)):
        z = torch.cat([score(weights, pairs) for pairs in (batch.labelled, batch.unlabelled)])
        fits.append([l1(x) if y else l0(x) for x, y in zip(z.tolist(), labels, strict=True)])
    suspects = [
        n
        for n, y in enumerate(labels)
        if (y and target != "negatives") or (n >= n_labelled and target != "positives")
    ]
    n_left_out = floor(fraction * len(suspects) + 1e-9)
    expected = 0.0
    for own, other in ((0, 1), (1, 0)):
        worst = sorted(suspects, key=lambda n: fits[other][n])[len(suspects) - n_left_out :]
        expected += mean(fit for n, fit in enumerate(fits[own]) if n not in worst)
    assert loss_of(strategy, n_epochs=n_epochs) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("step", [4, 5])
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_deca_by_hand(step, alpha):
    strategy = CrossModelAgreement(alpha=alpha, c1=7.0, c2=3.0)
    score, params, batch, *_ = played(strategy, step=step)
    labels = batch.labels.tolist() + [0.0] * len(batch.unlabelled.users)
    f, g, *h = (
        torch.cat([score(w, pairs) for pairs in (batch.labelled, batch.unlabelled)]).tolist()
        for w in (params, *(as_auxiliary(params, number) for number in (1, 2, 3)))
    )
    terms = []
    for y, zf, zg, even, odd in zip(labels, f, g, *h, strict=True):
        f1, g1 = sigmoid(zf), sigmoid(zg)
        if step % 2 == 0:
            p = sigmoid(even)
            observed = log(p) * (1 - f1) if y else log(1 - p) * (1 - f1) - 7.0 * f1
        else:
            p = sigmoid(odd)
            observed = log(p) * f1 - 3.0 * (1 - f1) if y else log(1 - p) * f1
        kl_gf = g1 * log(g1 / f1) + (1 - g1) * log((1 - g1) / (1 - f1))
        kl_fg = f1 * log(f1 / g1) + (1 - f1) * log((1 - f1) / (1 - g1))
        terms.append(alpha * kl_gf + (1 - alpha) * kl_fg - observed)
    assert loss_of(strategy, step=step) == pytest.approx(mean(terms), rel=1e-6)


def test_divergence_is_zero_for_equals_and_finite_at_the_ends():
    z = torch.tensor([-80.0, 0.3, 80.0])
    torch.testing.assert_close(divergence(z, z), torch.zeros(3))
    assert divergence(z, -z).isfinite().all()


HISTORY = {
    "users": torch.tensor([0, 0, 1, 1, 1, 3, 3, 0]),
    "items": torch.tensor([2, 0, 0, 1, 2, 1, 2, 1]),
    "labels": torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]),
    "losses": torch.tensor([0.9, 0.1, 0.3, 0.7, 0.2, 2.0, 1.5, 0.4]),
    "weights": torch.ones(8),
    "epochs": torch.tensor(9),
}


def by_place(key, low, high):
    """A line from `high` for the group of least mean loss to `low`, by group."""
    ids, losses = HISTORY[key].tolist(), HISTORY["losses"].tolist()
    means = {k: mean(x for i, x in zip(ids, losses, strict=True) if i == k) for k in set(ids)}
    order = sorted(means, key=means.get)
    return dict(zip(order, np.linspace(high, low, len(order)), strict=True))


def test_eard_by_hand():
    found = RankWeighted().weigh(HISTORY)["weights"]
    users, items = (by_place(key, 0.5, 1.5) for key in ("users", "items"))
    losses = HISTORY["losses"].tolist()
    for n, loss in enumerate(losses):
        rank = sum(other >= loss for other in losses)  # of -loss, from 1
        share = (rank - 0.5) / len(losses)
        expected = share * users[int(HISTORY["users"][n])] * items[int(HISTORY["items"][n])]
        assert float(found[n]) == pytest.approx(expected, rel=1e-5)


def test_udt_by_hand():
    strategy = UserTemperature()
    found = strategy.weigh(HISTORY)
    temperature, factor = by_place("users", 0.5, 0.2), by_place("users", 0.0, 0.5)
    users, labels = HISTORY["users"].tolist(), HISTORY["labels"].tolist()
    for n, (user, y) in enumerate(zip(users, labels, strict=True)):
        own = [m for m in range(len(users)) if users[m] == user and labels[m]]
        raised = {m: exp(-float(HISTORY["losses"][m]) / temperature[user]) for m in own}
        share = len(own) * raised[n] / sum(raised.values()) if y else 1.0
        assert float(found["weights"][n]) == pytest.approx(factor[user] * share, rel=1e-5)
    assert found["factors"].tolist() == pytest.approx([factor[0], factor[1], 1.0, factor[3]])
    assert strategy.weigh({**HISTORY, "epochs": torch.tensor(1)}) == {}


def test_udt_weighs_unlabelled_pairs_by_their_user():
    strategy = UserTemperature()
    batch = with_ledger(random_batch(n_users=9, n_items=7), strategy, n_epochs=3)
    found = strategy.unlabelled_weights(batch)
    factors = batch.row_state["factors"]
    assert found.tolist() == [
        float(factors[u]) if u < len(factors) else 1.0 for u in batch.unlabelled.users.tolist()
    ]


def test_pld_weighs_by_how_likely_a_positive_is_drawn():
    """Averaged over many draws, weights are what the authors' two draws give, counted out."""
    strategy = ResampledPositives(candidates=3)
    total = sum(
        strategy.weigh({**HISTORY, "epochs": torch.tensor(epoch)})["weights"].double()
        for epoch in range(10, 4010)
    )
    users, labels = HISTORY["users"].tolist(), HISTORY["labels"].tolist()
    for n, (user, y) in enumerate(zip(users, labels, strict=True)):
        own = [m for m in range(len(users)) if users[m] == user and labels[m]]
        expected = 1.0
        if y:
            raised = {m: exp(-float(HISTORY["losses"][m]) / 0.1) for m in own}
            draws = [(a, b) for a in own for b in own]
            expected = mean(3 * raised[n] / (raised[n] + raised[a] + raised[b]) for a, b in draws)
        assert float(total[n]) / 4000 == pytest.approx(expected, abs=0.04)
    assert strategy.weigh({**HISTORY, "epochs": torch.tensor(4)}) == {}


@pytest.mark.parametrize("strategy_name", ["eard", "udt", "pld"])
def test_weights_of_the_ledger_are_what_a_pair_counts(strategy_name):
    strategy = STRATEGIES[strategy_name]()
    score, params, batch, labelled, unlabelled = played(strategy, n_epochs=7)
    weights = batch.row_state["weights"][batch.rows].tolist()
    assert len(set(weights)) > 5
    beside = strategy.unlabelled_weights(batch).tolist()
    losses = [l1(z) if y else l0(z) for z, y in zip(labelled, batch.labels, strict=True)]
    terms = [w * x for w, x in zip(weights, losses, strict=True)]
    terms += [w * l0(z) for w, z in zip(beside, unlabelled, strict=True)]
    proposal = strategy.propose(score, params, batch)
    assert float(proposal.log["loss"]) == pytest.approx(mean(terms), rel=1e-5)
    assert proposal.row_updates["losses"].tolist() == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("n_epochs", [0, 2, 4])
def test_dcf_by_hand(n_epochs):
    strategy = DoubleCorrection(
        drop_fraction=0.25, ramp_steps=10, relabel_fraction=0.5, confidence=0.3
    )
    score, params, batch, labelled, unlabelled = played(strategy, n_epochs=n_epochs)
    generator = torch.Generator().manual_seed(0)
    drawn = {
        name: torch.rand(len(labelled), generator=generator) * size
        for name, size in (("means", 1.0), ("kept", 2.0))
    }
    drawn["kept"] = drawn["kept"].floor()
    row_state = batch.row_state | drawn
    s, c = n_epochs % 3 + 1, 0.3 * (1 - n_epochs / 10)
    rows, labels = batch.rows.tolist(), batch.labels.tolist()
    means, lower = {}, {}
    for n, (z, y, row) in enumerate(zip(labelled, labels, rows, strict=True)):
        loss = l1(z) if y else 0.0
        q = log(1 + loss + loss**2 / 2)
        means[n] = (s * float(drawn["means"][row]) + q) / (s + 1)
        bound = c * (s + c * log(2 * s) / s**2) / (float(drawn["kept"][row]) + 1 - c)
        if y:
            lower[n] = max(means[n] - bound, 0.0)
    order = sorted(lower, key=lambda n: (lower[n], n), reverse=True)
    n_dropped = floor(0.25 * (len(labelled) + len(unlabelled)))
    assert 0 < n_dropped < len(order)
    turned = order[: floor(0.5 * n_dropped)]
    dropped = set(order[:n_dropped]) - set(turned)
    losses = [l1(z) if y else l0(z) for z, y in zip(labelled, labels, strict=True)]
    kept = [x for n, x in enumerate(losses) if n not in dropped] + [l0(z) for z in unlabelled]

    proposal = strategy.propose(score, params, batch._replace(row_state=row_state))
    assert float(proposal.log["loss"]) == pytest.approx(mean(kept), rel=1e-5)
    assert proposal.row_updates["means"].tolist() == pytest.approx([*means.values()], rel=1e-5)
    relabelled = [0.0 if n in turned else y for n, y in enumerate(labels)]
    assert proposal.row_updates["turned"].tolist() == relabelled
    counts = [float(drawn["kept"][row]) + (n not in dropped) for n, row in enumerate(rows)]
    assert proposal.row_updates["kept"].tolist() == counts


def test_dcf_relabels_after_the_epoch_and_begins_a_new_window():
    rows = LabelledRows(Pairs(torch.arange(3), torch.arange(3)), torch.ones(3))
    strategy = DoubleCorrection(window=2)
    row_state = dict(strategy.init_row_state(rows)) | {"turned": torch.tensor([1.0, 0.0, 1.0])}
    row_state |= {"means": torch.ones(3), "kept": torch.ones(3)}
    first = strategy.on_epoch_end(row_state)
    assert first["labels"].tolist() == [1.0, 0.0, 1.0]
    assert first["means"].tolist() == [1.0, 1.0, 1.0]
    second = strategy.on_epoch_end(first)
    assert second["means"].tolist() == second["kept"].tolist() == [0.0, 0.0, 0.0]
    assert second["labels"].tolist() == [1.0, 0.0, 1.0]


def test_ranks_and_means_against_numpy():
    rng = np.random.default_rng(0)
    values = rng.integers(20, size=200).astype(np.float32)
    groups = rng.integers(30, size=200)
    found = ranks(torch.from_numpy(values)).numpy()
    assert (found == np.argsort(np.argsort(values, kind="stable"))).all()
    means = group_means(torch.from_numpy(values), torch.from_numpy(groups)).numpy()
    for group in range(groups.max() + 1):
        own = values[groups == group]
        assert means[group] == pytest.approx(own.mean()) if len(own) else np.isnan(means[group])
    place = places(torch.from_numpy(values), torch.from_numpy(groups))
    assert place.nan_to_num(0.5).min() == 0
    assert place.nan_to_num(0.5).max() == 1


def test_peers_differ_and_leave_no_trace():
    module = small_backbone("mf", 9, 7)
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    attach_auxiliary_models(module, 2)
    state = module.state_dict()
    one, two = (as_auxiliary(state, number) for number in (1, 2))
    assert one.keys() == two.keys() == before.keys()
    for name in ("user_embedding.weight", "item_embedding.weight"):
        assert not torch.equal(one[name], before[name])
        assert not torch.equal(one[name], two[name])
        assert torch.equal(one[name].flatten().sort()[0], before[name].flatten().sort()[0])
    assert {name for name in state if not is_auxiliary(name)} == before.keys()
    detach_auxiliary_models(module)
    assert_near(dict(module.state_dict()), before, rtol=0, atol=0)


def test_peers_leave_a_module_of_a_like_name_alone_and_must_differ():
    module = small_backbone("mf", 9, 7)
    module.add_module("peer_tower", torch.nn.Linear(2, 2))
    attach_auxiliary_models(module, 1)
    detach_auxiliary_models(module)
    assert "peer_tower.weight" in module.state_dict()
    assert not is_auxiliary("peer_tower.weight")
    with torch.no_grad():
        for weight in module.parameters():
            weight.fill_(0.5)
    with pytest.raises(ConfigError, match="constant weights"):
        attach_auxiliary_models(module, 1)
