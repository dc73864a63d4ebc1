"""What bad input gets: exit code 2, one line that names the thing, and nothing half-written."""

import errno
import json
import os
import resource
import shlex
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import invlearn
from console import IDS, RULE, call, contents, done
from invlearn import Run
from invlearn.runtime.errors import InvlearnError, RunError, unknown

WATCH = "watch / length >= 1, < 0.3"


def refused(*arguments, says):
    """Call the command line, which must refuse in one line that says all of some things."""
    before = contents(".")
    answer = call(*arguments)
    assert answer.code == 2, answer
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert answer.err.endswith("\n")
    for words in says:
        assert words in answer.err
    assert [path for path in contents(".") if path not in before] == []
    return answer.err


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def place(feed, here):
    """A folder with copies that may be damaged: `data`, `run`, and the log as a link."""
    shutil.copytree(feed.dataset, "data")
    shutil.copytree(feed.none, "run")
    Path("log").symlink_to(feed.log)
    return here


def write_feed(**changed):
    """Write `feed.csv`, a log that can be prepared, with some columns replaced."""
    rows = range(400)
    columns = {
        "user": [row % 20 for row in rows],
        "item": [row // 20 for row in rows],
        "watch": [float((row * 7) % 16) for row in rows],
        "length": [10.0 for _ in rows],
    }
    pl.DataFrame(columns | changed, strict=False).write_csv("feed.csv")


def column(value, *, at, default=5.0):
    values = [default] * 400
    values[at] = value
    return values


def prepare(*options, log="feed.csv", rule=WATCH):
    return ("prepare", log, "--rule", rule, "--out", "out", *options)


def test_the_log_that_the_cases_spoil_is_good(here):
    write_feed()
    done(*prepare())


# Logs

SPOILT = {
    "NaN watch time": (
        {"watch": column(float("nan"), at=11)},
        ["feed.csv, row 12", "column 'watch'", "word such as nan", ">= 0", "--bad-rows drop"],
    ),
    "missing watch time": (
        {"watch": column(None, at=0)},
        ["row 1 ", "column 'watch'", "nothing (an empty field", "--bad-rows drop"],
    ),
    "negative watch time": (
        {"watch": column(-3.5, at=399)},
        ["row 400", "column 'watch'", "found -3.5", "--bad-rows drop"],
    ),
    "zero duration": (
        {"length": column(0.0, at=7, default=10.0)},
        ["row 8 ", "column 'length'", "found 0.0", "a number > 0"],
    ),
    "text for a number": (
        {"watch": column("long", at=7)},
        ["column 'watch' of feed.csv", "type String", "wanted a number", "fix or remove"],
    ),
    "fractional ids": (
        {"user": [row + 0.5 for row in range(400)]},
        ["row 1 ", "column 'user'", "found '0.5', a float", "--text-ids"],
    ),
    "no label at all": ({"watch": [5.0] * 400}, ["0 positive and 0 negative", WATCH, "add a rule"]),
    "one class only": (
        {"watch": [20.0] * 400},
        ["400 positive and 0 negative", "both classes are needed"],
    ),
    "validation without both classes": (
        {"watch": column(20.0, at=0, default=1.0)},
        ["part of feed.csv would have 0 positive", "use larger fractions"],
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_log_with_bad_content_is_refused(name, here):
    changed, says = SPOILT[name]
    write_feed(**changed)
    refused(*prepare(), says=says)


SETTINGS = {
    "missing column": (["--user", "usr"], ["feed.csv has no column 'usr'", "did you mean 'user'?"]),
    "missing rule column": (["--rule", "wach > 1"], ["no column 'wach'", "did you mean 'watch'?"]),
    "unreadable rule": (["--rule", "watch >> 1"], ["label rule 'watch >> 1'", "character 8"]),
    "contradiction": (["--rule", "watch > 1, < 2"], ["contradicts itself"]),
    "unknown option": (["--splt", "random"], ["--splt", "--split", "invlearn prepare --help"]),
    "unknown split": (
        ["--split", "radnom"],
        ["unknown --split 'radnom'", "did you mean 'random'?", "per-user"],
    ),
    "split column without name": (["--split", "column"], ["split column none"]),
    "no time": (["--split", "temporal"], ["needs a time column", "--time"]),
    "fractions": (["--test-fraction", "0.95"], ["below 1 together", "0.95"]),
    "not a number": (["--core", "many"], ["--core takes a whole number", "found 'many'"]),
    "core too high": (["--core", "500"], ["core 500", "lower it"]),
    "same columns": (["--item", "user"], ["both column 'user'"]),
    "unknown format": (["--format", "inters"], ["'inters'", "did you mean 'inter'?"]),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_preparation_with_wrong_settings_is_refused(name, here):
    options, says = SETTINGS[name]
    write_feed()
    refused(*prepare(*options), says=says)


FEATURES = {
    "id twice": ({"user": [1, 2, 1]}, ["people.csv, row 3", "repeats the id 1", "keep the row"]),
    "no id": ({"user": [1, None, 2]}, ["people.csv, row 2", "column 'user'", "nothing (null)"]),
    "fractional ids": ({"user": [1.5, 2.5, 3.5]}, ["no id in column 'user' of people.csv"]),
    "other ids": ({"user": ["x", "y", "z"]}, ["no id in column 'user' of people.csv", "'0'"]),
    "infinite": ({"age": [1.0, float("inf"), 2.0]}, ["row 2", "column 'age'", "found inf"]),
    "other name": ({"user": None}, ["people.csv has no column 'user'"]),
    "no features": ({"age": None}, ["people.csv has no column besides 'user'", "or none"]),
}


@pytest.mark.parametrize("name", FEATURES)
def test_a_table_of_features_of_no_use_is_refused(name, here):
    changed, says = FEATURES[name]
    columns = {"user": [1, 2, 3], "age": [20.0, 30.0, 40.0]} | changed
    write_feed()
    pl.DataFrame({k: v for k, v in columns.items() if v is not None}).write_csv("people.csv")
    refused(*prepare("--user-features", "people.csv"), says=says)


def test_a_table_of_features_is_looked_over_before_the_log_is_read(here):
    stages = []
    write_feed()
    for name in sorted({*FEATURES} - {"other ids"}):
        columns = {"user": [1, 2, 3], "age": [20.0, 30.0, 40.0]} | FEATURES[name][0]
        people = pl.DataFrame({k: v for k, v in columns.items() if v is not None})
        with pytest.raises(InvlearnError):
            invlearn.prepare(
                "feed.csv",
                "out",
                rule=WATCH,
                user_features=people,
                progress=lambda *stage, **_: stages.append(stage),
            )
    assert stages == []


def test_a_log_of_likes_alone_is_told_what_is_possible(here):
    write_feed(watch=[20.0] * 400)
    says = ["400 positive and 0 negative", "'watch_ratio >= 1.5, < 0.05'", "nnpu", "rel-mf"]
    refused(*prepare(), says=says)
    write_feed(watch=[1.0] * 400)
    assert "nnpu" not in refused(*prepare(), says=["0 positive and 400 negative"])


def test_features_that_are_not_there_are_refused(here):
    write_feed()
    says = ["peple.csv does not exist"]
    refused(*prepare("--item-features", "peple.csv"), says=says)
    refused(*prepare("--categorical", "age"), says=["'age'", "--user-features or --item-features"])
    pl.DataFrame({"user": [1, 2, 3], "age": [20, 30, 40]}).write_csv("people.csv")
    options = ("--user-features", "people.csv", "--categorical", "ago")
    refused(*prepare(*options), says=["unknown feature 'ago'", "did you mean 'age'"])


def test_a_log_that_is_not_there_or_holds_nothing_is_refused(here):
    refused(*prepare(), says=["feed.csv does not exist", "name a file"])
    write_feed()
    refused(*prepare(log="fed.csv"), says=["fed.csv does not exist", "did you mean feed.csv?"])
    refused(*prepare(log="*.parquet"), says=["no file matches *.parquet"])
    Path("feed.csv").write_text("")
    refused(*prepare(), says=["feed.csv is empty"])
    Path("feed.csv").write_text("user,item,watch,length\n")
    refused(*prepare(), says=["feed.csv has no rows"])
    Path("feed.csv").write_text("user,item,watch,length\n1,2,3,4\n1,2,3,4,5\n")
    refused(*prepare(), says=["feed.csv", "line 3"])
    Path("feed.log").write_text("1 2\n")
    refused(*prepare(log="feed.log"), says=["feed.log", "name one of"])


def test_a_damaged_parquet_file_is_refused(feed, here):
    whole = (feed.log / "part-00000.parquet").read_bytes()
    Path("feed.parquet").write_bytes(whole[:-100])
    refused(*prepare(*IDS, log="feed.parquet", rule=RULE), says=["feed.parquet cannot be read"])
    Path("feed.parquet").write_text("user,item\n1,2\n")
    refused(*prepare(*IDS, log="feed.parquet", rule=RULE), says=["feed.parquet cannot be read"])


def test_bad_rows_can_be_dropped_instead(here):
    write_feed(watch=[float(row * 7 % 16) if row else -1.0 for row in range(400)])
    assert "1 row dropped" in done(*prepare("--bad-rows", "drop"))


def test_known_data_sets_that_are_not_there_say_where_to_get_them(here, monkeypatch):
    monkeypatch.delenv("INVLEARN_DATA", raising=False)
    Path("empty").mkdir()
    known = ("datasets", "prepare")
    refused(*known, "ml1m", "--out", "out", says=["'ml1m'", "did you mean 'ml-1m'?"])
    refused(*known, "coat", "--out", "out", says=["--from", "INVLEARN_DATA", "licence"])
    refused(*known, "coat", "--from", "empty", "--out", "out", says=["train.ascii", "https://"])


def test_impossible_simulations_are_refused(here):
    refused("simulate", "log", "--users", 0, says=["users", "found 0"])
    refused("simulate", "log", "--rows", 5, says=["5 rows are too few", "ask for more rows"])
    refused("simulate", "log", "--seed", -1, says=["seed", "-1"])


# What is there already


def test_nothing_is_overwritten_unasked(place):
    exists = ["already exists", "--overwrite"]
    refused("simulate", "data", says=exists)
    refused("prepare", "log", "--rule", RULE, *IDS, "--out", "data", says=exists)
    refused("train", "data", "--out", "run", says=[*exists, "invlearn resume run"])


@pytest.mark.parametrize("target", ["data", "run", "log", "letters"])
def test_not_even_when_asked_if_it_is_something_else(target, place):
    Path("letters").write_text("dear")
    asked = ("--out", target, "--overwrite")
    says = [f"{target} is not overwritten", "choose another name"]
    if target != "run":
        refused("train", "data", *asked, says=says)
    if target != "data":
        refused("prepare", "log", "--rule", RULE, *IDS, *asked, says=says)
    if target != "log":
        refused("simulate", target, "--overwrite", says=says)


# Datasets


def edit_json(file, **changed):
    content = json.loads(Path(file).read_text())
    Path(file).write_text(json.dumps(content | changed))


def test_a_dataset_that_is_missing_or_of_another_version_is_refused(place):
    train = ("train", "data", "--out", "new")
    refused("train", "nowhere", "--out", "new", says=["nowhere", "invlearn prepare"])
    refused("train", "log", "--out", "new", says=["log is not a dataset folder", "data.json"])
    edit_json("data/data.json", format=99)
    refused(*train, says=["data has format version 99", "reads version 1", "prepare"])
    Path("data/data.json").write_text('{"format": 1, ')
    refused(*train, says=["data.json is damaged", "prepare the dataset again"])
    Path("data/data.json").write_text('{"format": 1}')
    refused(*train, says=["data.json lacks fingerprint", "prepare the dataset again"])
    Path("data/data.json").write_text("[]")
    refused(*train, says=["data.json is damaged", "prepare the dataset again"])


def test_a_bad_row_of_several_files_is_named_within_its_own(here):
    Path("logs").mkdir()
    for name, watch in (("a", [1.0, 20.0, 5.0]), ("b", [1.0, float("nan"), 20.0])):
        rows = {"user": [1, 2, 3], "item": [4, 5, 6], "watch": watch, "length": [10.0] * 3}
        pl.DataFrame(rows).write_csv(f"logs/{name}.csv")
    says = ["logs/b.csv, row 2 (data rows counted from 1), column 'watch'", "found nothing"]
    refused(*prepare(log="logs"), says=says)
    for name, liked in (("a", [1, 0, None]), ("b", [1, 0, 3])):
        rows = {"user": [1, 2, 3], "item": [4, 5, 6], "liked": liked}
        pl.DataFrame(rows).write_csv(f"logs/{name}.csv")
    says = ["logs/b.csv, row 3 ", "column 'liked'", "found 3"]
    refused(*prepare(log="logs", rule="label(liked)"), says=says)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"files": []}, "files: "),
        ({"files": {"users.parquet": 3}}, "files.users.parquet: "),
        ({"files": {"users.parquet": {"bytes": 3}}}, "files.users.parquet.sha256: "),
        ({"n_users": "many"}, "n_users: "),
        ({"fingerprint": None}, "fingerprint: "),
        ({"rule": 3}, "rule: "),
        ({"columns": []}, "columns: "),
        ({"features": {"user": {"categorical": {"town": 0}}}}, "features.user.categorical.town: "),
        ({"features": {"users": {}}}, "features.users: unknown option; did you mean 'user'?"),
        ({"files": {}, "gone": "train.user.npy"}, "train.user.npy is damaged"),
    ],
)
def test_a_card_with_values_of_the_wrong_kind_is_refused(changed, says, place):
    if gone := changed.pop("gone", None):
        Path("data", gone).unlink()
    edit_json("data/data.json", **changed)
    refused("train", "data", "--out", "new", says=[says, "damaged", "prepare the dataset again"])


