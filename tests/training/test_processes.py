"""Several processes against one, in the stores that share a batch; what is sent, as planned."""

import json

import pytest
import torch
from safetensors.torch import save_file
from test_stores import BY_ROWS, N_ITEMS, N_USERS, POOL, WITH_TABLES, batches

from invlearn.backbones import BACKBONES, layers
from invlearn.backbones.auxiliary import attach_auxiliary_models, tables_with_auxiliary
from invlearn.backbones.backbone import FitsExposures, ReadsFeatures
from invlearn.config.schema import OptimizerConfig, RunConfig
from invlearn.data.features import NO_FEATURES
from invlearn.data.types import Pairs
from invlearn.runtime import tensor_files
from invlearn.runtime.distributed import ALONE, VARIABLES, Group, joined, started_again
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.tensor_files import Shard
from invlearn.strategies import STRATEGIES
from invlearn.training import checkpoint
from invlearn.training.build import build_model, make_backbone
from invlearn.training.capacity.param_count import Counts, count_params
from invlearn.training.capacity.step_cost import calls_of, traffic
from invlearn.training.checkpoint import TrainState
from invlearn.training.class_lookup import strategy_class
from invlearn.training.stores import DenseStore, RowStore, ShardedStore
from invlearn.training.stores.distributed_scorer import replicas
from invlearn.training.train_step import Stepper
from toys import (
    ACTIVE,
    FITTING,
    assert_near,
    random_batch,
    small_backbone,
    small_exposures,
    small_features,
)
from workers import Crew

SIZE = 3
N_ROWS = {"user": N_USERS, "item": N_ITEMS}


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    crew = Crew(SIZE, tmp_path_factory.mktemp("crew"))
    yield crew
    crew.close()


def strategy_named(name, options):
    return strategy_class(name)(**FITTING.get(name, {}) | ACTIVE.get(name, {}) | options)


def trained(group, kind, backbone_name, strategy_name, options=(), **optimizer):
    """Weights, logs of steps and logits after some steps; shares of tables where they are cut."""
    strategy = strategy_named(strategy_name, dict(options))
    module = small_backbone(backbone_name, N_USERS, N_ITEMS)
    torch.manual_seed(0)
    attach_auxiliary_models(module, strategy.feed.n_auxiliary)
    tables = tables_with_auxiliary(module.tables, strategy.feed.n_auxiliary)
    given = {"n_rows": N_ROWS} if kind is ShardedStore else {}
    config = OptimizerConfig(**{"lr": 0.1, **optimizer})
    store = kind(module.train(), tables, config, seed=0, group=group, **given)
    store.row_state, logs = dict(strategy.init_row_state(POOL)), []
    for batch in batches(strategy, 6):
        context = store.gather(batch)
        proposal = strategy.propose(context.score, context.params, context.batch)
        store.apply(context, proposal)
        logs.append({name: value.clone() for name, value in proposal.log.items()})
    return {n: w.detach().clone() for n, w in module.named_parameters()}, logs


def work(group, kind, *given):
    return trained(group, kind, *given[:3], **dict(given[3]))


def assembled(kind, found, backbone_name, n_auxiliary):
    """Whole tables, from the shares of all processes; what is not cut must be equal everywhere."""
    tables = tables_with_auxiliary(
        small_backbone(backbone_name, N_USERS, N_ITEMS).tables, n_auxiliary
    )
    result = {}
    for name, first in found[0].items():
        if kind is ShardedStore and name in tables:
            result[name] = torch.cat([weights[name] for weights in found])
        else:
            assert all(torch.equal(weights[name], first) for weights in found)
            result[name] = first
    return result


def assert_equals_one(crew, kind, backbone_name, strategy_name, options=(), **optimizer):
    one = RowStore if kind is ShardedStore else kind
    alone, said = trained(ALONE, one, backbone_name, strategy_name, options, **optimizer)
    found = crew(work, kind, backbone_name, strategy_name, options, tuple(optimizer.items()))
    n_auxiliary = strategy_named(strategy_name, dict(options)).feed.n_auxiliary
    together = assembled(kind, [weights for weights, _ in found], backbone_name, n_auxiliary)
    assert_near(together, alone, rtol=1e-3, atol=1e-4)
    for _, logs in found:
        for theirs, ours in zip(logs, said, strict=True):
            assert_near(theirs, ours, rtol=1e-3, atol=1e-4)
        if "choice" in ours:
            assert [int(log["choice"]) for log in logs if "choice" in log] == [
                int(log["choice"]) for log in said if "choice" in log
            ]
    for _, logs in found[1:]:  # the same bits on every process
        for theirs, first in zip(logs, found[0][1], strict=True):
            assert all(torch.equal(theirs[name], first[name]) for name in first)


