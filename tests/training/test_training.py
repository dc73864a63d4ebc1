"""The loop: the rate over a run, the best epoch, patience, divergence, and what is recorded."""

import json
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import cos, inf, nan, pi

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import invlearn
from invlearn.backbones import BACKBONES
from invlearn.config.schema import ScheduleConfig
from invlearn.data.types import Feed, Proposal
from invlearn.evaluation.evaluation import evaluate
from invlearn.evaluation.metrics import is_better
from invlearn.runtime.errors import DivergedError
from invlearn.strategies import Strategy
from invlearn.strategies.inverse import CHOICES
from invlearn.strategies.plain import LabelledOnly
from invlearn.training import checkpoint
from invlearn.training.schedule import learning_rate
from invlearn.training.trainer import Trainer
from toys import checkerboard

STEPS = 6
"""Steps in an epoch of the runs below."""


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return checkerboard(tmp_path_factory.mktemp("board") / "data", n_users=12, n_items=12)


def train(board, out, **options):
    given = {"epochs": 3, "batch_size": 16, "optimizer": {"lr": 0.05}} | options
    return invlearn.train(board.folder, out, **given)


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def rates(config, lr, total_steps):
    return [learning_rate(config, lr, step, total_steps) for step in range(total_steps)]


shapes = st.builds(
    ScheduleConfig,
    name=st.sampled_from(["constant", "linear", "cosine"]),
    warmup_steps=st.integers(0, 12),
    final_fraction=st.floats(0, 1),
)


@given(shapes, st.floats(1e-6, 10), st.integers(1, 40))
def test_a_rate_climbs_to_the_top_and_never_climbs_again(config, lr, total_steps):
    found = rates(config, lr, total_steps)
    climb, rest = found[: config.warmup_steps], found[config.warmup_steps :]
    assert climb == pytest.approx(
        [lr * (step + 1) / config.warmup_steps for step in range(len(climb))]
    )
    assert rest[:1] == pytest.approx([lr][: len(rest)])
    assert all(b <= a + 1e-12 * lr for a, b in pairwise(rest))
    assert all(lr >= config.final_fraction * lr - 1e-12 for lr in rest)


def test_shapes_of_the_decay():
    def decay(name, final):
        return rates(ScheduleConfig(name=name, final_fraction=final), 2.0, 8)

    assert decay("constant", 0.0) == [2.0] * 8
    assert decay("linear", 0.5) == pytest.approx([2 - k / 8 for k in range(8)])
    assert decay("cosine", 0.0) == pytest.approx([1 + cos(pi * k / 8) for k in range(8)])
    assert decay("cosine", 0.5) == pytest.approx([1.5 + cos(pi * k / 8) / 2 for k in range(8)])


@dataclass(frozen=True)
class Watching(Strategy):
    """Learns from labelled pairs, and writes down what it was shown."""

    @property
    def feed(self):
        return Feed()

    def propose(self, score, params, batch):
        proposal = LabelledOnly().propose(score, params, batch)
        shown = {"rate": torch.tensor(batch.lr, dtype=torch.float64), "n": batch.labels.sum()}
        return proposal._replace(log={**proposal.log, **shown, "at": torch.tensor(batch.step)})