@pytest.mark.parametrize("key", ["dataset", "fingerprint", "n_users", "n_items", "features"])
def test_a_run_card_with_values_of_the_wrong_kind_is_refused(key, place):
    edit_json("run/run.json", **{key: [3]})
    for command in ("resume", "evaluate"):
        refused(command, "run", says=["run.json is damaged", f"{key}: ", "train the run again"])


def test_a_truncated_or_changed_column_is_refused(place):
    file = Path("data/train.item.npy")
    whole = file.read_bytes()
    train = ("train", "data", "--out", "new")
    file.write_bytes(whole[:-8])
    refused(*train, says=["train.item.npy has", "bytes", "prepare the dataset again"])
    file.write_bytes(whole[:-4] + b"\xff\xff\xff\x7f")
    refused(*train, says=["train.item.npy was changed", "prepare the dataset again"])
    file.unlink()
    refused(*train, says=["train.item.npy is missing"])


# Trainings

WRONG = {
    "--epoch 3": ["no option --epoch;", "did you mean --epochs?", "invlearn train --help"],
    "--optimizer.rl 3": ["--optimizer.rl", "did you mean --optimizer.lr?"],
    "--epochs three": ["epochs", "'three'", "whole number"],
    "--epochs 0": ["--epochs: a number above 0 is needed", "'0'"],
    "--optimizer.lr -1 --batch-size 0": [
        "--optimizer.lr: a number above 0 ",
        "'-1'",
        "--batch-size: ",
        "'0'",
    ],
    "--optimizer.lr nan": ["optimizer.lr", "'nan'"],
    "--optimizer.lr inf": ["optimizer.lr", "finite"],
    "--seed -1": ["seed", "'-1'"],
    "--seed 9223372036854775808": ["seed", "'9223372036854775808'", "below 9223372036854775808"],
    "--store rows": ["store", "'rows'", "'row'"],
    "--schedule.name cosin": ["schedule.name", "'cosin'", "'cosine'"],
    "--model.dmi 3": ["model.dmi: unknown option", "did you mean 'dim'?"],
    "--model.dim x": ["model.dim", "'x'", "whole number"],
    "--model.dim 0": ["model.dim: a number above 0 is needed", "got '0'"],
    "--model 3": ["model", "'3'", "options by name"],
    "--method.alpha 1": ["method.alpha: unknown option", "known: none"],
    "--strategy r-ce --method.alhpa 1": ["method.alhpa", "did you mean 'alpha'?"],
    "--strategy t-ce --method.target all": ["method.target", "'positives'", "'all'"],
    "--strategy igg": ["unknown strategy 'igg'", "did you mean 'ig'?", "Known: co-teaching, dcf, "],
    "--backbone gfm": ["unknown backbone 'gfm'", "did you mean 'gmf'?", "Known: deepfm"],
    "--select-by acu": ["unknown metric 'acu'", "did you mean 'auc'?", "log_loss"],
    "--device gpu": ["device 'gpu' is not available", "--device cpu"],
    "--device meta": ["device 'meta' is not available", "--device cpu"],
    "--backbone nowhere:Net": ["backbone 'nowhere:Net'", "No module named 'nowhere'"],
    "--backbone :Net": ["backbone ':Net'", "module:Class"],
    "--backbone torch.nn:Net": ["backbone 'torch.nn:Net'", "no attribute 'Net'"],
    "--backbone os:path": ["backbone 'os:path'", "must be a subclass of Module"],
    "--strategy torch.nn:Linear": ["'torch.nn:Linear'", "must be a subclass of Strategy"],
    "--backbone torch.nn:Linear": ["model.in_features: a value is needed", "out_features"],
    "--backbone torch.nn:Identity": ["backbone Identity", "users and items"],
    "--strategy ig --method.judge-fraction 0.0001": ["would leave 0 judges", "label more rows"],
    "extra": ["unexpected argument 'extra'", "invlearn train --help"],
    "--overwrite=perhaps": ["--overwrite takes no value", "'perhaps'"],
    "--out again": ["--out is given more than once"],
    "--epochs": ["--epochs needs a value (Maximum number of epochs)"],
    "--config nowhere.yaml": ["nowhere.yaml", "No such file"],
    "--config data": ["cannot read data", "directory"],
}


