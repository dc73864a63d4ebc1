"""Kill the command line, again and again, at instants that nobody chose, and go on as a user would.

    python benchmarks/faults.py [--lives 200] [--seed 0] [--jobs 1] [--only train] [--work FOLDER]

A life is a command, killed by SIGKILL at an instant drawn evenly from its usual time, gone on with,
up to three times killed again meanwhile, and let come to its end. After every kill all that has a
final name is opened; in the end all that is there is compared with what an undisturbed command
leaves: weights and moments bit by bit, records without seconds, and no leftovers. Under `torchrun`
one of two training processes is killed, and nobody does anything but the launcher.

Writes `benchmarks/faults.json`, kind by kind. Some 25 minutes on two free cores; needs the extras
`onnx` and `tune`.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import yaml
from killing import Command, apart, begun, digest, open_everything, phase, recover

from invlearn.runtime import atomic, locks
from invlearn.runtime.environment import commit, machine

RESULT = Path(__file__).with_name("faults.json")
RULE = "play_time_ms / duration_ms >= 1.5, < 0.3"
TRAIN = ("--batch-size", "128", "--checkpoint-steps", "4", "--model.dim", "8")
TRAIN += ("--optimizer.lr", "0.01", "--keep-epochs", "2")
MOST_KILLS = 4
IMPORTED = ("torch.export", "torch.onnx", "onnxscript", "onnx.checker", "cyclopts", "rich.progress")
"""What commands find imported already."""


@dataclass(frozen=True)
class Kind:
    """A sort of lives."""

    share: int
    """Of a hundred lives."""
    command: tuple[str, ...]
    made: str
    """What it makes."""
    done: str
    """What it writes last."""
    again: tuple[str, ...] = ()
    """How a user goes on once `made` is there; the same command if nothing is said."""
    before: tuple[str, ...] = ()
    """What made an older thing of the same name, which is replaced."""

    def next_words(self, place: Path, old: int | None) -> list[str]:
        """What a user says now."""
        apart(recover, place / self.made)
        begun = _which(place / self.made) not in (None, old)
        return list(self.again if self.again and begun else self.command)


def _which(made: Path) -> int | None:
    """Tells a file or folder from another of the same name."""
    return made.stat().st_ino if made.exists() else None


def trained(*options: str, out: str = "run", epochs: int = 4) -> tuple[str, ...]:
    """A training."""
    return ("train", "../../data", "--out", out, "--epochs", str(epochs), *TRAIN, *options)


def launched(*options: str) -> tuple[str, ...]:
    """A training by two processes."""
    start = ("--standalone", "--nproc-per-node", "2", "--max-restarts", "9", "-m", "invlearn")
    return ("torchrun", *start, *trained(*options, epochs=6))


RESUME = ("resume", "run")
PREPARE = ("prepare", "../../log", "--user", "user_id", "--item", "video_id", "--time", "timestamp")
PREPARE += ("--rule", RULE, "--out", "made", "--overwrite")
ANNOTATE = ("annotate", "../../run", "--out", "pairs.parquet", "--overwrite")
RECOMMEND = ("recommend", "../../run", "--out", "lists.parquet", "--overwrite")
EXPORT = ("export", "../../run", "--out", "model", "--overwrite")

KINDS = {
    "train row": Kind(
        12, trained("--strategy", "idl", "--store", "row"), "run", "run/test.json", RESUME
    ),
    "train dense": Kind(
        10, trained("--strategy", "ns", "--store", "dense"), "run", "run/test.json", RESUME
    ),
    "train ig": Kind(12, trained("--strategy", "ig"), "run", "run/test.json", RESUME),
    "train over another": Kind(
        8,
        trained("--strategy", "ig", "--overwrite"),
        "run",
        "run/test.json",
        RESUME,
        before=trained("--strategy", "none", epochs=1),
    ),
    "prepare": Kind(12, PREPARE, "made", "made/data.json"),
    "prepare over another": Kind(
        8, PREPARE, "made", "made/data.json", before=(*PREPARE, "--split", "per-user")
    ),
    "compare, two workers": Kind(
        12,
        ("compare", "../../grid.yaml", "--out", "made", "--workers", "2"),
        "made",
        "made/results.md",
    ),
    "annotate": Kind(5, ANNOTATE, "pairs.parquet", "pairs.json"),
    "recommend": Kind(4, RECOMMEND, "lists.parquet", "lists.parquet"),
    "export": Kind(5, EXPORT, "model", "model/export.json"),
    "torchrun row": Kind(6, launched("--store", "row"), "run", "run/test.json"),
    "torchrun sharded": Kind(6, launched("--store", "sharded"), "run", "run/test.json"),
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""The environment of all commands, and of the process that they are forked from."""