@pytest.mark.covering
@pytest.mark.parametrize("kind", [RowStore, ShardedStore])
@pytest.mark.parametrize("strategy_name", BY_ROWS)
def test_every_strategy_does_on_several_processes_what_it_does_on_one(crew, kind, strategy_name):
    assert_equals_one(crew, kind, "neumf", strategy_name)


@pytest.mark.covering
@pytest.mark.parametrize("kind", [RowStore, ShardedStore])
@pytest.mark.parametrize("backbone_name", WITH_TABLES)
def test_every_backbone_with_tables_trains_on_several_processes(crew, kind, backbone_name):
    assert_equals_one(crew, kind, backbone_name, "ig", l2=0.01)


RELEASED = "reproduction.inverse_as_released:InverseGradientAsReleased"


def test_whole_tables_are_shared_too(crew):
    assert_equals_one(crew, DenseStore, "mf", "ig", l2=0.01)
    assert_equals_one(crew, DenseStore, "mf", RELEASED)


def test_rows_of_unlabelled_pairs_rest_on_their_owners(crew):
    options = (("moves", "labelled"),)
    assert_equals_one(crew, ShardedStore, "mf", "ig-sample", options, l2=0.01)


def few_pairs(group, kind):
    """A step with fewer pairs than processes, and logits of one pair."""
    module = small_backbone("gmf", N_USERS, N_ITEMS).train()
    given = {"n_rows": N_ROWS} if kind is ShardedStore else {}
    store = kind(module, module.tables, OptimizerConfig(), seed=0, group=group, **given)
    strategy = STRATEGIES["ig"]()
    for batch in batches(strategy, 4, n_labelled=1, n_unlabelled=2):
        context = store.gather(batch)
        store.apply(context, strategy.propose(context.score, context.params, context.batch))
    scorer = store.logits if kind is ShardedStore else replicas(module, group)
    with torch.no_grad():
        return scorer(torch.tensor([3]), torch.tensor([5]))


@pytest.mark.parametrize("kind", [RowStore, ShardedStore])
def test_fewer_pairs_than_processes(crew, kind):
    alone = few_pairs(ALONE, RowStore)
    for logits in crew(few_pairs, kind):
        assert torch.allclose(logits, alone, atol=1e-5)


def unsound(group):
    """Whether a step is sound where one process alone has a gradient that is not finite."""
    module = small_backbone("gmf", N_USERS, N_ITEMS).train()
    given = {"group": group, "n_rows": N_ROWS}
    store = ShardedStore(module, module.tables, OptimizerConfig(), seed=0, **given)
    weight = module.user_embedding.weight.detach()
    weight[0] = float("nan") if group.rank == 1 else weight[0]
    (batch,) = batches(STRATEGIES["none"](), 1, n_labelled=9)
    users = torch.arange(9) % 3 + N_USERS // 3  # rows of the second process
    batch = batch._replace(labelled=Pairs(users, users))
    before = {name: w.detach().clone() for name, w in module.named_parameters()}
    step = Stepper(store, STRATEGIES["none"]())(batch)
    unchanged = all(
        torch.equal(w, before[name]) or name == "user_embedding.weight"
        for name, w in module.named_parameters()
    )
    return bool(step.is_finite), unchanged


def test_what_is_unsound_on_one_process_is_done_on_none(crew):
    assert crew(unsound) == [(False, True)] * SIZE


def messages(group):
    """What a group says, message by message."""
    pieces = [torch.arange(rank + 1) + 10 * group.rank for rank in range(group.size)]
    lengths = group.lengths(pieces)
    came = [piece.tolist() for piece in group.all_to_all(pieces, lengths)]
    total = group.all_reduce(torch.tensor([1.0 + group.rank])).item()
    told = group.broadcast_object({"a": [1, 0.1 + 0.2], "b": "ü"} if group.is_first else None)
    return lengths, came, total, told, group.any_rank(group.rank == 1), group.any_rank(False)


def test_messages(crew):
    for rank, (lengths, came, total, told, some, none) in enumerate(crew(messages)):
        assert lengths == [rank + 1] * SIZE
        assert came == [[10 * sender + k for k in range(rank + 1)] for sender in range(SIZE)]
        assert total == 6.0
        assert told == {"a": [1, 0.1 + 0.2], "b": "ü"}
        assert (some, none) == (True, False)


def test_a_process_alone_says_the_same_to_itself():
    lengths, came, total, told, some, none = messages(ALONE)
    assert (lengths, came, total, some, none) == ([1], [[0]], 1.0, False, False)
    assert told == {"a": [1, 0.1 + 0.2], "b": "ü"}
    assert ALONE.any_rank(True)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100])
