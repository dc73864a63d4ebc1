"""Hostile input by the million rows: is anything ever said but a sentence?

    python benchmarks/fuzz.py --work /tmp/fuzz [--rows 1000000] [--files 10000] [--quick]

Writes logs of some hundred rows, most of them broken; then configurations, grids, label rules, run
and dataset folders, files of ids and pairs, and requests to the service. Each goes to the command
line within a process of many cases; trainings are stopped after their first step. A finding is
whatever is not an exit code of 0, 2 with one line, or 130; a case of more than `SECONDS`; memory
of more than `MIB`; and the death of the process. Every case is a function of `--seed` and its
number, and `--only KIND:NUMBER` repeats one with its traceback. Writes `benchmarks/fuzz.json`.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import polars as pl
from fuzz_damage import request_body
from fuzz_files import Place, file_case
from fuzz_logs import Case, log_case, sample_of_log

HERE = Path(__file__).parent
SECONDS, MIB = 20, 1_024
"""Limits of a case: processor time, and resident memory above what the process had before it."""
MOST_BYTES = 6 << 30
"""Of a process, so that a finding does not take the machine with it."""
ROWS_OF_A_LOG = 500
CASES_OF_A_PROCESS = 400
REQUESTS = 2_000


class TooLong(BaseException):
    """A case took more than its time."""


def main() -> None:
    """Run all cases in processes, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="repeat one case, such as logs:17")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    place = prepared(given.work)
    if given.child:
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
        work(given.child[0], int(given.child[1]), int(given.child[2]), given.seed, place)
        return
    if given.only:
        kind, _, number = given.only.partition(":")
        print(json.dumps(one(kind, int(number), given.seed, place), indent=1))
        return
    share = 100 if given.quick else 1
    sizes = {
        "logs": given.rows // ROWS_OF_A_LOG // share,
        "files": given.files // share,
        "requests": given.requests // share,
    }
    results = {kind: all_of(kind, n, given.seed, given.work) for kind, n in sizes.items() if n}
    if not given.quick:
        write_result(results)


def prepared(work: Path) -> Place:
    """What is whole: a log, a dataset, a run. Made once."""
    place = Place(work / "toy", work / "run", work / "log.parquet", work / "out")
    if not place.run.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(sample_of_log(0)).write_parquet(place.log)
        words = ["--rule", "rating >= 4, < 2", "--time", "timestamp", "--overwrite"]
        invlearn("prepare", str(place.log), "--out", str(place.dataset), *words)
        words = [
            "--backbone",
            "mf",
            "--strategy",
            "ig",
            "--model.dim",
            "4",
            "--epochs",
            "3",
            "--batch-size",
            "64",
        ]
        invlearn("train", str(place.dataset), "--out", str(place.run), *words)
        invlearn("annotate", str(place.run), "--out", str(place.run / "annotation.parquet"))
    return place


def invlearn(*words: str) -> None:
    """Call the command line in a process of its own, where all is well."""
    subprocess.run([sys.executable, "-m", "invlearn", *words], check=True, capture_output=True)