@pytest.mark.parametrize("options", WRONG)
def test_a_training_with_wrong_settings_is_refused(options, feed, here):
    Path("data").symlink_to(feed.dataset)
    refused("train", "data", "--out", "new", *shlex.split(options), says=WRONG[options])


YAML = {
    "epoch: 3": ["epoch: unknown option", "did you mean 'epochs'?"],
    "optimizer: {rl: 1}": ["optimizer.rl: unknown option", "did you mean 'lr'?"],
    "model: {dmi: 4}": ["model.dmi: unknown option", "did you mean 'dim'?"],
    "{strategy: ig, method: {alpha_ration: 1}}": ["method.alpha_ration", "'alpha_ratio'?"],
    "strategy: idg": ["unknown strategy 'idg'", "did you mean 'ig'?"],
    "epochs: [1]": ["epochs", "whole number", "got [1]"],
    "epochs: three": ["epochs", "whole number", "got 'three'"],
    "optimizer: 3": ["optimizer", "got 3"],
    "optimizer:": ["optimizer", "got None"],
    "{epochs: -1, seed: -2}": ["epochs", "got -1", "seed", "got -2"],
    "3: 4": ["3: names of options are text"],
    "- epochs": ["run.yaml must hold options by name", "list"],
    "epochs: [1": ["run.yaml is not valid YAML", "line 1"],
    "a: &a [*a]": ["run.yaml is not valid YAML", "levels of lists or mappings"],
    "epochs: !!python/object:os.system {}": ["run.yaml is not valid YAML", "python/object"],
    "\x00": ["run.yaml is not valid YAML"],
}


