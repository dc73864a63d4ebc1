"""What a training takes: formulas against modules, calls and evaluations as they are."""

import sys
import tracemalloc
from subprocess import run
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import invlearn
from console import call, done
from invlearn.backbones import BACKBONES
from invlearn.backbones.auxiliary import attach_auxiliary_models, tables_with_auxiliary
from invlearn.backbones.backbone import ReadsFeatures
from invlearn.config.schema import DatasetSizes, OptimizerConfig, RunConfig, load_config
from invlearn.data.features import NO_FEATURES, FeatureCard, Scale, SideCard
from invlearn.data.sampling.sampler import Sampler, UnlabelledSource
from invlearn.data.types import Feed
from invlearn.evaluation.evaluation import evaluate
from invlearn.experiments.trial_run import attempt
from invlearn.runtime.distributed import ALONE, Group
from invlearn.runtime.errors import ConfigError, Stopped
from invlearn.runtime.memory import bytes_of, gib, group_limits
from invlearn.runtime.random import stream
from invlearn.strategies import STRATEGIES
from invlearn.training.build import build_model, make_backbone
from invlearn.training.capacity import memory_check
from invlearn.training.capacity.memory_check import check_memory, plan_for
from invlearn.training.capacity.param_count import Counts, count_params, distinct
from invlearn.training.capacity.planning import (
    BELIEF_PAIRS,
    EXPOSED_BYTES,
    MALLOC_KEEPS,
    SAMPLED_BYTES,
    evaluation_bytes,
    plan,
)
from invlearn.training.capacity.step_cost import calls_of
from invlearn.training.settings import complete_settings, named_backbone
from invlearn.training.stores import DenseStore, RowStore
from invlearn.training.stores.data_parallel import shared
from toys import checkerboard, random_batch, with_ledger

COUNTS = Counts(300, 200, train=10_000, valid=1_000, test=1_000, unlabelled=5_000)
CARD = FeatureCard(
    user=SideCard(categorical={"age": 7}, numeric={"days": Scale(mean=0.0, spread=1.0)})
)


def settings(**options):
    config = load_config({"unlabelled": {"source": "exposed"}} | options)
    return complete_settings(config, n_train=COUNTS.train, n_unlabelled=COUNTS.unlabelled)


def card_of(backbone):
    return CARD if issubclass(BACKBONES[backbone], ReadsFeatures) else NO_FEATURES


def n_bytes_of(module):
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def n_bytes_counted(found):
    sizes = {"user": COUNTS.users, "item": COUNTS.items}
    in_tables = sum(
        n * kind[key] for kind in (found.trained, found.frozen) for key, n in sizes.items()
    )
    return 4 * (in_tables + found.whole + found.fixed)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_number_of_a_backbone_is_counted(backbone):
    config, card = settings(backbone=backbone), card_of(backbone)
    found = count_params(config, COUNTS, card)
    module = make_backbone(config, COUNTS.users, COUNTS.items, card)
    assert n_bytes_counted(found) == pytest.approx(n_bytes_of(module), abs=4 * 50)
    assert count_params(config, COUNTS, card, n_auxiliary=1).whole == 2 * found.whole


class LooksAtValues(nn.Module):
    """A backbone that cannot be built on the meta device, one of whose matrices is no table."""

    tables: ClassVar = {"table.weight": "user"}

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.table, self.nodes = nn.Embedding(n_users, 8), nn.Embedding(n_users + n_items, 3)
        self.tower = nn.Linear(5, 7 + int(torch.ones(2).sum()))

    def forward(self, users, items):
        return self.table(users).sum(-1)


def test_what_needs_values_is_built_small_and_scaled():
    state = torch.get_rng_state()
    found = count_params(settings(**named_backbone(LooksAtValues)), COUNTS, NO_FEATURES)
    assert torch.equal(torch.get_rng_state(), state)
    module = LooksAtValues(COUNTS.users, COUNTS.items)
    assert n_bytes_counted(found) == n_bytes_of(module)


