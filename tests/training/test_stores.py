"""Stores: rows against whole tables, the update rules against torch's, dropout, untouched rows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from invlearn.backbones import BACKBONES
from invlearn.backbones.auxiliary import attach_auxiliary_models, tables_with_auxiliary
from invlearn.backbones.factorization import BiasedMF
from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Pairs, Proposal
from invlearn.strategies import STRATEGIES
from invlearn.training.stores import DenseStore, RowStore
from invlearn.training.stores.huge_pages import on_huge_pages, zeros_on_huge_pages
from invlearn.training.stores.store import distinct_ids, draws_random_numbers
from toys import FITTING, assert_near, of_rows, random_batch, row_pool, small_backbone

N_USERS, N_ITEMS = 13, 11
POOL = row_pool(N_USERS, N_ITEMS)
both_stores = pytest.mark.parametrize("kind", [RowStore, DenseStore])
WITH_TABLES = [name for name, kind in BACKBONES.items() if hasattr(kind, "tables")]
on_every_backbone = pytest.mark.parametrize("backbone_name", WITH_TABLES)
BY_ROWS = [name for name, strategy in STRATEGIES.items() if not strategy().feed.whole_tables]


def make_store(
    kind, backbone_name, *, tables=True, dropout=0.0, seed=0, n_auxiliary=0, **optimizer
):
    module = small_backbone(backbone_name, N_USERS, N_ITEMS, dropout=dropout)
    torch.manual_seed(0)
    attach_auxiliary_models(module, n_auxiliary)
    module.train()
    config = OptimizerConfig(**optimizer)
    known = tables_with_auxiliary(module.tables, n_auxiliary) if tables else {}
    return module, kind(module, known, config, seed=seed)


def batches(strategy, n_steps, **sizes):
    """Training batches and judges by turns, the rate moving, as the strategy's feed asks."""
    for step in range(n_steps):
        is_meta_batch = strategy.feed.judge_fraction > 0 and step % 2 == 1
        wanted = strategy.feed.unlabelled and (is_meta_batch or strategy.feed.judge_fraction == 0)
        given = {"n_labelled": 8, "n_unlabelled": 6} | sizes
        batch = random_batch(n_users=N_USERS, n_items=N_ITEMS, seed=step, **given)
        if strategy.feed.row_state:
            batch = of_rows(batch, POOL, seed=step)
        empty = Pairs(*(ids[:0] for ids in batch.unlabelled))
        yield batch._replace(
            unlabelled=batch.unlabelled if wanted else empty,
            is_meta_batch=is_meta_batch,
            step=step,
            lr=0.3 / (1 + step % 3),
        )


def train(store, strategy, steps):
    store.row_state = dict(strategy.init_row_state(POOL))
    for batch in steps:
        context = store.gather(batch)
        store.apply(context, strategy.propose(context.score, context.params, context.batch))


def copies(tensors):
    return {name: tensor.detach().clone() for name, tensor in dict(tensors).items()}


@pytest.mark.covering
@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("strategy_name", BY_ROWS)
@on_every_backbone
def test_rows_equal_whole_tables_under_plain_descent(strategy_name, backbone_name, l2):
    strategy = STRATEGIES[strategy_name](**FITTING.get(strategy_name, {}))
    weights = []
    for kind in (RowStore, DenseStore):
        n_auxiliary = strategy.feed.n_auxiliary
        module, store = make_store(kind, backbone_name, name="sgd", l2=l2, n_auxiliary=n_auxiliary)
        before = copies(module.named_parameters())
        train(store, strategy, batches(strategy, 20))
        weights.append(copies(module.named_parameters()))
        assert not any(torch.equal(before[name], weights[-1][name]) for name in before)
    assert_near(*weights, rtol=1e-4, atol=1e-5)