def test_shares_cover_everything_once(n):
    groups = [Group(rank, 3) for rank in range(3)]
    assert [k for group in groups for k in range(n)[group.share(n)]] == [*range(n)]
    assert [group.share(n).stop for group in groups] == groups[0].ends(n)


@pytest.mark.parametrize(("rows", "dim"), [(1, 1), (5, 3), (40, 2), (64, 16), (1000, 7)])
def test_a_share_of_a_table_is_drawn_as_the_whole_is(monkeypatch, rows, dim):
    monkeypatch.setattr(layers, "_BLOCK_ROWS", 16)
    torch.manual_seed(3)
    whole = layers.embedding(rows, dim, spread=0.1).weight
    after = torch.randn(3)
    found = []
    for rank in range(3):
        torch.manual_seed(3)
        with layers.shares(Group(rank, 3)):
            found.append(layers.embedding(rows, dim, spread=0.1).weight)
        assert torch.equal(torch.randn(3), after)
    assert torch.equal(torch.cat(found), whole)


def write_share(group, folder):
    table = torch.arange(21.0).view(7, 3)
    own = group.share(7)
    tensors = {"head": torch.ones(2), "n": torch.tensor(5), "table": table[own].clone()}
    shards = {"table": Shard(own.start, own.stop, 7)}
    state = TrainState(epoch=1)
    checkpoint.save(
        folder,
        checkpoint.Checkpoint(tensors, {"table:0": table[own].clone()}, state),
        best=True,
        shards=shards | {"table:0": shards["table"]},
        group=group,
    )


def test_a_checkpoint_of_several_processes_is_that_of_one(crew, tmp_path):
    crew(write_share, tmp_path / "several")
    write_share(ALONE, tmp_path / "one")
    saved = [checkpoint.load(tmp_path / name, "last") for name in ("several", "one")]
    for ours, theirs in zip(*(one.weights.items() for one in saved), strict=True):
        assert ours[0] == theirs[0]
        assert torch.equal(ours[1], theirs[1])
    part = {"table": Shard(2, 5, 7), "table:0": Shard(2, 5, 7)}
    some = checkpoint.load(tmp_path / "several", "last", part)
    assert torch.equal(some.weights["table"], saved[1].weights["table"][2:5])
    assert torch.equal(some.weights["head"], torch.ones(2))


def saved_by_the_first_alone(group, folder):
    """Write weights in shards and no moments; only the first may write what is in no shard."""
    rows = group.share(7)
    saved = checkpoint.Checkpoint({"table": torch.arange(14.0).view(7, 2)[rows]}, {}, TrainState())
    with pytest.MonkeyPatch.context() as patch:
        if not group.is_first:
            real = tensor_files.write_tensors

            def in_shards(file, tensors, *, shards, group):
                assert shards
                real(file, tensors, shards=shards, group=group)

            patch.setattr(checkpoint, "write_tensors", in_shards)
        shards = {"table": Shard(rows.start, rows.stop, 7)}
        checkpoint.save(folder, saved, best=False, shards=shards, group=group)


def test_moments_that_are_none_are_written_once(crew, tmp_path):
    crew(saved_by_the_first_alone, tmp_path)
    saved = checkpoint.load(tmp_path, "last")
    assert torch.equal(saved.weights["table"], torch.arange(14.0).view(7, 2))
    assert saved.optimizer == {}


def everything(rows):
    """Tensors of every type, some of them under two names, some with `rows` rows."""
    some = {f"a_{str(kind)[6:]}": torch.arange(2).to(kind) for kind in tensor_files._NAMES}
    table, head = torch.arange(3.0 * rows).view(rows, 3), torch.arange(3.0)
    tables = {"é": table, "zz": table, "other": table.clone()}
    return tables | some | {"head": head, "again": head, "n": torch.tensor(5)}


def write_everything(group, file, rows):
    own = group.share(rows)
    tensors = everything(rows)
    share = tensors["zz"][own].clone()
    tensors |= {"é": share, "zz": share, "other": share.clone()}
    shards = dict.fromkeys(("é", "zz", "other"), Shard(own.start, own.stop, rows))
    tensor_files.write_tensors(file, tensors, shards=shards, group=group)


@pytest.mark.parametrize("rows", [7, 2])  # of two rows the first process has none
def test_a_file_of_several_processes_has_the_bytes_of_one(crew, tmp_path, rows):
    several = everything(rows)
    tied = {"again": "head", "zz": "é"}
    once = {name: tensor for name, tensor in several.items() if name not in tied}
    save_file(once, tmp_path / "one", {"tied": json.dumps(tied, sort_keys=True)})
    tensor_files.write_tensors(tmp_path / "plain", several)
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "one").read_bytes()
    crew(write_everything, tmp_path / "several", rows)
    write_everything(ALONE, tmp_path / "alone", rows)
    assert (tmp_path / "alone").read_bytes() == (tmp_path / "one").read_bytes()
    assert (tmp_path / "several").read_bytes() == (tmp_path / "one").read_bytes()
    shards = {"é": Shard(1, 2, rows), "zz": Shard(1, 2, rows)}
    found = tensor_files.read_tensors(tmp_path / "several", shards)
    assert found["é"] is found["zz"]
    assert found["head"] is found["again"]
    assert torch.equal(found["zz"], torch.tensor([[3.0, 4.0, 5.0]]))


