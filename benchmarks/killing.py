"""What `faults.py` kills with: real processes, looked at from outside and through the disk alone.

A command is a process of its own, in a session of its own, forked from this one after the import of
PyTorch, so that hundreds of them need not wait for it; what it starts itself (workers of `compare`,
processes of `torchrun`) is started as ever. A process with threads cannot be forked, and Polars has
some as soon as it is imported: so this one never imports it, and whatever needs it is done apart.
"""

import hashlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.torch import load_file

SPENT = {"seconds", "peak_bytes", "search_seconds", "environment", "commit", "agreed"}
"""Keys of records that tell of time and place."""
PATIENCE_SECONDS = 300


class Command:
    """A command of `invlearn` at work in a process of its own."""

    def __init__(self, place: Path, words: list[str]) -> None:
        """Start it; what it says goes into `said.log`."""
        self.launched = words[0] == "torchrun"
        self.pid = os.fork()
        if not self.pid:
            _become(place, words)
        self.code: int | None = None

    def is_over(self) -> bool:
        """Whether it ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def wait(self, seconds: float = PATIENCE_SECONDS) -> bool:
        """Whether it ended within some seconds."""
        end = time.monotonic() + seconds
        while not self.is_over():
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True

    def kill(self, *, all_of_it: bool) -> None:
        """Kill it, with all that it started or without."""
        with suppress(ProcessLookupError):  # it has no group of its own yet
            if all_of_it:
                os.killpg(self.pid, signal.SIGKILL)
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
        end = time.monotonic() + PATIENCE_SECONDS
        while any(_session(folder) == self.pid for folder in Path("/proc").glob("[0-9]*")):
            if time.monotonic() > end:
                raise TimeoutError("what a killed command had started does not end")
            time.sleep(0.02)  # workers see that their parent is gone

    def workers(self) -> list[int]:
        """Processes that train, of a command that launches them."""
        try:
            listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in listed.split() if b"invlearn" in _line(int(pid))]


def _session(process: Path) -> int | None:
    """Session of a process that is not dead, by its folder in /proc."""
    try:
        fields = (process / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return int(fields[3]) if fields[0] != "Z" else None


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _become(place: Path, words: list[str]) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(place)
        said = os.open("said.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(said, stream)
        if words[0] == "torchrun":
            os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", *words[1:]])
        from invlearn.cli.main import main

        main(words)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def apart(function: Callable[..., Any], *given: object) -> Any:
    """What a function returns, a value of JSON, in a process of its own."""
    return begun(function, *given)()


def begun(function: Callable[..., Any], *given: object) -> Callable[[], Any]:
    """Begin a function in a process of its own; returns what waits for its answer."""
    out, into = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            answer = {"found": function(*given)}
        except BaseException:
            answer = {"failed": traceback.format_exc()}
        with os.fdopen(into, "w") as stream:
            json.dump(answer, stream)
        os._exit(0)
    os.close(into)

    def answer() -> Any:
        with os.fdopen(out) as stream:
            said = json.load(stream)
        os.waitpid(pid, 0)
        if "failed" in said:
            raise AssertionError(said["failed"])
        return said["found"]

    return answer


def open_everything(place: Path) -> int:
    """Open whatever has a final name; how much that was.

    Records that grow (`*.jsonl`) may end in a line that is cut off, and checkpoints count if their
    index names them. What is hidden has no final name.
    """
    from invlearn.data.dataset import Dataset
    from invlearn.training import checkpoint
    from invlearn.training.run_folder import read_run

    n_opened = 0
    for file in _final_files(place):
        open_file(file)
        n_opened += 1
        if file.name == "data.json":
            Dataset.open(file.parent, verify=True)
        if file.name == "run.json":
            read_run(file.parent)
        if file.name == "index.json":
            for which in ("last", "best")[: 1 + ("best" in json.loads(file.read_text()))]:
                checkpoint.load(file.parent, which)
            for epoch in checkpoint.kept_epochs(file.parent):
                checkpoint.load_kept(file.parent, epoch)
    return n_opened


def open_file(file: Path) -> None:
    """Read a file to its end."""
    import polars as pl

    from invlearn.training.metrics_log import read_lines

    readers: dict[str, Callable[[Path], object]] = {
        ".json": lambda file: json.loads(file.read_text()),
        ".jsonl": lambda file: [*read_lines(file)],
        ".yaml": lambda file: yaml.safe_load(file.read_text()),
        ".parquet": pl.read_parquet,
        ".npy": np.load,
        ".npz": lambda file: dict(np.load(file)),
        ".safetensors": load_file,
        ".onnx": lambda file: import_module("onnx.checker").check_model(str(file)),
    }
    readers.get(file.suffix, Path.read_bytes)(file)


def _final_files(place: Path) -> Iterator[Path]:
    for path in sorted(place.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if "step-" not in path.name:  # a checkpoint, which is the index' own
                yield from _final_files(path)
        else:
            yield path


def digest(place: Path) -> dict[str, str]:
    """What is there, by name: checksums of files, of records without what tells of time and place.

    Hidden files and folders are looked at too: whatever a kill left must be gone in the end.
    """
    from invlearn.data.parts import sha256
    from invlearn.training.metrics_log import read_lines

    found = {}
    for file in sorted(path for path in place.rglob("*") if path.is_file()):
        name = str(file.relative_to(place))
        if file.name.endswith(".lock") or file.name in ("environment.json", "said.log"):
            continue
        if file.suffix == ".json":
            content = _timeless(json.loads(file.read_text()))
            found[name] = _sum_of(json.dumps(content, sort_keys=True))
        elif file.suffix == ".jsonl":
            lines = [_timeless(line) for line in read_lines(file)]
            found[name] = _sum_of(json.dumps(lines, sort_keys=True))
        elif file.suffix in (".md", ".npz"):  # tables of times; zips with the time of writing
            found[name] = "there"
        else:
            found[name] = sha256(file)
    return found


def _sum_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _timeless(one)
            for name, one in value.items()
            if name not in SPENT and "second" not in name
        }
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def phase(place: Path, done: str, *, nothing_yet: bool = False) -> str:
    """What a killed command was at, by what is on disk.

    Args:
        place: The folder that it worked in.
        done: What it writes last.
        nothing_yet: Whether what stands there is still what it is to replace.
    """
    names = [path.relative_to(place) for path in place.rglob("*")]
    hidden = [n for n in names if n.name.endswith((".partial", ".old", ".parts"))]
    if any("step-" in n.name or n.name == ".index.json.partial" for n in hidden):
        return "during a save"
    if hidden:
        return "during another write"
    if any("checkpoints" in n.parts for n in names) and _has_unnamed(place):
        return "during a save"
    if nothing_yet or len(names) <= 1:
        return "before the first write"
    if (place / done).exists():
        return "at the end"
    if any("checkpoints" in n.parts for n in names):
        return "between saves"
    return "between writes"


def _has_unnamed(place: Path) -> bool:
    for index in place.rglob("checkpoints/index.json"):
        named = {entry["name"] for entry in json.loads(index.read_text()).values()}
        if any(p.name not in named for p in index.parent.glob("epoch-*")):
            return True
    return False


def recover(path: Path) -> None:
    """Look at a folder as the library does, which puts back what a kill left moved aside."""
    from invlearn.runtime import atomic

    atomic.recover(path)