@pytest.mark.covering
@pytest.mark.parametrize("name", ["adam", "adagrad", "sgd"])
@on_every_backbone
def test_row_rules_equal_torch_where_every_row_is_touched(backbone_name, name):
    strategy = STRATEGIES["none"]()
    weights = []
    for kind in (RowStore, DenseStore):
        module, store = make_store(kind, backbone_name, name=name, beta1=0.8, beta2=0.95)
        train(store, strategy, batches(strategy, 15, n_labelled=400))
        weights.append(copies(module.named_parameters()))
    assert_near(*weights, rtol=1e-3, atol=1e-4)


def test_every_row_is_touched_by_the_batches_of_that_test():
    for batch in batches(STRATEGIES["none"](), 15, n_labelled=400):
        assert len(batch.labelled.users.unique()) == N_USERS
        assert len(batch.labelled.items.unique()) == N_ITEMS


@pytest.mark.covering
@pytest.mark.parametrize("name", ["adam", "adagrad", "sgd"])
@on_every_backbone
def test_rows_out_of_play_keep_weights_and_moments(backbone_name, name):
    strategy = STRATEGIES["idl"]()
    module, store = make_store(RowStore, backbone_name, name=name, l2=0.1)
    first, second = batches(strategy, 2, n_labelled=3, n_unlabelled=2)
    train(store, strategy, [first])
    weights, moments = copies(module.named_parameters()), copies(store.state())
    train(store, strategy, [second])
    for key, column in (("user", 0), ("item", 1)):
        ids = torch.cat([second.labelled[column], second.unlabelled[column]])
        n_rows = (N_USERS, N_ITEMS)[column]
        out_of_play = torch.isin(torch.arange(n_rows), ids, invert=True)
        assert out_of_play.any()
        for table in (n for n, by in module.tables.items() if by == key and n in weights):
            now = {table: dict(module.named_parameters())[table], **store.state()}
            old = {table: weights[table], **moments}
            for entry in (e for e in now if e.rpartition(":")[0] == table or e == table):
                assert torch.equal(now[entry][out_of_play], old[entry][out_of_play])
                assert not torch.equal(now[entry][~out_of_play], old[entry][~out_of_play])


@pytest.mark.covering
@both_stores
@on_every_backbone
def test_playing_changes_nothing(kind, backbone_name):
    strategy = STRATEGIES["idl"]()
    module, store = make_store(kind, backbone_name)
    train(store, strategy, batches(strategy, 2))
    weights, moments = copies(module.named_parameters()), copies(store.state())
    context = store.gather(next(batches(strategy, 1)))
    strategy.propose(context.score, context.params, context.batch)
    assert_near(copies(module.named_parameters()), weights, rtol=0, atol=0)
    assert_near(copies(store.state()), moments, rtol=0, atol=0)


@on_every_backbone
def test_played_rows_are_the_ids_of_the_batch(backbone_name):
    module, store = make_store(RowStore, backbone_name)
    batch = random_batch(n_users=N_USERS, n_items=N_ITEMS, n_labelled=4, n_unlabelled=3)
    context = store.gather(batch)
    assert context.rows["user"].tolist() == sorted(
        {*batch.labelled.users.tolist(), *batch.unlabelled.users.tolist()}
    )
    for name in module.tables.keys() & context.params.keys():
        assert len(context.params[name]) == len(context.rows[module.tables[name]])
    for kind in ("labelled", "unlabelled"):
        logits = context.score(context.params, getattr(context.batch, kind))
        torch.testing.assert_close(logits, module(*getattr(batch, kind)))


@both_stores
def test_step_starts_from_the_proposed_point(kind):
    """Under plain descent the new weights are the proposed point less rate times gradient."""
    _, store = make_store(kind, "gmf", name="sgd")
    batch = random_batch(n_users=N_USERS, n_items=N_ITEMS, is_meta_batch=True, lr=0.25)
    context = store.gather(batch)
    proposal = STRATEGIES["idl"]().propose(context.score, context.params, context.batch)
    moved = proposal._replace(params={name: weight + 1 for name, weight in proposal.params.items()})
    store.apply(context, moved)
    after = store.gather(batch).params
    expected = {
        name: play_weight - 0.25 * proposal.gradients[name]
        for name, play_weight in moved.params.items()
    }
    assert_near(after, expected)


