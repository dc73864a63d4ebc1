"""One epoch of the inverse gradient at the size of the paper's Micro Video data, simulated.

    python benchmarks/micro_video.py --work /tmp/micro-video [--epochs 1]

37,692 users, 131,690 items, about 9.46 million labelled rows (52 % positive) and as many unclear
ones as the simulator makes. Prints wall time and peak resident memory of each command, as the
operating system accounts for the finished process, and writes `benchmarks/micro_video.json`.
A few minutes on two cores, 1 GB of disk.
"""

import argparse
import json
import os
import platform
import shlex
import sys
from pathlib import Path
from time import perf_counter

COMMANDS = {
    "simulate": "invlearn simulate log --users 37692 --items 131690 --rows 14850000 --overwrite",
    "prepare": "invlearn prepare log --user user_id --item video_id --time timestamp "
    "--rule 'play_time_ms / duration_ms >= 1, < 0.55' --out data --overwrite",
    "train none": "invlearn train data --strategy none --store row --epochs {epochs} --out none "
    "--overwrite",
    "train ig": "invlearn train data --strategy ig --store row --epochs {epochs} --out ig "
    "--overwrite",
}
HERE = Path(__file__).parent


def main() -> None:
    """Run every command as a process of its own and account for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    os.chdir(given.work)
    figures = {name: timed(text.format(epochs=given.epochs)) for name, text in COMMANDS.items()}
    card = json.loads(Path("data/data.json").read_text())
    for run in ("none", "ig"):
        epoch = json.loads(Path(run, "epochs.jsonl").read_text().splitlines()[0])
        figures[f"train {run}"] |= {
            name: epoch[name]
            for name in ("steps", "train_seconds", "validate_seconds", "pairs_per_second")
        }
    machine = {"cpus": os.cpu_count(), "machine": platform.machine()}
    result = {"machine": machine, "rows": card["rows"], "figures": figures}
    (HERE / "micro_video.json").write_text(json.dumps(result, indent=1) + "\n")
    print(f"{'command':12}{'wall s':>8}{'peak MiB':>10}{'epoch s':>9}{'pairs/s':>10}")
    for name, found in figures.items():
        epoch = ""
        if "steps" in found:
            epoch = f"{found['train_seconds']:9.1f}{found['pairs_per_second']:10,.0f}"
        print(f"{name:12}{found['wall_seconds']:8.1f}{found['peak_mib']:10.0f}{epoch}")


def timed(command: str) -> dict:
    """Run an `invlearn` command; its wall seconds and peak resident memory."""
    words = shlex.split(command)
    program = str(Path(sys.executable).with_name(words[0]))
    started = perf_counter()
    process = os.spawnv(os.P_NOWAIT, program, [program, *words[1:]])
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"{command} failed with {os.waitstatus_to_exitcode(status)}")
    return {
        "command": command,
        "wall_seconds": perf_counter() - started,
        "peak_mib": usage.ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
