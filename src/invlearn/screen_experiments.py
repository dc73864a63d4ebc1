"""What a person sees of experiments: one table a group, a tally, and where the rest is."""

from pathlib import Path
from typing import TYPE_CHECKING

from invlearn.screen import NO_LOSS, SHOWN, console, ends, number_table, short

if TYPE_CHECKING:
    from invlearn.experiments.results import Group, Method, Results

MARKS = {"win": "+", "tie": "=", "loss": "-"}
GROUPS_IN_FULL = 2
"""Groups of which every method is shown; of more, only the tally."""


def show_results(results: "Results", out: Path) -> None:
    """Print what an experiment found, as much of it as fits a screen."""
    for group in results.groups[:GROUPS_IN_FULL] if len(results.groups) <= GROUPS_IN_FULL else ():
        _show_group(group, results.reference)
    _show_tally(results)
    failed = [m for g in results.groups for m in g.methods.values() if not m.means]
    if failed:
        console.print(f"  {len(failed)} cells have no result, since every training failed.")
    console.print(f"Wrote {out}: tables in {out / 'results.md'}, all of it in results.json.")


def show_page(page: Path) -> None:
    """Print the verdict of the page about the paper."""
    text = page.read_text(encoding="utf-8")
    verdict = text.partition("## The verdict")[2].partition("\n## ")[0].strip()
    console.print(verdict.replace("**", ""))
    console.print(f"\nWrote {page}; its data and plots are in {page.with_suffix('')}.")


def _show_group(group: "Group", reference: str) -> None:
    title = f"{group.title}: means over seeds, below the difference from {reference}"
    found = number_table(title, "", SHOWN)
    for method in (*group.methods.values(), *group.baselines.values()):
        found.add_row(method.name, *(_cell(method, metric) for metric in SHOWN))
    console.print(found)


def _cell(method: "Method", metric: str) -> str:
    if metric not in method.means or (metric == "log_loss" and method.name in NO_LOSS):
        return ""
    mean, difference = method.means[metric], method.differences.get(metric)
    if difference is None:
        return short(mean.value)
    mark = MARKS[method.outcome(metric)]
    return f"{short(mean.value)} {mark}\n{ends(difference.low, difference.high, '+')}"


def _show_tally(results: "Results") -> None:
    groups = f"{len(results.groups)} table{'s' if len(results.groups) > 1 else ''}"
    title = f"Wins / ties / losses against {results.reference}, {groups}"
    found = number_table(title, "", SHOWN)
    tallies = {metric: results.tally(metric) for metric in SHOWN}
    for name in next(iter(tallies.values())):
        cells = (
            ""
            if metric == "log_loss" and name in NO_LOSS
            else " / ".join(str(n) for n in tallies[metric].get(name, {}).values())
            for metric in SHOWN
        )
        found.add_row(name, *cells)
    console.print(found)
    console.print(
        "  A win or a loss is a 95 % interval, paired by user and by seed, on one side of 0."
    )