@both_stores
@on_every_backbone
@pytest.mark.parametrize("name", ["adam", "adagrad", "sgd"])
def test_without_a_slope_the_point_is_kept_as_it_is(kind, backbone_name, name):
    module, store = make_store(kind, backbone_name, name=name, l2=0.1)
    train(store, STRATEGIES["idl"](), batches(STRATEGIES["idl"](), 3))
    before, moments = copies(module.named_parameters()), copies(store.state())
    context = store.gather(
        random_batch(n_users=N_USERS, n_items=N_ITEMS, n_labelled=4, n_unlabelled=3)
    )
    moved = {name: weight + 1 for name, weight in context.params.items()}
    store.apply(context, Proposal(moved, {}, {}))
    assert_near(copies(store.state()), moments, rtol=0, atol=0)
    after = copies(module.named_parameters())
    for name, weight in after.items():
        key = module.tables.get(name) if kind is RowStore else None
        in_play = torch.ones(len(weight), dtype=torch.bool)
        if key is not None:
            in_play = torch.isin(torch.arange(len(weight)), context.rows[key])
            assert not in_play.all()
        assert torch.equal(weight[in_play], before[name][in_play] + 1)
        assert torch.equal(weight[~in_play], before[name][~in_play])


@both_stores
def test_memory_is_handed_back_once_and_is_no_part_of_the_weights(kind):
    """What is remembered of the weights stays as it was, whatever the steps make of them."""
    module, store = make_store(kind, "gmf")
    bias = module.output.bias.detach().clone()
    batch = random_batch(n_users=N_USERS, n_items=N_ITEMS)

    def step(memory):
        context = store.gather(batch)
        gradients = {name: torch.ones_like(weight) for name, weight in context.params.items()}
        store.apply(context, Proposal(context.params, gradients, {}, memory))
        return context.batch.state

    first = store.gather(batch)
    assert first.batch.state == {}
    assert step({"old": first.params["output.bias"], "count": torch.tensor(1)}) == {}
    assert not torch.equal(module.output.bias, bias)
    seen = step({"count": torch.tensor(2)})
    assert_near(seen, {"old": bias, "count": torch.tensor(1)}, rtol=0, atol=0)
    assert step({}) == {"count": torch.tensor(2)}
    assert store.gather(batch).batch.state == {}


@both_stores
def test_memory_is_saved_beside_the_moments(kind):
    store = make_store(kind, "gmf")[1]
    batch = random_batch(n_users=N_USERS, n_items=N_ITEMS)
    names = ["output.bias", "output.bias:0", ":", "a/b:c"]
    memory = {name: torch.full((2,), float(number)) for number, name in enumerate(names)}
    context = store.gather(batch)
    gradients = {name: torch.ones_like(weight) for name, weight in context.params.items()}
    moments = make_store(kind, "gmf")[1]
    for each, kept in ((moments, {}), (store, memory)):
        each.apply(context, Proposal(context.params, gradients, {}, kept))
    assert len(store.state()) == len(moments.state()) + len(memory)
    again = make_store(kind, "gmf")[1]
    again.load_state(copies(store.state()))
    assert_near(again.gather(batch).batch.state, memory, rtol=0, atol=0)
    assert_near(copies(again.state()), copies(store.state()), rtol=0, atol=0)
    again.load_state(copies(moments.state()))
    assert again.gather(batch).batch.state == {}


@both_stores
@pytest.mark.parametrize("backbone_name", ["mlp", "neumf"])
def test_dropout_is_a_function_of_seed_and_step(kind, backbone_name):
    module, store = make_store(kind, backbone_name, dropout=0.5, seed=3)
    batch = random_batch(n_users=N_USERS, n_items=N_ITEMS, n_labelled=50)

    def logits(store, step):
        context = store.gather(batch._replace(step=step))
        found = context.score(context.params, context.batch.labelled)
        torch.rand(5)
        assert torch.equal(found, context.score(context.params, context.batch.labelled))
        return found

    first = logits(store, 0)
    assert not torch.allclose(first, logits(store, 1))
    torch.manual_seed(99)
    assert torch.equal(first, logits(store, 0))
    assert torch.equal(first, logits(make_store(kind, backbone_name, dropout=0.5, seed=3)[1], 0))
    other = make_store(kind, backbone_name, dropout=0.5, seed=4)[1]
    assert not torch.allclose(first, logits(other, 0))
    assert not torch.allclose(first, module.eval()(*batch.labelled))