class Foreign(nn.Module):
    """A backbone that somebody else wrote; its table is made whole everywhere."""

    tables: ClassVar = {"table.weight": "user", "more.weight": "item"}

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.table, self.more = nn.Embedding(n_users, 8), nn.Embedding(n_items, 8)

    def forward(self, users, items):
        return (self.table(users) * self.more(items)).sum(-1)


WITH_TABLES = [name for name, kind in BACKBONES.items() if hasattr(kind, "tables")]


@pytest.mark.parametrize("backbone", [*WITH_TABLES, Foreign])
def test_a_process_of_several_makes_what_is_planned(backbone):
    card = NO_FEATURES if backbone is Foreign else card_of(backbone)
    given = named_backbone(backbone)
    config = settings(store="sharded", optimizer={"name": "sgd"}, **given)
    found = plan(config, COUNTS, card, n_processes=4)
    parts = found.lasting | found.passing
    module = build_model(config, COUNTS.users, COUNTS.items, card, Group(1, 4))
    whole = parts["building whole tables"]
    assert parts["parameters"] + whole == pytest.approx(n_bytes_of(module), abs=4 * 50)
    assert (whole > 0) == (backbone is Foreign)
    adam = plan(settings(store="sharded", **given), COUNTS, card, n_processes=4)
    moments = adam.lasting["moments of the optimizer"]
    assert adam.passing["building whole tables"] == max(0, whole - moments)  # they come later


@pytest.mark.parametrize("per_user", [0.1, 1, 3, 10, 100])
@pytest.mark.parametrize("draws", [0, 20])
def test_an_evaluation_takes_what_is_planned(per_user, draws):
    n_rows = 100_000
    rng = np.random.default_rng(1)
    users = rng.integers(n_rows / per_user, size=n_rows).astype(np.int32)
    labels, logits = rng.integers(2, size=n_rows), rng.normal(size=n_rows).astype(np.float32)
    tracemalloc.start()
    evaluate(users, labels.astype(np.int8), logits, draws=draws)
    measured = tracemalloc.get_traced_memory()[1] + logits.nbytes
    tracemalloc.stop()
    assert evaluation_bytes(n_rows, int(n_rows / per_user)) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(("exposed", "n_bytes"), [(0.0, SAMPLED_BYTES), (1.0, EXPOSED_BYTES)])
def test_pairs_drawn_for_beliefs_are_counted(exposed, n_bytes, tmp_path):
    board = checkerboard(tmp_path / "data")
    source = UnlabelledSource(exposed, 20)
    sampler = Sampler(board, Feed(unlabelled=True), source, batch_size=64, seed=0)
    rng = stream(0, "beliefs")
    users = rng.choice(board.train.users, BELIEF_PAIRS)
    tracemalloc.start()
    sampler.unlabelled(users, rng)
    measured = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert measured / (20 * BELIEF_PAIRS) == pytest.approx(n_bytes, rel=0.1)
    options = {"strategy": "idl", "batch_size": 64, "unlabelled": {"per_labelled": 100_000}}
    found = plan(settings(**options), COUNTS, NO_FEATURES)
    assert found.peak == "drawing pairs for beliefs"
    assert found.memory > 1e5 * BELIEF_PAIRS * EXPOSED_BYTES


