"""What `same_numbers.py` runs: datasets, trainings, and what is made of them.

A case is some commands of `invlearn`, run one after another in the work folder, and a function of
`same_numbers_reading.py` that reads what they wrote.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import polars as pl
import same_numbers_reading as reading
import yaml

FEED_RULE = "play_time_ms / duration_ms >= 1.5, < 0.3"
FEED = ("--user", "user_id", "--item", "video_id", "--time", "timestamp", "--rule", FEED_RULE)
PURE = ("--user", "user_id", "--item", "video_id", "--time", "time_ms", "--bad-rows", "drop")
EVENTS = ("--rule", "events(is_hate=0, is_like=1, is_follow=1)")
SIDES = ("--user-features", "logs/users.parquet", "--item-features", "logs/videos.parquet")
LOGS: dict[str, tuple[str, ...]] = {
    "feed": ("logs/feed", *FEED),
    "kuairec": (
        *("logs/kuairec.parquet", "--rule", "watch_ratio >= 1.5, < 0.2", "--split", "per-user"),
        *("--core", "3", "--seed", "5"),
    ),
    "kuairand": (
        *("logs/kuairand.parquet", "--rule", "label(label)", "--repeats", "any-positive"),
        *("--split", "column", "--split-column", "split"),
    ),
    "ml-100k": (
        *("logs/ml-100k.parquet", "--rule", "rating > 3, < 3", "--time", "timestamp"),
        *("--split", "temporal", "--repeats", "first"),
    ),
    "pure": (
        *("logs/pure.parquet", *PURE, *EVENTS, "--rule", FEED_RULE, *SIDES),
        *("--categorical", "music_type", "--repeats", "majority"),
    ),
    "pure-csv": (
        *("logs/pure.csv", *PURE, *EVENTS, "--split", "temporal"),
        *("--rule", "percentile(play_time_ms by duration_ms) >= 0.8, < 0.2"),
    ),
}
"""What `prepare` is asked for, by the name of the dataset."""
ENGINES: dict[str, tuple[str, ...]] = {
    "polars": (),
    "duckdb": ("--engine", "duckdb", "--memory", "512MiB"),
    "spark": ("--engine", "spark", "--memory", "2GiB"),
}
"""Options of `prepare`, by engine. Polars has its tables on disk; the command line has no other."""
PREPARED = [f"{log}/{engine}" for engine in ENGINES for log in LOGS]
PREPARED.remove("pure-csv/spark")  # Polars reads the log on every engine, and Spark takes a minute
"""Datasets that are made, by log and engine."""
PARTS_OF = {
    "kuairec": ("kuairec/watch_ratio", 3),
    "kuairand": ("kuairand/clicks", 4),
    "ml-100k": ("ml-100k/ratings", 2),
    "pure": ("kuairand-pure/log_0425_0508", 5),
}
"""By the name of a log: the data set, and n, where every nth row is taken."""
USER_COLUMNS = ("user_id", "user_active_degree", "follow_user_num", "register_days_range")
VIDEO_COLUMNS = ("video_id", "author_id", "video_type", "video_duration", "music_type", "tag")

COMMON = ("--epochs", "3", "--batch-size", "128", "--device", "cpu", "--model.dim", "8")
COMMON += ("--optimizer.lr", "0.01")
OFTEN = ("--epochs", "4", "--batch-size", "32", "--checkpoint-steps", "5", "--device", "cpu")
STRATEGIES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("none", "ns", "r-ce", "idl", "ig", "ig-sample", "entropy", "nnpu"), ()),
    **dict.fromkeys(("rel-mf", "deca", "eard", "ig-as-released"), ()),
    "t-ce": ("--method.ramp-steps", "20"),
    "pseudo-label": ("--method.ramp-start", "5", "--method.ramp-end", "20"),
    "co-teaching": ("--method.ramp-epochs", "1"),
    "dcf": ("--method.ramp-steps", "20", "--method.decay-epochs", "2", "--method.window", "2"),
    "udt": ("--method.warmup-epochs", "1"),
    "pld": ("--method.warmup-epochs", "1"),
}
"""Strategies with options that let them do what is theirs within three epochs."""
BACKBONES = ("gmf", "mlp", "neumf", "deepfm", "two-tower", "svdpp", "lightgcn")
BACKBONES += ("exposure-hybrid", "wide-deep")
WITH_IG = ("gmf", "neumf", "svdpp", "two-tower", "wide-deep")
SAMPLED = ("--unlabelled.source", "sampled")
OTHERS: dict[str, tuple[str, ...]] = {
    "dense none": ("--backbone", "gmf", "--store", "dense"),
    "dense ig": ("--backbone", "gmf", "--store", "dense", "--strategy", "ig"),
    "recommended": ("--config", "recommended", "--epochs", "3"),
    "compiled": ("--backbone", "mf", "--strategy", "ig", "--compile", "on"),
    "sampled": (
        "--backbone",
        "mf",
        "--strategy",
        "idl",
        *SAMPLED,
        "--unlabelled.per-labelled",
        "2",
    ),
    "mixed": ("--backbone", "mf", "--strategy", "ig", "--unlabelled.source", "mix"),
    "hardest": ("--backbone", "mf", "--strategy", "ns", *SAMPLED, "--unlabelled.hardest-of", "4"),
    "adagrad, cosine": (
        *("--backbone", "mlp", "--model.dropout", "0.2", "--optimizer.name", "adagrad"),
        *("--schedule.name", "cosine", "--schedule.warmup-steps", "10", "--optimizer.l2", "1e-3"),
    ),
    "sgd, patient": (
        *("--backbone", "mf", "--optimizer.name", "sgd", "--patience", "1", "--seed", "3"),
        *("--select-by", "auc", "--epochs", "8", "--steps-per-epoch", "60"),
    ),
}
LAUNCHED: dict[str, tuple[str, ...]] = {
    "two, row ig": ("--backbone", "mf", "--store", "row", "--strategy", "ig"),
    "two, dense none": ("--backbone", "gmf", "--store", "dense"),
    "two, sharded none": ("--backbone", "gmf", "--store", "sharded"),
    "two, sharded ig": ("--backbone", "mf", "--store", "sharded", "--strategy", "ig"),
}
"""Trainings by two processes."""
FEATURED = {"deepfm none": (), "two-tower ig": ("--strategy", "ig")}
"""Trainings on side features, by backbone and strategy."""
INTERRUPTED = {"whole": "plain", "killed": "killed", "stopped": "stopped"}
GRID = {
    **{"datasets": ["data/tiny"], "strategies": ["none", "ig"], "backbones": ["mf"]},
    **{"seeds": 2, "draws": 100, "label_shares": [0.5, 1.0], "tuning": {"trials": 2}},
    "settings": {"batch_size": 128, "epochs": 3, "model": {"dim": 4}},
}

How = Literal["plain", "launched", "killed", "stopped"]


@dataclass(frozen=True)
class Case:
    """Commands, and what is read of what they leave."""

    part: str
    name: str
    commands: tuple[tuple[str, ...], ...]
    read: Callable[[Path], Any]
    """Takes the work folder; what the last command printed is in `said/NAME.txt` there."""
    needs: tuple[str, ...] = ()
    how: How = "plain"
    """launched: by two processes; killed and stopped: by a signal at the first checkpoint, then
    resumed by the second command."""


def cases() -> list[Case]:
    """All cases, each after those that it needs."""
    return [*_dataset_cases(), *_run_cases(), *_result_cases()]


def write_logs(work: Path, data: Path) -> None:
    """Take some rows of the data sets, the last of them also as CSV."""
    (work / "logs").mkdir(parents=True)
    for name, (source, n) in PARTS_OF.items():
        log = pl.read_parquet(data / f"{source}.parquet").gather_every(n)
        log.write_parquet(work / "logs" / f"{name}.parquet")
    log.head(20_000).write_csv(work / "logs" / "pure.csv")
    for name, source, columns in (
        ("users", "user_features", USER_COLUMNS),
        ("videos", "video_features_basic", VIDEO_COLUMNS),
    ):
        side = pl.read_parquet(data / f"kuairand-pure/{source}.parquet", columns=list(columns))
        side.write_parquet(work / "logs" / f"{name}.parquet")
    (work / "grid.yaml").write_text(yaml.safe_dump(GRID))


def _dataset_cases() -> Iterator[Case]:
    sizes = ("--users", "400", "--items", "300", "--rows", "25000", "--chunk-rows", "10000")
    yield Case("datasets", "logs", (("simulate", "logs/feed", *sizes),), reading.logs)
    tiny = ("--users", "150", "--items", "120", "--rows", "7000", "--seed", "1")
    made = ("prepare", "logs/tiny", *FEED, "--split", "temporal", "--out", "data/tiny")
    commands = (("simulate", "logs/tiny", *tiny), made)
    yield Case("datasets", "tiny", commands, partial(reading.dataset, folder="data/tiny"))
    before = "logs"
    for name in filter(is_there, PREPARED):
        log, engine = name.split("/")
        out = f"data/{log}" if engine == "polars" else f"data/{log}-{engine}"
        same_as, needs = "", ("logs",)
        if engine != "polars":
            same_as, needs = f"data/{log}", ("logs", f"{log}/polars")
        if engine == "spark":  # one after another, for each is a server with a port of its own
            before, needs = name, (*needs, before)
        command = ("prepare", *LOGS[log], *ENGINES[engine], "--out", out)
        read = partial(reading.dataset, folder=out, same_as=same_as)
        yield Case("datasets", name, (command,), read, needs)
    weaken = ("weaken", "data/feed", "--label-share", "0.4", "--flip-positives", "0.1")
    weaken += ("--flip-negatives", "0.05", "--seed", "2", "--out", "data/weak")
    read = partial(reading.dataset, folder="data/weak")
    yield Case("results", "weaken", (weaken,), read, ("feed/polars",))


def is_there(prepared: str) -> bool:
    """Whether the engine of a dataset is installed."""
    engine = prepared.split("/")[1]
    if engine == "spark" and shutil.which("java") is None:
        return False
    return find_spec({"spark": "pyspark"}.get(engine, engine)) is not None


def _run_cases() -> Iterator[Case]:
    for strategy, options in STRATEGIES.items():
        yield _run(f"mf {strategy}", "--backbone", "mf", "--strategy", strategy, *options)
    for backbone in BACKBONES:
        yield _run(f"{backbone} none", "--backbone", backbone)
    for backbone in WITH_IG:
        yield _run(f"{backbone} ig", "--backbone", backbone, "--strategy", "ig")
    for name, options in OTHERS.items():
        yield _run(name, *options)
    for name, options in LAUNCHED.items():
        yield _run(name, *options, how="launched")
    for name, options in FEATURED.items():
        words = ("--backbone", name.split()[0], *options)
        yield _run(f"features, {name}", *words, dataset="pure")
    for name, how in INTERRUPTED.items():
        yield _run(name, "--backbone", "mf", "--strategy", "ig", *OFTEN, how=how)


def _run(name: str, *options: str, how: Any = "plain", dataset: str = "feed") -> Case:
    """A training; what is given goes before what is common."""
    out = run_folder(name)
    given = dict(zip(COMMON[::2], COMMON[1::2], strict=True))
    given |= dict(zip(options[::2], options[1::2], strict=True))
    if name == "recommended":  # its own settings
        given = dict(zip(options[::2], options[1::2], strict=True)) | {"--device": "cpu"}
    words = [word for option in given.items() for word in option]
    train = ("train", f"data/{dataset}", *words, "--out", out)
    commands = (train, ("resume", out)) if how in ("killed", "stopped") else (train,)
    needs = (f"{dataset}/polars",)
    return Case("runs", name, commands, partial(reading.run, folder=out), needs, how)


def run_folder(name: str) -> str:
    """Where the run of a case is."""
    return "runs/" + re.sub(r"\W+", "-", name)


def _result_cases() -> Iterator[Case]:
    def case(name: str, read: Callable[[Path], Any], *words: str, of: tuple[str, ...] = ()) -> Case:
        needs = (*of, "feed/polars", "tiny")
        return Case("results", name, (words,), read, needs)

    read = partial(reading.results, folder="out/compare")
    yield case("compare", read, "compare", "grid.yaml", "--out", "out/compare")
    words = ("advise", "data/tiny", "--trials", "2", "--seeds", "1", "--out", "out/advise")
    yield case("advise", partial(reading.results, folder="out/advise"), *words)
    sample, ig = run_folder("mf ig-sample"), run_folder("mf ig")
    three = [run_folder(f"mf {strategy}") for strategy in ("none", "idl", "ig")]
    of_three = ("mf none", "mf idl", "mf ig")
    out = ("--out", "out/annotated.parquet", "--precision", "0.7")
    yield case(
        "annotate",
        partial(reading.annotated, name="annotated.parquet"),
        "annotate",
        sample,
        *out,
        of=("mf ig-sample",),
    )
    truth = ("--pairs", "logs/feed", "--truth", "true_label", "--out", "out/truth.parquet")
    yield case(
        "annotate, truth",
        partial(reading.annotated, name="truth.parquet"),
        "annotate",
        ig,
        *truth,
        of=("mf ig",),
    )
    lists: dict[str, tuple[str, ...]] = {
        "lists.parquet": (),
        "lists.csv": ("--k", "3", "--leave-out", "shown", "--fallback", "popularity"),
        "lists.jsonl": ("--k", "5", "--leave-out", "all", "--approximate", "0.2"),
    }
    for name, options in lists.items():
        words = ("recommend", ig, *options, "--out", f"out/{name}")
        yield case(name, partial(reading.lists, name=name), *words, of=("mf ig",))
    for model in ("mf ig", "neumf ig", "wide-deep none"):
        out = f"out/export-{run_folder(model)[5:]}"
        read = partial(reading.export, folder=out)
        yield case(f"export {model}", read, "export", run_folder(model), "--out", out, of=(model,))
    words = ("report", *three, "--out", "out/report.html")
    yield case("report", reading.report, *words, of=of_three)
    words = ("evaluate", *three, "--catalogue", "--out", "out/evaluated.json")
    yield case("evaluate", partial(reading.json_file, name="evaluated.json"), *words, of=of_three)
    words = ("evaluate", ig, *("--part", "valid", "--draws", "50", "--seed", "4"))
    read = partial(reading.json_file, name="valid.json")
    yield case("evaluate, valid", read, *words, "--out", "out/valid.json", of=("mf ig",))
    words = ("data/feed", "--dim", "32", "--processes", "2", "--store", "sharded")
    yield case("plan", partial(reading.said, name="plan"), "plan", *words, "--memory", "4GiB")
    for name in ("strategies", "backbones"):
        yield case(name, partial(reading.said, name=name), name)
