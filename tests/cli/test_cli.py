"""The command line: its options are frozen, and the whole story can be told with it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml

from console import IDS, RULE, call, contents, done
from invlearn.cli import display
from invlearn.cli.main import app, main
from invlearn.data.simulation.simulate import simulate
from invlearn.evaluation.baselines import ALL_BASELINES, BASELINES
from invlearn.runtime import environment

RUN = (
    "backbone model strategy method unlabelled"
    " unlabelled.source unlabelled.exposed-fraction unlabelled.per-labelled"
    " unlabelled.hardest-of store"
    " optimizer optimizer.name optimizer.lr optimizer.beta1 optimizer.beta2 optimizer.eps"
    " optimizer.l2 schedule schedule.name schedule.warmup-steps schedule.final-fraction"
    " batch-size steps-per-epoch epochs patience select-by seed device compile checkpoint-steps"
    " keep-epochs tensorboard no-tensorboard"
)
"""The settings of a run, wherever they are taken."""
COMMANDS = {
    "prepare": "log rule out format user item time split split-column valid-fraction test-fraction"
    " repeats bad-rows core text-ids seed user-features item-features categorical engine memory"
    " spark scratch overwrite",
    "simulate": "out users items rows seed chunk-rows overwrite",
    "advise": "dataset out trials seeds workers",
    "corrupt-labels": "dataset out label-share flip-positives flip-negatives seed overwrite",
    "weaken": "dataset out label-share flip-positives flip-negatives seed overwrite",
    "datasets list": "",
    "datasets prepare": "name out from rule split bad-rows core seed overwrite",
    "train": f"dataset out config overwrite resume-if-exists {RUN}",
    "plan": f"dataset processes hosts memory dim users items rows unlabelled-rows config {RUN}",
    "resume": "run dataset device",
    "evaluate": "part log format rule user item time bad-rows unknown seen dataset catalogue"
    " draws seed out overwrite",
    "annotate": "run out pairs format user item truth precision dataset seed overwrite",
    "compare": "grid out dataset backbone strategy label-share flip-positives flip-negatives"
    " trials seeds workers",
    "reproduce": "what data out page row way seeds trials stand-in no-stand-in full-size workers",
    "recommend": "run out k users items exclude-items leave-out fallback approximate dataset"
    " overwrite",
    "export": "run out overwrite",
    "serve": "run host port token-file leave-out fallback threads dataset",
    "report": "out dataset draws seed overwrite",
    "strategies": "",
    "backbones": "",
    "doctor": "",
}
"""Every command and its long options; a new one must be wanted by two people, here and there."""


def command_of(words):
    found = app
    for word in words.split():
        found = found[word]
    return found


def walk(parent=app, prefix=""):
    for name in parent:
        if not name.startswith("-"):
            inner = list(walk(parent[name], f"{prefix}{name} "))
            yield from inner or [f"{prefix}{name}"]


def test_the_commands_are_frozen():
    assert set(walk()) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_are_frozen(command):
    arguments = command_of(command).assemble_argument_collection()
    names = {name for argument in arguments for name in argument.names if name.startswith("--")}
    assert names == {f"--{name}" for name in COMMANDS[command].split()}


@pytest.mark.parametrize("command", ["", "datasets", *COMMANDS])
def test_every_command_answers_help(command):
    answer = call(*command.split(), "--help")
    assert answer.code == 0
    assert f"Usage: invlearn {command}".strip() in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


def test_help_describes_every_option():
    for command, options in COMMANDS.items():
        arguments = command_of(command).assemble_argument_collection(parse_docstring=True)
        shown = [argument for argument in arguments if argument.show]
        assert [a.name for a in shown if not a.parameter.help and not a.children] == [], command
        assert len(shown) >= len(options.split()) - 4  # groups, negatives


def test_the_version_is_the_package_s():
    import invlearn as package

    assert done("--version").strip() == package.__version__


def test_the_installed_command_answers_without_loading_an_engine():
    command = Path(sys.executable).with_name("invlearn")
    code = (
        "import sys; from invlearn.cli.main import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'polars'} & set(sys.modules)"
    )
    for arguments in ([command, "--help"], [sys.executable, "-c", code]):
        found = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
        assert "Usage: invlearn" in found.stdout


# The story


def test_simulate_prepare_train_and_evaluate(feed, tmp_path):
    out = tmp_path / "all.json"
    said = done("evaluate", feed.none, feed.ig, "--out", out, "--draws", 50, "--catalogue")
    assert "Difference from none, paired on the same users" in said
    found = json.loads(out.read_text())
    assert list(found["runs"]) == ["none", "ig"]
    for name, run in found["runs"].items():
        test = json.loads((feed.none.parent / name / "test.json").read_text())
        assert run["auc"] == test["auc"]
        assert list(run["intervals"]["auc"]) != test["intervals"]["auc"]  # fewer draws
        assert tuple(run["baselines"]) == ALL_BASELINES
        assert tuple(test["baselines"]) == BASELINES
        assert run["catalogue_recall@10"] >= 0
    difference = found["differences"]["ig"]["auc"]
    values = [found["runs"][name]["auc"] for name in ("ig", "none")]
    assert difference["value"] == pytest.approx(values[0] - values[1])
    assert difference["low"] <= difference["value"] <= difference["high"]


def test_both_strategies_learn_the_simulated_taste(feed):
    for folder in (feed.none, feed.ig):
        test = json.loads((folder / "test.json").read_text())
        assert test["auc"] > test["baselines"]["random"]["auc"] + 0.05


def test_any_part_can_be_measured(feed, tmp_path):
    out = tmp_path / "valid.json"
    options = ("--part", "valid", "--draws", 0, "--out", out)
    done("evaluate", feed.none, *options)
    (run,) = json.loads(out.read_text())["runs"].values()
    config = yaml.safe_load((feed.none / "config.yaml").read_text())
    epochs = map(json.loads, (feed.none / "epochs.jsonl").read_text().splitlines())
    best = min(epoch["valid"][config["select_by"]] for epoch in epochs)
    assert run["part"] == "valid"
    assert run["log_loss"] == pytest.approx(best)
    assert run["intervals"] == {}


def test_the_readme_s_spelling_for_ml_1m(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"{u}::{i}::{1 + (u * i) % 5}::{u + i}" for u in range(1, 31) for i in range(1, 21)]
    Path("ml-1m").mkdir()
    Path("ml-1m/ratings.dat").write_text("\n".join(lines) + "\n")
    said = done(*["datasets", "prepare", "ml-1m", "--from", "ml-1m", "--out", "ml1m"])
    assert "600 pairs, 100.0% of them labelled" in said
    line = (
        "train ml1m --backbone gmf --strategy none --store dense --optimizer.lr 1e-3 --epochs 10 "
        "--seed 0 --out run-none"
    )
    done(*line.split())
    config = yaml.safe_load(Path("run-none/config.yaml").read_text())
    assert (config["store"], config["optimizer"]["lr"], config["epochs"]) == ("dense", 1e-3, 10)
    assert len(Path("run-none/epochs.jsonl").read_text().splitlines()) == 10


def test_the_config_file_of_a_run_trains_it_again(feed, tmp_path):
    done("train", feed.dataset, "--config", feed.ig / "config.yaml", "--out", tmp_path / "again")
    for name in ("config.yaml", "test.json", "steps.jsonl", "users.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (feed.ig / name).read_bytes()


def test_options_go_before_the_config_file(feed, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "strategy: t-ce\nepochs: 1\nbatch_size: 256\nmodel: {dim: 8}\n"
        "method: {target: both, ramp_steps: 9}\noptimizer: {lr: 1e-2, l2: 1e-4}\n"
    )
    options = [
        "--optimizer.lr=1e-3",
        "--model.dim",
        "4",
        "--method.ramp-steps",
        "5",
        "--no-tensorboard",
    ]
    done("train", feed.dataset, "--config", file, *options, "--out", tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["optimizer"]["lr"] == 1e-3
    assert config["optimizer"]["l2"] == 1e-4
    assert config["model"] == {"dim": 4}
    assert config["method"] == {
        "target": "both",
        "drop_fraction": 0.2,
        "ramp_steps": 5,
        "exponent": 1.0,
        "share_of": "batch",
    }


def test_overwrite_replaces_a_run_and_nothing_else(feed, tmp_path):
    run, other = tmp_path / "run", tmp_path / "photos"
    options = ("--epochs", 1, "--out")
    done("train", feed.dataset, *options, run)
    (run / "mark").touch()
    assert call("train", feed.dataset, *options, run).code == 2
    assert (run / "mark").exists()
    done("train", feed.dataset, "--overwrite", *options, run)
    assert not (run / "mark").exists()
    other.mkdir()
    (other / "wedding.jpg").touch()
    said = call("train", feed.dataset, "--overwrite", *options, other).err
    assert "is not overwritten" in said
    assert contents(other) == ["wedding.jpg"]


def test_tensorboard_on_request(feed, tmp_path):
    done("train", feed.dataset, "--epochs", 1, "--tensorboard", "--out", tmp_path / "run")
    assert list((tmp_path / "run" / "tensorboard").iterdir())


# What a person sees


def test_summaries_fit_eighty_columns_and_cut_nothing_off(feed, tmp_path, monkeypatch):
    monkeypatch.chdir(feed.none.parent)
    said = [
        done("evaluate", "none", "ig", "--catalogue"),
        done("datasets"),
        done("strategies"),
        done("backbones"),
        done("prepare", "log", "--rule", RULE, *IDS, "--out", tmp_path / "data"),
    ]
    for text in said:
        assert "…" not in text
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_long_names_of_runs_are_folded_and_never_the_numbers(feed, tmp_path):
    runs = [tmp_path / ("with-a-" + "very-" * count + "long-name") for count in (3, 6)]
    for run in runs:
        run.symlink_to(feed.none)
    said = done("evaluate", *runs)
    auc = json.loads((feed.none / "test.json").read_text())["auc"]
    assert said.count(f"{auc:.4f}".removeprefix("0")) >= 2
    assert max(len(line.rstrip()) for line in said.splitlines()) <= 80


def test_every_strategy_and_backbone_is_listed_with_its_options():
    said = " ".join(done("strategies").split())
    for name in ("none", "ns", "t-ce", "r-ce", "idl", "ig"):
        assert f" {name} " in f" {said}"
    assert "--method.alpha-ratio, 0.1 by default" in said
    assert "--model.dropout, 0.0 by default" in done("backbones")


def test_the_doctor_says_what_is_there_and_what_is_not(monkeypatch):
    import torch

    found = environment.version

    def without_optuna(package):
        if package == "optuna":
            raise environment.PackageNotFoundError
        return found(package)

    monkeypatch.setattr(environment, "version", without_optuna)
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in done("doctor").splitlines()}
    assert said["torch"].strip() == torch.__version__
    assert said["[tune]"].strip() == "lacks optuna"
    assert said["[report]"].strip() == "installed"
    assert said["threads"].startswith(f"{torch.get_num_threads()} ")


def test_every_public_data_set_is_listed_with_its_license():
    said = done("datasets")
    assert said == done("datasets", "list")
    for name in ("ml-100k", "ml-1m", "kuairec", "kuairand", "coat"):
        assert name in said
    assert said.count("license") == 5


def test_bars_show_the_stages_of_work(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(display, "console", display.Console(force_terminal=True, width=80))
    with display.progress_bars() as progress:
        progress("train", 10, 20, loss=0.123456, choice="inverse", pairs_per_second=1234567.0)
        progress("evaluate", 1, 5)
    said = capsys.readouterr().out
    assert "loss 0.1235  inverse  1,234,567 pairs/s" in said
    assert "50%" in said
    assert "evaluate" in said


def test_nobody_watching_no_bars(tmp_path):
    assert done("simulate", tmp_path / "log", "--users", 9, "--items", 9, "--rows", 20).startswith(
        "Wrote"
    )


# Stopping

PATIENT = ("--epochs", "6", "--batch-size", "16", "--model.dim", "4", "--strategy", "ig")


@pytest.fixture(scope="module")
def unbroken(feed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    done("train", feed.dataset, *PATIENT, "--out", folder)
    return folder


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),  # as in test_faults, at any phase
    ],
)
def test_a_stopped_run_says_how_to_resume_and_does(number, feed, unbroken, tmp_path):
    run = tmp_path / "my run"
    command = Path(sys.executable).with_name("invlearn")
    training = subprocess.Popen(
        [command, "train", feed.dataset, *PATIENT, "--out", run],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while not (run / "checkpoints" / "index.json").exists() and training.poll() is None:
        time.sleep(0.005)
    training.send_signal(number)
    out, err = training.communicate(timeout=60)
    assert training.returncode == 130
    assert err.count("\n") == 1
    assert err.startswith("stopped after step ")
    assert f"`invlearn resume '{run}'`" in err
    assert out == ""
    assert not (run / "test.json").exists()

    assert "Nothing was left" not in done("resume", run)
    for name in ("test.json", "steps.jsonl"):
        assert (run / name).read_bytes() == (unbroken / name).read_bytes()


def test_resuming_a_finished_run_changes_nothing(unbroken):
    before = (unbroken / "test.json").read_bytes()
    said = done("resume", unbroken)
    assert said.startswith("The run had already finished")
    assert (unbroken / "test.json").read_bytes() == before


def test_stopping_a_preparation_leaves_nothing(feed, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("invlearn.data.prepare.prepare.write_card", interrupted)
    answer = call("prepare", feed.log, "--rule", RULE, *IDS, "--out", tmp_path / "data")
    assert (answer.code, answer.err) == (130, "stopped\n")
    assert contents(tmp_path) == []


def test_handlers_of_signals_are_put_back(feed, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    done("train", feed.dataset, "--epochs", 1, "--out", tmp_path / "run")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_command_line_is_the_python_api(feed, tmp_path):
    simulate(tmp_path / "log", users=120, items=80, rows=4000)
    names = contents(feed.log)
    assert names == contents(tmp_path / "log")
    for name in names:
        assert (feed.log / name).read_bytes() == (tmp_path / "log" / name).read_bytes()


def test_names_that_look_like_markup_are_printed_as_they_are(tmp_path, capsys):
    rows = [(user, item, (user * item) % 7 - 1) for user in range(30) for item in range(20)]
    log = pl.DataFrame(rows, schema=["user", "item", "time [/s] [bold]"], orient="row")
    log.write_parquet(tmp_path / "log.parquet")
    words = ["--rule", "`time [/s] [bold]` > 3, < 2", "--bad-rows", "drop"]
    with pytest.raises(SystemExit, match="0"):
        main(["prepare", str(tmp_path / "log.parquet"), "--out", str(tmp_path / "data"), *words])
    assert "time [/s] [bold] is not a number >= 0" in " ".join(capsys.readouterr().out.split())
