"""Configurations, rules, folders and small files, most of them broken; for `fuzz.py`."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from fuzz_damage import TEXTS, damage, hostile, of_bytes, of_structure
from fuzz_logs import RULES, Case, log_case

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)  # fmt: skip
YAML = (
    BOMB, BOMB + "model: {dim: *i}\n", "model: !!python/object/apply:os.system ['true']\n",
    "[" * 3_000, "{a: " * 3_000,
    "&a [*a]\n", "model: &m {dim: *m}\n", "epochs: 0o17\n", "epochs: 1:30\n", "? [a]\n: b\n",
    "{[a]: 1}\n", "- 1\n- 2\n", "\t",
    "--- 1\n--- 2\n", "!!binary aGk=\n", "model: !!set {a, b}\n", "seed: 2024-01-01\n",
    "%YAML 9.9\n---\n", "model: {1: 2}\n",
    "model: {dim: 1e400}\n", "optimizer: {lr: .nan}\n", "<<: *x\n", "<<: [1]\n", "null: 1\n",
    "true: 1\n", "seed: " + "9" * 5_000 + "\n",
    "backbone: a:b\n", "backbone: os:system\n", "strategy: ':'\n",
    "strategy: 'json:JSONDecoder'\n", "2024-13-99: 1\n",
    "seed: 2024-13-99\n", "=: 1\n", "method: {dim: !!timestamp x}\n", "model: !!float x\n",
    "model: !!int ''\n", "model: !!map [1]\n",
)  # fmt: skip
CONFIG: dict[str, Any] = {
    "backbone": "mf", "model": {"dim": 4}, "strategy": "ig", "method": {"alpha_ratio": 0.5},
    "unlabelled": {"source": "auto", "exposed_fraction": 0.5, "per_labelled": 1, "hardest_of": 1},
    "store": "auto",
    "optimizer": {"name": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999,
        "eps": 1e-8, "l2": 0.0},
    "schedule": {"name": "constant", "warmup_steps": 0, "final_fraction": 0.0}, "batch_size": 64,
    "steps_per_epoch": 3,
    "epochs": 1, "patience": 1, "select_by": "auc", "seed": 0, "device": "cpu", "compile": "off",
    "checkpoint_steps": 1,
    "keep_epochs": 1, "tensorboard": False,
}  # fmt: skip
RULE_PARTS = (
    "rating", "duration", "liked", ">", ">=", "<", "<=", ",", "/", "(", ")", "=", "events",
    "label", "signed", "percentile",
    "by", "bins", "0", "1", "2", "0.5", "-1", "1e999", "1e400", "9" * 400, "`a b`", "''", '"',
    "`", "``", "²", "\u0661", "bins=0",
    "bins=10000000000000000000000", "nan", "\0", " ", "\n",
)  # fmt: skip


class Place(NamedTuple):
    """Where things are: what is whole, and where a case may write."""

    dataset: Path
    run: Path
    log: Path
    out: Path


def file_case(draw: random.Random, place: Place) -> tuple[str, Case]:
    """Some configuration or file, and the command that meets it."""
    kinds: dict[str, tuple[int, Callable[[random.Random, Place], Case]]] = {
        "config": (22, _config),
        "grid": (8, _grid),
        "rule": (14, _rule),
        "run folder": (28, _run_folder),
        "dataset folder": (12, _dataset_folder),
        "ids": (5, _ids),
        "pairs": (4, _pairs),
        "other log": (3, _other_log),
        "features": (2, _features),
        "words": (2, _words),
    }
    kind = draw.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
    return kind, kinds[kind][1](draw, place)


def _as_yaml(draw: random.Random, tree: Any) -> bytes:
    way = draw.random()
    if way < 0.15:
        return draw.choice(YAML).encode()
    try:
        text = yaml.safe_dump(of_structure(tree, draw), allow_unicode=draw.random() < 0.5)
    except RecursionError:
        text = "model: " + "[" * 400 + "]" * 400 + "\n"
    if way < 0.2:
        text = draw.choice(YAML) + text
    content = text.encode("utf-8", "surrogatepass")
    return of_bytes(content, draw) if way > 0.85 else content


def _config(draw: random.Random, place: Place) -> Case:
    file = place.out / "config.yaml"
    names = draw.sample(list(CONFIG), draw.randrange(1, len(CONFIG) + 1))
    file.write_bytes(_as_yaml(draw, {name: CONFIG[name] for name in names}))
    return Case(
        ["train", str(place.dataset), "--config", str(file), "--out", str(place.out / "run")]
    )


def _grid(draw: random.Random, place: Place) -> Case:
    grid: dict[str, Any] = {
        "datasets": {"toy": str(place.dataset)},
        "label_shares": [1],
        "seeds": 2,
        "settings": {"epochs": 1, "batch_size": 64},
        "tuning": {"trials": 2, "seed": 77, "search": {"optimizer.lr": {"low": 0.1,
            "high": 0.2, "log": True}}},
        "draws": 10,
        "reference": "none",
        "flip_positives": [0.0],
    }  # fmt: skip
    if draw.random() < 0.4:
        methods = {
            "none": {"settings": {"backbone": "mf"}},
            "two": {"settings": {"backbone": "gmf", "strategy": "ig"}},
        }
        grid["methods"] = methods
    else:
        grid |= {
            "backbones": ["mf"],
            "strategies": {"none": None, "ig": {"settings": {}, "search": {}}},
        }
    file = place.out / "grid.yaml"
    file.write_bytes(_as_yaml(draw, grid))
    return Case(["compare", str(file), "--out", str(place.out / "comparison")])


def _rule(draw: random.Random, place: Place) -> Case:
    rule = draw.choice(RULES)
    way = draw.random()
    if way < 0.4:
        rule = draw.choice(("", " ")).join(draw.choices(RULE_PARTS, k=draw.randrange(1, 12)))
    elif way < 0.9:
        at = draw.randrange(len(rule) + 1)
        rule = rule[:at] + draw.choice(RULE_PARTS + TEXTS) + rule[at + draw.randrange(4) :]
    else:
        rule = rule * draw.choice((2, 2_000))
    words = ["prepare", str(place.log), f"--rule={rule}", "--out", str(place.out / "data")]
    return Case(words)


def _copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def _run_folder(draw: random.Random, place: Place) -> Case:
    run = _copied(
        place.run, place.out / draw.choice(("run", "<script>alert(1)", "-run", "a'b\"c", "r\nn"))
    )
    files = sorted(file for file in run.rglob("*") if file.is_file())
    for file in draw.sample(files, draw.choice((1, 1, 1, 2))):
        if file.name == "config.yaml":
            file.write_bytes(_as_yaml(draw, yaml.safe_load(file.read_text())))
        else:
            damage(file, draw)
    if draw.random() < 0.7:
        _sealed_run(run)
    out = place.out / "out"
    commands: tuple[list[str], ...] = (
        ["report", "--out", f"{out}.html", "--draws", "5", "--", str(run)],
        ["report", "--out", f"{out}.html", "--draws", "0", "--", str(run), str(place.run)],
        ["evaluate", "--draws", "5", "--", str(run)],
        ["evaluate", "--draws", "5", "--", str(place.run), str(run)],
        ["annotate", "--out", f"{out}.parquet", "--", str(run)],
        ["recommend", "--k", "3", "--out", f"{out}.csv", "--", str(run)],
        ["recommend", "--k", "3", "--out", f"{out}.jsonl", "--leave-out", "nothing",
            "--fallback", "none", "--", str(run)],
        ["resume", "--", str(run)],
        ["train", str(place.dataset), "--out", str(run), "--resume-if-exists"],
    )  # fmt: skip
    return Case(draw.choice(commands))


def _sealed_run(run: Path) -> None:
    """Make the checksums of the index those of the damaged files, so that these are opened."""
    index = run / "checkpoints" / "index.json"
    try:
        found = json.loads(index.read_text())
        for entry in found.values():
            for name in entry["sha256"]:
                entry["sha256"][name] = _sha256(run / "checkpoints" / entry["name"] / name)
        index.write_text(json.dumps(found))
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        return


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _dataset_folder(draw: random.Random, place: Place) -> Case:
    data = _copied(place.dataset, place.out / "damaged")
    files = sorted(data.iterdir())
    # the card is but one file of many
    for file in draw.sample([*files, *[data / "data.json"] * 5], draw.choice((1, 1, 2))):
        if file.is_file():
            damage(file, draw)
    if draw.random() < 0.85:
        _sealed_dataset(data)
    out = str(place.out / "out")
    train = ["train", str(data), "--out", out, "--batch-size", "64", "--epochs", "1", "--backbone"]
    commands: tuple[list[str], ...] = (
        [*train, "mf", "--strategy", "ig"],
        [*train, "exposure-hybrid"],
        ["weaken", str(data), "--out", out, "--label-share", "0.5"],
        ["evaluate", "--dataset", str(data), "--draws", "5", "--", str(place.run)],
        ["annotate", str(place.run), "--dataset", str(data), "--out", f"{out}.parquet"],
        ["recommend", str(place.run), "--dataset", str(data), "--out", f"{out}.csv"],
    )
    return Case(draw.choice(commands))


def _sealed_dataset(data: Path) -> None:
    try:
        card = json.loads((data / "data.json").read_text())
        for name, entry in card["files"].items():
            content = (data / name).read_bytes()
            entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (data / "data.json").write_text(json.dumps(card))
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        return


def _ids(draw: random.Random, place: Place) -> Case:
    known = [f"u{n}" for n in range(30)]
    lines = [draw.choice(known) if draw.random() < 0.7 else draw.choice(TEXTS) for _ in range(20)]
    kind = draw.choice(("txt", "csv", "parquet", "zip"))
    file = place.out / f"users.{kind}"
    if kind == "parquet":
        shutil.copyfile(place.run / "users.parquet", file)
        damage(file, draw)
    else:
        head = [draw.choice(("user", "id", "user,item", "", "user,user"))] if kind == "csv" else []
        content = "\n".join([*head, *lines]).encode("utf-8", "surrogatepass")
        file.write_bytes(of_bytes(content, draw) if draw.random() < 0.6 else content)
    option = draw.choice(("--users", "--items", "--exclude-items"))
    ending = draw.choice((".csv", ".jsonl", ".parquet", ".txt"))
    return Case(
        [
            "recommend",
            str(place.run),
            option,
            str(file),
            "--k",
            "3",
            "--out",
            f"{place.out / 'out'}{ending}",
        ]
    )


def _pairs(draw: random.Random, place: Place) -> Case:
    case = log_case(draw, place.out, 40)
    words = [
        "annotate",
        str(place.run),
        "--pairs",
        case.words[1],
        "--out",
        str(place.out / "a.parquet"),
    ]
    truth = draw.choice(
        (None, "liked", "rating > 2", "label(liked)", "events(liked=1)", *TEXTS[:12])
    )
    return Case(words if truth is None else [*words, f"--truth={truth}"])


def _other_log(draw: random.Random, place: Place) -> Case:
    case = log_case(draw, place.out, 40)
    drop = (
        ["--bad-rows", "drop", "--unknown", "drop", "--seen", "drop"] if draw.random() < 0.7 else []
    )
    return Case(["evaluate", "--log", case.words[1], *drop, "--draws", "5", "--", str(place.run)])


def _features(draw: random.Random, place: Place) -> Case:
    case = log_case(draw, place.out, 40)
    words = ["prepare", str(place.log), "--rule", "rating > 2", "--out", str(place.out / "data")]
    return Case([*words, draw.choice(("--user-features", "--item-features")), case.words[1]])


def _words(draw: random.Random, place: Place) -> Case:
    """A command line whose values are hostile."""
    options = (
        "seed", "batch-size", "epochs", "optimizer.lr", "model.dim", "model.x",
        "method.alpha-ratio", "device", "out",
        "config", "store", "select-by", "keep-epochs", "unlabelled.source", "schedule.warmup-steps",
    )  # fmt: skip
    words = ["train", str(place.dataset), "--out", str(place.out / "run")]
    for option in draw.sample(options, draw.randrange(1, 4)):
        value = str(hostile(draw)).replace("\0", "")
        words += [f"--{option}={value}" if draw.random() < 0.7 else f"--{option}"]
    return Case(words)
