"""Training on more rows than a memory limit has room for, beside the same training without a limit.

    python benchmarks/memory.py --work FOLDER [--rows 400000000] [--limit 800] [--quick]

Writes a dataset of 200,000 users and 100,000 items, half of its rows unlabelled, and trains an
epoch of GMF with `ig` on it twice: in a memory control group (version 1 or 2, for which the script
must be root) whose limit in MiB counts the pages of mapped files, too, and free. Before each
training the dataset's pages are put out of memory. Prints the bytes of the columns, what the group
held at most, seconds, and whether the weights are the same; writes `benchmarks/memory.json` unless
`--quick` (a fiftieth of the rows).
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl

from invlearn.data.parts import Part, write_card, write_parts
from invlearn.runtime.atomic import new_folder
from invlearn.runtime.environment import commit, machine

HERE = Path(__file__).parent
GROUPS = Path("/sys/fs/cgroup")
N_USERS, N_ITEMS, PIECE = 200_000, 100_000, 4_000
SHARES = {"unlabelled": 0.5, "valid": 0.001, "test": 0.001}
CONFIG = {"backbone": "gmf", "model": {"dim": 8}, "strategy": "ig", "epochs": 1}
CONFIG |= {"batch_size": 16384, "compile": "off"}


def main() -> None:
    """Make the dataset, train with and without a limit, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=400_000_000)
    parser.add_argument("--limit", type=int, default=800)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    n_rows = given.rows // 50 if given.quick else given.rows
    dataset = given.work / f"rows-{n_rows}"
    if not dataset.is_dir():
        write_dataset(dataset, n_rows // N_USERS)
    columns = sum(file.stat().st_size for file in dataset.glob("*.npy"))
    result = {"machine": machine(), "commit": commit(), "rows": n_rows, "columns_bytes": columns}
    for way, room in (("limited", given.limit), ("free", None)):
        found = trained(dataset, given.work / way, room)
        result[way] = found
        print(
            f"{way:9}{n_rows:14,} rows{columns / 2**20:8,.0f} MiB of columns"
            f"{found['group_bytes'] / 2**20:9,.0f} MiB held at most{found['seconds']:8.0f} s"
            f"  AUC {found['auc']:.4f}",
            flush=True,
        )
    same = result["limited"]["weights"] == result["free"]["weights"]
    print("the weights are the same" if same else "THE WEIGHTS DIFFER")
    if not given.quick:
        (HERE / "memory.json").write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(not same)


def write_dataset(out: Path, per_user: int) -> None:
    """A dataset with something to learn: a user of one kind likes two kinds of items in five."""
    sizes = dict.fromkeys(("train", *SHARES), 0)
    for parts in pieces(per_user):
        for name, part in parts.items():
            sizes[name] += len(part)
    with new_folder(out, overwrite=True, marker="data.json") as folder:
        for name, n in (("users", N_USERS), ("items", N_ITEMS)):
            pl.DataFrame({"id": np.arange(n)}).write_parquet(folder / f"{name}.parquet")
        write_parts(folder, sizes, pieces(per_user))
        write_card(folder, {"n_users": N_USERS, "n_items": N_ITEMS})


def pieces(per_user: int) -> Iterator[dict[str, Part]]:
    """Rows of all parts, some users after others, items evenly apart."""
    random = np.random.default_rng(0)
    apart = N_ITEMS // per_user
    for first in range(0, N_USERS, PIECE):
        users = np.repeat(np.arange(first, first + PIECE, dtype=np.int32), per_user)
        items = np.tile(np.arange(per_user, dtype=np.int32) * apart, PIECE)
        items += random.integers(apart, size=len(items), dtype=np.int32)
        likes = ((users * 7 + items * 3) % 5 < 2) ^ (random.random(len(users)) < 0.15)
        edges = np.cumsum(list(SHARES.values()))
        chosen = np.searchsorted(edges, random.random(len(users)), side="right")
        parts = {}
        for number, name in enumerate((*SHARES, "train")):
            of = chosen == number
            labels = likes[of] if name != "unlabelled" else likes[:0]
            parts[name] = Part(users[of], items[of], labels.astype(np.int8))
        yield parts


def trained(dataset: Path, out: Path, limit: int | None) -> dict:
    """Train in a control group, with a limit in MiB or none, from a cold start."""
    for file in dataset.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)  # only pages that are on disk can be put out
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    is_first = (GROUPS / "memory").is_dir()  # version of control groups
    group = (GROUPS / "memory" if is_first else GROUPS) / f"invlearn-{os.getpid()}"
    group.mkdir()
    names = {"limit": "memory.limit_in_bytes", "peak": "memory.max_usage_in_bytes"}
    names = names if is_first else {"limit": "memory.max", "peak": "memory.peak"}
    if limit is not None:
        (group / names["limit"]).write_text(str(limit << 20))
    config = out.with_suffix(".yaml")
    config.write_text(json.dumps(CONFIG))
    command = [sys.executable, "-m", "invlearn", "train", str(dataset), "--config", str(config)]
    started = perf_counter()
    try:
        subprocess.run(
            [*command, "--out", str(out), "--overwrite"],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: (group / "cgroup.procs").write_text("0"),
        )
        seconds = perf_counter() - started
        peak = int((group / names["peak"]).read_text())
    finally:
        group.rmdir()
    (weights,) = out.glob("checkpoints/*/weights.safetensors")
    return {
        "limit_mib": limit,
        "group_bytes": peak,
        "seconds": seconds,
        "auc": json.loads((out / "test.json").read_text())["auc"],
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }


if __name__ == "__main__":
    main()
