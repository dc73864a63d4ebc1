"""What the service of a run can take: many clients at once, for a minute.

    python benchmarks/serving.py [--quick]

A run of the size of MovieLens-1M (simulated: 6,040 users, 3,706 items; mf of 32 factors), served by
`invlearn serve` in a process of its own, on one thread. One client asks alone, a thousand times;
then fifty clients, threads of this process with a connection each, ask without a pause: four of
five requests want the 10 best items of a user, one the logits of 100 pairs. Every answer is looked
at. Beside it stands what the model takes for the same requests without HTTP, on one thread too, in
this process. Memory of the service is read from the system before, at half time and at the end.

Writes `benchmarks/serving.json`. About a minute and a half; `--quick` asks for five seconds and
writes nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from itertools import islice
from pathlib import Path
from time import perf_counter, sleep

import httpx
import numpy as np
import polars as pl
import torch

from invlearn.data.prepare.prepare import prepare
from invlearn.data.simulation.simulate import simulate
from invlearn.inference.recommend.recommendation import Recommender
from invlearn.inference.serving.handlers import Handlers
from invlearn.inference.serving.schemas import RecommendRequest, ScoreRequest
from invlearn.runtime.environment import commit, machine
from invlearn.training.run import Run, train

CLIENTS, SECONDS, BARE_REQUESTS, ALONE_REQUESTS = 50, 60.0, 2_000, 1_000
USERS, ITEMS, ROWS, PAIRS = 6_040, 3_706, 1_000_000, 100
RULE = "play_time_ms / duration_ms >= 1.5, < 0.3"
HERE = Path(__file__).parent


def main() -> None:
    """Measure, print, and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        run = made_run(Path(place), quick=quick)
        bare = bare_times(run)
        served = served_times(run, 5.0 if quick else SECONDS)
    load = os.getloadavg()
    result = {
        "machine": machine(),
        "commit": commit(),
        "note": "one run; the machine is shared, and load_average says how busy it was meanwhile",
        "load_average": load,
        "size": {"users": run.card.n_users, "items": run.card.n_items},
        "clients": CLIENTS,
        "bare_model_ms": bare,
        "service": served,
    }
    print(json.dumps(result, indent=1))
    if not quick:
        (HERE / "serving.json").write_text(json.dumps(result, indent=1) + "\n")


def made_run(place: Path, *, quick: bool) -> Run:
    """A trained run; one epoch is enough."""
    share = 10 if quick else 1
    simulate(place / "log", users=USERS // share, items=ITEMS // share, rows=ROWS // share)
    columns = {"user": "user_id", "item": "video_id"}
    prepare(place / "log", place / "data", rule=RULE, **columns)
    return train(place / "data", place / "run", backbone="mf", epochs=1)


def requests_of(run: Run, seed: int):
    """Requests without an end: path and body."""
    rng = np.random.default_rng(seed)
    files = (run.folder / f"{kind}.parquet" for kind in ("users", "items"))
    users, items = (pl.read_parquet(file)["id"].to_list() for file in files)
    while True:
        if rng.random() < 0.8:
            yield "/recommend", {"users": [users[rng.integers(len(users))]], "k": 10}
        else:
            drawn = (rng.integers(len(ids), size=PAIRS) for ids in (users, items))
            yield "/score", {"pairs": [(users[u], items[i]) for u, i in zip(*drawn, strict=True)]}


def bare_times(run: Run) -> dict:
    """Milliseconds of the model for the same requests, without HTTP and one after the other."""
    handlers = Handlers(Recommender.of(run))
    spent: dict[str, list[float]] = {"/recommend": [], "/score": []}
    for path, body in islice(requests_of(run, 0), BARE_REQUESTS):
        started = perf_counter()
        if path == "/score":
            handlers.score(ScoreRequest.model_validate(body))
        else:
            handlers.recommend(RecommendRequest.model_validate(body))
        spent[path].append(1000 * (perf_counter() - started))
    return {path: quantiles(times) for path, times in spent.items()}


def served_times(run: Run, seconds: float) -> dict:
    """Milliseconds of requests of all clients, errors, and the memory of the service."""
    command = [sys.executable, "-c", "from invlearn.cli.main import main; main()", "serve"]
    service = subprocess.Popen(
        [*command, str(run.folder), "--port", "0"],
        stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    )  # fmt: skip
    try:
        address = service.stdout.readline().partition(" at ")[2].partition(";")[0]
        clients = [Client(run, address, number) for number in range(CLIENTS)]
        clients[0].ask(5)  # what is made once
        clients[0].times.clear()
        clients[0].ask(ALONE_REQUESTS)
        alone = quantiles(clients[0].times)
        before = resident_mib(service.pid)
        threads = [threading.Thread(target=one.work, args=(seconds,)) for one in clients]
        for thread in threads:
            thread.start()
        sleep(seconds / 2)
        halfway = resident_mib(service.pid)
        for thread in threads:
            thread.join()
        after = resident_mib(service.pid)
    finally:
        service.terminate()
        service.wait()
    times = [time for one in clients for time in one.times]
    return {
        "seconds": seconds,
        "requests": len(times),
        "requests_per_second": len(times) / seconds,
        "errors": sum(one.errors for one in clients),
        "alone_ms": alone,
        "ms": quantiles(times),
        "resident_mib": {"before": before, "half_time": halfway, "after": after},
        "exit_code": service.returncode,
    }


class Client:
    """Asks again and again over one connection."""

    def __init__(self, run: Run, address: str, seed: int) -> None:
        self.requests, self.address = requests_of(run, seed), address
        next(self.requests)
        self.times, self.errors = [], 0

    def work(self, seconds: float) -> None:
        """Ask for some seconds."""
        self.times.clear()
        self.ask(seconds=seconds)

    def ask(self, n: int | None = None, *, seconds: float = 60.0) -> None:
        """Ask `n` times, or for some seconds."""
        end = perf_counter() + seconds
        with httpx.Client(base_url=self.address, timeout=30) as client:
            while perf_counter() < end and (n is None or len(self.times) < n):
                path, body = next(self.requests)
                started = perf_counter()
                try:
                    answer = client.post(path, json=body)
                    right = answer.status_code == 200 and is_whole(path, answer.json())
                except httpx.HTTPError:
                    right = False
                self.times.append(1000 * (perf_counter() - started))
                self.errors += not right


def is_whole(path: str, answer: dict) -> bool:
    """Whether an answer has all that was asked for."""
    if path == "/score":
        return len(answer["logits"]) == PAIRS and None not in answer["logits"]
    return len(answer["lists"][0]["items"]) == 10


def quantiles(times: list[float]) -> dict:
    """Median, 99th percentile and maximum."""
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return {"p50": round(p50, 2), "p99": round(p99, 2), "max": round(max(times), 2)}


def resident_mib(pid: int) -> float:
    """Memory that a process holds now (Linux)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return round(int(text.partition("VmRSS:")[2].split()[0]) / 1024, 1)


if __name__ == "__main__":
    main()
