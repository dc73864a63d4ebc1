"""How `invlearn prepare` grows with the log: time and peak memory of the whole process.

    python benchmarks/prepare.py --work /tmp/prepare [--rows 100000000] [--quick]

Writes a video-feed log of that many rows as Parquet files (users and items of realistic skew,
some pairs shown again and again), unless it is there already, and prepares it in a process of its
own. Beside it, as the floor, another process scans the same columns with Polars and counts. Prints
times and peak resident memory as the operating system accounts for the finished process, and
writes `benchmarks/prepare.json`. `--quick` is a hundredth of the rows, and writes nothing there.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl

HERE = Path(__file__).parent
FILE_ROWS = 5_000_000
START_MS, SPAN_MS = 1_704_067_200_000, 28 * 24 * 3_600_000
RULE = "play_time_ms / duration_ms >= 1.5, < 0.3"
OPTIONS = ["--user", "user_id", "--item", "video_id", "--time", "timestamp", "--rule", RULE]
FLOOR = """
import sys, polars as pl
columns = pl.col("user_id", "video_id", "timestamp", "play_time_ms", "duration_ms")
rows = pl.scan_parquet(sys.argv[1] + "/*.parquet")
print(rows.select(columns.count()).collect(engine="streaming"))
"""


def main() -> None:
    """Make the log, run both processes, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    n_rows = given.rows // 100 if given.quick else given.rows
    log, data = given.work / f"log-{n_rows}", given.work / "data"
    if not log.is_dir():
        write_log(log, n_rows)
    invlearn = str(Path(sys.executable).with_name("invlearn"))
    commands = {
        "scan": [sys.executable, "-c", FLOOR, str(log)],
        "prepare": [invlearn, "prepare", str(log), "--out", str(data), "--overwrite", *OPTIONS],
    }
    figures = {name: timed(words) for name, words in commands.items()}
    print(f"{'':9}{'rows':>13}{'wall s':>8}{'cpu s':>7}{'peak MiB':>10}{'rows/s':>12}{'x scan':>8}")
    for name, found in figures.items():
        found["rows_per_second"] = n_rows / found["wall_seconds"]
        ratio = found["wall_seconds"] / figures["scan"]["wall_seconds"]
        print(
            f"{name:9}{n_rows:13,}{found['wall_seconds']:8.1f}{found['cpu_seconds']:7.0f}"
            f"{found['peak_mib']:10,.0f}{found['rows_per_second']:12,.0f}{ratio:8.1f}"
        )
    if not given.quick:
        write_result(n_rows, log, data, figures)


def write_log(folder: Path, n_rows: int) -> None:
    """Write the log, file by file, under a temporary name until it is whole."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    n_users, n_items = max(n_rows // 100, 100), max(n_rows // 300, 100)
    draw = np.random.default_rng(0)
    names = pl.Series([f"u{number:07d}" for number in draw.permutation(n_users)])
    videos = draw.permutation(n_items)
    durations = np.exp(draw.normal(np.log(20_000), 0.8, n_items)).clip(3_000, 600_000)
    durations = durations.astype(np.int64)
    for number, start in enumerate(range(0, n_rows, FILE_ROWS)):
        rows = np.arange(start, min(start + FILE_ROWS, n_rows))
        items = skewed(draw.random(len(rows)), n_items, 0.1, 20)
        duration = durations[items]
        context = duration * np.exp(draw.normal(-0.3, 1.0, len(rows)))
        frame = pl.DataFrame(
            {
                "user_id": names.gather(skewed(draw.random(len(rows)), n_users, 0.4, 500)),
                "video_id": videos[items],
                "timestamp": START_MS + rows * SPAN_MS // n_rows,
                "duration_ms": duration,
                "play_time_ms": context.astype(np.int64),
            }
        )
        frame.write_parquet(partial / f"part-{number:05d}.parquet")
    partial.rename(folder)


def skewed(uniform: np.ndarray, n: int, flatness: float, head: float) -> np.ndarray:
    """Numbers in [0, n), of which `x` is as frequent as `(x + head) ** (flatness - 1)`."""
    low, high = head**flatness, (n + head) ** flatness
    return ((low + uniform * (high - low)) ** (1 / flatness) - head).astype(np.int64).clip(0, n - 1)


def timed(words: list[str]) -> dict:
    """Run a command; its wall and processor seconds, and its peak resident memory."""
    started = perf_counter()
    process = os.posix_spawn(
        words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, 1, 0)]
    )
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"{' '.join(words)} failed with {os.waitstatus_to_exitcode(status)}")
    return {
        "wall_seconds": perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def write_result(n_rows: int, log: Path, data: Path, figures: dict) -> None:
    """Add this size to `prepare.json`, beside the sizes measured before it."""
    from invlearn.runtime.environment import commit, machine

    file = HERE / "prepare.json"
    result = json.loads(file.read_text()) if file.is_file() else {}
    card = json.loads((data / "data.json").read_text())
    result[str(n_rows)] = {
        "machine": machine(),
        "commit": commit(),
        "log_mib": sum(part.stat().st_size for part in log.iterdir()) / 2**20,
        "n_users": card["n_users"],
        "n_items": card["n_items"],
        "rows": card["rows"],
        "figures": figures,
    }
    by_size = sorted(result.items(), key=lambda entry: int(entry[0]))
    file.write_text(json.dumps(dict(by_size), indent=1) + "\n")


if __name__ == "__main__":
    main()
