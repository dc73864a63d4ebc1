"""Stopping and going on, or being killed and going on, gives the bits of never having stopped."""

import json
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import invlearn
from invlearn.runtime.errors import Stopped
from invlearn.strategies import STRATEGIES
from invlearn.training import checkpoint, run
from invlearn.training.class_lookup import strategy_class
from invlearn.training.job import Job
from invlearn.training.metrics_log import Recorder
from invlearn.training.stores import DenseStore, RowStore
from invlearn.training.trainer import Trainer
from toys import ACTIVE, checkerboard, small_backbone

STEPS = 6
"""Steps in an epoch of the runs below; a test makes sure."""
SETUPS = {
    "gmf by rows": {"backbone": "gmf", "store": "row"},
    "mlp by rows with dropout": {
        "backbone": "mlp",
        "store": "row",
        "model": {"dim": 4, "layers": 1, "dropout": 0.4},
        "checkpoint_steps": 4,
    },
    "neumf in whole with dropout": {
        "backbone": "neumf",
        "store": "dense",
        "model": {"dim": 4, "layers": 1, "dropout": 0.4},
        "optimizer": {"lr": 0.05, "l2": 1e-3},
        "checkpoint_steps": 2,
    },
    "hybrid, hard negatives": {
        "backbone": "exposure-hybrid",
        "model": {"dim": 4, "factors": 3, "most_shrinkage": 1.0},
        "unlabelled": {"source": "sampled", "hardest_of": 3},
        "select_by": "auc",
        "checkpoint_steps": 4,
    },
    "wide and deep by rows": {
        "backbone": "wide-deep",
        "model": {"dim": 4, "layers": 1, "factors": 3, "dropout": 0.3},
        "checkpoint_steps": 3,
    },
    "mf by rows, a mix, a schedule": {
        "backbone": "mf",
        "optimizer": {"name": "adagrad", "lr": 0.1, "l2": 1e-3},
        "unlabelled": {"source": "mix", "per_labelled": 2},
        "schedule": {"name": "cosine", "warmup_steps": 3},
    },
}


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return checkerboard(tmp_path_factory.mktemp("board") / "data", n_users=12, n_items=12).folder


@pytest.fixture(scope="module")
def whole(board, tmp_path_factory):
    """Function that gives the folder of a run that nothing stopped."""
    folder, done = tmp_path_factory.mktemp("whole"), {}

    def make(strategy, setup):
        if (strategy, setup) not in done:
            done[strategy, setup] = folder / str(len(done))
            train(board, done[strategy, setup], strategy, setup)
        return done[strategy, setup]

    return make


def train(board, out, strategy, setup, **more):
    given = {"epochs": 3, "batch_size": 16, "optimizer": {"lr": 0.05}, "seed": 5} | SETUPS[setup]
    if strategy_class(strategy)().feed.whole_tables:
        given["store"] = "dense"
    given["method"] = ACTIVE.get(strategy, {})
    return invlearn.train(board, out, strategy=strategy, **given, **more)


def after(n_steps):
    """Function that asks to stop when it is called for the `n_steps`-th time."""
    calls = []
    return lambda: bool(calls.append(0)) or len(calls) == n_steps


def stop_and_go_on(board, out, strategy, setup, stops):
    """Train with stops after steps of those numbers (from 1, over all epochs), ascending."""
    done = 0
    for number, stop in enumerate(stops):
        again = partial(invlearn.resume, out)
        go_on = again if number else partial(train, board, out, strategy, setup)
        with pytest.raises(Stopped, match=f"step {(stop - 1) % STEPS + 1} of epoch"):
            go_on(should_stop=after(stop - done))
        done = stop
    return invlearn.resume(out)


def without_times(line):
    return {key: value for key, value in line.items() if "second" not in key}


def assert_same_run(found, expected):
    for which in ("last", "best"):
        one, other = (checkpoint.load(f / "checkpoints", which) for f in (found, expected))
        assert one.state == other.state
        for mine, theirs in ((one.weights, other.weights), (one.optimizer, other.optimizer)):
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert_same_kept(found / "checkpoints", expected / "checkpoints")
    for name in ("steps.jsonl", "test.json", "config.yaml"):
        assert (found / name).read_bytes() == (expected / name).read_bytes()
    for name in ("beliefs-first.npy", "beliefs-last.npy"):
        assert (found / name).exists() == (expected / name).exists()
        if (found / name).exists():
            assert (found / name).read_bytes() == (expected / name).read_bytes()
    lines = [(f / "epochs.jsonl").read_text().splitlines() for f in (found, expected)]
    one, other = ([without_times(json.loads(line)) for line in text] for text in lines)
    assert one == other


def assert_same_kept(found, expected):
    epochs = checkpoint.kept_epochs(expected)
    assert checkpoint.kept_epochs(found) == epochs
    assert len(epochs) == 3
    for epoch in epochs:
        mine, theirs = (checkpoint.load_kept(folder, epoch) for folder in (found, expected))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


RELEASED = "reproduction.inverse_as_released:InverseGradientAsReleased"
EVERYWHERE = ("none", "ig", RELEASED, "dcf")
"""Strategies that meet every setup: the others, which keep less between steps, meet one each."""
MEETINGS = [
    (strategy, setup)
    for number, strategy in enumerate((*STRATEGIES, RELEASED))
    for place, setup in enumerate(SETUPS)
    if strategy in EVERYWHERE or place == number % len(SETUPS)
]


