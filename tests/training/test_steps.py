"""Steps: compiled and eager ones agree, cost what the batch costs, and harm nothing if unsound."""

import sys
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from invlearn.backbones import BACKBONES
from invlearn.backbones.auxiliary import attach_auxiliary_models, tables_with_auxiliary
from invlearn.config.schema import OptimizerConfig, RunConfig
from invlearn.data.types import Feed, Pairs
from invlearn.runtime.errors import ConfigError, InvlearnWarning
from invlearn.strategies import STRATEGIES, Strategy, gradients, inverse
from invlearn.training import settings as training_settings
from invlearn.training import train_step as step_module
from invlearn.training.stores import DenseStore, RowStore
from invlearn.training.train_step import Stepper, compiled_train_step, hardened, train_step
from toys import ACTIVE, assert_near, of_rows, random_batch, row_pool, small_backbone

N_USERS, N_ITEMS, N_STEPS = 60, 50, 9
POOL = row_pool(N_USERS, N_ITEMS)
TRACED = pytest.mark.parametrize(
    "backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)]
)
"""What runs the traced graphs: torch as they stand, or, in the slow tier, as they are lowered for
machine code; the test of machine code does so in the fast one."""
BY_ROWS = [name for name, strategy in STRATEGIES.items() if not strategy().feed.whole_tables]


@pytest.fixture
def compiles_with(monkeypatch):
    """Let `torch.compile` hand its graphs to another backend than the slow default."""
    real = torch.compile
    yield lambda backend: (
        monkeypatch.setattr(torch, "compile", partial(real, backend=backend)),
        compiled_train_step.cache_clear(),
    )
    compiled_train_step.cache_clear()


def batches(strategy):
    """Batches of changing size, judges among them if the strategy has any."""
    for step in range(N_STEPS):
        is_meta_batch = strategy.feed.judge_fraction > 0 and step % 3 == 2
        wanted = strategy.feed.unlabelled and (is_meta_batch or strategy.feed.judge_fraction == 0)
        sizes = {"n_labelled": 24 - step % 4, "n_unlabelled": 17 + step % 2}
        batch = random_batch(n_users=N_USERS, n_items=N_ITEMS, seed=step, **sizes)
        if strategy.feed.row_state:
            batch = of_rows(batch, POOL, seed=step)
        empty = Pairs(*(ids[:0] for ids in batch.unlabelled))
        yield batch._replace(
            unlabelled=batch.unlabelled if wanted else empty,
            is_meta_batch=is_meta_batch,
            step=step,
            lr=0.1 / (1 + step % 3),
        )


def trained(backbone, strategy, *, compiled, kind=RowStore, n_users=N_USERS, **optimizer):
    """Weights, moments and logs after some steps."""
    module, n_auxiliary = (
        small_backbone(backbone, n_users, N_ITEMS).train(),
        strategy.feed.n_auxiliary,
    )
    torch.manual_seed(0)
    attach_auxiliary_models(module, n_auxiliary)
    tables = tables_with_auxiliary(module.tables, n_auxiliary)
    store = kind(module, tables, OptimizerConfig(**optimizer), seed=0)
    stepper = Stepper(store, strategy, compiled_for=type(module) if compiled else None)
    stepper.init_row_state(POOL)
    logs = []
    for number, batch in enumerate(batches(strategy)):
        logs.append(stepper(batch).log)
        if number % 3 == 2:
            stepper.close_epoch()
    weights = {name: weight.detach() for name, weight in module.named_parameters()}
    return weights, store.state(), logs


def assert_agree(compiled, eager):
    for found, expected in zip(compiled[:2], eager[:2], strict=True):
        assert_near(found, expected, rtol=1e-4, atol=1e-5)
    for found, expected in zip(compiled[2], eager[2], strict=True):
        assert found.keys() == expected.keys()
        for name in found:
            if name == "choice":
                assert torch.equal(found[name], expected[name])
            torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


FAST = ("none", "idl", "ig-sample", "t-ce", "co-teaching", "pld")
"""Strategies with every kind of batch, state and step."""


@TRACED
@pytest.mark.parametrize(
    "strategy_name",
    [  # the others differ from these in their losses alone; `ig` is tried in machine code, below
        pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in BY_ROWS
    ],
)
def test_traced_steps_agree_with_eager_ones(strategy_name, backend, compiles_with):
    compiles_with(backend)
    strategy = STRATEGIES[strategy_name](**ACTIVE.get(strategy_name, {}))
    assert_agree(
        trained("mf", strategy, compiled=True, l2=0.01),
        trained("mf", strategy, compiled=False, l2=0.01),
    )


