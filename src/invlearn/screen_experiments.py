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
    in_full = len(results.groups) <= GROUPS_IN_FULL
    for group in results.groups if in_full else ():
        _show_group(group, results.reference)
    if len(results.groups) > 1:
        _show_tally(results)
    marks = "A mark" if in_full else "A win or a loss"
    console.print(
        f"  {marks} goes by the 95 % interval of the difference from {results.reference}, paired\n"
        "  by user and by seed: "
        + ("+ better, - worse, = neither." if in_full else "all of it lies on one side of 0.")
    )
    _show_failures(results)
    console.print(f"Wrote {out}: every table is in results.md, all figures in results.json.")


def show_page(page: Path) -> None:
    """Print the verdict of the page about the paper."""
    text = page.read_text(encoding="utf-8")
    verdict = text.partition("## The verdict")[2].partition("\n## ")[0].strip()
    console.print(verdict.replace("**", ""), markup=False)
    console.print(f"\nWrote {page}; its data and plots are in {page.with_suffix('')}.")


def _show_group(group: "Group", reference: str) -> None:
    title = f"{group.title}: means, below them the difference from {reference}"
    found = number_table(title, "", SHOWN)
    for method in (*group.methods.values(), *group.baselines.values()):
        found.add_row(method.name, *(_cell(method, metric) for metric in SHOWN))
    console.print(found)


def _cell(method: "Method", metric: str) -> str:
    if metric == "log_loss" and method.name in NO_LOSS:
        return ""
    if metric not in method.means:
        return "-"
    mean, difference = method.means[metric], method.differences.get(metric)
    if difference is None:
        return f"{short(mean.value)}  "
    mark = MARKS[method.outcome(metric)]
    return f"{short(mean.value)} {mark}\n{ends(difference.low, difference.high, '+')}"


def _show_tally(results: "Results") -> None:
    title = f"Wins / ties / losses against {results.reference}, {len(results.groups)} tables"
    found = number_table(title, "", SHOWN)
    tallies = {metric: results.tally(metric) for metric in SHOWN}
    for name in next(iter(tallies.values())):
        cells = (
            ""
            if metric == "log_loss" and name in NO_LOSS
            else " / ".join(str(n) for n in tallies[metric][name].values())
            for metric in SHOWN
        )
        found.add_row(name, *cells)
    console.print(found)


def _show_failures(results: "Results") -> None:
    """Say what is missing from the tables, and how many trainings failed on the way."""
    methods = [method for group in results.groups for method in group.methods.values()]
    trainings = [t for method in methods for t in (*method.trials, *method.records)]
    if failed := sum(training.state == "failed" for training in trainings):
        console.print(f"  {failed} of {len(trainings)} trainings failed; results.md says why.")
    if empty := sum(not method.means for method in methods):
        word = "method has" if empty == 1 else "methods have"
        console.print(f"  {empty} {word} no result in a table, since every training failed.")