def all_of(kind: str, n: int, seed: int, work: Path) -> dict[str, Any]:
    """Every case of a kind, in one process after another."""
    started, records, at = time.perf_counter(), work / f"{kind}.jsonl", 0
    records.unlink(missing_ok=True)
    while at < n:
        end = min(n, at + CASES_OF_A_PROCESS)
        words = [sys.executable, __file__, "--work", str(work), "--seed", str(seed)]
        with (work / "stderr.txt").open("w") as stderr:
            child = subprocess.Popen([*words, "--child", kind, str(at), str(end)], stderr=stderr)
            watched(child, records)
        done = len(records.read_text().splitlines()) if records.exists() else 0
        if done < end:  # it died, or was ended
            tail = (work / "stderr.txt").read_text(errors="replace")[-400:]
            dead = {
                "kind": kind,
                "number": done,
                "finding": f"process ended with {child.returncode}",
                "trace": tail,
                "rows": 0,
            }
            with records.open("a") as stream:
                stream.write(json.dumps(dead) + "\n")
            done += 1
        at = done
        print(f"{kind} {at:,} of {n:,}, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return summed(kind, [json.loads(line) for line in records.read_text().splitlines()], started)


def watched(child: subprocess.Popen[bytes], records: Path) -> None:
    """Wait for a process, and end it where one case takes ten times its time."""
    while child.poll() is None:
        time.sleep(0.5)
        if records.exists() and time.time() - records.stat().st_mtime > 10 * SECONDS:
            child.kill()
            child.wait()


def summed(kind: str, records: list[dict[str, Any]], started: float) -> dict[str, Any]:
    """What became of the cases, and the findings, each sort once."""
    found = [record for record in records if record.get("finding")]
    sorts = Counter(record["finding"] for record in found)
    for name, times in sorts.most_common():
        first = next(record for record in found if record["finding"] == name)
        print(f"  {times} x {name}; first: --only {kind}:{first['number']}")
    result = {
        "cases": len(records),
        "rows": sum(record["rows"] for record in records),
        "outcomes": dict(Counter(f"{r.get('what', kind)}: {r.get('code')}" for r in records)),
        "findings": dict(sorts),
        "slowest_seconds": max(r.get("seconds", 0) for r in records),
        "most_mib": max(r.get("mib", 0) for r in records),
        "wall_seconds": time.perf_counter() - started,
    }
    print(f"{kind}: {result['cases']:,} cases, {result['rows']:,} rows, {len(found)} findings")
    return result


def work(kind: str, start: int, end: int, seed: int, place: Place) -> None:
    """Some cases in this process; a line of a file for each."""
    with (place.dataset.parent / f"{kind}.jsonl").open("a") as stream:
        for number in range(start, end):
            stream.write(json.dumps(one(kind, number, seed, place)) + "\n")
            stream.flush()


def one(kind: str, number: int, seed: int, place: Place) -> dict[str, Any]:
    """A case: make it, meet it, say what came of it."""
    draw = random.Random(f"{seed} {kind} {number}")
    place = place._replace(out=place.out / kind)
    shutil.rmtree(place.out, ignore_errors=True)
    place.out.mkdir(parents=True)
    if kind == "requests":
        path, body = request_body(draw)
        found = limited(lambda: asked(place, path, body))
        return {"kind": kind, "number": number, "rows": 0, "what": path, **found}
    if kind == "logs":
        what, case = "log", log_case(draw, place.out, ROWS_OF_A_LOG)
    else:
        what, case = file_case(draw, place)
    found = limited(lambda: called(case))
    return {"kind": kind, "number": number, "rows": case.rows, "what": what, **found}


def limited(work: Any) -> dict[str, Any]:
    """Run a case under the limits."""
    before, started = peak_mib(again=True), time.process_time()
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        found = work()
    except TooLong:
        found = {"finding": f"more than {SECONDS} seconds", "trace": traceback.format_exc()[-1500:]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    mib, seconds = peak_mib() - before, time.process_time() - started
    if mib > MIB:
        found.setdefault("finding", f"more than {MIB} MiB")
    return {**found, "seconds": round(seconds, 3), "mib": round(mib)}


def _too_long(*_: object) -> None:
    raise TooLong


def peak_mib(*, again: bool = False) -> float:
    """Most resident memory since it was last asked again, as Linux has it."""
    if again:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    name = "VmRSS:" if again else "VmHWM:"
    return int(status.partition(name)[2].split()[0]) / 1024


def called(case: Case) -> dict[str, Any]:
    """The command line's answer: its exit code, and a finding if it is no answer."""
    from invlearn.cli import experiments, main, training

    training.interruptible = experiments.interruptible = at_once
    path, stdout, stderr = list(sys.path), io.StringIO(), io.StringIO()
    code: Any = 0
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            main.main(case.words)
    except SystemExit as leaving:
        code = leaving.code
    except TooLong:
        raise
    except BaseException as error:  # a panic of the table engine is no Exception
        return {
            "finding": f"{type(error).__name__} in {_where(error)}",
            "trace": traceback.format_exc()[-3000:],
            "code": "traceback",
        }
    finally:
        sys.path[:] = path
    said = stderr.getvalue()
    last = said.strip().rpartition("\n")[2]
    wrong = code not in (0, None, 2, 130) or (code == 2 and not last.startswith("error: "))
    return {
        "code": code or 0,
        "said": last[:300],
        **({"finding": f"exit {code}: {said[-200:]}"} if wrong else {}),
    }


def _where(error: BaseException) -> str:
    """The deepest place of the library on the way to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/invlearn/" in f.filename]
    return f"{Path(own[-1].filename).name} {own[-1].name}" if own else "outside"


@contextlib.contextmanager
def at_once() -> Generator[Any, None, None]:
    """In the place of Ctrl-C: stop at the first chance."""
    yield lambda: True


_app: list[Any] = []


def asked(place: Place, path: str, body: bytes) -> dict[str, Any]:
    """The service's answer to a request, in this process."""
    import httpx

    from invlearn import create_app
    from invlearn.inference.recommend.recommendation import Recommender
    from invlearn.training.run import Run

    if not _app:
        _app.append(create_app(Recommender.of(Run.open(place.run))))

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(_app[0])
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            head = {"content-type": "application/json"}
            return await client.post(path, content=body, headers=head)

    try:
        answer = asyncio.run(post())
        told = answer.json()
    except Exception as error:
        return {
            "finding": f"{type(error).__name__} of the service",
            "trace": traceback.format_exc()[-3000:],
            "code": "traceback",
        }
    fine = answer.status_code in (200, 400, 413, 422) and (
        answer.status_code == 200 or set(told) == {"error"}
    )
    return {
        "code": answer.status_code,
        **({} if fine else {"finding": f"status {answer.status_code}"}),
    }


def write_result(results: dict[str, Any]) -> None:
    """Keep the figures, beside those of kinds that were left out now."""
    from invlearn.runtime.environment import commit, machine

    told = {"machine": machine(), "commit": commit(), "limits": {"seconds": SECONDS, "mib": MIB}}
    file = HERE / "fuzz.json"
    before = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(before | told | results, indent=1) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