class Unsent(Group):
    """A group that counts the logits that would be summed, and sends nothing."""

    n_logits = 0

    def all_reduce(self, values):
        self.n_logits += len(values)
        return values


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("is_meta_batch", [False, True])
def test_calls_of_every_strategy(strategy, is_meta_batch):
    strategy = STRATEGIES[strategy]()
    feed = strategy.feed
    wants = feed.unlabelled and (is_meta_batch or not feed.judge_fraction)
    pairs = {"n_labelled": 24, "n_unlabelled": 5 if wants else 0}
    batch = random_batch(n_users=40, n_items=30, is_meta_batch=is_meta_batch, **pairs)
    batch = with_ledger(batch, strategy)
    module = make_backbone(RunConfig(model={"dim": 4}), 40, 30)
    attach_auxiliary_models(module, feed.n_auxiliary)
    tables = tables_with_auxiliary(module.tables, feed.n_auxiliary)
    context = DenseStore(module, tables, OptimizerConfig(), seed=0).gather(batch)
    group, sums = Unsent(1, 2), []

    def everyone(pairs):
        return torch.ones_like(pairs.users, dtype=torch.bool)

    score = shared(context.score, group, everyone, lambda found: sums.append(found) or found)
    state = context.batch._replace(row_state=batch.row_state)
    proposal = strategy.propose(score, context.params, state)
    calls = calls_of(strategy, is_meta_batch=is_meta_batch)
    assert group.n_logits == 24 * calls.labelled + 5 * calls.unlabelled
    assert len(sums) == calls.gradients
    if not feed.whole_tables:
        assert calls.moves or proposal.params is context.params


def test_moments_are_made_without_a_copy_of_their_table(monkeypatch):
    made = []
    monkeypatch.setattr(torch, "zeros_like", lambda like, **_: made.append(like.nbytes))
    module = Foreign(200_000, 10)
    RowStore(module, module.tables, OptimizerConfig(), seed=0)
    assert max(made, default=0) < 200_000 * 8 * 4


def test_freed_memory_that_malloc_keeps_is_counted_up_to_a_bound():
    few = plan(settings(), COUNTS, NO_FEATURES)
    others = sum(few.passing.values()) - few.passing[few.peak]
    assert few.kept == pytest.approx(others)
    assert others < MALLOC_KEEPS
    many = Counts(300, 200, train=20_000_000, valid=10**6, test=10**6, unlabelled=5_000)
    assert plan(settings(), many, NO_FEATURES).kept == MALLOC_KEEPS


def test_without_moments_a_table_that_moves_is_counted():
    sgd, adam = (
        plan(settings(optimizer={"name": name}), COUNTS, NO_FEATURES).passing
        for name in ("sgd", "adam")
    )
    assert sgd["moving a table"] == COUNTS.users * 32 * 4
    assert adam["moving a table"] == 0
    dense = settings(optimizer={"name": "sgd"}, store="dense")
    assert plan(dense, COUNTS, NO_FEATURES).passing["moving a table"] == 0


@pytest.mark.covering
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("backbone", ["mf", "svdpp", "deepfm"])
def test_every_training_has_a_plan(strategy, backbone):
    found = plan(settings(strategy=strategy, backbone=backbone), COUNTS, card_of(backbone))
    assert found.memory > sum(found.lasting.values())
    assert min((found.lasting | found.passing).values()) >= 0
    assert set(found.steps) == set(found.traffic)
    assert set(found.traffic.values()) == {0.0}


def test_distinct_rows():
    assert distinct(10, 1000) == pytest.approx(10)
    assert distinct(10**9, 1000) == pytest.approx(1000, rel=1e-3)
    assert distinct(1, 1000) == 1


class Neighbours(Group):
    """Processes on one machine, as the first of them sees them; another may have too little."""

    n_here = property(lambda self: self.size)
    another = False

    def any_rank(self, flag):
        return flag or self.another


def test_what_does_not_fit_is_refused_before_it_is_taken(tmp_path, monkeypatch):
    board = checkerboard(tmp_path / "data")
    config = settings(model={"dim": 8})
    check_memory(config, board, ALONE)
    huge = settings(model={"dim": 10**6})
    monkeypatch.setattr(memory_check, "available", lambda: 2e8)
    check_memory(config, board, ALONE)
    with pytest.raises(
        ConfigError, match=r"would take .* more memory .* alone .*--model\.dim .*--store sharded"
    ):
        check_memory(huge, board, ALONE)
    monkeypatch.setattr(memory_check, "available", lambda: 3e9)
    check_memory(config, board, Neighbours(0, 4))  # whatever this process holds already
    with pytest.raises(ConfigError, match=r"for each of 40 .* here\. With --store sharded it"):
        check_memory(huge, board, Neighbours(0, 40))
    group = Neighbours(0, 4)
    group.another = True
    with pytest.raises(ConfigError, match="another machine has too little memory"):
        check_memory(config, board, group)


