"""Run folders: what a training leaves; and backbones and strategies of one's own."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from torch import nn

import invlearn
from console import call, contents, done
from invlearn.config.schema import RunConfig
from invlearn.data.types import Feed
from invlearn.inference.comparison import compare_runs
from invlearn.runtime import locks
from invlearn.runtime.errors import ConfigError, DataError, InvlearnError, RunError, Stopped
from invlearn.strategies import STRATEGIES
from invlearn.strategies.strategy import LossStrategy
from invlearn.training import build

QUICK = {"epochs": 1, "batch_size": 256}

SOURCE = '''
"""A backbone and a strategy as a user would write them."""
from dataclasses import dataclass
import torch
from torch import nn
from invlearn import Feed
from invlearn.strategies.strategy import LossStrategy

class Rates(nn.Module):
    """One number for each user and item, times a gain."""
    def __init__(self, n_users: int, n_items: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(n_users, 1), nn.Embedding(n_items, 1)
        self.gain = gain
    def forward(self, users, items):
        return self.gain * (self.users(users) + self.items(items)).squeeze(-1)

@dataclass(frozen=True)
class Hinge(LossStrategy):
    """A hinge with a margin."""
    margin: float = 1.0
    @property
    def feed(self):
        return Feed()
    def loss(self, score, point, batch):
        signs = 2 * batch.labels - 1
        return torch.relu(self.margin - signs * score(point, batch.labelled)).mean()
'''


class Rates(nn.Module):
    """One number for each user and item; says which tables these are."""

    tables: ClassVar = {"users.weight": "user", "items.weight": "item"}

    def __init__(self, n_users, n_items, *, scale: float = 0.0):
        super().__init__()
        self.users, self.items = nn.Embedding(n_users, 1), nn.Embedding(n_items, 1)
        for table in (self.users, self.items):
            nn.init.constant_(table.weight, scale)

    def forward(self, users, items):
        return (self.users(users) + self.items(items)).squeeze(-1)


class Mute(Rates):
    """The same without saying so."""

    tables: ClassVar = {}

    def __getattribute__(self, name):
        if name == "tables":
            raise AttributeError(name)
        return super().__getattribute__(name)


@dataclass(frozen=True)
class Squares(LossStrategy):
    """Squared error of the probability, times a weight."""

    weight: float = 1.0

    @property
    def feed(self):
        return Feed()

    def loss(self, score, params, batch):
        errors = torch.sigmoid(score(params, batch.labelled)) - batch.labels
        return self.weight * errors.square().mean()


def lines(file):
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


# What is in the folder


def test_a_run_folder_holds_everything(feed):
    assert contents(feed.none / "checkpoints")[0:1] != []
    files = {path for path in contents(feed.ig) if not path.startswith("checkpoints/")}
    assert files == {
        ".lock",
        "beliefs-first.npy",
        "beliefs-last.npy",
        "checkpoints",
        "config.yaml",
        "environment.json",
        "epochs.jsonl",
        "items.parquet",
        "run.json",
        "steps.jsonl",
        "test.json",
        "users.parquet",
    }
    assert set(contents(feed.none)) & files == files - {"beliefs-first.npy", "beliefs-last.npy"}


def test_the_configuration_has_every_default_written_out(feed):
    config = yaml.safe_load((feed.ig / "config.yaml").read_text())
    assert list(config) == list(RunConfig.model_fields)
    assert config["model"] == {"dim": 32}
    assert config["method"] == {"alpha_ratio": 0.1, "judge_fraction": 0.1}
    assert "auto" not in (config["store"], config["device"], config["unlabelled"]["source"])
    assert RunConfig.model_validate(config).model_dump() == config


def test_the_card_names_the_dataset(feed):
    card = json.loads((feed.none / "run.json").read_text())
    data = json.loads((feed.dataset / "data.json").read_text())
    assert card["dataset"] == str(feed.dataset)
    assert {key: card[key] for key in ("fingerprint", "n_users", "n_items")} == {
        key: data[key] for key in ("fingerprint", "n_users", "n_items")
    }
    for name in ("users.parquet", "items.parquet"):
        assert (feed.none / name).read_bytes() == (feed.dataset / name).read_bytes()


def test_the_environment_is_recorded(feed):
    found = json.loads((feed.none / "environment.json").read_text())
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["invlearn"] == invlearn.__version__
    assert found["threads"] == torch.get_num_threads()


def test_every_step_is_recorded_and_the_judges_where_they_judged(feed):
    data = invlearn.Dataset.open(feed.dataset)
    epochs = lines(feed.ig / "epochs.jsonl")
    steps = lines(feed.ig / "steps.jsonl")
    n_judges = round(0.1 * len(data.train))
    n_steps = -(-(len(data.train) - n_judges) // 128) + -(-n_judges // 128)
    assert [step["step"] for step in steps] == list(range(4 * n_steps))
    assert [step["epoch"] for step in steps] == [e for e in range(4) for _ in range(n_steps)]
    judged = [step for step in steps if "choice" in step]
    assert len(judged) == 4 * -(-n_judges // 128)
    for step in judged:
        assert step["choice"] == int(np.argmin(step["judge_losses"]))
        assert len(step["judge_losses"]) == 3
    assert [epoch["epoch"] for epoch in epochs] == [0, 1, 2, 3]
    for epoch in epochs:
        own = [step["loss"] for step in steps if step["epoch"] == epoch["epoch"]]
        assert epoch["train_loss"] == pytest.approx(np.mean(own))
        assert sum(epoch["choices"].values()) == len(judged) // 4
        assert epoch["train_seconds"] > 0
    best = min(epochs, key=lambda epoch: epoch["valid"]["log_loss"])
    assert [epoch["best"] for epoch in epochs][best["epoch"]]
    assert json.loads((feed.ig / "test.json").read_text())["epoch"] == best["epoch"] + 1


def test_beliefs_are_weights_of_the_same_pairs_before_and_after(feed):
    first, last = (np.load(feed.ig / f"beliefs-{name}.npy") for name in ("first", "last"))
    assert first.shape == last.shape
    assert ((first >= 0) & (first <= 1)).all()
    assert ((last >= 0) & (last <= 1)).all()
    assert np.abs(last - 0.5).mean() > np.abs(first - 0.5).mean()


def test_test_metrics_stand_under_the_names_that_evaluate_gives(feed):
    test = json.loads((feed.none / "test.json").read_text())
    names = {"auc", "gauc", "gauc_impressions", "gauc_positives", "ndcg@10", "ndcg@20", "mrr"}
    names |= {"mrr_all", "log_loss"}
    assert names <= set(test)
    assert set(test["intervals"]) == names
    assert all(set(values) == names for values in test["baselines"].values())
    data = invlearn.Dataset.open(feed.dataset)
    run = invlearn.Run.open(feed.none)
    scores = run.score(data.test.users, data.test.items)
    again = invlearn.evaluate(data.test.users, data.test.labels, scores)
    assert {name: test[name] for name in names} == again.values
    assert test["rows"] == len(data.test)
    assert run.test == test
    assert len(run.epochs) == 4


# From Python


def test_five_lines_of_python(feed, tmp_path):
    audit = invlearn.prepare(
        feed.log,
        tmp_path / "data",
        rule="play_time_ms / duration_ms >= 1.5, < 0.4",
        user="user_id",
        item="video_id",
    )
    run = invlearn.train(
        tmp_path / "data",
        tmp_path / "run",
        backbone="mf",
        epochs=4,
        batch_size=128,
        optimizer={"lr": 1e-2},
    )
    assert audit.final.rows > 0
    assert run.test == json.loads((feed.none / "test.json").read_text())


def test_options_go_before_settings_one_by_one(feed, tmp_path):
    config = RunConfig(**QUICK, optimizer={"lr": 1e-2, "l2": 1e-4}, model={"dim": 4})
    run = invlearn.train(
        feed.dataset, tmp_path / "run", config=config, optimizer={"lr": 1e-3}, seed=3
    )
    assert (run.config.optimizer.lr, run.config.optimizer.l2) == (1e-3, 1e-4)
    assert (run.config.model, run.config.seed, run.config.epochs) == ({"dim": 4}, 3, 1)


def test_seeds_decide_and_nothing_else(feed, tmp_path):
    aucs = [
        invlearn.train(feed.dataset, tmp_path / name, **QUICK, seed=seed).test["auc"]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert aucs[0] == aucs[1] != aucs[2]


def test_stopping_and_resuming_from_python(feed, tmp_path):
    answers = iter([False, False, True])
    with pytest.raises(Stopped, match=f"invlearn resume {tmp_path}/run") as stop:
        invlearn.train(
            feed.dataset, tmp_path / "run", batch_size=64, should_stop=lambda: next(answers)
        )
    assert str(stop.value).startswith("stopped after step 3 of epoch 1; saved")
    with pytest.raises(RunError, match="not finished"):
        _ = replace(invlearn.Run.open(feed.none), folder=tmp_path / "run").test
    assert invlearn.resume(tmp_path / "run").test["epoch"] >= 1


def test_a_run_of_another_device_goes_on_where_it_is_told(feed, tmp_path):
    options = {"batch_size": 64, "epochs": 2}
    whole = invlearn.train(feed.dataset, tmp_path / "whole", **options)
    answers = iter([False, False, True])
    with pytest.raises(Stopped):
        invlearn.train(feed.dataset, tmp_path / "run", should_stop=lambda: next(answers), **options)
    file = tmp_path / "run" / "config.yaml"
    own = file.read_text()
    file.write_text(own.replace("device: cpu", "device: nowhere"))
    answer = call("resume", tmp_path / "run")
    assert answer.code == 2
    assert "device 'nowhere' is not available" in answer.err
    assert "--device cpu" in answer.err
    done("resume", tmp_path / "run", "--device", "cpu")
    assert file.read_text() == own
    assert invlearn.Run.open(tmp_path / "run").test == whole.test


def test_a_device_that_is_not_there_changes_nothing(feed, tmp_path):
    run = invlearn.train(feed.dataset, tmp_path / "run", **QUICK)
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match="device 'nowhere' is not available"):
        invlearn.resume(tmp_path / "run", device="nowhere")
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before
    assert invlearn.resume(tmp_path / "run").test == run.test


def test_parts_that_do_not_exist_are_refused(feed):
    run = invlearn.Run.open(feed.none)
    with pytest.raises(ConfigError, match="unknown part 'tset'; did you mean 'test'"):
        run.evaluate(part="tset")
    with pytest.raises(ConfigError, match="unknown part 'unlabelled'"):
        run.evaluate(part="unlabelled")


def test_patience_ends_a_run_early(feed, tmp_path):
    run = invlearn.train(
        feed.dataset, tmp_path / "run", epochs=60, patience=2, optimizer={"lr": 0.1}
    )
    assert len(run.epochs) < 60
    assert run.test["epoch"] == len(run.epochs) - 2


def test_runs_are_compared_on_the_same_users(feed):
    found = compare_runs([feed.none, feed.ig], draws=200)
    runs = [invlearn.Run.open(folder).evaluate(draws=200) for folder in (feed.none, feed.ig)]
    expected = invlearn.paired_difference(runs[1].backbone, runs[0].backbone)
    assert found.differences == {"ig": expected}
    assert compare_runs([feed.none, feed.ig], draws=0).differences == {}


def test_runs_of_one_name_in_different_places_are_told_apart(feed, tmp_path):
    (tmp_path / "none").symlink_to(feed.ig)
    found = compare_runs([feed.none, tmp_path / "none"], draws=10)
    assert list(found.assessments) == [str(feed.none), str(tmp_path / "none")]


# Backbones of one's own


@pytest.fixture
def module_of_a_user(tmp_path, monkeypatch, request):
    """Name of a module that lies in the working directory and nowhere else."""
    monkeypatch.chdir(tmp_path)
    name = f"module_{abs(hash(request.node.nodeid))}"
    Path(f"{name}.py").write_text(SOURCE)
    return name


def test_a_backbone_named_on_the_command_line(module_of_a_user, feed):
    given = ("--backbone", f"{module_of_a_user}:Rates", "--model.gain", "0.5", "--epochs", 1)
    done("train", feed.dataset, *given, "--out", "run")
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["backbone"] == f"{module_of_a_user}:Rates"
    assert config["model"] == {"gain": 0.5}
    assert config["store"] == "dense"
    done("evaluate", "run")
    done("resume", "run")
    answer = call("train", feed.dataset, *given, "--store", "row", "--out", "other")
    assert answer.code == 2
    assert "does not declare its `tables`" in answer.err
    assert "leave --store out" in answer.err
    wrong = call("train", feed.dataset, *given[:2], "--model.gian", "1", "--out", "other")
    assert "model.gian: unknown option; did you mean 'gain'?" in wrong.err


def test_a_strategy_named_on_the_command_line(module_of_a_user, feed):
    given = ("--strategy", f"{module_of_a_user}:Hinge", "--method.margin", "2", "--epochs", 1)
    done("train", feed.dataset, *given, "--out", "run")
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["strategy"] == f"{module_of_a_user}:Hinge"
    assert config["method"] == {"margin": 2.0}
    first = lines("run/steps.jsonl")[0]
    assert first["loss"] == pytest.approx(2, abs=0.01)  # logits begin near 0
    done("resume", "run")


def test_a_class_as_backbone(feed, tmp_path):
    run = invlearn.train(
        feed.dataset, tmp_path / "run", backbone=Rates, model={"scale": "0.25"}, **QUICK
    )
    assert run.config.backbone == "test_runs:Rates"
    assert run.config.model == {"scale": 0.25}
    assert run.config.store == "row"
    again = invlearn.Run.open(tmp_path / "run")
    assert isinstance(again.module, Rates)
    assert again.evaluate().to_json()["auc"] == run.test["auc"]


def test_a_built_in_class_is_known_by_its_name(feed, tmp_path):
    gmf = invlearn.train(
        feed.dataset,
        tmp_path / "run",
        backbone=type(invlearn.Run.open(feed.none).module),
        strategy=STRATEGIES["ns"],
        **QUICK,
    )
    assert (gmf.config.backbone, gmf.config.strategy) == ("mf", "ns")


def test_a_module_as_backbone(feed, tmp_path):
    data = invlearn.Dataset.open(feed.dataset)
    module = Rates(data.n_users, data.n_items, scale=0.5)
    run = invlearn.train(feed.dataset, tmp_path / "run", backbone=module, **QUICK)
    assert run.module is module
    assert run.config.model == {}
    fresh = Rates(data.n_users, data.n_items)
    again = invlearn.Run.open(tmp_path / "run", backbone=fresh)
    pairs = data.test.users, data.test.items
    np.testing.assert_array_equal(again.score(*pairs), run.score(*pairs))
    resumed = invlearn.resume(tmp_path / "run", backbone=fresh)
    assert resumed.test == run.test


def test_a_module_that_nobody_can_make_again_is_asked_for(feed, tmp_path):
    data = invlearn.Dataset.open(feed.dataset)

    class Local(Rates):
        pass

    made = Local(data.n_users, data.n_items)
    run = invlearn.train(feed.dataset, tmp_path / "run", backbone=made, **QUICK)
    assert run.test["auc"] > 0
    with pytest.raises(ConfigError, match="name a class that can be imported"):
        invlearn.Run.open(tmp_path / "run")
    assert call("evaluate", tmp_path / "run").code == 2


def test_without_tables_the_dense_store_is_taken(feed, tmp_path):
    data = invlearn.Dataset.open(feed.dataset)
    module = Mute(data.n_users, data.n_items)
    run = invlearn.train(feed.dataset, tmp_path / "run", backbone=module, **QUICK)
    assert run.config.store == "dense"
    with pytest.raises(ConfigError, match="does not declare its `tables`"):
        invlearn.train(feed.dataset, tmp_path / "row", backbone=module, store="row", **QUICK)


class Forgetful(Rates):
    """Leaves a table out: its rows would be mixed up in silence."""

    tables: ClassVar = {"users.weight": "user"}


class Misspelt(Rates):
    """Names no table."""

    tables: ClassVar = {"users.weight": "user", "item.weight": "item"}


class Swapped(Rates):
    """Has as many rows as there are items, but says users."""

    tables: ClassVar = {"users.weight": "user", "items.weight": "user"}


class Normed(Rates):
    """Scores a pair by the pairs beside it."""

    def __init__(self, n_users, n_items, *, track: bool = True):
        super().__init__(n_users, n_items)
        self.norm = nn.BatchNorm1d(1, track_running_stats=track)

    def forward(self, users, items):
        return self.norm(super().forward(users, items)[:, None])[:, 0]


class Untracked(Normed):
    """The same without a buffer that tells."""

    def __init__(self, n_users, n_items):
        super().__init__(n_users, n_items, track=False)


class Counting(Rates):
    """Changes with every call."""

    def __init__(self, n_users, n_items):
        super().__init__(n_users, n_items)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("gaps", torch.full((3,), torch.nan))

    def forward(self, users, items):
        self.calls = self.calls + self.training
        return super().forward(users, items) + self.calls


class Columns(Rates):
    """Gives a column of logits."""

    def forward(self, users, items):
        return self.users(users) + self.items(items)


class OneColumn(Rates):
    """Takes one argument."""

    def forward(self, pairs):
        return self.users(pairs).squeeze(-1)


@pytest.mark.parametrize(
    ("backbone", "says"),
    [
        (Forgetful, "left out: items.weight"),
        (Misspelt, "wrong: item.weight: item; left out: items.weight"),
        (Swapped, "wrong: items.weight: user"),
        (Columns, r"logits of shape \(3, 1\)"),
        (OneColumn, "cannot be called with users and items"),
        (Normed, "Normed keeps statistics of batches in norm, .*remove batch norm"),
        (Untracked, "keeps statistics of batches in norm"),
        (Counting, "keeps statistics of batches in calls,"),
    ],
)
def test_broken_promises_of_backbones_are_errors(backbone, says, feed, tmp_path):
    with pytest.raises(ConfigError, match=says):
        invlearn.train(feed.dataset, tmp_path / "run", backbone=backbone, **QUICK)
    assert contents(tmp_path) == []


@pytest.mark.parametrize("backbone", [Forgetful, Misspelt, Swapped])
def test_the_dense_store_needs_no_promises(backbone, feed, tmp_path):
    run = invlearn.train(feed.dataset, tmp_path / "run", backbone=backbone, store="dense", **QUICK)
    assert run.test["auc"] > 0


class Tied(Rates):
    """One table under two names."""

    def __init__(self, n_users, n_items):
        super().__init__(n_users, n_items)
        self.again = nn.Embedding(n_items, 1)
        self.again.weight = self.items.weight

    def forward(self, users, items):
        return super().forward(users, items) + self.again(items).squeeze(-1)


@pytest.mark.parametrize("store", ["row", "dense"])
def test_a_weight_under_two_names_is_trained_saved_and_read(store, feed, tmp_path):
    options = QUICK | {"epochs": 2, "strategy": "ig", "store": store}
    whole = invlearn.train(feed.dataset, tmp_path / "whole", backbone=Tied, **options)
    answers = iter([False, False, True])
    with pytest.raises(Stopped):
        invlearn.train(
            feed.dataset,
            tmp_path / "run",
            backbone=Tied,
            should_stop=lambda: next(answers),
            **options,
        )
    resumed = invlearn.resume(tmp_path / "run")
    assert resumed.test == whole.test
    again = invlearn.Run.open(tmp_path / "run").module
    assert again.again.weight is again.items.weight
    assert torch.equal(again.items.weight, whole.module.items.weight)
    assert again.items.weight.abs().sum() > 0


# Strategies of one's own


@pytest.mark.parametrize(
    ("strategy", "method"),
    [("test_runs:Squares", {"weight": 2}), (Squares, {"weight": "2"}), (Squares(2.0), None)],
)
def test_strategies_given_in_any_form_train_alike(strategy, method, feed, tmp_path):
    options = QUICK | ({"method": method} if method else {})
    run = invlearn.train(feed.dataset, tmp_path / "run", strategy=strategy, **options)
    assert run.config.strategy == "test_runs:Squares"
    assert run.config.method == {"weight": 2.0}
    data = invlearn.Dataset.open(feed.dataset)
    first = lines(tmp_path / "run" / "steps.jsonl")[0]["loss"]
    assert first == pytest.approx(2 * 0.25, abs=0.01)
    assert len(data.train) > 0


def test_a_built_in_strategy_with_its_options_set(feed, tmp_path):
    strategy = STRATEGIES["t-ce"](drop_fraction=0.4)
    run = invlearn.train(feed.dataset, tmp_path / "run", strategy=strategy, **QUICK)
    assert run.config.strategy == "t-ce"
    assert run.config.method["drop_fraction"] == 0.4


# Tables in memory


def test_logs_may_be_tables_in_memory(feed, tmp_path):
    frame = pl.read_parquet(feed.log / "*.parquet")
    options = {"rule": "play_time_ms / duration_ms >= 1.5, < 0.4", "user": "user_id"}
    for name, table in {"polars": frame, "pandas": frame.to_pandas()}.items():
        invlearn.prepare(table, tmp_path / name, **options, item="video_id")
        assert (
            invlearn.Dataset.open(tmp_path / name).fingerprint
            == invlearn.Dataset.open(feed.dataset).fingerprint
        )


def test_classes_of_a_function_are_known_to_this_process(feed, tmp_path):
    class Constant(nn.Module):
        def __init__(self, n_users, n_items):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(1))

        def forward(self, users, items):
            return self.bias.expand(len(users))

    run = invlearn.train(feed.dataset, tmp_path / "run", backbone=Constant, **QUICK)
    assert run.config.backbone.endswith("Constant")
    again = invlearn.Run.open(tmp_path / "run")
    assert torch.equal(again.module.bias, run.module.bias)
    assert float(run.module.bias.detach()) != 0


def test_a_strategy_that_cannot_be_recorded_is_refused(feed, tmp_path):
    class Plain(LossStrategy):
        feed = Feed()

        def loss(self, score, params, batch):
            return score(params, batch.labelled).mean()

    with pytest.raises(ConfigError, match="Plain is not a dataclass"):
        invlearn.train(feed.dataset, tmp_path / "run", strategy=Plain(), **QUICK)
    assert not (tmp_path / "run").exists()


def test_two_processes_cannot_work_in_one_run_folder(feed, tmp_path):
    with pytest.raises(Stopped):
        invlearn.train(feed.dataset, tmp_path / "run", should_stop=lambda: True, **QUICK)
    with locks.locked(tmp_path / "run"), pytest.raises(InvlearnError, match="another process"):
        invlearn.resume(tmp_path / "run")
    assert invlearn.resume(tmp_path / "run").is_finished


def test_an_unfinished_run_is_called_so(feed, tmp_path):
    stops = iter([False] * 40 + [True])
    with pytest.raises(Stopped):
        invlearn.train(
            feed.dataset,
            tmp_path / "half",
            epochs=9,
            batch_size=256,
            should_stop=lambda: next(stops),
        )
    assert compare_runs([tmp_path / "half", feed.none], draws=0).unfinished == ("half",)
    shown = call("evaluate", tmp_path / "half", "--draws", 0)
    assert "half has not finished" in shown.out
    assert "95 %" not in shown.out


def test_the_catalogue_is_ranked_by_the_test_part_only(feed):
    refused = call("evaluate", feed.none, "--catalogue", "--part", "valid")
    assert refused.code == 2
    assert "positives of the test part" in refused.err


class Scaled(nn.Module):
    """Scales a user's row by a fixed number of the item, a table that is a buffer."""

    tables: ClassVar = {"user.weight": "user", "popularity": "item"}

    def __init__(self, n_users, n_items):
        super().__init__()
        self.user = nn.Embedding(n_users, 1)
        self.register_buffer("popularity", torch.arange(float(n_items)) / n_items)

    def forward(self, users, items):
        return self.user(users).squeeze(-1) * self.popularity[items]


