"""Whole methods in one comparison, the recommended preset, and the advice that rests on both."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import yaml

from console import Answer, call
from invlearn.backbones import BACKBONES
from invlearn.config.schema import load_config, read_settings
from invlearn.data.dataset import Dataset
from invlearn.evaluation.evaluation import Difference
from invlearn.evaluation.replication import Mean
from invlearn.experiments import advise as advising
from invlearn.experiments.advise import ALONE, RECOMMENDED, WITHOUT, Advice, Finding, advise
from invlearn.experiments.compare import compare
from invlearn.experiments.grid import cells_of_grid, load_experiment
from invlearn.experiments.results import Group, Method
from invlearn.runtime.errors import ConfigError
from invlearn.training.run import Run
from invlearn.training.settings import batch_size
from toys import checkerboard, part, write_toy

SMALL = {"epochs": 2, "steps_per_epoch": 8}
TWO = {
    "mf": {"settings": {"backbone": "mf", **SMALL}},
    "wide gmf": {"settings": {"backbone": "gmf", "model": {"dim": 64}, "strategy": "ns", **SMALL}},
}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """An advice of trainings with few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            advising, "SETTINGS", advising.SETTINGS | {"steps_per_epoch": 16, "epochs": 4}
        )
        yield


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return checkerboard(tmp_path_factory.mktemp("boards") / "board").folder


def tastes(folder, *, labelled=0.05, n_users=80, n_items=60):
    """A dataset in which who was shown what tells who likes what, and labels hardly do."""
    rng = np.random.default_rng(0)
    users, items = (ids.ravel() for ids in np.indices((n_users, n_items)))
    alike = users % 2 == items % 2
    shown = rng.random(len(users)) < np.where(alike, 0.6, 0.15)
    fate = rng.random(len(users))
    rows = {
        "train": shown & (fate < labelled),
        "unlabelled": shown & (fate >= labelled),
        "valid": ~shown & (fate < 0.3),
        "test": ~shown & (fate > 0.7),
    }
    labels = alike.astype(np.int8)
    parts = {
        name: part(users[kept], items[kept], *(() if name == "unlabelled" else (labels[kept],)))
        for name, kept in rows.items()
    }
    return write_toy(folder, parts, n_users=n_users, n_items=n_items)


class Advised(NamedTuple):
    """A dataset, what the command said of it, and the folder of the experiment."""

    data: Path
    answer: Answer
    out: Path


@pytest.fixture(scope="module")
def advised(tmp_path_factory):
    """An advice; tests read it and change nothing."""
    place = tmp_path_factory.mktemp("advised")
    data, out = tastes(place / "my tastes").folder, place / "out"
    return Advised(data, call("advise", data, "--out", out, "--trials", 2, "--seeds", 2), out)


def test_every_method_brings_its_own_backbone(board, tmp_path):
    grid = {"datasets": [str(board)], "methods": TWO | {"recommended": None}, "seeds": 1}
    experiment = load_experiment(grid)
    cells = cells_of_grid(experiment, tmp_path)
    found = {place.strategy: cell for place, cell in cells.items()}
    assert [*found] == ["mf", "wide gmf", "recommended"]
    assert found["mf"].config.strategy == "none"
    assert found["wide gmf"].config.model["dim"] == 64
    assert found["recommended"].config.backbone == "exposure-hybrid"
    assert found["recommended"].tuning is None
    assert found["mf"].tuning == found["wide gmf"].tuning is not None
    again = load_experiment(yaml.safe_load(yaml.safe_dump(experiment.model_dump(mode="json"))))
    assert again == experiment