@pytest.mark.parametrize("text", YAML)
def test_a_config_file_with_wrong_content_is_refused(text, feed, here):
    Path("run.yaml").write_text(text + "\n")
    refused("train", feed.dataset, "--config", "run.yaml", "--out", "new", says=YAML[text])


def test_a_strategy_without_its_pairs_is_refused(here):
    write_feed()
    done(*prepare(rule="watch > 5"))
    options = ("--strategy", "idl", "--unlabelled.source", "exposed", "--out", "new")
    refused("train", "out", *options, says=["out has no exposed-unlabelled rows", "sampled"])


def test_a_metric_that_nothing_defines_is_refused(here):
    write_feed(user=list(range(400)), item=[row % 5 for row in range(400)])
    done(*prepare())
    options = ("--select-by", "gauc", "--out", "new")
    refused("train", "out", *options, says=["select_by gauc", "both classes", "log_loss"])


def test_metrics_that_nothing_defines_are_null_in_the_file_and_a_dash_on_the_screen(here):
    write_feed(user=list(range(400)), item=[row % 5 for row in range(400)])
    done(*prepare())
    for name in ("one", "two"):
        done("train", "out", "--epochs", 1, "--out", name)
    said = done("evaluate", "one", "two", "--out", "all.json", "--draws", 20)
    found = json.loads(Path("all.json").read_text())
    assert found["runs"]["one"]["gauc"] is None
    assert found["differences"]["two"]["gauc"] == {"value": None, "low": None, "high": None}
    assert found["differences"]["two"]["auc"]["value"] is not None
    assert "nan" not in said


