"""Experiments: every cell, equal budgets, fresh seeds; whatever stops them, the same results."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from math import nan
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from console import call
from invlearn.cli.main import main
from invlearn.config.schema import load_config, read_yaml, validated
from invlearn.data.dataset import Dataset
from invlearn.data.parts import PARTS
from invlearn.evaluation.baselines import ALL_BASELINES
from invlearn.evaluation.evaluation import Difference
from invlearn.evaluation.replication import Mean, mean_over_seeds, paired_over_seeds
from invlearn.experiments import work as at_work
from invlearn.experiments import workers as pool
from invlearn.experiments.cell import Cell, CellFolder
from invlearn.experiments.compare import compare
from invlearn.experiments.grid import cells_of_grid, load_experiment
from invlearn.experiments.markdown import to_markdown
from invlearn.experiments.results import Group, Method, Results, read_results
from invlearn.experiments.trial_run import attempt
from invlearn.runtime import locks
from invlearn.runtime.errors import ConfigError, DataError, InvlearnError, RunError, Stopped
from invlearn.runtime.random import stream
from invlearn.training.job import Job
from invlearn.training.run import train
from toys import checkerboard, part, write_toy

SETTINGS = {"batch_size": 256, "epochs": 3, "model": {"dim": 4}, "optimizer": {"lr": 0.01}}
GRID = {
    "strategies": ["none", "ig"],
    "backbones": ["mf"],
    "seeds": 2,
    "draws": 50,
    "settings": SETTINGS,
    "tuning": {"trials": 4},
}
APART = multiprocessing.get_context("forkserver")
"""Processes forked from one that has imported the library and started no thread."""
APART.set_forkserver_preload(["invlearn.experiments.compare"])
SPENT = {"seconds", "peak_bytes", "search_seconds", "environment", "commit"}
"""What two runs of one experiment may differ in."""


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """Dataset folder of the checkerboard."""
    return checkerboard(tmp_path_factory.mktemp("boards") / "board").folder


@pytest.fixture(scope="module")
def grid(board):
    """The grid over the checkerboard."""
    return GRID | {"datasets": [str(board)]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, grid):
    """The experiment, done without a disturbance; tests read it and change nothing."""
    out = tmp_path_factory.mktemp("whole") / "experiment"
    compare(grid, out)
    return out


@pytest.fixture(scope="module")
def short(grid):
    """The grid with fewer trainings, for tests of what interrupts them."""
    return grid | {"seeds": 1, "tuning": {"trials": 2}}


@pytest.fixture(scope="module")
def whole_short(tmp_path_factory, short):
    """The shorter experiment, done without a disturbance."""
    out = tmp_path_factory.mktemp("short") / "experiment"
    compare(short, out)
    return out


def without_cost(tree):
    """A tree of results without what it took."""
    if isinstance(tree, dict):
        return {key: without_cost(value) for key, value in tree.items() if key not in SPENT}
    return [without_cost(value) for value in tree] if isinstance(tree, list) else tree


def results_of(out):
    return without_cost(json.loads((out / "results.json").read_text()))


def methods_of(out, group=0):
    return json.loads((out / "results.json").read_text())["groups"][group]["methods"]


def counted(monkeypatch):
    """Run folders of the trainings that are done from now on."""
    folders = []

    def noted(folder, *arguments, **options):
        folders.append(folder)
        return attempt(folder, *arguments, **options)

    monkeypatch.setattr(at_work, "attempt", noted)
    return folders


def copied(whole, tmp_path):
    """A copy of the whole experiment that a test may spoil."""
    return Path(shutil.copytree(whole, tmp_path / "experiment"))


# What is compared


def test_a_grid_gives_every_cell_once(board, tmp_path):
    given = GRID | {
        "datasets": {"here": board},
        "backbones": {"mf": None, "wide": {"settings": {"backbone": "mf", "model": {"dim": 8}}}},
        "label_shares": [0.5, 1],
        "flip_positives": [0, 0.25],
        "seeds": [3, 5],
    }
    cells = cells_of_grid(load_experiment(given), tmp_path)
    assert len(cells) == len({cell.key for cell in cells.values()}) == 2 * 2 * 2 * 2
    assert {cell.config.model["dim"] for cell in cells.values()} == {4, 8}
    assert {cell.seeds for cell in cells.values()} == {(3, 5)}
    assert len({cell.fingerprint for cell in cells.values()}) == 4
    assert {
        name: s.holds(0.01) for name, s in next(iter(cells.values())).tuning.search.items()
    } == {"optimizer.lr": True, "optimizer.l2": False}


def test_labels_are_hidden_and_flipped_once(board, tmp_path):
    given = load_experiment(
        GRID | {"datasets": {"here": board}, "label_shares": 0.5, "flip_negatives": 0.2}
    )
    first = cells_of_grid(given, tmp_path)
    (folder,) = (tmp_path / "data").iterdir()
    assert folder.name == "here-share-0.5-flip-negatives-0.2-seed-0"
    before = (folder / "data.json").stat().st_mtime_ns
    assert cells_of_grid(given, tmp_path) == first
    assert (folder / "data.json").stat().st_mtime_ns == before
    other = checkerboard(tmp_path / "other", seed=1).folder
    with pytest.raises(InvlearnError, match="was made from another dataset than"):
        cells_of_grid(given.model_copy(update={"datasets": {"here": other}}), tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": []}, "strategies: at least one is needed"),
        ({"seeds": 0}, "seeds: at least one is needed"),
        ({"seeds": [999, 1000]}, "seed 1000 is used by the search; the reported seeds must be"),
        ({"reference": "ns"}, "reference 'ns' is none of the strategies"),
        ({"datasets": ["a/x", "b/x"]}, "two folders have the same name"),
        ({"settings": {"strategy": "ig"}}, "settings.strategy has no effect here"),
        ({"tuning": {"search": {"seed": {"choices": [1]}}}}, "tuning.search.seed has no effect"),
        (
            {"strategies": {"ig": {"settings": {"backbone": "mf"}}}},
            "strategies.ig.settings.backbone",
        ),
        ({"backbones": {"mf": {"search": {"store": {"choices": []}}}}}, "at least one is needed"),
        ({"seeds": 1.5}, "seeds: a list is needed; got 1.5"),
        ({"straegies": ["ig"]}, "straegies: unknown option; did you mean 'strategies'"),
        ({"mehtods": ["recommended"]}, "mehtods: unknown option; did you mean 'methods'.*methods"),
        ({"tuning": {"trails": 3}}, "tuning.trails: unknown option; did you mean 'trials'"),
        ({"strategies": {"x": {"setings": {}}}}, "x.setings: unknown option; did you mean 'settin"),
        (
            {"tuning": {"search": {"optimizer.lr": {"low": 0.1, "hgih": 1}}}},
            "^tuning.search.optimizer.lr.range.high: a value is needed; "
            "tuning.search.optimizer.lr.range.hgih: unknown option; did you mean 'high'.*known",
        ),
        ({"tuning": {"trials": 0}}, "tuning.trials: a number above 0 is needed; got 0"),
        ({"label_shares": [1.5]}, "label_shares.0: a number of at most 1 is needed"),
    ],
)
def test_a_grid_that_cannot_be_is_an_error_that_teaches(changes, words):
    with pytest.raises(ConfigError, match=words):
        load_experiment({**GRID, "datasets": ["x"], **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": ["none", "igg"]}, "igg with mf on board: unknown strategy 'igg'; did you"),
        ({"settings": {"epoch": 3}}, "epoch: unknown option; did you mean 'epochs'"),
        ({"settings": {"optimizer": {"lr": 0.5}}}, "no room for its own default 0.5"),
        ({"tuning": {"search": {"batch": {"low": 1, "high": 2}}}}, "there is no 'batch'"),
        ({"tuning": {"search": {"optimizer.l2": {"choices": [0.0, -1.0]}}}}, "optimizer.l2"),
    ],
)
def test_settings_that_cannot_be_are_found_before_the_work(grid, tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        compare({**grid, **changes}, tmp_path / "out")
    assert not (tmp_path / "out" / "cells").exists()


# Equal terms


def test_every_method_gets_the_same_budget(whole):
    methods = methods_of(whole)
    assert {len(method["trials"]) for method in methods.values()} == {4}
    first, second = methods.values()
    for one, other in zip(first["trials"], second["trials"], strict=True):
        shared = {name: other["settings"][name] for name in one["settings"]}
        assert one["settings"] == shared  # a few trials are all at random, and the same
    assert first["trials"][0]["settings"] == {"optimizer.lr": 0.01, "optimizer.l2": 0.0}
    for method in methods.values():
        trained = [t for t in method["trials"] if t["state"] == "complete"]
        assert {t["cost"]["epochs"] for t in trained} == {SETTINGS["epochs"]}
        best = max(trained, key=lambda t: t["best"])  # validation AUC
        assert method["settings"] == best["settings"]
        assert {seed["seed"] for seed in method["seeds"]} == {0, 1}
        assert all(seed["settings"] == best["settings"] for seed in method["seeds"])


def test_a_trial_behind_the_others_is_given_up_and_counted(board, tmp_path):
    settings = SETTINGS | {"epochs": 6, "optimizer": {"lr": 0.1}}
    search = {"optimizer.lr": {"choices": [1e-9, 0.1]}}
    given = {
        **GRID,
        "datasets": [board],
        "strategies": ["none"],
        "seeds": 1,
        "settings": settings,
        "tuning": {"trials": 8, "search": search, "seed": 1003},
    }
    compare(given, tmp_path)
    trials = methods_of(tmp_path)["none"]["trials"]
    assert len(trials) == 8
    pruned = [t for t in trials if t["state"] == "pruned"]
    assert pruned
    assert {t["settings"]["optimizer.lr"] for t in pruned} == {1e-9}
    assert {len(t["scores"]) for t in pruned} == {2}  # a third of the epochs
    assert [t["state"] for t in trials[:2]] == ["complete"] * 2
    folder = next((tmp_path / "cells").iterdir())
    compare({**given, "tuning": given["tuning"] | {"prune": False}}, tmp_path / "none pruned")
    free = methods_of(tmp_path / "none pruned")["none"]["trials"]
    assert {len(t["scores"]) for t in free} == {6}
    assert not list(folder.glob("trial-*"))


def test_selection_looks_at_validation_only(board, whole, grid, tmp_path):
    dataset = checkerboard(tmp_path / "made")
    labels = stream(0, "shuffle").permutation(dataset.test.labels)
    parts = {name: getattr(dataset, name) for name in ("train", "valid", "unlabelled")} | {
        "test": replace(dataset.test, labels=labels)
    }
    write_toy(tmp_path / "board", parts, n_users=30, n_items=30)
    compare({**grid, "datasets": [tmp_path / "board"]}, tmp_path / "out")
    for name, found in methods_of(tmp_path / "out").items():
        clean = methods_of(whole)[name]
        assert without_cost(found["trials"]) == without_cost(clean["trials"])
        assert found["settings"] == clean["settings"]
        assert [s["epoch"] for s in found["seeds"]] == [s["epoch"] for s in clean["seeds"]]
        assert found["means"] != clean["means"]


def test_reported_trainings_are_those_that_train_gives(whole, board, tmp_path):
    found = methods_of(whole)["ig"]["seeds"][1]
    cell = next(c for c in folders_of(whole) if c.cell.config.strategy == "ig")
    run = train(board, tmp_path / "run", **cell.config(found["settings"], 1).model_dump())
    assert run.test["epoch"] == found["epoch"]
    assert run.test["auc"] == found["test"]["values"]["auc"]


def folders_of(out):
    files = sorted(out.glob("cells/*/cell.json"))
    return [CellFolder(out, validated(Cell, json.loads(file.read_text()))) for file in files]


# What comes out


def test_means_and_differences_are_those_of_the_seeds(whole):
    group = json.loads((whole / "results.json").read_text())["groups"][0]
    folders = {folder.cell.config.strategy: folder for folder in folders_of(whole)}
    tests = {
        name: [json.loads((f.path / f"seed-{n}" / "test.json").read_text()) for n in (0, 1)]
        for name, f in folders.items()
    }
    for name, found in tests.items():
        mean = group["methods"][name]["means"]["auc"]
        values = [test["auc"] for test in found]
        assert mean["value"] == pytest.approx(np.mean(values), abs=1e-12)
        assert mean["spread"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    paired = [a["auc"] - b["auc"] for a, b in zip(tests["ig"], tests["none"], strict=True)]
    difference = group["methods"]["ig"]["differences"]["auc"]
    assert difference["value"] == pytest.approx(np.mean(paired), abs=1e-12)
    evaluations = {name: folder.evaluations() for name, folder in folders.items()}
    by_hand = paired_over_seeds(evaluations["ig"], evaluations["none"])["auc"]
    assert (difference["low"], difference["high"]) == (by_hand.low, by_hand.high)
    means = mean_over_seeds([*evaluations["none"].values()])
    assert group["methods"]["none"]["means"]["gauc"]["low"] == means["gauc"].low
    assert group["methods"]["none"]["differences"] == {}
    assert list(group["baselines"]) == list(ALL_BASELINES)
    assert all(len(b["differences"]) > 3 for b in group["baselines"].values())


def test_what_is_left_on_disk_can_be_read_without_weights(whole):
    for folder in folders_of(whole):
        assert not list(folder.path.rglob("*.safetensors"))
        assert not list(folder.path.glob("trial-*"))
        assert (folder.path / "seed-0" / "epochs.jsonl").exists()
    assert load_experiment(yaml.safe_load((whole / "experiment.yaml").read_text())).draws == 50


def method(name, low, high, *, value=None, metric="auc"):
    value = (low + high) / 2 if value is None else value
    mean = {metric: Mean(0.5, nan, 0.4, 0.6)}
    return Method(name, mean, {metric: Difference(value, low, high)})


def test_wins_go_by_the_interval_and_the_direction_of_the_metric():
    assert method("x", 0.1, 0.2).outcome("auc") == "win"
    assert method("x", -0.2, -0.1).outcome("auc") == "loss"
    assert method("x", -0.2, 0.0).outcome("auc") == "tie"
    assert method("x", 0.1, 0.2, metric="log_loss").outcome("log_loss") == "loss"
    assert method("x", -0.2, -0.1, metric="log_loss").outcome("log_loss") == "win"
    for low, high, value in ((nan, nan, 0.1), (nan, nan, nan)):
        assert method("x", low, high, value=value).outcome("auc") == "tie"


def group_of(*methods):
    """A group of made-up methods."""
    counts = {"rows": 9, "users": 3, "users_scored": 2}
    reference = Method("none", {"auc": Mean(0.5, nan, 0.4, 0.6)})
    named = {m.name: m for m in (reference, *methods)}
    base = {"random": method("random", -0.2, -0.1)}
    return Group("toy", 1.0, 0.0, 0.0, "mf", named, base, counts)


def test_the_tally_counts_over_groups_in_the_order_of_the_grid():
    lost = Method("ns", {})
    results = Results(
        "none",
        (
            group_of(lost, method("ig", 0.1, 0.2)),
            group_of(method("ns", -0.1, 0.2), method("ig", -0.2, -0.1)),
        ),
    )
    tally = results.tally("auc")
    assert list(tally) == ["ns", "ig", "random"]
    assert tally["ns"] == {"win": 0, "tie": 1, "loss": 0}
    assert tally["ig"] == {"win": 1, "tie": 0, "loss": 1}
    assert tally["random"] == {"win": 0, "tie": 0, "loss": 2}


def test_tables_hold_every_method_and_no_nan(whole):
    text = (whole / "results.md").read_text()
    for name in ("none", "ig", *ALL_BASELINES):
        assert f"| {name} |" in text
    results = Results("none", (group_of(method("ig", nan, nan, value=0.1)),))
    text = to_markdown(results)
    assert "nan" not in text.lower()
    assert "| ig | - |" in text


# Interruptions


def test_what_is_done_is_not_done_again(whole, grid, tmp_path, monkeypatch):
    out = copied(whole, tmp_path)
    trained = counted(monkeypatch)
    compare(grid, out)
    assert trained == []
    assert results_of(out) == results_of(whole)
    compare(grid | {"strategies": ["none", "ig", "idl"], "seeds": 3}, out)
    assert len(trained) == 4 + 3 + 2
    assert methods_of(out)["ig"]["seeds"][:2] == methods_of(whole)["ig"]["seeds"]


def killed_after(seconds, target, *arguments):
    """Do something in a process of its own and kill it, the hard way."""
    process = APART.Process(target=target, args=arguments)
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode


def test_a_kill_at_any_moment_changes_nothing(whole_short, short, tmp_path):
    out = tmp_path / "out"
    moments = stream(0, "kills").uniform(0.01, 0.2, size=8)
    codes = [killed_after(moment, compare, short, out) for moment in moments]
    assert codes.count(-signal.SIGKILL) >= 3
    compare(short, out)
    assert results_of(out) == results_of(whole_short)
    assert not list(out.rglob("*.safetensors"))


def kill_me(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def compare_and_die(grid, out, owner, name, at, before):
    """Die at a call of a method, after it did its work or before."""
    real, calls = getattr(owner, name), []

    def fatal(*arguments, **options):
        calls.append(name)
        if before and len(calls) == at:
            kill_me()
        real(*arguments, **options)
        if len(calls) == at:
            kill_me()

    setattr(owner, name, fatal)
    compare(grid, out)


@pytest.mark.parametrize(
    ("owner", "name", "at", "before"),
    [
        (Job, "_save", 6, False),  # between two epochs of the second trial
        (Job, "_save", 7, True),  # after the record of an epoch, before its checkpoint
        (CellFolder, "write_trial", 1, False),  # before the clean-up
        (CellFolder, "write_trial", 2, False),  # before the clean-up of the last trial
        (CellFolder, "write_record", 1, True),  # measured, but not recorded
        (CellFolder, "write_record", 2, False),  # before the clean-up
    ],
)
def test_a_kill_at_the_worst_moments_changes_nothing(
    whole_short, short, tmp_path, owner, name, at, before
):
    code = killed_after(60, compare_and_die, short, tmp_path, owner, name, at, before)
    assert code == -signal.SIGKILL
    compare(short, tmp_path)
    assert results_of(tmp_path) == results_of(whole_short)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_removed_record_is_made_again_and_no_other(whole, grid, tmp_path, monkeypatch):
    out = copied(whole, tmp_path)
    record = sorted(out.glob("cells/*/seed-1.json"))[0]
    record.write_text(record.read_text()[:50])
    with pytest.raises(RunError, match=r"seed-1.json is damaged .* remove it"):
        compare(grid, out)
    record.unlink()
    trained = counted(monkeypatch)
    compare(grid, out)
    assert [folder.name for folder in trained] == ["seed-1"]
    assert results_of(out) == results_of(whole)
    log = sorted(out.glob("cells/*/trials.log"))[0]
    log.write_bytes(log.read_bytes()[:-50])  # the last trial, cut off
    compare(grid, out)
    assert [folder.name for folder in trained] == ["seed-1", "trial-003"]
    assert results_of(out) == results_of(whole)
    draws = sorted(out.glob("cells/*/seed-0.npz"))[0]
    draws.write_bytes(draws.read_bytes()[:100])
    with pytest.raises(RunError, match=r"seed-0.npz is missing or damaged"):
        compare(grid, out)


def test_a_stop_is_kept_and_gone_on_from(whole_short, short, tmp_path):
    for steps in (1, 12, 20):
        asked = iter(range(steps))
        with pytest.raises(Stopped, match="run the same command to continue"):
            compare(short, tmp_path, should_stop=lambda asked=asked: next(asked, None) is None)
    compare(short, tmp_path)
    assert results_of(tmp_path) == results_of(whole_short)


# Several processes


OWN_STRATEGY = """
from invlearn.strategies.plain import LabelledOnly

