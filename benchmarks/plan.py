"""Does a training take the memory that `invlearn plan` says?

    python benchmarks/plan.py --work FOLDER

Six shapes, simulated: small, many users, a wide perceptron, many rows, a backbone with auxiliary
models, two processes with cut tables. Each is planned in a process of its own that has loaded what
the command line loads, whose memory is part of the plan. A training of each is watched from
outside, a hundred times a second: its resident memory, less pages that are mapped from the
dataset's columns and from checkpoints, which are the system's to take back. Writes
`benchmarks/plan.json`.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import sleep

import invlearn
from invlearn.runtime.environment import commit, machine

HERE = Path(__file__).parent
RULE = "play_time_ms / duration_ms >= 1.5, < 0.3"
LOGS = {
    "small": (2_000, 1_000, 200_000),
    "many users": (2_000_000, 500_000, 4_000_000),
    "many rows": (100_000, 30_000, 20_000_000),
}
"""Users, items and rows of each simulated log."""
SHAPES = {
    "gmf, small": ("small", 1, {"backbone": "gmf", "strategy": "ig"}),
    "gmf, many users": ("many users", 1, {"backbone": "gmf", "strategy": "ig"}),
    "neumf of 64, many users": (
        "many users",
        1,
        {"backbone": "neumf", "model": {"dim": 64}, "strategy": "none"},
    ),
    "mf, many rows": ("many rows", 1, {"backbone": "mf", "strategy": "idl", "batch_size": 8192}),
    "co-teaching, many users": ("many users", 1, {"backbone": "mf", "strategy": "co-teaching"}),
    "gmf, cut over two": (
        "many users",
        2,
        {"backbone": "gmf", "strategy": "ig", "store": "sharded", "model": {"dim": 64}},
    ),
}
"""Log, processes and settings of each."""
PLAN = """
import sys
import invlearn.cli.main
from invlearn.training.capacity.memory_check import plan_for
dataset, config, n = sys.argv[1:]
print(plan_for(dataset, config=config, n_processes=int(n)).memory)
"""


def main() -> None:
    """Make the datasets, train, watch, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine(), "commit": commit(), "shapes": {}}
    for shape, (log, n, own) in SHAPES.items():
        dataset = prepared(given.work / log.replace(" ", "-"), *LOGS[log])
        options = {"epochs": 1, "compile": "off"} | own
        config = given.work / "run.yaml"
        config.write_text(json.dumps(options))
        planned = planned_for(dataset, config, n)
        measured = watched(dataset, config, n)
        result["shapes"][shape] = {"planned": planned, "measured": measured}
        print(
            f"{shape:26}{planned / 2**20:9,.0f} MiB planned{measured / 2**20:9,.0f} measured"
            f"{planned / measured - 1:+8.1%}",
            flush=True,
        )
        (HERE / "plan.json").write_text(json.dumps(result, indent=1) + "\n")


def prepared(folder: Path, users: int, items: int, rows: int) -> Path:
    """The dataset of a simulated log."""
    data = folder / "data"
    if not data.exists():
        invlearn.simulate(folder / "log", users=users, items=items, rows=rows)
        names = {"user": "user_id", "item": "video_id", "time": "timestamp"}
        invlearn.prepare(folder / "log", data, rule=RULE, **names)
    return data


def planned_for(dataset: Path, config: Path, n: int) -> float:
    """Bytes of memory that `invlearn plan` says."""
    command = [sys.executable, "-c", PLAN, str(dataset), str(config), str(n)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def watched(dataset: Path, config: Path, n: int) -> int:
    """Most bytes of memory that one of the processes of a training held."""
    out = config.with_suffix("")
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(n)] if n > 1 else []
    command = [sys.executable, *launcher, "-m", "invlearn", "train", str(dataset)]
    command += ["--config", str(config), "--out", str(out), "--overwrite"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    peak = 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            ids = workers(process.pid) if n > 1 else [process.pid]
            peak = max([peak, *(held(one) for one in ids)])
            sleep(0.01)
    assert process.returncode == 0
    return peak


def workers(launcher: int) -> list[int]:
    """Processes that a launcher has started."""
    with suppress(OSError):
        tasks = Path(f"/proc/{launcher}/task/{launcher}/children").read_text()
        return [int(one) for one in tasks.split()]
    return []


def held(process: int) -> int:
    """Bytes of resident memory, less what is mapped from columns of a dataset and checkpoints."""
    total = mapped = 0
    is_mapped = False
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                is_mapped = line.endswith((".npy", ".safetensors"))
            elif line.startswith("Rss:"):
                n_bytes = int(line.split()[1]) * 1024
                total += n_bytes
                mapped += n_bytes * is_mapped
    return total - mapped


if __name__ == "__main__":
    main()