@TRACED
@pytest.mark.covering
@pytest.mark.parametrize(
    "backbone",
    [  # the parts of `neumf` are `gmf` and `mlp`; `deepfm` reads features as `two-tower` does
        pytest.param(name, marks=[pytest.mark.slow] if name in ("gmf", "mlp", "deepfm") else [])
        for name, kind in BACKBONES.items()
        if hasattr(kind, "tables")
    ],
)
@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "sgd"])
def test_every_backbone_and_optimizer_can_be_traced(backbone, optimizer, backend, compiles_with):
    compiles_with(backend)
    strategy = STRATEGIES["none"]()
    assert_agree(
        trained(backbone, strategy, compiled=True, name=optimizer),
        trained(backbone, strategy, compiled=False, name=optimizer),
    )


@pytest.mark.skipif(not step_module.has_compiler("cpu"), reason="no C++ compiler here")
def test_machine_code_agrees_with_eager_steps_and_copies_no_table():
    from torch._inductor.utils import run_and_get_code

    strategy = STRATEGIES["ig"]()
    compiled, code = run_and_get_code(partial(trained, "gmf", strategy, compiled=True, l2=0.01))
    assert_agree(compiled, trained("gmf", strategy, compiled=False, l2=0.01))
    assert len(code) == 2  # training-train and judges
    for rows in (N_USERS, N_ITEMS):
        assert not any(f"empty_strided_cpu(({rows}," in text for text in code)
    assert any("empty_strided_cpu((" in text for text in code)


def test_one_graph_serves_every_setting(compiles_with):
    """Another module, rate, shrinkage, trial length, batch size: nothing is compiled again."""
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph

    compiles_with(counting)
    for ratio, l2 in ((0.1, 0.0), (0.4, 1e-3), (2.0, 0.5)):
        trained("gmf", inverse.InverseGradient(alpha_ratio=ratio), compiled=True, l2=l2)
    assert len(graphs) == 2


def test_each_size_of_dataset_has_a_limit_of_its_own(compiles_with, monkeypatch):
    """Past the limit a step is not compiled, with a warning, which would fail this test."""
    monkeypatch.setattr(step_module, "RECOMPILATIONS", 1)
    compiles_with("eager")
    for more in range(3):
        trained("gmf", STRATEGIES["none"](), compiled=True, n_users=N_USERS + more)


def test_a_failing_compiler_is_told_once_and_done_without(compiles_with):
    def failing(graph, inputs):
        raise OSError("c++ went away")

    compiles_with(failing)
    strategy = STRATEGIES["ns"]()
    with pytest.warns(InvlearnWarning, match=r"c\+\+ went away.*--compile off") as told:
        found = trained("gmf", strategy, compiled=True)
    assert len(told) == 1
    assert_near(found[0], trained("gmf", strategy, compiled=False)[0], rtol=0, atol=0)


def test_a_defect_of_a_strategy_is_not_blamed_on_the_compiler(compiles_with):
    class Broken(Strategy):
        feed = Feed()

        def propose(self, score, params, batch):
            raise KeyError("no such feature")

    with pytest.raises(KeyError, match="no such feature"):
        trained("gmf", Broken(), compiled=False)


