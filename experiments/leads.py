"""By how much one method leads the others in every cell that is committed, as one Markdown table.

    python experiments/leads.py experiments/recommended

Reads what `curves.py` wrote. The lead is over the best other method or baseline by mean test
AUC (random left out); its interval, and wins, ties and losses against all others, are those of the
paired differences of AUC.
"""

import argparse
import json
from pathlib import Path

ORDER = ("ml-1m", "ml-100k", "kuairec", "kuairand")
HEAD = ("data", "labels", "AUC", "GAUC", "best other", "its AUC", "lead", "95 % interval",
        "wins / ties / losses", "seconds a run")  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(table(parser.parse_args().folder))


def table(folder: Path) -> str:
    """The table of a folder."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|"]
    for dataset in (name for name in ORDER if (folder / f"{name}.json").exists()):
        found = json.loads((folder / f"{dataset}.json").read_text())
        shares = sorted({row["label_share"] for row in found["rows"]})
        for share in shares:
            rows = [row for row in found["rows"] if row["label_share"] == share]
            lines.append(line(dataset, share, rows, found["reference"]))
    return "\n".join(lines)


def line(dataset: str, share: float, rows: list[dict], reference: str) -> str:
    """One cell."""
    (own,) = (row for row in rows if row["method"] == reference)
    others = [r for r in rows if r["method"] not in (reference, "random") and r["auc"]]
    best = max(others, key=lambda row: row["auc"]["mean"])
    value, low, high = (-x for x in best["auc"]["difference"])
    outcomes = [row["auc"]["outcome"] for row in others]  # of the others
    counts = " / ".join(str(outcomes.count(name)) for name in ("loss", "tie", "win"))
    cells = (
        dataset,
        f"{share:.0%}",
        f"{own['auc']['mean']:.4f}",
        f"{own['gauc']['mean']:.4f}",
        best["method"],
        f"{best['auc']['mean']:.4f}",
        f"{value:+.4f}",
        f"{high:+.4f} to {low:+.4f}",
        counts,
        f"{own['effort']['seconds']:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
