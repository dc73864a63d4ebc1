"""What a training takes: numbers against the modules themselves, messages against those counted."""

import pytest
import torch

from console import call, done
from crew import Crew
from invlearn import planning
from invlearn.backbones import BACKBONES
from invlearn.backbones.backbone import ReadsFeatures
from invlearn.composition import make_backbone, settled
from invlearn.config import OptimizerConfig, RunConfig, load_config
from invlearn.errors import ConfigError
from invlearn.features import NO_FEATURES, FeatureCard, Scale, SideCard
from invlearn.pairs import Pairs
from invlearn.planning import check_room, gib, group_limits, plan, plan_for, room_of
from invlearn.sizing import Counts, asked_by, numbers_of, rows_in_play, traffic
from invlearn.stores import RowStore, ShardedStore
from invlearn.strategies import STRATEGIES
from toys import checkerboard, random_batch

COUNTS = Counts(300, 200, train=10_000, valid=1_000, test=1_000, unlabelled=5_000)
CARD = FeatureCard(
    user=SideCard(categorical={"age": 7}, numeric={"days": Scale(mean=0.0, spread=1.0)})
)


def settings(**options):
    config = load_config({"unlabelled": {"source": "exposed"}} | options)
    return settled(config, n_train=COUNTS.train, n_unlabelled=COUNTS.unlabelled)


def card_of(backbone):
    return CARD if issubclass(BACKBONES[backbone], ReadsFeatures) else NO_FEATURES


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_number_of_a_backbone_is_counted(backbone):
    config, card = settings(backbone=backbone), card_of(backbone)
    found = numbers_of(config, COUNTS, card)
    module = make_backbone(config, COUNTS.users, COUNTS.items, card)
    tensors = [*module.parameters(), *module.buffers()]
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    sizes = {"user": COUNTS.users, "item": COUNTS.items}
    in_tables = sum(
        n * kind[key] for kind in (found.trained, found.frozen) for key, n in sizes.items()
    )
    assert 4 * (in_tables + found.whole + found.fixed) == pytest.approx(n_bytes, abs=4 * 50)
    assert numbers_of(config, COUNTS, card, n_peers=1).whole == 2 * found.whole


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("backbone", ["mf", "svdpp", "deepfm"])
def test_every_training_has_a_plan(strategy, backbone):
    found = plan(settings(strategy=strategy, backbone=backbone), COUNTS, card_of(backbone))
    assert found.memory > sum(part.n_bytes for part in found.lasting)
    assert all(part.n_bytes >= 0 for part in found.lasting + found.passing)
    assert set(found.steps) == set(found.traffic)
    assert set(found.traffic.values()) == {0.0}


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    crew = Crew(2, tmp_path_factory.mktemp("crew"))
    yield crew
    crew.close()


def sent(group, kind, strategy_name):
    """Bytes that a process hands over in a step, sums as they travel on a ring."""
    strategy = STRATEGIES[strategy_name]()
    config = RunConfig(backbone="neumf", model={"dim": 4})
    module = make_backbone(config, 40, 30).train()
    rows = {"user": 40, "item": 30}
    given = {"n_rows": rows} if kind is ShardedStore else {}
    tables = module.tables
    store = kind(module, tables, OptimizerConfig(), seed=0, group=group, **given)
    batch = random_batch(n_users=40, n_items=30, judges=True)
    if not strategy.feed.unlabelled:
        empty = Pairs(*(ids[:0] for ids in batch.unlabelled))
        batch = batch._replace(unlabelled=empty)
    group.payload.clear()
    play = store.play(batch)
    move = strategy.propose(play.score, play.point, play.batch)
    store.agreed(torch.tensor(data=True))
    store.apply(play, move)
    ring = 2 * (group.size - 1) / group.size
    in_play = {key: len(ids) for key, ids in play.rows.items()}
    moved = move.point is not play.point
    return group.payload["exchange"] + ring * group.payload["sum"], in_play, moved


