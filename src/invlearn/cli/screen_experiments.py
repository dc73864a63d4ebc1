"""What a person sees of experiments: one table a group, a tally, and where the rest is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from invlearn.cli.display import SHOWN, console, ends, number_table, short
from invlearn.evaluation.baselines import NO_LOSS
from invlearn.runtime.text import counted

if TYPE_CHECKING:
    from invlearn.experiments.advise import Advice, Finding
    from invlearn.experiments.results import Group, Method, Results

MARKS = {"win": "+", "tie": "=", "loss": "-"}
GROUPS_IN_FULL = 2
"""Groups of which every metric is shown; of more, AUC and the tally."""
STRONG = ("item+user-rate", "exposure-factors")
"""Trivial baselines that are shown where there is little room."""
ADVISED = ("auc", "gauc", "ndcg@10")
"""Metrics of an advice."""
COLUMNS = 3
"""Groups that stand side by side."""


def show_results(results: "Results", out: Path) -> None:
    """Print what an experiment found, as much of it as fits a screen."""
    if len(results.groups) <= GROUPS_IN_FULL:
        for group in results.groups:
            _show_group(group, results.reference)
    else:
        _show_sweeps(results)
        _show_tally(results)
    console.print(
        f"  A mark goes by the 95 % interval of the difference from {results.reference}:\n"
        "  + better, - worse, = neither; docs/experiments.md says what it covers."
    )
    for group in results.groups:
        if ahead := group.ahead_of_all("auc"):
            console.print(f"  {group.title}: every method is behind {ahead[0]} (AUC).")
    _show_failures(results)
    curves = ", curves as .svg" if any(out.glob("*.svg")) else ""
    console.print(f"Wrote {out}: every table is in results.md, all of it in results.json{curves}.")


def show_page(page: Path, summary: Sequence[str]) -> None:
    """Print the main comparisons of the page about the paper, and where the page is."""
    for line in summary:
        console.print(line, markup=False)
    console.print(f"Wrote {page}; its data and plots are in {page.with_suffix('')}.")


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


def _show_sweeps(results: "Results") -> None:
    """Print AUC by what was done to the labels, a table for each dataset and backbone."""
    lines: dict[tuple[str, str], list[Group]] = {}
    for group in results.groups:
        lines.setdefault((group.dataset, group.backbone), []).append(group)
    for (dataset, backbone), groups in lines.items():
        for start in range(0, len(groups), COLUMNS):
            some = groups[start : start + COLUMNS]
            heads = ["\n".join(group.weakening) or "all labels" for group in some]
            found = number_table(f"{dataset}, {backbone}: AUC", "", heads)
            for name in (*some[0].methods, *STRONG):
                methods = [(group.methods | group.baselines)[name] for group in some]
                found.add_row(name, *(_marked(method, "auc") for method in methods))
            console.print(found)


def _marked(method: "Method", metric: str) -> str:
    if metric not in method.means:
        return "-  "
    mark = MARKS[method.outcome(metric)] if metric in method.differences else " "
    return f"{short(method.means[metric].value)} {mark}"


def _show_tally(results: "Results") -> None:
    title = (
        f"Wins / ties / losses against {results.reference}, {counted(len(results.groups), 'table')}"
    )
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
        console.print(
            f"  {failed} of {counted(len(trainings), 'training')} failed; results.md says why."
        )
    if empty := sum(not method.means for method in methods):
        have = counted(empty, "method has", "methods have")
        console.print(f"  {have} no result in a table, since every training failed.")


def show_advice(advice: "Advice", out: Path) -> None:
    """Print on one screen whether unclear rows help, by how much, and what to run next."""
    console.print(
        f"{advice.dataset}: {counted(advice.n_labelled, 'labelled training row')}, "
        f"{counted(advice.n_unlabelled, 'unclear one')}"
    )
    found = number_table("Test part, means over seeds", "", (*ADVISED, "seconds"))
    for method in (*advice.group.methods.values(), *advice.group.baselines.values()):
        if method.name in (*advice.group.methods, *STRONG):
            seconds = f"{method.effort.seconds:,.0f}" if method.effort else ""
            values = (short(method.means[m].value) if m in method.means else "-" for m in ADVISED)
            found.add_row(method.name, *values, seconds)
    console.print(found)
    answer = {"helps": "yes", "hurts": "no, they hurt", "unsure": "not for sure"}[advice.verdict]
    console.print(f"Do unclear rows help here? [bold]{answer}[/bold]")
    if advice.as_exposures is None:
        console.print("  As exposures: there are none; every row that was shown has a label.")
    else:
        _show_finding("As exposures (who was shown what)", advice.as_exposures)
    source = "shown, unclear" if advice.as_exposures else "sampled, never shown"
    if advice.as_pairs is None:
        console.print("  As training pairs: unknown, since trainings failed; results.md says why.")
    else:
        _show_finding(f"As training pairs ({source})", advice.as_pairs)
    lead = advice.lead.differences["auc"]
    console.print(
        f"Best: [bold]{advice.winner}[/bold], {lead.value:+.4f} ({lead.low:+.4f} to "
        f"{lead.high:+.4f}) over {advice.lead.than}"
    )
    console.print(
        "  Differences of AUC with 95 % intervals over users and seeds; see docs/choosing.md.\n"
        f"  All numbers are in {out / 'results.md'}."
    )
    console.print(f"Next: {advice.command}", soft_wrap=True)


def _show_finding(words: str, finding: "Finding") -> None:
    value, low, high = finding.differences["auc"]
    answer = {"helps": "yes", "hurts": "no, worse", "unsure": "not for sure"}[finding.verdict]
    console.print(
        f"  {words}: [bold]{answer}[/bold], {value:+.4f} ({low:+.4f} to {high:+.4f})\n"
        f"    {finding.better} over {finding.than}"
    )
