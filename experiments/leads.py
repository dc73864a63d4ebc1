"""By how much one method leads the others in every cell that is committed, as one Markdown table.

    python experiments/leads.py experiments/recommended
    python experiments/leads.py experiments/ig_sample --each

Reads what `curves.py` wrote. The lead is over the best other method or baseline by mean test
AUC (random left out); its interval, and wins, ties and losses against all others, are those of the
paired differences of AUC. With `--each`, every other method's difference has a column instead.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

ORDER = ("ml-1m", "ml-100k", "kuairec", "kuairand")
HEAD = ("data", "labels", "AUC", "GAUC", "best other", "its AUC", "lead", "95 % interval",
        "wins / ties / losses", "seconds a run")  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", action="store_true")
    given = parser.parse_args()
    print((of_method if given.each else table)(given.folder))


def table(folder: Path) -> str:
    """The lead over the best other in each cell."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|"]
    return "\n".join([*lines, *(line(*cell) for cell in cells(folder))])


def cells(folder: Path) -> Iterator[tuple[str, float, list[dict], str]]:
    """Dataset, share of labels, rows and reference of each cell."""
    for dataset in (name for name in ORDER if (folder / f"{name}.json").exists()):
        found = json.loads((folder / f"{dataset}.json").read_text())
        for share in sorted({row["label_share"] for row in found["rows"]}):
            rows = [row for row in found["rows"] if row["label_share"] == share]
            yield dataset, share, rows, found["reference"]


def of_method(folder: Path) -> str:
    """The differences of every other method from the reference in each cell."""
    every = [*cells(folder)]
    names = [row["method"] for row in every[0][2] if not row["trivial"]]
    reference = every[0][3]
    others = [name for name in names if name != reference]
    lines = [
        "| " + " | ".join(["data", "labels", reference, *others, "chosen"]) + " |",
        "|---|--:|--:|" + "--:|" * len(others) + "---|",
    ]
    for dataset, share, rows, _ in every:
        by_name = {row["method"]: row for row in rows}
        own = by_name[reference]
        chosen = own["settings"]
        words = f"{chosen.get('method.policy', '')} {chosen.get('method.weight', '')}"
        found = [difference(by_name[name]) for name in others]
        columns = [dataset, f"{share:.0%}", f"{own['auc']['mean']:.4f}", *found, words]
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines)


def difference(row: dict) -> str:
    """A method's difference of AUC from the reference, bold where its interval leaves 0 out."""
    value, low, high = row["auc"]["difference"]
    words = f"{value:+.4f} ({low:+.4f} to {high:+.4f})"
    return words if row["auc"]["outcome"] == "tie" else f"**{words}**"


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
