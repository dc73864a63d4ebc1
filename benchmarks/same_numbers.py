"""Does the library still compute the same numbers? A record before a change, one after, compared.

    python benchmarks/same_numbers.py --work FOLDER --out before.json [--data FOLDER] [--only runs]
    python benchmarks/same_numbers.py --compare before.json after.json

A record holds datasets from every engine, trainings with every strategy and backbone, and whatever
is made of runs, for fixed seeds and one thread. The library is used through its command line alone
(`PYTHONPATH` chooses the code), so moved modules do not matter. A name in a file, a column or a
tensor that has changed is written into `RENAMED`, an option of a command into `WORDS`.

Records compare on one kind of processor and with one set of versions; others are mentioned. About
ten minutes on two cores; needs the extras `dev`, and `spark` with Java, else those parts are null.
"""

import argparse
import difflib
import json
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    **{"POLARS_MAX_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""},
    **{"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb", "PYTHONSAFEPATH": "1"},
}
"""Environment of all commands."""
os.environ |= ONE_THREAD
FROM = [str(Path(p).resolve()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
FROM += [str(Path(__file__).resolve().parents[1])]  # the package `reproduction`
os.environ["PYTHONPATH"] = os.pathsep.join(FROM)  # commands run in another folder

from same_numbers_cases import INTERRUPTED, PREPARED, Case, cases, is_there, write_logs  # noqa: E402
from same_numbers_reading import CHECKPOINTS, INDEX, TEST, leaves  # noqa: E402

RENAMED = {
    r"^:ledger:": ":row_state:",
    r"^:memory:": ":state:",
    r"^peer_": "auxiliary_",
    r"slopes": "coefficients",
    r"^settled$": "fitted_on_validation",
}
"""Patterns in keys, columns, files and tensors of the record before, and what they are now."""
WORDS = {"ig-as-released": "reproduction.inverse_as_released:InverseGradientAsReleased"}
"""Words of commands as they were when the cases were written, and what they are now."""
MAY_CHANGE = ("results/plan", "results/strategies", "results/backbones")
"""Paths whose differences are shown and not counted: a memory estimate, and help texts."""
PARTS = ("datasets", "runs", "results")
PACKAGES = ("torch", "numpy", "polars", "safetensors", "optuna", "onnxruntime", "duckdb")
PATIENCE_SECONDS = 900


def main() -> None:
    """Record or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"))
    parser.add_argument("--work", type=Path, help="folder to work in, which must not be there")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    if given.compare:
        before, after = (json.loads(file.read_text()) for file in given.compare)
        sys.exit(1 if compare(before, after) else 0)
    if not (given.work and given.out):
        parser.error("--work and --out are needed, or --compare")
    if given.work.exists():
        parser.error(f"{given.work} is there already; give a new folder")
    where = [sys.executable, "-P", "-c", "import invlearn; print(invlearn.__file__)"]
    subprocess.run(where, check=True)
    started = time.monotonic()
    found = record(given.work.resolve(), given.data.resolve(), given.only, given.jobs)
    given.out.write_text(_in_lines(found))
    n_values = sum(1 for _ in leaves(found))
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    minutes = (time.monotonic() - started) / 60, (spent.ru_utime + spent.ru_stime) / 60
    print("{:,} values in {:.1f} minutes ({:.1f} of a processor)".format(n_values, *minutes))


def _in_lines(found: dict[str, Any]) -> str:
    """JSON with a line for each case."""
    parts = []
    for part, content in found.items():
        lines = [f"{json.dumps(k)}: {_compact(v)}" for k, v in (content or {}).items()]
        inner = ",\n".join(lines)
        parts.append(f"{json.dumps(part)}: " + ("null" if content is None else f"{{\n{inner}\n}}"))
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def record(work: Path, data: Path, parts: list[str], jobs: int) -> dict[str, Any]:
    """Run all cases of some parts, and those that they need."""
    work.mkdir(parents=True)
    for folder in ("said", "out"):
        (work / folder).mkdir()
    write_logs(work, data)
    wanted = _closure(cases(), parts)
    done = _all_done(wanted, work, jobs)
    found: dict[str, Any] = {"made with": _made_with(), **dict.fromkeys(PARTS)}
    for part in parts:
        found[part] = {case.name: done[case.name] for case in wanted if case.part == part}
    if found["datasets"]:
        found["datasets"] |= {name: None for name in PREPARED if not is_there(name)}
    if found["runs"]:
        found["runs"]["interrupted as whole"] = _as_whole(found["runs"])
    return found


def _closure(all_cases: list[Case], parts: list[str]) -> list[Case]:
    """Cases of some parts and those that they need, in order."""
    names = {case.name for case in all_cases if case.part in parts}
    for case in reversed(all_cases):
        if case.name in names:
            names |= {*case.needs}
    return [case for case in all_cases if case.name in names]


def _all_done(wanted: list[Case], work: Path, jobs: int) -> dict[str, Any]:
    """What cases leave, by name; a case begins when those that it needs are done."""
    found: dict[str, Any] = {}
    running: dict[Future[Any], str] = {}
    waiting = [*wanted]
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            ready = [case for case in waiting if found.keys() >= {*case.needs}]
            for case in ready[: jobs - len(running)]:
                waiting.remove(case)
                running[pool.submit(_done, case, work)] = case.name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                found[running.pop(future)] = future.result()
    return found


def _done(case: Case, work: Path) -> Any:
    """Read what a case leaves, or say why it failed."""
    started = time.monotonic()
    try:
        for number, words in enumerate(case.commands):
            _call(case, work, words, how=case.how if number == 0 else "plain")
        found = case.read(work)
    except Exception as error:
        found = {"failed": str(error).replace(str(work), "WORK")[-400:]}
    said = f"{time.monotonic() - started:6.1f} s  {case.part}/{case.name}"
    print(said, *(["FAILED", found["failed"]] if "failed" in found else ()), flush=True)
    return found


def _call(case: Case, work: Path, words: tuple[str, ...], *, how: str) -> None:
    """Let a command come to its end, or interrupt it."""
    python = [sys.executable, "-P", "-m"]
    if how == "launched":
        python += ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = [*python, "invlearn", *(WORDS.get(word, word) for word in words)]
    stem = case.name.replace("/", "-")
    out, err = (work / "said" / f"{stem}.{ending}" for ending in ("txt", "err"))
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(command, cwd=work, stdout=stdout, stderr=stderr)
        if how in ("killed", "stopped"):
            _interrupt(process, work / words[-1], how)
            return
        if process.wait(PATIENCE_SECONDS):
            raise RuntimeError(f"{' '.join(words)}: {err.read_text()[-300:]}")


def _interrupt(process: subprocess.Popen, folder: Path, how: str) -> None:
    """Send a signal as soon as there is a checkpoint."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (folder / CHECKPOINTS / INDEX).exists():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError("no checkpoint was written")
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGINT)
    process.wait(PATIENCE_SECONDS)
    if (folder / TEST).exists():
        raise RuntimeError("it ended before it could be interrupted")


def _as_whole(runs: dict[str, Any]) -> dict[str, bool]:
    """Whether interrupted runs are what the uninterrupted one is."""
    whole = runs[next(iter(INTERRUPTED))]
    return {name: runs[name] == whole for name, how in INTERRUPTED.items() if how != "plain"}


def _made_with() -> dict[str, Any]:
    """What last bits depend on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), ""
    )
    versions = {d.name: d.version for d in distributions() if d.name in PACKAGES}
    return {"python": platform.python_version(), "processor": model} | dict(
        sorted(versions.items())
    )


def compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print each difference; how many there are."""
    for name, value in before.pop("made with").items():
        if (other := after.get("made with", {}).get(name)) != value:
            print(f"mind: {name} {value} before, {other} after")
    after = {key: value for key, value in after.items() if key != "made with"}
    old, new = (dict(leaves(value)) for value in (_renamed(before), after))
    absent = [*_absent(old, new, "after"), *_absent(new, old, "before")]
    paths = [path for path in dict.fromkeys([*old, *new]) if not _is_below(path, absent)]
    n_different = 0
    for path in paths:
        if path in old and path in new and old[path] == new[path]:
            continue
        may_change = _is_below(path, MAY_CHANGE)
        n_different += not may_change
        for line in _difference(old.get(path, "absent"), new.get(path, "absent")):
            print(f"{'may change: ' if may_change else ''}{path}: {line}")
    print(f"{len(paths):,} values compared, {n_different:,} differ")
    return n_different


def _renamed(value: Any) -> Any:
    """The record before with the names of now."""
    if not isinstance(value, dict):
        return value
    found = {}
    for key, inner in value.items():
        name = key
        for pattern, new in RENAMED.items():
            name = re.sub(pattern, new, name)
        found[name] = _renamed(inner)
    return found


def _absent(these: dict[str, Any], others: dict[str, Any], which: str) -> Iterator[str]:
    """Parts and datasets in the place of which the other record has null; each is printed."""
    for path in (*PARTS, *(f"datasets/{name}" for name in PREPARED)):
        if others.get(path, 0) is None and any(_is_below(other, [path]) for other in these):
            print(f"{path}: not recorded {which}")
            yield path


def _is_below(path: str, tops: Any) -> bool:
    return any(path == top or path.startswith(f"{top}/") for top in tops)


def _difference(old: Any, new: Any) -> Iterator[str]:
    """A difference in words; of texts, the lines that went and came."""
    if all(isinstance(v, list) and v and isinstance(v[0], str) for v in (old, new)):
        yield from (line for line in difflib.ndiff(old, new) if line[0] in "+-")
    else:
        yield f"{json.dumps(old)} -> {json.dumps(new)}"


if __name__ == "__main__":
    main()