def test_a_diverging_loss_stops_before_the_step_and_keeps_the_last_good_weights(feed, here):
    fast = ("--optimizer.name", "sgd", "--optimizer.lr", "1e25", "--batch-size", "64")
    answer = call("train", feed.dataset, *fast, "--out", "new")
    assert answer.code == 2
    assert answer.err.startswith("error: training diverged at step ")
    for words in ("of epoch 1", "learning rate 1e+25", "lower --optimizer.lr"):
        assert words in answer.err
    assert answer.err.count("\n") == 1
    assert "new/test.json" not in contents(".")
    assert [path for path in contents(".") if "partial" in path] == []
    again = call("resume", "new")  # the checkpoint is whole, so it comes to the same step
    assert again.err == answer.err


# Runs


def test_what_is_no_run_is_refused(place):
    Path("letters").mkdir()
    Path("grid").mkdir()
    Path("grid/experiment.yaml").touch()
    for command in ("resume", "evaluate"):
        said = [
            refused(command, "nowhere", says=["nowhere does not exist", "invlearn train"]),
            refused(command, "data/data.json", says=["data.json is a file", "invlearn train"]),
            refused(command, "data", says=["it is a dataset folder", "`invlearn train data --out"]),
            refused(command, "grid", says=["it is an experiment", "results.md"]),
            refused(command, "letters", says=["letters has no run.json: it is not a run folder"]),
        ]
        assert "resume" not in " ".join(said)
    edit_json("run/run.json", format=99)
    refused("evaluate", "run", says=["run has run format 99", "train it again"])
    Path("run/run.json").write_text('{"format": 1}')
    refused("resume", "run", says=["run.json lacks dataset, fingerprint", "train"])
    Path("run/run.json").write_text("[]")
    refused("evaluate", "run", says=["run.json is damaged", "train"])
    Path("run/run.json").write_text("{")
    refused("evaluate", "run", says=["run.json is damaged", "train"])