@pytest.mark.parametrize("kind", [RowStore, ShardedStore])
@pytest.mark.parametrize("strategy", ["none", "idl", "ig", "ig-sample"])
def test_traffic_is_what_is_sent(crew, kind, strategy):
    found = crew(sent, kind, strategy)
    config = settings(backbone="neumf", model={"dim": 4}, strategy=strategy)
    numbers = numbers_of(config, Counts(40, 30, train=100), NO_FEATURES)
    asked = asked_by(config, NO_FEATURES, STRATEGIES[strategy](), judges=True)
    pairs = (24, 24 if asked.by_unlabelled else 0)
    sharded = kind is ShardedStore
    expected = [
        traffic(asked, numbers, pairs, rows, 2, sharded=sharded, moved=moved)
        for _, rows, moved in found
    ]
    measured = sum(n_bytes for n_bytes, *_ in found)
    if not sharded:
        assert measured == pytest.approx(sum(expected))
    else:  # half of the rows lie elsewhere, more or less
        assert measured == pytest.approx(sum(expected), rel=0.15)


def test_rows_in_play():
    found = rows_in_play(Counts(10, 10**9, train=0), 1000)
    assert found["user"] == pytest.approx(10)
    assert found["item"] == pytest.approx(1000, rel=1e-3)


def test_what_does_not_fit_is_refused_before_it_is_taken(tmp_path, monkeypatch):
    board = checkerboard(tmp_path / "data")
    config = settings(model={"dim": 8})
    check_room(config, board, n_processes=1, n_here=1)
    with pytest.raises(ConfigError, match=r"1,000,000,000 numbers.*smaller --model\.dim"):
        check_room(settings(model={"dim": 10**9}), board, n_processes=1, n_here=1)
    huge = settings(model={"dim": 10**6})
    monkeypatch.setattr(planning, "available", lambda: 1e8)
    with pytest.raises(ConfigError, match=r"would take .* of memory .* alone .*--store sharded"):
        check_room(huge, board, n_processes=1, n_here=1)
    monkeypatch.setattr(planning, "available", lambda: 3e9)
    check_room(config, board, n_processes=4, n_here=4)
    with pytest.raises(ConfigError, match="for each of 40 processes here"):
        check_room(config, board, n_processes=40, n_here=40)


def test_limits_of_the_groups_around_a_process_count(tmp_path):
    for folder, limit in (("slurm/job_7", "5000"), ("slurm", "max"), (".", "9000")):
        (tmp_path / "new" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / folder / "memory.max").write_text(f"{limit}\n")
    assert group_limits("0::/slurm/job_7/step_0\n", tmp_path / "new") == [5000, 9000]
    (tmp_path / "memory" / "job").mkdir(parents=True)
    (tmp_path / "memory" / "job" / "memory.limit_in_bytes").write_text("7000\n")
    assert group_limits("8:pids:/job\n4:memory:/job\n0::/\n", tmp_path) == [7000]


def test_a_plan_without_a_dataset():
    sizes = {"users": 10**8, "items": 2 * 10**8, "rows": 10**9, "unlabelled_rows": 10**9}
    given = {"model": {"dim": 32}, "strategy": "ig", "store": "sharded", "batch_size": 2**17}
    found = plan_for(None, sizes, n_processes=16, **given)
    weights = {part.name: part.n_bytes for part in found.lasting}
    assert weights["weights"] == pytest.approx(4 * 32 * 3e8 / 16, rel=0.01)
    assert weights["moments"] == pytest.approx(2 * weights["weights"], rel=0.01)
    assert found.steps == {"plain": 5494, "judged": 611}
    assert found.mapped == pytest.approx(9 * 1e9 + 8 * 1e9, rel=0.01)
    with pytest.raises(ConfigError, match="--items is missing"):
        plan_for(None, {"users": 3})
    with pytest.raises(ConfigError, match="at least one process"):
        plan_for(None, sizes, n_processes=0)


def test_the_command(tmp_path):
    board = checkerboard(tmp_path / "data")
    text = done("plan", board.folder, "--dim", "8", "--processes", "2", "--memory", "8GiB")
    assert "30 users, 30 items" in text
    assert "It fits" in text
    assert "A process sends in a step" in text
    text = done("plan", board.folder, "--model.dim", "100000", "--memory", "64MiB")
    assert "It does not fit" in text
    for given, said in (
        ((), "--users"),
        ((board.folder, "--memory", "much"), "'much' is no amount"),
    ):
        answer = call("plan", *given)
        assert answer.code == 2
        assert said in answer.err


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("1024", 1024), ("2 KiB", 2048), ("1.5g", 1.5 * 2**30), ("3TB", 3 * 2**40)],
)
def test_amounts_of_memory(text, n_bytes):
    assert room_of(text) == n_bytes
    assert gib(n_bytes)
