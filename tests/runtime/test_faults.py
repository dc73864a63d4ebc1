"""Kills at every write, full disks, folders that cannot be written, damaged files, wild clocks.

`benchmarks/faults.py` kills real processes at instants that nobody chose; here every instant is
chosen, in this process. What is opened, and what is compared in the end, is the same.
"""

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import invlearn
from console import IDS, RULE, call, contents, done
from invlearn.data.corrupt_labels import corrupt_labels
from invlearn.inference.export import exporting
from invlearn.runtime import atomic
from invlearn.runtime.errors import InvlearnError, RunError, Stopped
from invlearn.training import checkpoint, job, metrics_log, run
from invlearn.training.metrics_log import Recorder
from invlearn.training.run_folder import run_id
from invlearn.training.trainer import Trainer
from toys import checkerboard

PLACE = Path(__file__).parents[2] / "benchmarks" / "killing.py"
SPEC = importlib.util.spec_from_file_location("killing", PLACE)
killing = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(killing)

TRAIN = {"epochs": 2, "batch_size": 32, "checkpoint_steps": 2, "keep_epochs": 1, "strategy": "ig"}
TRAIN |= {"model": {"dim": 4}}


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return checkerboard(tmp_path_factory.mktemp("board") / "data", n_users=12, n_items=12).folder