def test_methods_over_several_backbones_are_paired(board, tmp_path):
    grid = {"datasets": [str(board)], "methods": TWO, "seeds": 2, "draws": 20}
    results = compare(grid, tmp_path / "out", trials=1)
    (group,) = results.groups
    assert group.title == "board, own backbones"
    assert [*group.methods] == ["mf", "wide gmf"]
    means = [method.means["auc"].value for method in group.methods.values()]
    found = group.methods["wide gmf"].differences["auc"]
    assert found.value == pytest.approx(means[1] - means[0])
    assert found.low < found.value < found.high
    assert "own backbones" in (tmp_path / "out/results.md").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": ["none"]}, "methods name whole ways to train; leave strategies out"),
        ({"methods": ["mf"]}, r"methods\.mf: settings with a backbone are needed, or the name"),
        ({"methods": {"mf": {}}}, r"methods\.mf: settings with a backbone are needed"),
        ({"methods": {"recommended": {"tuned": False}}}, r"a preset \(recommended\) and nothing"),
        ({"methods": {}}, "methods: at least one is needed"),
        ({"reference": "b"}, "reference 'b' is none of the methods"),
        ({"methods": 3}, "methods: options by name are needed; got 3"),
        (
            {"methods": {"a": {"settings": {"backbone": "mf", "seed": 1}}}},
            r"methods\.a\.settings\.seed has no effect here",
        ),
    ],
)
def test_methods_that_cannot_be_are_errors_that_teach(board, changes, words):
    grid = {"datasets": [str(board)], "methods": TWO} | changes
    with pytest.raises(ConfigError, match=words):
        load_experiment(grid)


def test_a_preset_is_taken_as_it_is(board, tmp_path):
    under = {"optimizer": {"name": "sgd", "l2": 0.1}, "model": {"dim": 3}, "epochs": 2}
    grid = {"datasets": [str(board)], "methods": ["recommended"], "settings": under}
    (cell,) = cells_of_grid(load_experiment(grid), tmp_path).values()
    assert cell.config.optimizer == load_config({}, "recommended").optimizer
    assert (cell.config.model["dim"], cell.config.epochs) == (32, 40)