@pytest.mark.parametrize(("strategy", "setup"), MEETINGS)
def test_stops_change_nothing(board, whole, tmp_path, strategy, setup):
    """Stops after the first step, at the end of an epoch, amid one, and after the last step."""
    expected = whole(strategy, setup)
    stop_and_go_on(board, tmp_path / "run", strategy, setup, [1, STEPS, STEPS + 4, 3 * STEPS])
    assert_same_run(tmp_path / "run", expected)


def test_the_runs_have_as_many_steps_as_this_file_takes_for_granted(whole):
    for strategy in ("none", "ig"):
        lines = (whole(strategy, "gmf by rows") / "steps.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(3 * STEPS))


def test_another_seed_is_another_run(board, whole, tmp_path):
    """Else the equalities of this file would hold for runs of any kind."""
    expected = whole("ig", "gmf by rows")
    given = SETUPS["gmf by rows"] | {"epochs": 3, "batch_size": 16, "optimizer": {"lr": 0.05}}
    invlearn.train(board, tmp_path / "run", strategy="ig", **given, seed=6)
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "run", expected)


@settings(max_examples=12)
@given(stops=st.sets(st.integers(1, 3 * STEPS), min_size=1, max_size=5).map(sorted))
def test_any_stops_change_nothing(board, whole, tmp_path_factory, stops):
    expected = whole("ig", "mlp by rows with dropout")
    out = tmp_path_factory.mktemp("stopped") / "run"
    stop_and_go_on(board, out, "ig", "mlp by rows with dropout", stops)
    assert_same_run(out, expected)


def test_resuming_a_finished_run_changes_nothing(board, whole, tmp_path):
    expected = whole("idl", "gmf by rows")
    train(board, tmp_path / "run", "idl", "gmf by rows")
    (tmp_path / "run" / "test.json").unlink()
    invlearn.resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", expected)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def kill_at(patch, owner, name, number):
    """Let a call die, and lose with it the records that were not yet written."""
    calls, real = [], getattr(owner, name)

    def dying(*args, **kwargs):
        calls.append(name)
        if len(calls) == number:
            raise Killed
        return real(*args, **kwargs)

    patch.setattr(owner, name, dying)
    patch.setattr(Recorder, "close", lambda recorder: None)


PLACES = [
    *[(RowStore, "update", number) for number in (1, 2, 5, 6, 7, 12, 18)],
    *[(DenseStore, "update", number) for number in (1, 6, 9)],
    *[(Trainer, "validate", number) for number in (1, 3)],
    *[(Job, "_write_beliefs", number) for number in (1, 3)],
    *[(Recorder, "epoch", number) for number in (1, 3)],
    *[(checkpoint, "save", number) for number in (1, 2, 3, 4)],
    (run, "assess", 1),
]


@pytest.mark.covering
@pytest.mark.parametrize(("owner", "name", "number"), PLACES)
@pytest.mark.parametrize("strategy", ["idl", "ig"])
def test_a_kill_changes_nothing(board, whole, tmp_path, monkeypatch, owner, name, number, strategy):
    dense = "neumf in whole with dropout"
    setup = dense if owner is DenseStore else "mlp by rows with dropout"
    kill_at(monkeypatch, owner, name, number)
    with pytest.raises(Killed):
        train(board, tmp_path / "run", strategy, setup)
    monkeypatch.undo()
    with (tmp_path / "run" / "steps.jsonl").open("a") as stream:
        stream.write('{"epoch": 0, "st')
    invlearn.resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole(strategy, setup))


@pytest.mark.parametrize("stop", [1, 4])
def test_a_module_given_from_python_goes_on_with_its_own_first_weights(
    board, tmp_path, monkeypatch, stop
):
    """Killed in the first epoch; only the checkpoint knows the weights that it began with."""
    given = {"store": "row", "epochs": 3, "batch_size": 16, "optimizer": {"lr": 0.05}}
    modules = [small_backbone("gmf", 12, 12, seed=seed) for seed in (0, 0, 1)]
    invlearn.train(board, tmp_path / "whole", backbone=modules[0], **given)
    kill_at(monkeypatch, RowStore, "update", stop)
    with pytest.raises(Killed):
        invlearn.train(board, tmp_path / "run", backbone=modules[1], **given)
    monkeypatch.undo()
    invlearn.resume(tmp_path / "run", backbone=modules[2])
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_an_error_amid_an_epoch_changes_nothing(board, whole, tmp_path, monkeypatch):
    """Unlike a kill, it leaves the records of the steps that the checkpoint has not seen."""
    setup, calls, real = "gmf by rows", [], RowStore.update

    def failing(*args):
        calls.append(0)
        if len(calls) == STEPS + 3:
            raise RuntimeError("out of memory")
        real(*args)

    monkeypatch.setattr(RowStore, "update", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(board, tmp_path / "run", "idl", setup)
    monkeypatch.undo()
    assert len((tmp_path / "run" / "steps.jsonl").read_text().splitlines()) == STEPS + 2
    invlearn.resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole("idl", setup))