@pytest.mark.covering
@pytest.mark.parametrize(
    "how",
    [
        (DenseStore, None),
        (RowStore, None),
        (RowStore, "eager"),
        pytest.param((RowStore, "aot_eager"), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("strategy_name", ["none", "idl", "ig"])
def test_an_unsound_step_changes_nothing(strategy_name, how, compiles_with):
    kind, backend = how
    compiles_with(backend or "eager")
    strategy = STRATEGIES[strategy_name]()
    module = small_backbone("gmf", N_USERS, N_ITEMS).train()
    store = kind(module, module.tables, OptimizerConfig(), seed=0)
    stepper = Stepper(store, strategy, compiled_for=type(module) if backend else None)
    few = list(batches(strategy))[:6]
    assert all(stepper(batch).is_finite for batch in few)
    with torch.no_grad():
        module.user_embedding.weight[few[2].labelled.users[3]] = torch.inf
    weights = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    moments = {name: moment.clone() for name, moment in store.state().items()}
    assert not stepper(few[2]).is_finite
    assert_near(dict(module.named_parameters()), weights, rtol=0, atol=0)
    assert_near(store.state(), moments, rtol=0, atol=0)


class Counting(TorchDispatchMode):
    """Notes what torch is asked to do."""

    def __init__(self):
        super().__init__()
        self.calls, self.sizes = [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        self.calls.append(name)
        if isinstance(found, torch.Tensor) and not name.endswith("_") and name != "detach":
            self.sizes.append(found.numel())
        return found


def counted_step(strategy, n_rows, *, backbone="gmf"):
    """What one judged step of 8 labelled and 8 unlabelled pairs asks of torch."""
    module, n_auxiliary = (
        BACKBONES[backbone](n_rows, n_rows, dim=4).train(),
        strategy.feed.n_auxiliary,
    )
    attach_auxiliary_models(module, n_auxiliary)
    tables = tables_with_auxiliary(module.tables, n_auxiliary)
    store = RowStore(module, tables, OptimizerConfig(l2=0.1), seed=0)
    empty = {} if strategy.feed.unlabelled else {"n_unlabelled": 0}
    sizes = {"n_labelled": 8, "n_unlabelled": 8} | empty
    batch = random_batch(n_users=n_rows, n_items=n_rows, **sizes)
    pool = row_pool(n_rows, n_rows)
    store.row_state = dict(strategy.init_row_state(pool))
    if strategy.feed.row_state:
        batch = of_rows(batch, pool)
    is_meta_batch = strategy.feed.judge_fraction > 0
    indexed = store.index(batch._replace(is_meta_batch=is_meta_batch))
    with Counting() as counting:
        train_step(store, strategy, indexed)
    return counting


@pytest.mark.covering
@pytest.mark.parametrize("strategy_name", BY_ROWS)
@pytest.mark.parametrize("backbone", ["gmf", "mf", "neumf"])
def test_a_step_allocates_nothing_of_the_size_of_a_table(strategy_name, backbone):
    strategy = STRATEGIES[strategy_name]()
    few, many = (counted_step(strategy, rows, backbone=backbone) for rows in (5_000, 50_000))
    assert max(many.sizes) < 5_000
    assert few.calls == many.calls


@pytest.mark.parametrize("strategy_name", BY_ROWS)
def test_on_a_device_no_step_waits_for_the_host(strategy_name, monkeypatch):
    """A device's tensors are never at hand; none may be asked for its value all the same."""
    for module in (step_module, gradients):
        monkeypatch.setattr(module, "at_hand", lambda choice: False)
    calls = counted_step(STRATEGIES[strategy_name](), 100).calls
    assert len(calls) > 20
    assert not {"_local_scalar_dense", "nonzero", "_unique2", "is_nonzero"} & set(calls)


def settings(**given):
    return RunConfig(**{"store": "row", "device": "cpu"} | given)


def decided(config, *, n_steps=10**6, dropout=0.0):
    module = small_backbone("neumf", 3, 3, dropout=dropout).train()
    return training_settings.decide_compile(config, module, n_steps=n_steps).compile


def test_auto_compiles_long_runs_where_it_can(monkeypatch):
    monkeypatch.setattr(training_settings, "has_compiler", lambda device: True)
    assert decided(settings()) == "on"
    assert decided(settings(), n_steps=step_module.PAYING_STEPS - 1) == "off"
    assert decided(settings(), dropout=0.5) == "off"
    assert decided(settings(store="dense")) == "off"
    assert decided(settings(compile="off")) == "off"
    assert decided(settings(compile="on"), n_steps=1) == "on"
    monkeypatch.setattr(training_settings, "has_compiler", lambda device: False)
    assert decided(settings()) == "off"


@pytest.mark.parametrize(
    ("given", "dropout", "words"),
    [({"store": "dense"}, 0, "dense store"), ({}, 0.5, "random numbers"), ({}, 0, r"C\+\+")],
)
def test_what_cannot_be_compiled_is_said(given, dropout, words, monkeypatch):
    monkeypatch.setattr(training_settings, "has_compiler", lambda device: "C" not in words)
    with pytest.raises(ConfigError, match=f"{words}.*--compile off"):
        decided(settings(compile="on", **given), dropout=dropout)


def test_the_compiler_is_looked_for(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not step_module.has_compiler("cpu")
    monkeypatch.setenv("CXX", sys.executable)
    assert step_module.has_compiler("cpu")


def test_the_hardest_candidate_of_each_pair_is_kept():
    def score(weights, pairs):
        return weights["z"][pairs.items]

    batch = random_batch(n_users=N_USERS, n_items=N_ITEMS, n_labelled=4, n_unlabelled=12)
    batch = of_rows(batch, POOL)
    params = {"z": torch.randn(N_ITEMS, generator=torch.Generator().manual_seed(0))}
    found = hardened(score, params, batch, 3)
    for pairs in (found.unlabelled, found.origin):
        for number, (user, item) in enumerate(zip(*pairs, strict=True)):
            users, items = (ids[3 * number :][:3].tolist() for ids in batch.unlabelled)
            hardest = max(zip(items, users, strict=True), key=lambda pair: params["z"][pair[0]])
            assert (int(item), int(user)) == hardest


def test_hard_negatives_are_the_step_of_the_hardest_alone():
    """Under plain descent candidates that were not kept change nothing."""
    weights = []
    for hardest_of in (1, 4):
        module = small_backbone("gmf", N_USERS, N_ITEMS).train()
        store = RowStore(module, module.tables, OptimizerConfig(name="sgd"), seed=0)
        batch = random_batch(n_users=N_USERS, n_items=N_ITEMS, n_labelled=8, n_unlabelled=32)
        if hardest_of == 1:
            context = store.gather(batch)
            kept = hardened(context.score, context.params, context.batch, 4).unlabelled
            ids = (context.rows["user"][kept.users], context.rows["item"][kept.items])
            batch = batch._replace(unlabelled=Pairs(*ids))
        assert Stepper(store, STRATEGIES["ns"](), hardest_of=hardest_of)(batch).is_finite
        weights.append({name: w.detach() for name, w in module.named_parameters()})
    assert_near(*weights)