def test_the_recommended_preset_is_a_file_of_settings(board, tmp_path):
    settings = read_settings("recommended")
    assert load_config({}, "recommended") == load_config(settings)
    options = ("--epochs", 1, "--out", tmp_path / "run")
    answer = call("train", board, "--config", "recommended", *options)
    assert (answer.code, answer.err) == (0, "")
    assert "Fitted on validation: trained part " in " ".join(answer.out.split())
    config = Run.open(tmp_path / "run").config
    n_rows = len(Dataset.open(board).train)
    assert config.backbone == "exposure-hybrid"
    assert config.epochs == 1
    assert config.batch_size == max(32, -(-n_rows // config.steps_per_epoch))


def test_a_mistyped_preset_is_told_of_presets(board, tmp_path):
    answer = call("train", board, "--config", "recommendd", "--out", tmp_path / "run")
    assert answer.code == 2
    assert "'recommendd' is neither a file nor a preset; presets: recommended" in answer.err


@pytest.mark.parametrize(
    ("rows", "steps", "size"), [(1_000, 10, 100), (90, 10, 32), (10**9, 10, 65_536)]
)
def test_batches_follow_the_rows(rows, steps, size):
    assert batch_size(load_config({"steps_per_epoch": steps}), rows) == size
    assert batch_size(load_config({"batch_size": 7}), rows) == 7
    over = load_config({"batch_size": 7}, load_config({"steps_per_epoch": steps}))
    assert batch_size(over, rows) == 7


def test_advice_finds_what_exposures_tell(advised):
    data, answer, out = advised
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert len(lines) <= 24
    told = " ".join(answer.out.split())
    assert "Do unclear rows help here? yes" in told
    assert "As exposures (who was shown what): yes, +" in told
    assert f"Next: invlearn train '{data}' --config recommended --out 'my tastes-run'" in told
    results = json.loads((out / "results.json").read_text())
    (group,) = results["groups"]
    assert {RECOMMENDED, WITHOUT, ALONE} < group["methods"].keys()


def test_advice_without_exposed_rows_asks_about_pairs_alone(tmp_path):
    board = checkerboard(tmp_path / "board")
    parts = {name: getattr(board, name) for name in ("train", "valid", "test")}
    data = write_toy(tmp_path / "full", parts, n_users=30, n_items=30)
    advice = advise(data.folder, tmp_path / "out", trials=2, seeds=1)
    assert advice.as_exposures is None
    assert WITHOUT not in advice.group.methods
    assert advice.n_unlabelled == 0
    assert advice.verdict == advice.as_pairs.verdict


def test_the_next_command_can_be_called(advised, tmp_path, monkeypatch):
    """Whatever won, and wherever the dataset lies."""
    advice = advise(advised.data, advised.out, trials=2, seeds=2)
    monkeypatch.chdir(tmp_path)
    for winner in (RECOMMENDED, WITHOUT, ALONE, "mf ig-sample", "item-rate"):
        words = shlex.split(replace(advice, winner=winner).command)
        assert words[:2] == ["invlearn", "train"]
        fewer = [] if "--epochs" in words else ["--epochs", 1]
        answer = call(*words[1:], *fewer, "--overwrite")
        assert (answer.code, answer.err) == (0, "")
        config = Run.open(Path("my tastes-run")).config
        expected = "mf" if winner.startswith("mf") else "exposure-hybrid"
        assert config.backbone == expected
        assert config.model.get("unlabelled", True) == (winner != WITHOUT)


def test_a_method_that_fails_leaves_the_rest_of_the_advice(advised, tmp_path, monkeypatch):
    monkeypatch.setattr(
        BACKBONES["mf"], "forward", lambda module, users, items: module.bias * torch.nan * users
    )
    out = shutil.copytree(advised.out, tmp_path / "out")
    for cell in out.glob("cells/*/cell.json"):
        if json.loads(cell.read_text())["config"]["backbone"] == "mf":
            shutil.rmtree(cell.parent)
    advice = advise(advised.data, out, trials=2, seeds=2)
    assert advice.as_pairs is None
    assert advice.as_exposures is not None
    assert advice.winner != ALONE


def advice_with(winner, **settings):
    found = Finding("a", "b", {"auc": Difference(0.0, -1.0, 1.0)})
    means = {"auc": Mean(0.5, 0.0, 0.4, 0.6)}
    methods = {name: Method(name, means, settings=settings) for name in (RECOMMENDED, WITHOUT)}
    group = Group("d", 1.0, 0.0, 0.0, "own", methods, {"item-rate": Method("item-rate", means)}, {})
    return Advice(Path("d"), 1, 1, group, None, found, found, winner)


def test_the_next_command_is_the_winners():
    recommended = "invlearn train d --config recommended"
    assert advice_with(RECOMMENDED).command == f"{recommended} --out d-run"
    assert advice_with("item-rate").command == f"{recommended} --out d-run"
    assert advice_with(WITHOUT).command == f"{recommended} --model.unlabelled false --out d-run"


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.1, 0.2, "helps"), (-0.2, -0.1, "hurts"), (-0.1, 0.1, "unsure")]
)
def test_a_verdict_goes_by_the_interval(low, high, verdict):
    found = Finding("a", "b", {"auc": Difference((low + high) / 2, low, high)})
    assert found.verdict == verdict


def test_too_few_users_are_no_basis_for_advice(tmp_path):
    parts = {name: part([0, 1, 2], [0, 1, 0], [0, 1, 1]) for name in ("train", "valid", "test")}
    data = write_toy(tmp_path / "few", parts, n_users=3, n_items=2)
    answer = call("advise", data.folder, "--out", tmp_path / "out")
    assert answer.code == 2
    assert "has 3 users" in answer.err


def test_an_advice_without_a_search_is_refused(board, tmp_path):
    answer = call("advise", board, "--trials", 1, "--out", tmp_path / "out")
    assert answer.code == 2
    assert "trials must be 2 or more; found 1" in answer.err