@pytest.fixture(scope="module")
def made(board, tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    return train(board, tmp_path_factory.mktemp("made") / "run")


def train(board, out, **more):
    invlearn.train(board, out, **TRAIN | more)
    return out


def named(words, feed):
    """Words of a command, with what they stand for."""
    return [{"LOG": feed.log, "DATA": feed.dataset, "RUN": feed.ig}.get(w, w) for w in words]


# Kills at every named write


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


WRITES = [
    *[(atomic, name) for name in ("_make_file", "_make_folder", "_sync", "_swap", "_remove")],
    *[(Path, name) for name in ("replace", "unlink")],
    (checkpoint, "_remove_unnamed"),
    (metrics_log, "_append"),
    (shutil, "rmtree"),
]


class Fate:
    """Counts what is done to the disk; from one instant on, nothing is: the process is dead."""

    def __init__(self, patch, instant=None):
        self.n_done, self.instant = 0, instant
        for owner, name in WRITES:
            patch.setattr(owner, name, self.counting(getattr(owner, name)))

    def counting(self, real):
        def counted(*given, **options):
            self.n_done += 1
            if self.instant is not None and self.n_done >= self.instant:
                raise Killed
            return real(*given, **options)

        return counted


def struck(monkeypatch, instant, act):
    """Whether an act was still at work at an instant, and so died of it."""
    with monkeypatch.context() as patch:
        fate = Fate(patch, instant)
        try:
            act()
        except Killed:
            return True
    assert fate.n_done < instant
    return False


def instants_of(monkeypatch, act, most):
    """Numbers of all instants of an act, or of so many, evenly spread; the last ones always."""
    with monkeypatch.context() as patch:
        fate = Fate(patch)
        act()
    every = np.linspace(1, fate.n_done, min(most, fate.n_done)).round().astype(int)[most < 3 :]
    return sorted({int(one) for one in every} | {fate.n_done - 1, fate.n_done})


def survives(monkeypatch, place, act, go_on=None, *, most=30):
    """Kill an act at its instants, open what is there, go on, and compare with the undisturbed."""
    start = shutil.copytree(place, place.parent / "start")
    instants = instants_of(monkeypatch, act, most)
    whole = killing.digest(place)
    for instant in instants:
        for path in place.iterdir():
            atomic._remove(path)
        shutil.copytree(start, place, dirs_exist_ok=True)
        assert struck(monkeypatch, instant, act)
        killing.open_everything(place)
        (go_on or act)()
        assert killing.digest(place) == whole, f"instant {instant} of {instants[-1]}"
    return instants


DENSELY = pytest.mark.parametrize("share", [0.4, pytest.param(1, marks=pytest.mark.slow)])
"""How many of the instants that are tried at most, the last ones always; all in the slow tier."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to work in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_what_is_killed_is_dead(monkeypatch, place):
    """Else the tests of this file would prove nothing."""
    assert struck(monkeypatch, 3, lambda: atomic.write_text(place / "file", "text"))
    assert contents(place) == [".file.partial"]


def test_a_training_killed_at_any_write(monkeypatch, board, place):
    instants = survives(monkeypatch, place, lambda: begun(board), most=16)
    assert instants[-1] > 100


def test_a_training_that_replaces_another_killed_at_any_write(monkeypatch, board, place):
    train(board, place / "run", epochs=1, seed=1)
    old = run_id(place / "run")

    def again():
        train(board, place / "run", overwrite=True, epochs=1)

    def go_on():
        atomic.recover(place / "run")
        if run_id(place / "run") == old:
            assert invlearn.Run.open(place / "run").test
            again()
        else:
            invlearn.resume(place / "run")

    survives(monkeypatch, place, again, go_on, most=12)


KILLED = {
    "simulate": ["--out", "log", "--users", 9, "--items", 9, "--rows", 30, "--overwrite"],
    "prepare": ["LOG", "--rule", RULE, *IDS, "--out", "data", "--overwrite"],
    "weaken": ["DATA", "--out", "data", "--label-share", 0.5, "--overwrite"],
    "recommend": ["RUN", "--out", "lists.csv", "--k", 3, "--overwrite"],
    "annotate": ["RUN", "--out", "pairs.parquet", "--overwrite"],
    "report": ["RUN", "--out", "page.html", "--draws", 0, "--overwrite"],
}
REPLACED = ("simulate", "prepare", "recommend", "annotate")


@DENSELY
@pytest.mark.parametrize(
    ("name", "replaces"), [(n, False) for n in KILLED] + [(n, True) for n in REPLACED]
)
def test_a_command_killed_at_any_write(monkeypatch, feed, place, name, replaces, share):
    words = named(KILLED[name], feed)
    if replaces:
        done(name, *words)
    most = 1 if name == "report" else round(12 * share)
    survives(monkeypatch, place, lambda: done(name, *words), most=most)


def test_no_annotation_stands_beside_the_summary_of_another(monkeypatch, feed, place):
    def annotate(run):
        done("annotate", run, "--out", "pairs.parquet", "--overwrite")

    annotate(feed.none)
    old = {name: Path(name).read_bytes() for name in ("pairs.parquet", "pairs.json")}
    seen, n_instants = set(), instants_of(monkeypatch, lambda: annotate(feed.ig), 1)[-1]
    for instant in range(1, n_instants + 1):
        annotate(feed.none)
        assert struck(monkeypatch, instant, lambda: annotate(feed.ig))
        files = [Path(name) for name in old]
        seen.add(tuple(f.read_bytes() == old[f.name] for f in files if f.exists()))
    assert seen == {(True, True), (True,), (False,), (False, False)}


@DENSELY
def test_an_export_killed_at_any_write(monkeypatch, feed, place, share):
    pytest.importorskip("onnxruntime")
    done("export", feed.ig, "--out", "first")
    shutil.move("first", place.parent)
    file = place.parent / "first" / "model.onnx"
    card = json.loads(file.with_name("export.json").read_text())

    def written(module, to, name):
        shutil.copyfile(file, to)
        return card["opset"]

    monkeypatch.setattr(exporting, "write_onnx", written)
    monkeypatch.setattr(exporting, "CHECKED_PAIRS", 100)
    words = ("export", feed.ig, "--out", "model", "--overwrite")
    survives(monkeypatch, place, lambda: done(*words), most=round(8 * share))


def test_a_comparison_killed_at_any_write(monkeypatch, board, place):
    grid = {"datasets": [str(board)], "strategies": ["none", "ns"], "backbones": ["mf"]}
    grid |= {"seeds": 1, "draws": 2, "tuning": {"trials": 1}}
    grid["settings"] = {"batch_size": 64, "epochs": 1, "model": {"dim": 2}}
    (place / "grid.yaml").write_text(yaml.safe_dump(grid))
    words = ("compare", "grid.yaml", "--out", "made")
    survives(monkeypatch, place, lambda: done(*words), most=8)


def begun(board):
    """Go on with a run, or begin it."""
    atomic.recover(Path("run"))
    if Path("run").exists():
        invlearn.resume("run")
    else:
        train(board, Path("run"))


def test_kill_after_kill(monkeypatch, board, made, place):
    """Dead again and again while it goes on, a little later each time."""
    rng, times = random.Random(0), 0
    while struck(monkeypatch, rng.randrange(25, 60), lambda: begun(board)):
        times += 1
        killing.open_everything(place)
    assert times > 3
    assert killing.digest(place / "run") == killing.digest(made)


def test_what_a_kill_left_of_old_checkpoints_goes_when_the_run_goes_on(board, made, place):
    shutil.copytree(made, "run")
    saved = Path("run/checkpoints")
    shutil.copytree(saved / "epoch-0002-step-000000", saved / "epoch-0001-step-000002")
    (saved / ".epoch-0002-step-000000.partial").mkdir()
    invlearn.resume("run")
    assert killing.digest(place / "run") == killing.digest(made)


# Disks


def free(disk, n_bytes):
    """Leave so much space on a disk."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    stat = os.statvfs(disk)
    left = stat.f_bavail * stat.f_frsize - n_bytes
    ballast.write_bytes(bytes(max(left, 0)))
    return ballast


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A disk of two megabytes."""
    mounted = mount(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    monkeypatch.chdir(mounted)
    yield mounted
    monkeypatch.chdir(tmp_path)
    subprocess.run(["umount", mounted], check=True)


def mount(folder, *words):
    """Mount something, or skip where that is not allowed."""
    folder.mkdir(exist_ok=True)
    tool = shutil.which("mount")
    if not tool or subprocess.run([tool, *words, folder], capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    return folder


COMMANDS = {
    "simulate": ["--out", "log", "--users", 60, "--items", 50, "--rows", 1500],
    "prepare": ["LOG", "--rule", RULE, *IDS, "--out", "data"],
    "weaken": ["DATA", "--out", "data", "--label-share", 0.5],
    "recommend": ["RUN", "--out", "lists.jsonl", "--k", 50],
    "annotate": ["RUN", "--out", "pairs.parquet"],
    "report": ["RUN", "--out", "page.html", "--draws", 0],
    "export": ["RUN", "--out", "exported"],
    "evaluate": ["RUN", "--draws", 0, "--out", "found.json"],
}


def words_of(name, feed):
    return named(COMMANDS[name], feed)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(feed, disk, name):
    words, space = words_of(name, feed), 0
    while space < 1 << 20:
        ballast = free(disk, space)
        answer = call(name, *words)
        if answer.code == 0:
            break
        assert_teaches(answer, "No space left on device", "free some space")
        assert contents(disk) == ["ballast"]
        space = max(4096, 32 * space)
    ballast.unlink()
    if answer.code:
        done(name, *words)
    killing.open_everything(disk)


def assert_teaches(answer, *words):
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    for some in words:
        assert some in answer.err


def test_a_training_on_a_full_disk_goes_on_when_there_is_space(board, made, disk):
    spaces = [0, 8, 24, 28, 32, 40, 48, 56, 64, 80]
    for space in spaces:
        ballast = free(disk, space << 10)
        with pytest.raises(InvlearnError, match="No space left on device"):
            train(board, disk / "run") if not (disk / "run").exists() else invlearn.resume("run")
        killing.open_everything(disk)
        assert not [p for p in disk.rglob("*") if p.name.endswith((".partial", ".old"))]
        if (disk / "run" / "checkpoints" / "index.json").exists():
            break
    assert space
    ballast.unlink()
    invlearn.resume("run")
    assert killing.digest(disk / "run") == killing.digest(made)


@pytest.fixture
def read_only(feed, tmp_path, monkeypatch):
    """A disk that cannot be written, with a run and its dataset on it."""
    folder = tmp_path / "disk"
    shutil.copytree(feed.ig, folder / "run")
    mount(folder, "--bind", folder)
    mount(folder, "-o", "remount,ro,bind")
    monkeypatch.chdir(folder)
    yield folder
    monkeypatch.chdir(tmp_path)
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("name", [*COMMANDS, "resume", "train"])
def test_a_folder_that_cannot_be_written_is_one_sentence(feed, read_only, name):
    others = {"resume": ["run"], "train": [feed.dataset, "--out", "new"]}
    words = others.get(name) or words_of(name, feed)
    assert_teaches(call(name, *words), "cannot write", "Read-only file system")


def test_a_run_that_cannot_be_written_is_read(read_only, tmp_path):
    done("evaluate", "run", "--draws", 0)
    done("recommend", "run", "--out", tmp_path / "lists.csv")


# Damage


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


def emptied(content):
    return b""


def replaced(content):
    return b'{"foreign": [1, 2]}\n'


RECOMMEND = ("recommend", "run", "--out", "lists.csv", "--k", 1, "--overwrite")
REPORT = ("report", "run", "--out", "page.html", "--draws", 0, "--overwrite")


@pytest.mark.parametrize("damage", [truncated, flipped, emptied, replaced])
def test_a_damaged_file_of_a_run_is_no_traceback(feed, place, damage):
    """A flipped bit in a text may make another valid text, which nobody can know."""
    files = [p.relative_to(feed.ig) for p in feed.ig.rglob("*") if p.is_file()]
    assert len(files) > 10
    shutil.copytree(feed.ig, "run")
    best = json.loads(Path("run/checkpoints/index.json").read_text())["best"]["name"]
    for file in files:
        content = (place / "run" / file).read_bytes()
        if not content:
            continue
        (place / "run" / file).write_bytes(damage(content))
        is_shown = file.suffix in (".jsonl", ".npy") or file.name in ("test.json", "config.yaml")
        answer = call(*(REPORT if is_shown else RECOMMEND))
        if answer.code:
            assert_teaches(answer)
        else:
            assert file.suffix != ".parquet"
            needed = file.name != "optimizer.safetensors"  # only a training that goes on reads it
            assert not (needed and str(file).startswith(f"checkpoints/{best}/"))
        (place / "run" / file).write_bytes(content)
    done(*REPORT)


def test_a_checkpoint_of_another_run_is_refused(board, made, place):
    """Of the same shapes, with an index that names it, and every checksum right."""
    shutil.copytree(made, "run")
    train(board, place / "other", seed=9)
    shutil.rmtree("run/checkpoints")
    shutil.copytree("other/checkpoints", "run/checkpoints")
    for use in (invlearn.Run.open, invlearn.resume):
        with pytest.raises(
            RunError, match=r"checkpoint of another run \(id .*restore this run's own"
        ):
            use("run")
    card = json.loads(Path("run/run.json").read_text())
    del card["id"]  # as an earlier version made it
    Path("run/run.json").write_text(json.dumps(card))
    invlearn.Run.open("run")


def test_a_checkpoint_of_an_earlier_version_opens(made, place):
    shutil.copytree(made, "run")
    index = json.loads(Path("run/checkpoints/index.json").read_text())
    for name in {index[which]["name"] for which in ("last", "best")}:
        file = Path("run/checkpoints", name, "state.json")
        state = json.loads(file.read_text())
        assert state.pop("run")
        file.write_text(json.dumps(state))
        for entry in index.values():
            if entry["name"] == name:
                entry["sha256"]["state.json"] = checkpoint.sha256(file)
    Path("run/checkpoints/index.json").write_text(json.dumps(index))
    invlearn.Run.open("run")
    invlearn.resume("run")


def test_weights_of_another_epoch_are_refused(made, place):
    shutil.copytree(made, "run")
    index = json.loads(Path("run/checkpoints/index.json").read_text())
    names = sorted({entry["name"] for entry in index.values()})
    file = Path("run/checkpoints", index["best"]["name"], "weights.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    other = Path("run/checkpoints", names[0], "weights.safetensors")
    file.write_bytes(other.read_bytes() if other != file else bytes(content))
    with pytest.raises(RunError, match=r"weights\.safetensors was changed or truncated"):
        invlearn.Run.open("run")


@pytest.mark.parametrize("name", ["steps.jsonl", "epochs.jsonl"])
def test_records_that_a_checkpoint_rests_on_are_missed(board, place, name):
    with pytest.raises(Stopped):
        train(board, place / "run", should_stop=stop_at(5))
    file = Path("run", name)
    lines = file.read_text().splitlines(keepends=True)
    for text, words in (
        ("".join(lines[:-1]), r"records of the \d+ that the last checkpoint"),
        ("", "records of the"),
        ("".join(lines[:-1]) + "broken\n" + lines[-1], r"line \d+ of .* is damaged"),
        ("".join(lines[:-1]) + "3\n", "is not a record"),
    ):
        file.write_text(text)
        with pytest.raises(RunError, match=words):
            invlearn.resume("run")
    file.write_text("".join(lines) + '{"epoch": 1, "st')
    invlearn.resume("run")


def stop_at(step):
    calls = []
    return lambda: bool(calls.append(0)) or len(calls) == step


# Clocks


def test_a_clock_that_jumps_changes_nothing(monkeypatch, board, made, place):
    """Backwards, forwards, and standing still, the clock of the wall and that of the processor."""
    rng = random.Random(0)
    for clock in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, clock, lambda: rng.choice([0.0, 1e9, rng.uniform(0, 2e9), 5.0]))
    monkeypatch.setattr("invlearn.training.loop.perf_counter", time.perf_counter)
    said = []
    train(board, place / "run", progress=lambda *given, **figures: said.append(figures))
    assert said
    assert killing.digest(place / "run") == killing.digest(made)


# Two processes on one folder: a lock is that of an open file, so one process can be both


def test_a_run_at_work_is_neither_resumed_nor_replaced(board, made, place):
    """And what was refused did not disturb it."""
    tried = []

    def intrude():
        if len(tried) in (0, 4):
            for other in (
                lambda: invlearn.resume("run"),
                lambda: train(board, Path("run"), overwrite=True, seed=9),
                lambda: train(board, Path("run"), resume_if_exists=True),
            ):
                with pytest.raises(InvlearnError, match="another process is using run"):
                    other()
        tried.append(0)
        return False

    train(board, Path("run"), should_stop=intrude)
    assert len(tried) > 4
    assert killing.digest(place / "run") == killing.digest(made)


def test_a_run_is_held_until_it_is_measured(monkeypatch, board, place):
    real = run.assess

    def measured(*given, **options):
        with pytest.raises(InvlearnError, match="another process is using"):
            invlearn.resume("run")
        monkeypatch.setattr(run, "assess", real)
        return real(*given, **options)

    monkeypatch.setattr(run, "assess", measured)
    train(board, Path("run"))
    invlearn.resume("run")


def test_a_run_that_another_goes_on_with_is_held_from_its_first_instant(monkeypatch, board, place):
    """Between the naming of a new run folder and the first step, nobody else gets it."""
    real = job.Job.work

    def late(self, **options):
        monkeypatch.setattr(job.Job, "work", real)
        with pytest.raises(InvlearnError, match="another process is using"):
            train(board, Path("run"), overwrite=True)
        real(self, **options)

    monkeypatch.setattr(job.Job, "work", late)
    train(board, Path("run"))


def test_a_dataset_replaced_while_a_run_trains_on_it(board, made, place):
    """The run goes on with what it opened; nobody goes on with it on what is there now."""
    shutil.copytree(board, "data")
    calls = []

    def replace():
        calls.append(0)
        if len(calls) == 3:
            corrupt_labels(board, "data", label_share=0.7, overwrite=True)
        return len(calls) == 7

    with pytest.raises(Stopped):
        train("data", place / "run", should_stop=replace)
    with pytest.raises(RunError, match="is not the dataset that the run was trained on"):
        invlearn.resume("run")
    invlearn.resume("run", dataset=board)
    whole, found = killing.digest(made), killing.digest(place / "run")
    assert {n for n in whole | found if whole.get(n) != found.get(n)} == {"run.json"}  # its path


def test_a_dataset_replaced_before_its_ids_are_copied(monkeypatch, board, place):
    shutil.copytree(board, "data")
    real = run.Job.start.__func__

    def late(cls, *given, **options):
        found = real(cls, *given, **options)
        checkerboard(Path("other"), n_users=13, n_items=12)
        shutil.rmtree("data")
        Path("other").rename("data")
        return found

    monkeypatch.setattr(run.Job, "start", classmethod(late))
    with pytest.raises(InvlearnError, match="data was replaced while it was read; train again"):
        train("data", place / "run")
    assert not Path("run").exists()


def test_going_on_or_replacing(board, made, place):
    """What a launcher asks for that starts a training with `--overwrite` a second time."""
    train(board, place / "run", seed=9)
    with pytest.raises(RunError, match="settings differ"):
        train(board, place / "run", resume_if_exists=True)
    train(board, place / "run", resume_if_exists=True, overwrite=True)
    assert killing.digest(place / "run") == killing.digest(made)
    before = Path("run/run.json").stat().st_mtime_ns
    train(board, place / "run", resume_if_exists=True, overwrite=True)
    assert Path("run/run.json").stat().st_mtime_ns == before


# Requests to stop


@pytest.mark.parametrize(
    ("owner", "name", "code"),
    [
        (run, "complete", 130),
        (job.Job, "start", 130),
        (job.Job, "_save", 130),
        (Trainer, "validate", 130),
        (Recorder, "epoch", 130),
        (run, "assess", 0),
    ],
)
def test_a_request_to_stop_in_any_phase(monkeypatch, board, made, place, owner, name, code):
    """The first SIGTERM saves, and the run goes on to the same end; once measured, it just ends."""
    real, asked = getattr(owner, name), []

    def asking(*given, **options):
        if not asked:
            asked.append(os.kill(os.getpid(), signal.SIGTERM))
        return real(*given, **options)

    monkeypatch.setattr(owner, name, asking)
    settings = Path("settings.yaml")
    settings.write_text(yaml.safe_dump(TRAIN))
    answer = call("train", board, "--out", "run", "--config", settings)
    assert answer.code == code
    killing.open_everything(place)
    if code:
        assert "continue with `invlearn resume run`" in answer.err
        done("resume", "run")
    assert killing.digest(place / "run") == killing.digest(made)