def test_much_to_evaluate_is_named(tmp_path, monkeypatch):
    board = checkerboard(tmp_path / "data")
    monkeypatch.setattr(memory_check, "counts_of", lambda data: Counts(9, 9, 100, 100, 10**10))
    monkeypatch.setattr(memory_check, "available", lambda: 1e9)
    with pytest.raises(ConfigError, match=r"test alone .* Prepare with a smaller --test-fraction"):
        check_memory(settings(model={"dim": 8}), board, ALONE)


def test_many_unlabelled_pairs_are_named(tmp_path, monkeypatch):
    board = checkerboard(tmp_path / "data")
    monkeypatch.setattr(memory_check, "available", lambda: 1e9)
    many = settings(strategy="idl", batch_size=64, unlabelled={"per_labelled": 100_000})
    with pytest.raises(ConfigError, match=r"beliefs alone .* smaller --unlabelled\.per-labelled"):
        check_memory(many, board, ALONE)


CHECK = """
import sys
import invlearn.training.job
from invlearn.config.schema import load_config
from invlearn.data.dataset import Dataset
from invlearn.runtime.distributed import ALONE
from invlearn.training.settings import complete
from invlearn.training.capacity.memory_check import check_memory
dataset = Dataset.open(sys.argv[1])
for backbone in sys.argv[2:]:
    config = complete(load_config({"backbone": backbone, "strategy": "ig"}), dataset, None)
    check_memory(config, dataset, ALONE)
assert "torch._dynamo" not in sys.modules and "sympy" not in sys.modules
"""


def test_the_check_loads_no_compiler(tmp_path):
    """It takes milliseconds; loading a compiler would take seconds."""
    board = checkerboard(tmp_path / "data")
    run([sys.executable, "-c", CHECK, str(board.folder), *BACKBONES], check=True)


def test_whatever_trains_is_checked(tmp_path, monkeypatch):
    board = checkerboard(tmp_path / "data")
    with pytest.raises(Stopped):
        invlearn.train(board.folder, tmp_path / "run", should_stop=lambda: True)
    config = load_config({})
    monkeypatch.setattr(memory_check, "available", lambda: 1e3)
    for train in (
        lambda: invlearn.train(board.folder, tmp_path / "other"),
        lambda: invlearn.resume(tmp_path / "run"),
        lambda: attempt(tmp_path / "attempt", board, config),
    ):
        with pytest.raises(ConfigError, match="would take"):
            train()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]


def test_limits_of_the_groups_around_a_process_count(tmp_path):
    for folder, limit in (("slurm/job_7", "5000"), ("slurm", "max"), (".", "9000")):
        (tmp_path / "new" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / folder / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "new" / folder / "memory.stat").write_text("anon 300\nfile 4000\n")
    assert group_limits("0::/slurm/job_7/step_0\n", tmp_path / "new") == [4700, 8700]
    (tmp_path / "memory" / "job").mkdir(parents=True)
    (tmp_path / "memory" / "job" / "memory.limit_in_bytes").write_text("7000\n")
    (tmp_path / "memory" / "job" / "memory.stat").write_text("rss 1\ntotal_rss 200\n")
    assert group_limits("8:pids:/job\n4:memory:/job\n0::/\n", tmp_path) == [6800]