Mine = LabelledOnly
"""


def command_line(grid, out, *options):
    """The command that runs an experiment as a person would."""
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(grid))
    return [Path(sys.executable).with_name("invlearn"), "compare", file, "--out", out, *options]


def started(command, **options):
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


SCRIPT = """
import invlearn

def progress(stage, n, total, *, at_work):
    print(n, total, at_work, sep=",")

invlearn.compare({given!r}, "two", workers=2, progress=progress)
"""
"""Starts workers without asking whether it is the main module."""


def test_two_workers_of_a_script_find_what_one_process_finds(short, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN_STRATEGY)
    monkeypatch.syspath_prepend(str(tmp_path))
    given = short | {"strategies": ["none", "own:Mine"]}
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(given=given))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    compare(given, tmp_path / "one")
    assert results_of(tmp_path / "two") == results_of(tmp_path / "one")
    difference = methods_of(tmp_path / "two")["own:Mine"]["differences"]["auc"]
    assert [difference[key] for key in ("value", "low", "high")] == [0.0, 0.0, 0.0]
    told = [line.split(",") for line in done.stdout.splitlines()]
    counts = [int(n) for n, *_ in told]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1], told[0][1]) == (0, 6, "6")
    assert any(title.startswith("board mf ") for *_, title in told)
    assert not (tmp_path / "two" / "worker.log").exists()


def test_an_experiment_has_one_process_at_a_time(whole, grid, tmp_path):
    out = copied(whole, tmp_path)
    with (
        locks.locked(out),
        pytest.raises(InvlearnError, match=r"another process is using .*experiment; wait"),
    ):
        compare(grid, out)
    compare(grid, out)


def test_equal_cells_are_trained_once_with_the_seeds_of_all(grid, tmp_path, monkeypatch):
    plan = load_experiment(grid | {"strategies": ["none"], "tuning": {"trials": 2}})
    (cell,) = cells_of_grid(plan, tmp_path).values()
    trained = counted(monkeypatch)
    other = cell.model_copy(update={"seeds": (1, 5)})
    at_work.work_together(tmp_path, [cell, other])
    names = ["trial-000", "trial-001", "seed-0", "seed-1", "seed-5"]
    assert [folder.name for folder in trained] == names


def test_ctrl_c_stops_with_130_and_the_same_command_goes_on(whole_short, short, tmp_path):
    process = started(command_line(short, tmp_path / "out"))
    while not list(tmp_path.glob("out/cells/*/trials.log")) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "stopped; run the same command to continue\n"
    assert not (tmp_path / "out" / "results.json").exists()
    compare(short, tmp_path / "out")
    assert results_of(tmp_path / "out") == results_of(whole_short)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_workers_stop_with_the_one_that_started_them(grid, tmp_path, number):
    slow = grid | {"settings": SETTINGS | {"epochs": 100_000, "compile": "off"}}
    command = command_line(slow, tmp_path / "out", "--workers", "2")[1:]
    process = APART.Process(target=main, args=(list(map(str, command)),))
    process.start()
    while len(list(tmp_path.glob("out/cells/*/trial-000/epochs.jsonl"))) < 2:
        assert process.is_alive()
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.join(300)
    assert process.exitcode == (130 if number == signal.SIGTERM else -number)
    deadline = time.monotonic() + 30
    for folder in tmp_path.glob("out/cells/*/trial-000"):
        while is_held(folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_held(folder)
        assert (folder / "checkpoints" / "index.json").exists()


def test_a_worker_that_is_told_to_end_stops_its_task_first(monkeypatch):
    ended = []
    monkeypatch.setattr(pool.os, "_exit", ended.append)
    monkeypatch.setattr(pool, "_stop_flags", [SimpleNamespace(value=0)])
    monkeypatch.setattr(pool, "_here", {"is_working": False, "is_ending": False})

    def work(task, should_stop):
        assert not should_stop()
        pool._end()
        assert should_stop()
        assert ended == []

    pool._in_worker(work, "task")
    assert ended == [1]
    pool._end()
    assert ended == [1, 1]


def is_held(folder):
    try:
        with locks.locked(folder):
            return False
    except InvlearnError:
        return True


@pytest.mark.slow  # as one that is killed, below
def test_a_worker_that_dies_is_an_error_with_its_reason(grid, tmp_path, monkeypatch):
    (tmp_path / "deadly.py").write_text(
        "import os\n"
        "from invlearn.backbones import BiasedMF\n\n\n"
        "class Deadly(BiasedMF):\n"
        "    def forward(self, users, items):\n"
        f"        if os.getpid() != {os.getpid()}:\n"
        "            raise BufferError('out of luck')\n"
        "        return super().forward(users, items)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RunError, match=r"ended early: BufferError: out of luck; fix that \(\S+l"):
        compare(grid | {"backbones": ["deadly:Deadly"]}, tmp_path / "out", workers=2)
    assert "in forward" in (tmp_path / "out" / "worker.log").read_text()


def test_a_worker_that_is_killed_is_an_error_and_what_is_done_is_kept(
    whole, grid, tmp_path, monkeypatch
):
    (tmp_path / "deadly.py").write_text(
        "import os, pathlib, signal\n"
        "from invlearn.backbones import BiasedMF\n\n\n"
        "class Deadly(BiasedMF):\n"
        "    def forward(self, users, items):\n"
        f"        if list(pathlib.Path({str(tmp_path)!r}).glob('out/cells/*/seed-0.json')):\n"
        f"            if os.getpid() != {os.getpid()}:\n"
        "                os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().forward(users, items)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    given = grid | {"backbones": ["deadly:Deadly"]}
    with pytest.raises(RunError, match="ended early: it was killed, or out of memory, or"):
        compare(given, tmp_path / "out", workers=2)
    trained = counted(monkeypatch)
    compare(given, tmp_path / "out")
    assert 0 < len(trained) < 12
    values = [methods_of(out)["ig"]["means"]["auc"] for out in (tmp_path / "out", whole)]
    assert values[0] == values[1]


def test_an_error_of_a_worker_is_the_one_of_a_single_process(grid, tmp_path):
    made = checkerboard(tmp_path / "board")
    cells = cells_of_grid(load_experiment(grid | {"datasets": [made.folder]}), tmp_path)
    shutil.rmtree(made.folder)
    with pytest.raises(DataError, match="board"):
        at_work.work_together(tmp_path, [*cells.values()], workers=2)


@pytest.mark.parametrize("workers", [0, -1])
def test_no_worker_is_an_error(grid, tmp_path, workers):
    with pytest.raises(ConfigError, match="workers must be 1 or more"):
        compare(grid, tmp_path, workers=workers)


# Failures


def test_failed_trials_are_kept_counted_and_shown(board, tmp_path):
    wild = {"optimizer.lr": {"choices": [0.01, 1e30]}, "optimizer.l2": {"choices": [0.0, 1e10]}}
    given = {
        **GRID,
        "datasets": [board],
        "strategies": {
            "none": None,
            "wild": {"settings": {"strategy": "none", "optimizer": {"name": "sgd", "lr": 1e30}}},
        },
        "seeds": 1,
        "tuning": {"trials": 4, "search": wild},
    }
    results = compare(given, tmp_path)
    (group,) = results.groups
    for method in group.methods.values():
        assert len(method.trials) == 4
    failed = [t for m in group.methods.values() for t in m.trials if t.state == "failed"]
    assert failed
    assert all("diverged" in trial.reason for trial in failed)
    kept = methods_of(tmp_path)
    assert [t["state"] for t in kept["wild"]["trials"]] == [
        t.state for t in group.methods["wild"].trials
    ]
    text = (tmp_path / "results.md").read_text()
    assert "Failed:" in text
    assert "- wild, trial 0: training diverged at step" in text
    assert "nan" not in text.partition("Failed:")[0].lower()


def test_a_method_that_always_fails_leaves_the_others_alone(board, tmp_path, monkeypatch):
    wild = {"strategy": "none", "optimizer": {"name": "sgd", "lr": 1e30, "l2": 1e10}}
    given = {
        **GRID,
        "datasets": [board],
        "strategies": {"none": None, "wild": {"settings": wild}, "ig": None},
        "seeds": 2,
        "tuning": {"trials": 2, "search": {"optimizer.beta1": {"choices": [0.9, 0.8]}}},
    }
    results = compare(given, tmp_path)
    (group,) = results.groups
    wild = group.methods["wild"]
    assert (wild.means, wild.differences, wild.records) == ({}, {}, ())
    assert [trial.state for trial in wild.trials] == ["failed"] * 2
    assert group.methods["ig"].differences
    assert results.tally("auc")["wild"] == {"win": 0, "tie": 0, "loss": 0}
    assert "| wild | - | - | - | - |" in (tmp_path / "results.md").read_text()
    trained = counted(monkeypatch)
    compare(given | {"tuning": {"trials": 1}}, tmp_path)
    assert len(trained) == 6
    assert methods_of(tmp_path)["wild"]["seeds"][0]["state"] == "failed"
    assert "- wild, seed 1: training diverged" in (tmp_path / "results.md").read_text()


def test_a_dataset_that_changed_after_the_plan_is_refused(grid, tmp_path):
    made = checkerboard(tmp_path / "board")
    (cell, *_) = cells_of_grid(
        load_experiment(grid | {"datasets": [made.folder]}), tmp_path
    ).values()
    shutil.rmtree(made.folder)
    checkerboard(tmp_path / "board", seed=1)
    with pytest.raises(RunError, match="has changed since the experiment was planned"):
        at_work.work_together(tmp_path, [cell])
    shutil.rmtree(made.folder)
    with pytest.raises(DataError, match="board"):
        at_work.work_together(tmp_path, [cell])


def test_another_dataset_of_the_same_name_gets_cells_of_its_own(grid, whole, tmp_path, monkeypatch):
    out = copied(whole, tmp_path)
    other = checkerboard(tmp_path / "board", seed=1).folder
    given = grid | {"datasets": [other], "tuning": {"trials": 1}, "strategies": ["none"]}
    trained = counted(monkeypatch)
    compare(given, out)
    assert len(trained) == 2
    assert len(list((out / "baselines").iterdir())) == 2
    compare(grid, out)
    assert len(trained) == 2
    assert results_of(out) == results_of(whole)


# What a person sees


@pytest.mark.parametrize("shares", ["1", "0.3,0.6,1"])
def test_the_summary_fits_a_terminal(grid, whole, tmp_path, shares):
    out = copied(whole, tmp_path)
    options = ["--strategy", "none", "ig", "--backbone", "mf", "--trials", 1, "--seeds", 1]
    answer = call(
        "compare", "--dataset", grid["datasets"][0], *options, "--label-share", shares, "--out", out
    )
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    names = ("ig", *ALL_BASELINES) if "," in shares else ("none", "ig", *ALL_BASELINES)
    for name in names:
        assert any(line.startswith(f"{name} ") for line in lines)
    assert "95 % interval of the difference from none" in answer.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "datasets: a value is needed; strategies: a value is needed"),
        (("--label-share", "a,b"), "--label-share takes comma-separated numbers, for example"),
        (("nowhere.yaml",), "cannot read nowhere.yaml: No such file or directory"),
        (("--seeds", "0", "--strategy", "none", "--dataset", "x"), "seeds: at least one is needed"),
        (("--dataset", "x", "--strategy", "none", "--workers", "0"), "x"),
    ],
)
def test_a_wrong_command_ends_with_2_and_one_sentence(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    answer = call("compare", *options, "--out", "out")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ")
    assert len(answer.err.splitlines()) == 1
    assert words in answer.err


def test_a_reader_is_told_where_a_bound_was_met(whole):
    """The grid of these tests has few epochs, and the last one is the best."""
    cell = cells_of_grid(load_experiment(read_yaml(whole / "experiment.yaml")), whole)
    (place, first), *_ = cell.items()
    found = read_results(whole, cell, reference=place.strategy).groups[0].methods[place.strategy]
    n_seeds, last = len(first.seeds), first.config.epochs
    rates = [trial.settings["optimizer.lr"] for trial in found.trials]
    records = [record.model_copy(update={"epoch": last}) for record in found.records]

    def remarks(rate, records):
        settings = {"optimizer.lr": rate}
        return replace(found, settings=settings, records=tuple(records)).remarks

    assert remarks(sorted(rates)[1], []) == [f"0 of {n_seeds} seeds"]
    assert remarks(max(rates), records) == [
        f"best in the last of {last} epochs: {n_seeds} of {n_seeds} seeds",
        "the highest optimizer.lr tried was chosen",
    ]
    assert remarks(min(rates), records[:1])[-1] == "the lowest optimizer.lr tried was chosen"
    text = (whole / "results.md").read_text()
    assert all(f"- {place.strategy}: {remark}" in text for remark in found.remarks)
    assert "Warnings:" in text


def test_a_seed_trained_with_other_settings_does_not_count(whole, grid, tmp_path, monkeypatch):
    out = copied(whole, tmp_path)
    file = next(out.glob("cells/*/seed-0.json"))
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"settings": {"optimizer.lr": 0.5}}))
    trained = counted(monkeypatch)
    compare(grid, out)
    assert len(trained) == 1
    assert results_of(out) == results_of(whole)


def test_a_training_begun_with_other_settings_is_begun_anew(board, tmp_path):
    dataset = Dataset.open(board)
    folder = tmp_path / "run"
    first = load_config({"epochs": 1, "optimizer": {"lr": 0.5}})
    attempt(folder, dataset, first)
    other = load_config({"epochs": 2, "optimizer": {"lr": 0.01}})
    again = attempt(folder, dataset, other)
    assert again.scores == attempt(tmp_path / "fresh", dataset, other).scores


def test_an_entry_is_of_the_strategy_that_it_is_named_after(board, tmp_path):
    entries = {"ig": {"settings": {"patience": 3}}, "late": "ns", "none": None}
    given = load_experiment(GRID | {"datasets": [str(board)], "strategies": entries})
    found = {p.strategy: cell.config for p, cell in cells_of_grid(given, tmp_path).items()}
    assert {name: config.strategy for name, config in found.items()} == {
        "ig": "ig",
        "late": "ns",
        "none": "none",
    }
    assert found["ig"].patience == 3
    wrong = given.model_copy(
        update={
            "strategies": load_experiment(
                GRID | {"datasets": [str(board)], "strategies": {"igg": {"settings": {}}}}
            ).strategies
        }
    )
    with pytest.raises(ConfigError, match="unknown strategy 'igg'; did you mean 'ig'"):
        cells_of_grid(wrong, tmp_path)


def test_unlabelled_pairs_that_are_not_there_are_missed_before_the_work(tmp_path):
    rows = {name: part([0, 0, 1, 1], [0, 1, 0, 1], [1, 0, 0, 1]) for name in PARTS[:3]}
    folder = write_toy(tmp_path / "toy", rows, n_users=2, n_items=2).folder
    settings = SETTINGS | {"unlabelled": {"source": "exposed"}}
    with pytest.raises(ConfigError, match="no exposed-unlabelled rows"):
        compare(GRID | {"datasets": [str(folder)], "settings": settings}, tmp_path / "out")
    assert not (tmp_path / "out" / "cells").exists()


@pytest.mark.parametrize("name", ["notes.txt", "data.json", "run.json", "part-0.parquet"])
def test_a_folder_of_something_else_is_left_alone(grid, tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="experiment"):
        compare(grid, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_experiment_without_any_result_is_an_error_with_the_reason(grid, tmp_path):
    settings = SETTINGS | {"optimizer": {"lr": 1e30}}
    with pytest.raises(RunError, match="every training failed: none, seed 0: training diverged"):
        compare(grid, tmp_path / "out", settings=settings, trials=1, seeds=1)
    assert "training diverged" in (tmp_path / "out" / "results.md").read_text()


def test_baselines_ahead_of_every_method_are_named():
    means = {"none": 0.6, "ig": 0.7}
    methods = [Method(n, {"auc": Mean(v, 0, v, v)}) for n, v in means.items()]
    group = group_of(*methods)
    trivial = {"a": 0.65, "b": 0.71, "c": 0.9}
    baselines = {n: Method(n, {"auc": Mean(v, 0, v, v)}) for n, v in trivial.items()}
    assert replace(group, baselines=baselines).ahead_of_all("auc") == ["c", "b"]
    assert replace(group, methods={}, baselines=baselines).ahead_of_all("auc") == []