@both_stores
@pytest.mark.parametrize("name", ["adam", "adagrad", "sgd"])
def test_state_goes_on_to_the_same_bits(kind, name):
    strategy = STRATEGIES["ig"]()
    steps = list(batches(strategy, 10))
    module, store = make_store(kind, "neumf", name=name, dropout=0.3, l2=0.01)
    train(store, strategy, steps[:5])
    weights, state = copies(module.named_parameters()), copies(store.state())
    train(store, strategy, steps[5:])

    other, again = make_store(kind, "neumf", name=name, dropout=0.3, l2=0.01)
    other.load_state_dict(weights)
    again.load_state(state)
    train(again, strategy, steps[5:])
    assert_near(copies(other.named_parameters()), copies(module.named_parameters()), rtol=0, atol=0)
    assert_near(copies(again.state()), copies(store.state()), rtol=0, atol=0)
    assert bool(state) == (name != "sgd")


def test_whole_tables_serve_a_module_that_declares_none():
    strategy = STRATEGIES["idl"]()
    found = []
    for tables in (True, False):
        module, store = make_store(DenseStore, "mf", tables=tables)
        train(store, strategy, batches(strategy, 5))
        found.append(copies(module.named_parameters()))
    assert_near(*found, rtol=0, atol=0)


@pytest.mark.parametrize("frozen", ["user_embedding.weight", "output.weight"])
def test_frozen_weights_stay_and_are_seen(frozen):
    weights = []
    for kind in (RowStore, DenseStore):
        module = small_backbone("gmf", N_USERS, N_ITEMS)
        module.get_parameter(frozen).requires_grad_(False)
        before = copies(module.named_parameters())
        store = kind(module, module.tables, OptimizerConfig(name="sgd", l2=0.05), seed=0)
        train(store, STRATEGIES["ig"](), batches(STRATEGIES["ig"](), 10))
        weights.append(copies(module.named_parameters()))
        unmoved = [name for name in before if torch.equal(before[name], weights[-1][name])]
        assert unmoved == [frozen]
    assert_near(*weights, rtol=1e-4, atol=1e-5)


class Noisy(nn.Module):
    """Draws random numbers without a layer that says so."""

    def __init__(self, n_users, n_items):
        super().__init__()
        self.user = nn.Embedding(n_users, 8)

    def forward(self, users, items):
        return nn.functional.dropout(self.user(users), 0.5, self.training).sum(-1)


def test_random_numbers_drawn_anywhere_are_a_function_of_seed_and_step():
    module = Noisy(N_USERS, N_ITEMS).train()
    store = DenseStore(module, {}, OptimizerConfig(), seed=1)
    batch = random_batch(n_users=N_USERS, n_items=N_ITEMS, n_labelled=50)
    context = store.gather(batch._replace(step=4))
    first = context.score(context.params, context.batch.labelled)
    assert torch.equal(first, context.score(context.params, context.batch.labelled))
    other = store.gather(batch._replace(step=5))
    assert not torch.equal(first, other.score(other.params, other.batch.labelled))


def test_looking_for_random_numbers_leaves_the_generator_alone():
    module = Noisy(3, 3)
    before = torch.get_rng_state()
    assert draws_random_numbers(module.train())
    assert not draws_random_numbers(module.eval())
    assert torch.equal(before, torch.get_rng_state())


