"""The same log prepared by Polars, DuckDB and Spark: the same bytes, in what time and memory.

    python benchmarks/engines.py --work /tmp/engines [--rows 100000000] [--memory 3GiB] [--quick]
        [--engine polars --engine duckdb --engine spark]

Writes the log of `prepare.py` unless it is there already, and prepares it with each engine in
processes of its own: DuckDB and Spark (on this machine) with `--memory`. Memory is what all these
processes, Java's among them, hold at once, looked at ten times a second; pages that two of them
share count twice. Compares the checksums of all files, also with those of engines that were
measured before in this folder, and writes `benchmarks/engines.json`. `--quick` is a hundredth of
the rows, and writes nothing there.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter, sleep

from prepare import OPTIONS, write_log

HERE = Path(__file__).parent
ENGINES = ["polars", "duckdb", "spark"]
PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Make the log, prepare it by each engine, and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--memory", default="3GiB")
    parser.add_argument("--engine", action="append", choices=ENGINES)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    n_rows = given.rows // 100 if given.quick else given.rows
    log = given.work / f"log-{n_rows}"
    if not log.is_dir():
        write_log(log, n_rows)
    figures, cards = {}, {}
    for engine in given.engine or ENGINES:
        data = given.work / f"data-{engine}-{n_rows}"
        words = [str(Path(sys.executable).with_name("invlearn")), "prepare", str(log)]
        words += ["--out", str(data), "--overwrite", *OPTIONS, "--engine", engine]
        limit = [] if engine == "polars" else ["--memory", given.memory]
        figures[engine] = measured([*words, *limit]) | {"memory": limit[-1] if limit else None}
        figures[engine]["load_average"] = os.getloadavg()
        print(
            f"{engine:8}{n_rows:14,}"
            + "{wall_seconds:9.1f} s{peak_mib:9,.0f} MiB".format(**figures[engine]),
            flush=True,
        )
    for engine in ENGINES:
        card = given.work / f"data-{engine}-{n_rows}" / "data.json"
        if card.is_file():
            cards[engine] = json.loads(card.read_text())
            print(engine, cards[engine]["fingerprint"])
    same = len({json.dumps(card["files"]) for card in cards.values()}) == 1
    print("the files are the same" if same else "THE FILES DIFFER")
    if not given.quick:
        write_result(n_rows, figures, cards, same=same)
    sys.exit(not same)


def measured(words: list[str]) -> dict:
    """Run a command in a session of its own; its wall seconds, and the peak memory of all in it."""
    started, peak = perf_counter(), 0
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        sleep(0.1)
    if process.returncode:
        sys.exit(f"{' '.join(words)} failed with {process.returncode}")
    return {"wall_seconds": perf_counter() - started, "peak_mib": peak / 2**20}


def resident(session: int) -> int:
    """Bytes that the processes of a session hold in memory."""
    total = 0
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(") ")[2].split()
        except OSError:  # no process, or one that has just ended
            continue
        if int(fields[3]) == session:
            total += int(fields[21]) * PAGE
    return total


def write_result(n_rows: int, figures: dict, cards: dict, *, same: bool) -> None:
    """Add this size to `engines.json`, beside the sizes measured before it."""
    from invlearn.runtime.environment import commit, machine

    file = HERE / "engines.json"
    result = json.loads(file.read_text()) if file.is_file() else {}
    known = result.get(str(n_rows), {}).get("figures", {})
    result[str(n_rows)] = {
        "machine": machine(),
        "commit": commit(),
        "fingerprints": {engine: card["fingerprint"] for engine, card in cards.items()},
        "same_files": same,
        "figures": known | figures,
    }
    by_size = sorted(result.items(), key=lambda entry: int(entry[0]))
    file.write_text(json.dumps(dict(by_size), indent=1) + "\n")


if __name__ == "__main__":
    main()