def test_a_damaged_configuration_is_refused(place):
    file = Path("run/config.yaml")
    text = file.read_text()
    file.write_text(text + "epoch: 3\n")
    refused("resume", "run", says=["epoch: unknown option", "'epochs'"])
    file.write_text(text.replace("backbone: mf", "backbone: gone"))
    refused("evaluate", "run", says=["unknown backbone 'gone'"])
    file.write_text(text.replace("dim: 32", "dim: 8"))
    refused("evaluate", "run", says=["weights do not fit the backbone"])
    file.unlink()
    refused("resume", "run", says=["config.yaml", "No such file"])


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["truncated", "tampered", "missing"])
def test_a_damaged_checkpoint_is_refused(name, how, place):
    for file in Path("run/checkpoints").glob(f"*/{name}"):
        whole = bytearray(file.read_bytes())
        whole[-9] ^= 1
        if how == "missing":
            file.unlink()
        else:
            file.write_bytes(whole if how == "tampered" else whole[:-9])
    says = [name, "missing" if how == "missing" else "changed or truncated", "train the run again"]
    refused("resume", "run", says=says)
    if name == "optimizer.safetensors":  # only a training that goes on needs the moments
        assert call("evaluate", "run", "--draws", 10).code == 0
    else:
        refused("evaluate", "run", says=says)