def test_a_table_may_be_a_buffer(feed, tmp_path):
    plain = QUICK | {"optimizer": {"name": "sgd", "lr": 0.1}}
    weights = [
        invlearn.train(
            feed.dataset, tmp_path / store, backbone=Scaled, store=store, **plain
        ).module.user.weight
        for store in ("row", "dense")
    ]
    torch.testing.assert_close(*weights)


def test_scores_of_lists_and_of_ids_that_are_not_there(feed):
    run = invlearn.Run.open(feed.none)
    assert run.score([0, 1], [1, 0]).shape == (2,)
    assert repr(run) == f"Run(folder={feed.none!r})"
    for wrong in ([-1], [run.card.n_users], ["0"], [0.0]):
        with pytest.raises(
            DataError, match=r"user ids must be integers from 0 to .*users\.parquet"
        ):
            run.score(wrong, [0])


@pytest.mark.parametrize(
    "backbone", ["mf", "gmf", "mlp", "neumf", "svdpp", "lightgcn", "wide-deep"]
)
def test_an_opened_run_scores_as_one_whose_backbone_was_given(backbone, feed, tmp_path):
    run = invlearn.train(feed.dataset, tmp_path / "run", backbone=backbone, **QUICK)
    ids = np.arange(run.card.n_users), np.arange(run.card.n_users) % run.card.n_items
    made = build.make_backbone(run.config, run.card.n_users, run.card.n_items)
    in_memory = invlearn.Run.open(run.folder, backbone=made).score(*ids)
    opened = invlearn.Run.open(run.folder)
    assert np.array_equal(opened.score(*ids), in_memory)


def test_options_of_a_log_without_a_log(feed):
    refused = call("evaluate", feed.none, "--rule", "rating > 2")
    assert refused.code == 2
    assert "name it with --log" in refused.err


def test_progress_counts_the_choices_of_the_judges(feed, tmp_path):
    shown = []

    def progress(stage, done, total, **figures):
        shown.append(figures.get("choices"))

    run = invlearn.train(feed.dataset, tmp_path / "run", strategy="ig", progress=progress, **QUICK)
    counts = run.epochs[0]["choices"]
    assert " ".join(f"{name[0]}{count}" for name, count in counts.items()) in shown