def main() -> None:
    """Live, compare, print, and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--work")
    given = parser.parse_args()
    if not (os.environ.items() >= ONE_THREAD.items()):  # NumPy starts its own when it is imported
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    for name in IMPORTED:
        import_module(name)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    if len([*Path("/proc/self/task").iterdir()]) > 1:
        raise SystemExit("an import started a thread; commands cannot be forked from here")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        place = Path(work)
        _furnish(place)
        names = [name for name in KINDS if name.startswith(given.only)]
        jobs = [
            begun(several, place, names[n :: given.jobs], given.lives, given.seed)
            for n in range(given.jobs)
        ]
        for job in jobs:
            job()
    result = json.loads(RESULT.read_text())
    print(json.dumps({name: result[name] for name in ("lives", "identical", "kills")}))
    print(f"{(time.monotonic() - started) / 60:.1f} minutes")


def record(place: Path, name: str, found: dict) -> None:
    """Write down what came of a kind, beside what is known of the others."""
    with locks.in_turn(place, "result"):
        known = json.loads(RESULT.read_text())["kinds"] if RESULT.exists() else {}
        known |= {name: found | {"commit": commit()}}
        kinds = {name: known[name] for name in KINDS if name in known}
        sums = {key: sum(k[key] for k in kinds.values()) for key in ("lives", "identical", "kills")}
        atomic.write_json(RESULT, {"machine": machine(), **sums, "kinds": kinds})


def _furnish(place: Path) -> None:
    """Make a log, a dataset, a run and a grid."""
    made = ["--users", "150", "--items", "120", "--rows", "7000", "--chunk-rows", "2000"]
    _done(place, ["simulate", "--out", "log", *made])
    (place / "first" / "life").mkdir(parents=True)
    _done(place / "first" / "life", [*PREPARE[:-3], "--out", "../../data"])
    _done(place / "first" / "life", [*trained("--strategy", "ig", out="../../run")])
    grid = {"datasets": [str(place / "data")], "strategies": ["none", "ig"], "backbones": ["mf"]}
    grid |= {"seeds": 2, "draws": 50, "tuning": {"trials": 2}}
    grid["settings"] = {"batch_size": 256, "epochs": 3, "model": {"dim": 4}, "checkpoint_steps": 4}
    (place / "grid.yaml").write_text(yaml.safe_dump(grid))


def _done(place: Path, words: list[str]) -> float:
    """Let a command come to its end; its seconds."""
    started = time.monotonic()
    command = Command(place, words)
    if not command.wait() or command.code:
        raise AssertionError((place / "said.log").read_text()[-2000:])
    return time.monotonic() - started


def several(place: Path, names: list[str], n_lives: int, seed: int) -> None:
    """Live the lives of some kinds; their instants depend on the kind and the seed alone."""
    for name in names:
        n = max(1, round(KINDS[name].share * n_lives / 100))
        rng = random.Random(f"{seed} {name}")
        record(place, name, lives(place / f"{name}, lives", name, KINDS[name], n, rng))


def lives(place: Path, name: str, kind: Kind, n: int, rng: random.Random) -> dict:
    """Live some lives of a kind."""
    place.mkdir()
    whole, seconds = _undisturbed(place, kind)
    kills, phases, identical, failures = Counter[int](), Counter[str](), 0, []
    for number in range(n):
        live = _launched_life if kind.command[0] == "torchrun" else _life
        struck, problem = [], ""
        while not struck and not problem:  # it was quicker than usual: killed too late, once more
            shutil.rmtree(place / "life", ignore_errors=True)
            here = _room(place, kind)
            struck, problem = live(here, kind, seconds, rng)
        phases.update(struck)
        kills[len(struck)] += 1
        problem = problem or _difference(apart(digest, here), whole)
        identical += not problem
        if problem:
            failures.append({"life": number, "killed": struck, "problem": problem})
            print(f"{name}, life {number}: {problem[:2000]}", file=sys.stderr)
    shutil.rmtree(place / "life")
    n_kills = sum(count * times for count, times in kills.items())
    said = f"{name:22} {n:4} lives {n_kills:4} kills {identical:4} identical  {dict(phases)}"
    print(said, flush=True)
    return {
        "lives": n,
        "identical": identical,
        "kills": n_kills,
        "usual_seconds": round(seconds, 2),
        "lives_by_kills": {str(count): kills[count] for count in sorted(kills)},
        "phases": dict(phases.most_common()),
        "failures": failures,
    }


def _room(place: Path, kind: Kind) -> Path:
    """A folder for one life, with what is to be replaced."""
    here, older = place / "life", place / f"older-{hash(kind)}"
    if not older.exists():
        older.mkdir()
        if kind.before:
            _done(older, list(kind.before))
            (older / "said.log").unlink()
    return Path(shutil.copytree(older, here))


def _undisturbed(place: Path, kind: Kind) -> tuple[dict[str, str], float]:
    """What a command leaves that nobody kills, and how long it takes."""
    here = _room(place, kind)
    seconds = _done(here, list(kind.command))
    whole = apart(digest, here)
    shutil.rmtree(here)
    return whole, seconds


def _life(here: Path, kind: Kind, seconds: float, rng: random.Random) -> tuple[list[str], str]:
    """Kill, look, go on; what was struck, and what is wrong if anything is."""
    struck: list[str] = []
    old = _which(here / kind.made)
    most = rng.choice([1, 1, 2, 3, MOST_KILLS])
    words = list(kind.command)
    while len(struck) < most:
        command = Command(here, words)
        if command.wait(rng.uniform(0, seconds)):
            if command.code:
                return struck, (here / "said.log").read_text()[-2000:]
            return struck, ""
        command.kill(all_of_it=rng.random() < 0.5)
        is_old = old is not None and _which(here / kind.made) == old
        struck.append(phase(here, kind.done, nothing_yet=is_old))
        try:
            apart(open_everything, here)
            words = kind.next_words(here, old)
        except AssertionError as error:
            return struck, f"after a kill {struck[-1]}: {error}"
    command = Command(here, words)
    if not command.wait() or command.code:
        return struck, (here / "said.log").read_text()[-2000:]
    return struck, ""


def _launched_life(
    here: Path, kind: Kind, seconds: float, rng: random.Random
) -> tuple[list[str], str]:
    """Kill one of the processes that train together; the launcher does the rest."""
    struck: list[str] = []
    command = Command(here, list(kind.command))
    most = rng.choice([1, 1, 2, 3])
    while len(struck) < most and not command.wait(rng.uniform(0, seconds)):
        if len(workers := command.workers()) == 2:
            os.kill(rng.choice(workers), 9)
            struck.append(phase(here, kind.done))
    if not command.wait() or command.code:
        return struck, (here / "said.log").read_text()[-3000:]
    return struck, ""


def _difference(found: dict[str, str], whole: dict[str, str]) -> str:
    """Names of files that are not as they should be."""
    names = sorted(name for name in found | whole if found.get(name) != whole.get(name))
    said = {(True, True): "differs", (True, False): "is left over", (False, True): "is missing"}
    return ", ".join(f"{name} {said[name in found, name in whole]}" for name in names)


if __name__ == "__main__":
    main()