def test_every_step_has_the_rate_that_the_schedule_says(board, tmp_path):
    schedule = {"name": "cosine", "warmup_steps": 4, "final_fraction": 0.1}
    train(board, tmp_path / "run", strategy=Watching, schedule=schedule)
    steps = lines(tmp_path / "run", "steps.jsonl")
    assert [step["rate"] for step in steps] == rates(ScheduleConfig(**schedule), 0.05, 3 * STEPS)
    assert [step["step"] for step in steps] == [step["at"] for step in steps] == [*range(3 * STEPS)]
    assert [step["epoch"] for step in steps] == [k // STEPS for k in range(3 * STEPS)]
    n_positives = sum(step["n"] for step in steps)
    assert n_positives == 3 * board.train.labels.sum()


@pytest.mark.parametrize(
    ("metric", "score", "best", "better"),
    [
        ("log_loss", 0.4, 0.5, True),
        ("log_loss", 0.5, 0.5, False),
        ("log_loss", 0.6, 0.5, False),
        ("auc", 0.6, 0.5, True),
        ("auc", 0.5, 0.5, False),
        ("ndcg@10", 0.4, 0.5, False),
        ("auc", 0.1, None, True),
    ],
)
def test_what_is_better(metric, score, best, better):
    assert is_better(metric, score, best) is better


@pytest.mark.covering
@pytest.mark.parametrize(
    ("scores", "patience", "epochs", "best"),
    [
        ([0.5, 0.4, 0.45, 0.41, 0.3], 2, 4, 2),
        ([0.5, 0.6, 0.4, 0.45, 0.3], 2, 5, 5),
        ([0.5, 0.6, 0.4, 0.4, 0.4], 1, 2, 1),
        ([0.5, 0.5, 0.5, 0.4, 0.6], 3, 5, 4),
        ([0.5, 0.6, 0.7, 0.8, 0.9], None, 5, 1),
        ([0.5, 0.4, 0.3, 0.2, 0.1], 1, 5, 5),
    ],
)
@pytest.mark.parametrize("metric", ["log_loss", "auc"])
def test_patience_and_the_best_epoch(
    board, tmp_path, monkeypatch, scores, patience, epochs, best, metric
):
    """Validation scores made up; for a metric that should be high, turned over."""
    turned = scores if metric == "log_loss" else [1 - score for score in scores]
    given, weights = iter(turned), []

    def validate(trainer):
        weights.append({name: w.detach().clone() for name, w in trainer.module.named_parameters()})
        return {metric: next(given)}

    monkeypatch.setattr(Trainer, "validate", validate)
    run = train(board, tmp_path / "run", epochs=5, patience=patience, select_by=metric)
    assert len(run.epochs) == epochs
    assert run.test["epoch"] == best
    assert [line["valid"][metric] for line in run.epochs] == turned[:epochs]
    assert max(line["epoch"] for line in run.epochs if line["best"]) == best - 1
    for name, weight in run.module.named_parameters():
        assert torch.equal(weight, weights[best - 1][name])


@pytest.mark.covering
@pytest.mark.parametrize("select_by", ["log_loss", "gauc", "ndcg@10"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_best_epoch_is_the_best_and_is_what_is_tested(board, tmp_path, select_by, backbone):
    """Weights of the best epoch, opened again, give its validation metrics and the test's."""
    options = {"epochs": 12, "optimizer": {"lr": 0.1}, "select_by": select_by}
    best_epoch = train(board, tmp_path / "run", backbone=backbone, **options).test["epoch"]
    run = invlearn.Run.open(tmp_path / "run")
    scores = [line["valid"][select_by] for line in run.epochs]
    best = min(scores) if select_by == "log_loss" else max(scores)
    assert best_epoch == scores.index(best) + 1
    state = checkpoint.load(tmp_path / "run" / "checkpoints", "best").state
    assert (state.epoch, state.best_epoch, state.best_score) == (best_epoch, best_epoch - 1, best)
    for rows, expected in (
        (board.valid, run.epochs[best_epoch - 1]["valid"]),
        (board.test, run.test),
    ):
        found = evaluate(rows.users, rows.labels, run.score(rows.users, rows.items), draws=0)
        assert all(expected[name] == value for name, value in found.values.items())


def test_a_best_epoch_need_not_be_the_last(board, tmp_path):
    """Else the test before would not tell the best weights from the last ones."""
    options = {"epochs": 12, "optimizer": {"lr": 0.1}, "select_by": "gauc"}
    assert train(board, tmp_path / "run", **options).test["epoch"] < 12


@pytest.mark.parametrize("strategy", ["none", "idl", "ig"])
def test_what_a_run_records(board, tmp_path, strategy):
    run = train(board, tmp_path / "run", strategy=strategy)
    steps = lines(tmp_path / "run", "steps.jsonl")
    judged = [step for step in steps if "choice" in step]
    assert len(judged) == (3 if strategy == "ig" else 0)
    for step in judged:
        losses = step["judge_losses"]
        assert step["loss"] == pytest.approx(losses[step["choice"]])
        assert losses[step["choice"]] == min(losses)
    for number, line in enumerate(run.epochs):
        own = [step for step in steps if step["epoch"] == number]
        assert line["train_loss"] == pytest.approx(np.mean([step["loss"] for step in own]))
        assert line["steps"] == len(own) == STEPS
        if strategy == "ig":
            counts = dict.fromkeys(CHOICES, 0)
            counts[CHOICES[judged[number]["choice"]]] = 1
            assert line["choices"] == counts
    beliefs = {path.name for path in (tmp_path / "run").glob("beliefs-*.npy")}
    assert beliefs == (set() if strategy == "none" else {"beliefs-first.npy", "beliefs-last.npy"})
    for name in beliefs:
        found = np.load(tmp_path / "run" / name)
        assert ((found >= 0) & (found <= 1)).all()


def test_progress_is_told_to_the_end(board, tmp_path):
    told = []

    def progress(stage, done, total, **figures):
        if stage == "train":
            told.append((done, total, figures["loss"]))

    train(board, tmp_path / "run", progress=progress)
    losses = [step["loss"] for step in lines(tmp_path / "run", "steps.jsonl")]
    assert [(done, total) for done, total, _ in told] == [(k * STEPS, 3 * STEPS) for k in (1, 2, 3)]
    assert [loss for _, _, loss in told] == [losses[done - 1] for done, _, _ in told]


FAULTY = {"at": inf, "loss": nan, "gradient": 1.0}
"""What `Faulty` does from a step on: the loss it gives, and by what it multiplies gradients."""


@dataclass(frozen=True)
class Faulty(Strategy):
    """Learns from labelled pairs until it breaks down."""

    @property
    def feed(self):
        return Feed()

    def propose(self, score, params, batch):
        proposal = LabelledOnly().propose(score, params, batch)
        if batch.step < FAULTY["at"]:
            return proposal
        gradients = {name: FAULTY["gradient"] * value for name, value in proposal.gradients.items()}
        return Proposal(
            proposal.params, gradients, {"loss": proposal.log["loss"] * 0 + FAULTY["loss"]}
        )


def state_of(folder):
    saved = checkpoint.load(folder / "checkpoints", "last")
    return saved.state, [w.tolist() for w in (*saved.weights.values(), *saved.optimizer.values())]


@pytest.mark.parametrize("store", ["row", "dense"])
@pytest.mark.parametrize(("loss", "gradients"), [(nan, 1.0), (inf, 1.0), (0.5, nan), (0.5, inf)])
def test_divergence_stops_before_the_optimizer_step(
    board, tmp_path, monkeypatch, store, loss, gradients
):
    module = BACKBONES["gmf"](board.n_users, board.n_items)
    snapshots = []

    def look():
        snapshots.append([weight.detach().clone() for weight in module.parameters()])
        return False

    for key, value in {"at": STEPS + 2, "loss": loss, "gradient": gradients}.items():
        monkeypatch.setitem(FAULTY, key, value)
    options = {"strategy": Faulty, "store": store, "seed": 3}
    with pytest.raises(DivergedError, match=r"step 3 of epoch 2.*before the optimizer step.*lr"):
        train(board, tmp_path / "run", backbone=module, should_stop=look, **options)
    assert len(snapshots) == STEPS + 2
    assert all(torch.equal(*both) for both in zip(module.parameters(), snapshots[-1], strict=True))
    assert checkpoint.load(tmp_path / "run" / "checkpoints", "last").state.epoch == 1
    assert len(lines(tmp_path / "run", "steps.jsonl")) == STEPS + 2


@pytest.mark.parametrize("store", ["row", "dense"])
def test_a_run_that_diverged_can_go_on_once_its_cause_is_mended(
    board, tmp_path, monkeypatch, store
):
    options = {"strategy": Faulty, "store": store, "checkpoint_steps": 4}
    train(board, tmp_path / "whole", **options)
    monkeypatch.setitem(FAULTY, "at", STEPS + 5)
    for go_on in (partial(train, board, **options), invlearn.resume):
        with pytest.raises(DivergedError, match="step 6 of epoch 2"):
            go_on(tmp_path / "run")
        assert state_of(tmp_path / "run")[0].step == 4
    monkeypatch.undo()
    invlearn.resume(tmp_path / "run")
    assert state_of(tmp_path / "run") == state_of(tmp_path / "whole")


@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad"])
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("batch_size", [16, 5000])
def test_a_rate_far_too_high_diverges_in_words(board, tmp_path, name, backbone, batch_size):
    with pytest.raises(DivergedError, match=r"diverged at .*epoch \d.*lower --optimizer\.lr"):
        train(
            board,
            tmp_path / "run",
            backbone=backbone,
            optimizer={"name": name, "lr": 1e30},
            batch_size=batch_size,
        )
    saved = checkpoint.load(tmp_path / "run" / "checkpoints", "last")
    assert all(weight.isfinite().all() for weight in saved.weights.values())