def test_a_plan_without_a_dataset():
    sizes = DatasetSizes(users=10**8, items=2 * 10**8, rows=10**9, unlabelled_rows=10**9)
    given = {"model": {"dim": 32}, "strategy": "ig", "store": "sharded", "batch_size": 2**17}
    found = plan_for(sizes, n_processes=16, **given)
    lasting = found.lasting
    assert lasting["parameters"] == pytest.approx(4 * 32 * 3e8 / 16, rel=0.01)
    moments = lasting["moments of the optimizer"]
    assert moments == pytest.approx(2 * lasting["parameters"], rel=0.01)
    assert found.steps == {"plain": 5494, "judged": 611}
    assert found.mapped == pytest.approx(9 * 1e9 + 8 * 1e9, rel=0.01)
    assert found.passing["test"] == evaluation_bytes(10**8, 10**8)
    assert found.memory < 0.9 * 64 * 2**30


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rows": 9, "users": 9}, "--items: a value is needed"),
        ({"rows": 9, "users": 0, "items": 9}, "--users: a number above 0 is needed; got '0'"),
        ({"rows": 9, "users": 5 * 10**9, "items": 9}, "--users: a number below 2147483648"),
        ({"rows": 9, "users": 9, "items": -5}, "--items: a number above 0"),
        ({"rows": -100, "users": 9, "items": 9}, "--rows: a number above 0"),
        ({"rows": 10**30, "users": 9, "items": 9}, "--rows: a number below"),
        ({"rows": 9, "users": 9, "items": 9, "unlabelled-rows": -5}, "--unlabelled-rows: a number"),
    ],
)
def test_sizes_that_cannot_be(given, said):
    answer = call("plan", *(word for name, n in given.items() for word in (f"--{name}", n)))
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.parametrize(("n_processes", "n_hosts"), [(0, 1), (1, 0), (1, -2), (1, 2), (5, 2)])
def test_processes_that_cannot_be_spread(n_processes, n_hosts):
    sizes = DatasetSizes(users=9, items=9, rows=100)
    said = f"--processes {n_processes} cannot be spread evenly over --hosts {n_hosts};"
    with pytest.raises(ConfigError, match=said):
        plan_for(sizes, n_processes=n_processes, n_hosts=n_hosts)


def test_the_command(tmp_path):
    board = checkerboard(tmp_path / "data")
    text = done("plan", board.folder, "--dim", "8", "--processes", "2", "--memory", "8GiB")
    assert "30 users, 30 items" in text
    assert "It fits" in text
    assert "A process computes 252 labelled rows of it, and sends" in text
    answer = call("plan", board.folder, "--model.dim", "100000", "--memory", "64MiB")
    assert answer.code == 1
    assert "It does not fit" in answer.out
    for given, said in (
        ((), "--users"),
        ((board.folder, "--memory", "much"), "'much' is not an amount"),
        (
            (board.folder, *["--users", "5", "--items", "5", "--rows", "5"]),
            "either a dataset folder, or",
        ),
        ((board.folder, "--hosts", "0"), "cannot be spread evenly over --hosts 0"),
    ):
        answer = call("plan", *given)
        assert answer.code == 2
        assert said in answer.err


def test_the_screen_shows_every_part():
    sizes = ("--users", 10**8, "--items", 2 * 10**8, "--rows", 10**9, "--unlabelled-rows", 10**9)
    given = ("--processes", 32, "--hosts", 16, "--memory", "64GiB", "--store", "sharded")
    text = done("plan", *map(str, (*sizes, *given)))
    parts = (
        *("parameters", "moments of the optimizer", "for a while: scoring (at most)"),
        *("for a while: shuffling", "peak, during: validation"),
    )
    for said in (*parts, "25,000,000 labelled rows", "for 2 processes on a"):
        assert said in text
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("2 KiB", 2048), ("1.5gib", 1.5 * 2**30), ("4GB", 4e9), ("4GiB", 2**32), ("3TB", 3e12)],
)
def test_amounts_of_memory(text, n_bytes):
    assert bytes_of(text) == n_bytes
    assert gib(n_bytes)


@pytest.mark.parametrize("text", ["", "4", "-1GiB", "1.5g", "1e3MB", "many GiB", "9" * 400 + "GB"])
def test_what_is_no_amount_of_memory(text):
    with pytest.raises(ConfigError, match="is not an amount of memory; write, for example, 4GiB"):
        bytes_of(text)