def test_half_of_what_a_launcher_sets(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    said = r"RANK is set.*but WORLD_SIZE, MASTER_ADDR, MASTER_PORT is not"
    with pytest.raises(ConfigError, match=said), joined():
        pass
    for name in VARIABLES:
        monkeypatch.setenv(name, "1")
    with joined() as group:  # a world of one
        assert group.is_alone
    assert not started_again()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert started_again()


def processed(backbone, group, card):
    """A backbone as it is made on a process, having read what it reads."""
    options = {"trainable": True} if backbone == "wide-deep trainable" else {}
    config = RunConfig(backbone=backbone.split()[0], store="sharded", model=options)
    torch.manual_seed(5)
    module = build_model(config, N_USERS, N_ITEMS, card, group)
    if isinstance(module, FitsExposures):
        module.fit_exposures(small_exposures(N_USERS, N_ITEMS, n=90))
    if isinstance(module, ReadsFeatures):
        module.read_features(small_features(N_USERS, N_ITEMS))
    return module, dict(module.named_parameters()) | dict(module.named_buffers())


@pytest.mark.parametrize("backbone", [*WITH_TABLES, "wide-deep trainable"])
def test_a_share_of_a_backbone_is_made_and_read_as_the_whole_is(backbone):
    kind = BACKBONES[backbone.split()[0]]
    card = small_features(N_USERS, N_ITEMS).card if issubclass(kind, ReadsFeatures) else NO_FEATURES
    module, whole = processed(backbone, ALONE, card)
    for rank in range(SIZE):
        group = Group(rank, SIZE)
        part, mine = processed(backbone, group, card)
        assert part.tables == module.tables
        for name, weight in whole.items():
            n = N_ROWS.get(module.tables.get(name))
            assert torch.equal(mine[name], weight[group.share(n)] if n else weight), name


def sent(group, kind, strategy_name):
    """Bytes that a process hands over in a step, sums as they travel on a ring."""
    strategy = STRATEGIES[strategy_name]()
    config = RunConfig(backbone="neumf", model={"dim": 4})
    module = make_backbone(config, 40, 30).train()
    rows = {"user": 40, "item": 30}
    given = {"n_rows": rows} if kind is ShardedStore else {}
    tables = module.tables
    store = kind(module, tables, OptimizerConfig(), seed=0, group=group, **given)
    batch = random_batch(n_users=40, n_items=30, is_meta_batch=True)
    if not strategy.feed.unlabelled:
        empty = Pairs(*(ids[:0] for ids in batch.unlabelled))
        batch = batch._replace(unlabelled=empty)
    group.payload.clear()
    context = store.gather(batch)
    proposal = strategy.propose(context.score, context.params, context.batch)
    store.all_ranks_finite(torch.tensor(data=True))
    store.update(context, proposal)
    ring = 2 * (group.size - 1) / group.size
    gathered = {key: len(ids) for key, ids in context.rows.items()}
    if kind is DenseStore:
        gathered = {"user": 40, "item": 30}
    moved = proposal.params is not context.params
    return group.payload["exchange"] + ring * group.payload["sum"], gathered, moved


@pytest.mark.parametrize("kind", [RowStore, ShardedStore, DenseStore])
@pytest.mark.parametrize("strategy", ["none", "idl", "ig", "ig-sample"])
def test_traffic_is_what_is_sent(crew, kind, strategy):
    found = crew(sent, kind, strategy)
    config = RunConfig(backbone="neumf", model={"dim": 4}, strategy=strategy)
    params = count_params(config, Counts(40, 30, train=100), NO_FEATURES)
    calls = calls_of(STRATEGIES[strategy](), is_meta_batch=True)
    pairs = (24, 24 if calls.unlabelled else 0)
    sharded = kind is ShardedStore
    expected = [
        traffic(calls._replace(moves=moved), params, pairs, rows, SIZE, is_sharded=sharded)
        for _, rows, moved in found
    ]
    measured = sum(n_bytes for n_bytes, *_ in found)
    if not sharded:
        assert measured == pytest.approx(sum(expected))
    else:  # two thirds of the rows lie elsewhere, more or less
        assert measured == pytest.approx(sum(expected), rel=0.15)