def test_a_damaged_index_of_checkpoints_is_refused(place):
    index = Path("run/checkpoints/index.json")
    for text in ("", "[]", "{}", '{"best": {}, "last": 3}', '{"best": {"name": "x"}}'):
        index.write_text(text)
        refused("evaluate", "run", says=["checkpoint", "run"])


def test_a_dataset_that_vanished_moved_or_changed(place):
    Path("data").rename("elsewhere")
    edit_json("run/run.json", dataset=str(place / "data"))
    for command in ("resume", "evaluate"):
        refused(command, "run", says=[str(place / "data"), "does not exist", "--dataset"])
        done(command, "run", "--dataset", "elsewhere")
    done("prepare", "log", "--rule", RULE, *IDS, "--seed", 5, "--out", "data")
    for command in ("resume", "evaluate"):
        says = ["data is not the dataset", "fingerprint", "--dataset"]
        refused(command, "run", says=says)
    np.save("elsewhere/test.label.npy", np.load("elsewhere/test.label.npy")[::-1])
    refused("evaluate", "run", "--dataset", "elsewhere", says=["test.label.npy was changed"])


def test_runs_of_different_datasets_are_not_compared(place):
    done("prepare", "log", "--rule", RULE, *IDS, "--seed", 5, "--out", "other")
    done("train", "other", "--epochs", 1, "--out", "two")
    refused("evaluate", "run", "two", says=["run, two", "2 different datasets"])
    refused("evaluate", "run", "run", says=["named twice"])


def test_an_unfinished_run_says_how_to_go_on(place):
    Path("run/test.json").unlink()
    with pytest.raises(RunError, match=r"no test.json: the run has not finished; continue it"):
        _ = Run.open("run").test
    shutil.rmtree("run/checkpoints")
    refused("evaluate", "run", says=["checkpoints", "run"])


def test_wrong_options_of_evaluate_are_refused(place):
    for options, says in {
        "--part tests": ["unknown --part 'tests'", "did you mean 'test'?"],
        "--draws -1": ["bootstrap", "found -1"],
        "--draws few": ["--draws takes a whole number", "few"],
        "--seed -1": ["seed", "found -1"],
        "--rule watch>1": ["name it with --log"],
        "--log log --catalogue": ["catalogue", "log"],
        "--out nowhere/all.json": ["cannot write nowhere/all.json"],
        "--out run/run.json/all.json": ["cannot write run/run.json/all.json"],
        "--out data": ["data already exists", "--overwrite"],
        "--out data --overwrite": ["cannot write data"],
        "--out log/part-00000.parquet": ["part-00000.parquet already exists", "--overwrite"],
    }.items():
        refused("evaluate", "run", *options.split(), says=says)


