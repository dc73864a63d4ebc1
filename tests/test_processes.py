"""Several processes against one: every strategy in the stores that share a batch among them."""

import pytest
import torch

from crew import Crew
from invlearn.config import OptimizerConfig
from invlearn.peers import add_peers, tables_with_peers
from invlearn.processes import ALONE
from invlearn.stores import RowStore, ShardedStore
from invlearn.strategies import STRATEGIES
from test_stores import BY_ROWS, N_ITEMS, N_USERS, POOL, WITH_TABLES, batches
from toys import ACTIVE, FITTING, assert_near, small_backbone

SIZE = 3
N_ROWS = {"user": N_USERS, "item": N_ITEMS}


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    crew = Crew(SIZE, tmp_path_factory.mktemp("crew"))
    yield crew
    crew.close()


def strategy_named(name, options):
    return STRATEGIES[name](**FITTING.get(name, {}) | ACTIVE.get(name, {}) | options)


def trained(group, kind, backbone_name, strategy_name, options=(), **optimizer):
    """Weights, logs of steps and logits after some steps; shares of tables where they are cut."""
    strategy = strategy_named(strategy_name, dict(options))
    module = small_backbone(backbone_name, N_USERS, N_ITEMS)
    torch.manual_seed(0)
    add_peers(module, strategy.feed.n_peers)
    tables = tables_with_peers(module.tables, strategy.feed.n_peers)
    given = {"n_rows": N_ROWS} if kind is ShardedStore else {}
    config = OptimizerConfig(**{"lr": 0.1, **optimizer})
    store = kind(module.train(), tables, config, seed=0, group=group, **given)
    store.ledger, logs = dict(strategy.opening(POOL)), []
    for batch in batches(strategy, 10):
        play = store.play(batch)
        move = strategy.propose(play.score, play.point, play.batch)
        store.commit(play, move)
        logs.append({name: value.clone() for name, value in move.log.items()})
    return {n: w.detach().clone() for n, w in module.named_parameters()}, logs


def work(group, kind, *given):
    return trained(group, kind, *given[:3], **dict(given[3]))


def assembled(kind, found, backbone_name, n_peers):
    """Whole tables, from the shares of all processes; what is not cut must be equal everywhere."""
    tables = tables_with_peers(small_backbone(backbone_name, N_USERS, N_ITEMS).tables, n_peers)
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
    n_peers = strategy_named(strategy_name, dict(options)).feed.n_peers
    together = assembled(kind, [weights for weights, _ in found], backbone_name, n_peers)
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


@pytest.mark.parametrize("kind", [RowStore, ShardedStore])
@pytest.mark.parametrize("strategy_name", BY_ROWS)
def test_every_strategy_does_on_several_processes_what_it_does_on_one(crew, kind, strategy_name):
    assert_equals_one(crew, kind, "neumf", strategy_name)


@pytest.mark.parametrize("kind", [RowStore, ShardedStore])
@pytest.mark.parametrize("backbone_name", WITH_TABLES)
def test_every_backbone_with_tables_trains_on_several_processes(crew, kind, backbone_name):
    assert_equals_one(crew, kind, backbone_name, "ig", l2=0.01)