@given(
    st.sampled_from([1, 3, 2**16 - 1, 2**16, 2**16 + 5, 2**31 - 1, 2**40]).flatmap(
        lambda largest: st.lists(st.integers(0, largest), max_size=60)
    )
)
def test_distinct_ids_are_those_of_torch(ids):
    column = torch.tensor(ids, dtype=torch.int64)
    expected = torch.unique(column, return_inverse=True)
    for ours, theirs in zip(distinct_ids(column), expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    assert column.tolist() == ids  # nothing was sorted in place


def test_big_tables_move_to_huge_pages_with_their_values_aligned():
    big = torch.rand(1 << 16, 17)
    moved = on_huge_pages(big)
    assert torch.equal(moved, big)
    assert moved.data_ptr() != big.data_ptr()
    assert moved.data_ptr() % 64 == 0
    small = torch.rand(10)
    assert on_huge_pages(small) is small


@pytest.mark.parametrize("shape", [(1 << 16, 17), (10,)])
def test_zeros_lie_where_a_copy_would(shape):
    zeros = zeros_on_huge_pages(torch.rand(shape).double())
    assert torch.equal(zeros, torch.zeros(shape).double())
    assert zeros.dtype == torch.float64
    assert zeros.data_ptr() % 64 == 0


def test_a_row_store_keeps_the_parameters_whose_tables_it_moves():
    module = BiasedMF(70_000, 10, dim=16).train()
    table = module.user_embedding.weight
    before, place = table.detach().clone(), table.data_ptr()
    store = RowStore(module, BiasedMF.tables, OptimizerConfig(), seed=0)
    assert module.user_embedding.weight is table
    assert table.data_ptr() != place
    assert torch.equal(table, before)
    context = store.gather(random_batch(n_users=70_000, n_items=10))
    gradients = {name: torch.ones_like(params) for name, params in context.params.items()}
    store.apply(context, Proposal(context.params, gradients, {}))
    assert torch.equal((table != before).any(1).nonzero().flatten(), context.rows["user"])


@both_stores
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_rows_without_slope_rest_if_that_is_proposed(kind, name):
    """Neither penalty nor, by rows, momentum moves them; without the word both do."""
    module, store = make_store(kind, "mf", name=name, l2=0.1)
    before = module.user_embedding.weight.detach().clone()
    context = store.gather(random_batch(n_users=N_USERS, n_items=N_ITEMS))
    gradients = {key: torch.zeros_like(weight) for key, weight in context.params.items()}
    mine = int(context.rows["user"][0])
    gradients["user_embedding.weight"][0 if kind is RowStore else mine] = 1.0
    store.apply(context, Proposal(context.params, gradients, {}, skip_zero_grad_rows=True))
    after = module.user_embedding.weight.detach().clone()
    assert (after != before).any(1).nonzero().flatten().tolist() == [mine]
    store.apply(context, Proposal(context.params, gradients, {}))
    assert (module.user_embedding.weight != after).any(1).sum() > 1


def test_faint_unlabelled_pairs_that_move_labelled_rows_leave_plain_training():
    """By rows and with Adam, whose steps are as long however faint a gradient is."""

    def trained(**options):
        module, store = make_store(RowStore, "mf", l2=0.01, lr=0.05)
        for step in range(6):
            batch = random_batch(n_users=N_USERS, n_items=N_ITEMS, n_labelled=4, seed=step)
            context = store.gather(batch._replace(step=step))
            strategy = STRATEGIES["ig-sample"](**options)
            store.apply(context, strategy.propose(context.score, context.params, context.batch))
        return copies(module.named_parameters())

    def labelled_alone():
        module, store = make_store(RowStore, "mf", l2=0.01, lr=0.05)
        for step in range(6):
            batch = random_batch(n_users=N_USERS, n_items=N_ITEMS, n_labelled=4, seed=step)
            nobody = Pairs(*(ids[:0] for ids in batch.unlabelled))
            context = store.gather(batch._replace(step=step, unlabelled=nobody))
            proposal = STRATEGIES["none"]().propose(context.score, context.params, context.batch)
            store.apply(context, proposal)
        return copies(module.named_parameters())

    plain = labelled_alone()
    assert_near(trained(weight=1e-9, moves="labelled"), plain)
    free = trained(weight=1e-9, moves="every")
    assert (free["user_embedding.weight"] - plain["user_embedding.weight"]).abs().max() > 1e-3