# Commands


def test_unknown_commands_name_the_nearest(here):
    refused(
        "trian",
        "data",
        says=["unknown command 'trian'", "did you mean 'train'?", "Known: advise, ", "weaken; see"],
    )
    refused(
        "datasets",
        "perpare",
        says=["'perpare'", "did you mean 'prepare'", "invlearn datasets --help"],
    )


def test_a_missing_argument_is_named(here):
    refused("train", says=["needs DATASET (Dataset folder)", "invlearn train --help"])
    refused("train", "data", says=["invlearn train needs --out (Run folder to write)"])
    refused("train", "data", "--out", says=["--out needs a value (Run folder to write)"])
    refused("reproduce", "table3", says=["unknown WHAT 'table3'", "did you mean 'table2'?"])
    refused("evaluate", says=["invlearn evaluate needs RUN (Run folders)"])
    refused("prepare", "log", "--out", "x", says=["--rule"])


def test_names_too_long_for_the_disk_are_refused(feed, here):
    refused("train", feed.dataset, "--out", "x" * 300, says=["name too long", "xxx"])


# A full disk


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("command", ["simulate", "prepare", "train", "evaluate"])
def test_a_full_disk_leaves_nothing_behind(command, place, monkeypatch):
    calls = {
        "simulate": ("simulate", "new", "--users", 9, "--items", 9, "--rows", 30),
        "prepare": ("prepare", "log", "--rule", RULE, *IDS, "--out", "new"),
        "train": ("train", "data", "--out", "new"),
        "evaluate": ("evaluate", "run", "--out", "new"),
    }
    monkeypatch.setattr("invlearn.runtime.atomic.os.fsync", full)
    refused(*calls[command], says=["cannot write new", "No space left", "free some space"])


def test_a_disk_that_fills_up_in_training_keeps_the_last_checkpoint(feed, here, monkeypatch):
    write = ("invlearn.runtime.tensor_files._bytes_of", "invlearn.training.metrics_log._append")
    for target in write:
        Path("new").exists() and shutil.rmtree("new")
        with monkeypatch.context() as patch:
            patch.setattr(target, full)
            answer = call("train", feed.dataset, "--epochs", 1, "--out", "new")
        assert answer.code == 2
        assert answer.err.count("\n") == 1
        assert "No space left" in answer.err
        assert [path for path in contents(".") if "partial" in path] == []
        done("resume", "new")


LIMITED = {
    "simulate": "simulate new --users 99 --items 99 --rows 999",
    "prepare": f"prepare log --rule {shlex.quote(RULE)} {' '.join(IDS)} --out new",
    "train": "train data --epochs 1 --model.dim 256 --out new",
}


@pytest.mark.parametrize(("command", "limit_kib"), [("simulate", 1), ("prepare", 1), ("train", 24)])
def test_real_writes_that_really_fail(command, limit_kib, place):
    """The system lets no file grow further, whoever writes it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_kib << 10, before[1]))
    try:
        answer = call(*shlex.split(LIMITED[command]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert answer.code == 2, answer.err
    assert answer.err.startswith("error: cannot write new")
    assert answer.err.count("\n") == 1
    assert [path for path in contents(".") if "partial" in path] == []
    if command == "train":
        done("resume", "new")
    else:
        assert not Path("new").exists()


# The tree of errors


def test_the_nearest_name_is_offered_only_if_it_is_near():
    assert "did you mean" not in str(unknown("strategy", "xyzzy", ["none", "ig"]))
    assert str(unknown("strategy", "non", ["none", "ig"])).endswith("Known: ig, none")
    assert isinstance(unknown("strategy", "x", []), InvlearnError)
