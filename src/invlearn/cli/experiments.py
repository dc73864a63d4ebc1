"""Commands that train many times: compare methods, advise, repeat the paper."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token

from invlearn.cli.display import (
    SHOWN,
    console,
    interval,
    is_hidden,
    number_table,
    progress_bars,
    short,
)
from invlearn.cli.options import FLAG, SEVERAL, Workers
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.interruption import interruptible
from invlearn.runtime.text import counted

if TYPE_CHECKING:
    from invlearn.experiments.advise import Advice, Finding
    from invlearn.experiments.results import Group, Method, Results

MARKS = {"win": "+", "tie": "=", "loss": "-"}
MAX_FULL_TABLES = 2
"""Most groups to show with every metric; more are shown as AUC and a tally."""
STRONG_BASELINES = ("item+user-rate", "exposure-factors")
"""Trivial baselines in the short tables."""
ADVICE_METRICS = ("auc", "gauc", "ndcg@10")
GROUPS_PER_TABLE = 3


def _numbers(_: Any, tokens: Sequence[Token]) -> list[float]:
    """Parse comma-separated numbers."""
    (token,) = tokens
    try:
        return [float(part) for part in token.value.split(",")]
    except ValueError:
        raise ConfigError(
            f"{token.keyword} takes comma-separated numbers, for example 0.01,0.05,1; found "
            f"'{token.value}'"
        ) from None


Way = Literal["printed", "released", "ablated", "tuned"]
Several = Annotated[list[str] | None, SEVERAL]
Numbers = Annotated[list[float] | None, Parameter(negative="", n_tokens=1, converter=_numbers)]


def compare(
    grid: Path | None = None,
    *,
    out: Path,
    datasets: Annotated[list[Path] | None, SEVERAL, Parameter(name="--dataset")] = None,
    backbones: Annotated[Several, Parameter(name="--backbone")] = None,
    strategies: Annotated[Several, Parameter(name="--strategy")] = None,
    label_shares: Annotated[Numbers, Parameter(name="--label-share")] = None,
    flip_positives: Numbers = None,
    flip_negatives: Numbers = None,
    trials: int | None = None,
    seeds: int | None = None,
    workers: Workers = 1,
) -> None:
    """Compare methods on equal terms: the same search for each, then new seeds, with intervals.

    Run the same command again after a stop: finished trainings are not repeated.

    Parameters
    ----------
    grid
        YAML file of the grid; options on the command line override it.
    out
        Experiment folder; created, or continued if it exists.
    datasets
        Dataset folders; the methods are compared on each.
    backbones
        Backbones; each is combined with every strategy.
    strategies
        Strategies; the first is the reference of the comparison.
    label_shares
        Shares of the training labels to keep, for example 0.01,0.05,0.2,0.5,1.
    flip_positives
        Fractions of the positive training labels to flip, for example 0,0.1.
    flip_negatives
        Fractions of the negative training labels to flip, for example 0,0.1.
    trials
        Search budget of each method, in trainings; 1 uses the defaults.
    seeds
        Number of new seeds to report.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    from invlearn.experiments.compare import compare as work

    if grid and grid.is_dir():
        raise ConfigError(
            f"{grid} is a folder, and a grid is a YAML file; name datasets with --dataset"
        )
    grid_or_empty = given.pop("grid", {})
    with progress_bars() as progress, interruptible() as should_stop:
        results = work(grid_or_empty, **given, progress=progress, should_stop=should_stop)
    _show_results(results, out)


def advise(
    dataset: Path,
    *,
    out: Path | None = None,
    trials: int = 6,
    seeds: int = 3,
    workers: Workers = 1,
) -> None:
    """Measure whether unclear feedback helps on a dataset, and recommend what to run next.

    This is a small comparison of fixed size. Run the same command again after a stop.

    Parameters
    ----------
    dataset
        Dataset folder.
    out
        Experiment folder, default: advice-DATASET; created, or continued if it exists.
    trials
        Trainings per search.
    seeds
        Number of new seeds per method.
    """
    given = locals()
    from invlearn.experiments.advise import advise as work

    given["out"] = out = out or Path(f"advice-{dataset.resolve().name}")
    with progress_bars() as progress, interruptible() as should_stop:
        advice = work(**given, progress=progress, should_stop=should_stop)
    _show_advice(advice, out)


def reproduce(
    what: Literal["table2", "figure3", "figure4", "figure5", "figure6", "all"],
    *,
    data: Path,
    out: Path = Path("paper"),
    page: Path | None = None,
    row: Several = None,
    way: Annotated[list[Way] | None, SEVERAL] = None,
    seeds: int | None = None,
    trials: int | None = None,
    stand_in: bool = True,
    full_size: Annotated[bool, FLAG] = False,
    workers: int = 1,
) -> None:
    """Measure the paper's Table 2 and Figures 3 to 6 again, beside the published numbers.

    Hours for everything; the same command goes on after a stop.

    Parameters
    ----------
    what
        The table, a figure, or all.
    data
        Folder with MovieLens-1M in the split of the paper's authors.
    out
        Folder of the experiment; an experiment that is there is resumed.
    page
        Markdown file to write; its data and plots go into a folder of the same name beside it.
    row
        Row of the table, such as "GMF IG"; all of them if left out.
    way
        How to repeat the rows; in all ways if left out.
    seeds
        Seeds of each row, if not 3 as printed and 5 otherwise.
    trials
        Trainings that the search of each tuned row may take, if not the plan's own number.
    stand_in
        Measure on simulated data in the place of Micro Video, which was never released.
    full_size
        Simulate them at full size; hours more.
    workers
        Processes that share the work.
    """
    for option, given in (("--row", row), ("--way", way)):
        if given is not None and not given:
            raise ConfigError(f"{option} needs a value; leave it away for all of them")
    work = _reproduction("reproduce")
    asked = {"rows": tuple(row or ()), "seeds": seeds, "trials": trials, "full_size": full_size}
    asked |= {"stand_in": stand_in} | ({"ways": tuple(way)} if way else {})
    request = _reproduction("plans").Request(what, data, out, **asked)
    with progress_bars() as progress, interruptible() as should_stop:
        written = work.reproduce(
            request, page, workers=workers, progress=progress, should_stop=should_stop
        )
    _show_page(written, work.summary(written))


def _reproduction(module: str) -> Any:
    """Import a module of the checkout's `reproduction/`, which is not part of the library."""
    folder = Path(__file__).parents[3] / "reproduction"
    if not (folder / "reproduce.py").is_file():
        raise ConfigError(
            "reproduce needs a checkout of the repository, which holds the paper's published "
            "numbers and plans: clone the repository of invlearn and run pip install --editable . "
            "in it"
        )
    sys.path.insert(0, str(folder.parent))
    try:
        return import_module(f"reproduction.{module}")
    finally:
        sys.path.remove(str(folder.parent))


def _show_results(results: "Results", out: Path) -> None:
    """Print the tables of an experiment, or the AUC and a tally if there are many."""
    if len(results.groups) <= MAX_FULL_TABLES:
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


def _show_page(page: Path, summary: Sequence[str]) -> None:
    """Print the main comparisons of the page about the paper, and where the page is."""
    for line in summary:
        console.print(line, markup=False)
    console.print(f"Wrote {page}; its data and plots are in {page.with_suffix('')}.")


def _show_group(group: "Group", reference: str) -> None:
    title = f"{group.title}: means, below them the difference from {reference}"
    table = number_table(title, "", SHOWN)
    for method in (*group.methods.values(), *group.baselines.values()):
        table.add_row(method.name, *(_cell(method, metric) for metric in SHOWN))
    console.print(table)


def _cell(method: "Method", metric: str) -> str:
    if is_hidden(metric, method.name):
        return ""
    if metric not in method.means:
        return "-"
    mean, difference = method.means[metric], method.differences.get(metric)
    if difference is None:
        return f"{short(mean.value)}  "
    mark = MARKS[method.outcome(metric)]
    return f"{short(mean.value)} {mark}\n{interval(difference.low, difference.high, '+')}"


def _show_sweeps(results: "Results") -> None:
    """Print the AUC by label corruption, one table per dataset and backbone."""
    lines: dict[tuple[str, str], list[Group]] = {}
    for group in results.groups:
        lines.setdefault((group.dataset, group.backbone), []).append(group)
    for (dataset, backbone), groups in lines.items():
        for start in range(0, len(groups), GROUPS_PER_TABLE):
            some = groups[start : start + GROUPS_PER_TABLE]
            heads = ["\n".join(group.weakening) or "all labels" for group in some]
            table = number_table(f"{dataset}, {backbone}: AUC", "", heads)
            for name in (*some[0].methods, *STRONG_BASELINES):
                methods = [(group.methods | group.baselines)[name] for group in some]
                table.add_row(name, *(_marked(method, "auc") for method in methods))
            console.print(table)


def _marked(method: "Method", metric: str) -> str:
    if metric not in method.means:
        return "-  "
    mark = MARKS[method.outcome(metric)] if metric in method.differences else " "
    return f"{short(method.means[metric].value)} {mark}"


def _show_tally(results: "Results") -> None:
    title = (
        f"Wins / ties / losses against {results.reference}, {counted(len(results.groups), 'table')}"
    )
    table = number_table(title, "", SHOWN)
    tallies = {metric: results.tally(metric) for metric in SHOWN}
    for name in next(iter(tallies.values())):
        cells = (
            ""
            if is_hidden(metric, name)
            else " / ".join(str(n) for n in tallies[metric][name].values())
            for metric in SHOWN
        )
        table.add_row(name, *cells)
    console.print(table)


def _show_failures(results: "Results") -> None:
    """Print how many trainings failed, and how many results are missing."""
    methods = [method for group in results.groups for method in group.methods.values()]
    trainings = [t for method in methods for t in (*method.trials, *method.records)]
    if failed := sum(training.state == "failed" for training in trainings):
        console.print(
            f"  {failed} of {counted(len(trainings), 'training')} failed; results.md says why."
        )
    if empty := sum(not method.means for method in methods):
        have = counted(empty, "method has", "methods have")
        console.print(f"  {have} no result in a table, since every training failed.")


def _show_advice(advice: "Advice", out: Path) -> None:
    """Print whether unclear rows help, by how much, and what to run next."""
    console.print(
        f"{advice.dataset}: {counted(advice.n_labelled, 'labelled training row')}, "
        f"{counted(advice.n_unlabelled, 'unclear one')}"
    )
    table = number_table("Test part, means over seeds", "", (*ADVICE_METRICS, "seconds"))
    for name, method in (advice.group.methods | advice.group.baselines).items():
        if name in (*advice.group.methods, *STRONG_BASELINES):
            seconds = f"{method.effort.seconds:,.0f}" if method.effort else ""
            values = (
                short(method.means[m].value) if m in method.means else "-" for m in ADVICE_METRICS
            )
            table.add_row(name, *values, seconds)
    console.print(table)
    _show_verdict(advice)
    console.print(
        "  Differences of AUC with 95 % intervals over users and seeds; see docs/choosing.md.\n"
        f"  All numbers are in {out / 'results.md'}."
    )
    console.print(f"Next: {advice.command}", soft_wrap=True)


def _show_verdict(advice: "Advice") -> None:
    answer = {"helps": "yes", "hurts": "no, they hurt", "unsure": "not for sure"}[advice.verdict]
    console.print(f"Do unclear rows help here? [bold]{answer}[/bold]")
    source = "shown, unclear" if advice.as_exposures else "sampled, never shown"
    _show_finding(
        "As exposures (who was shown what)",
        advice.as_exposures,
        "As exposures: there are none; every row that was shown has a label.",
    )
    _show_finding(
        f"As training pairs ({source})",
        advice.as_pairs,
        "As training pairs: unknown, since trainings failed; results.md says why.",
    )
    lead = advice.lead.differences["auc"]
    console.print(
        f"Best: [bold]{advice.winner}[/bold], {lead.value:+.4f} ({lead.low:+.4f} to "
        f"{lead.high:+.4f}) over {advice.lead.than}"
    )


def _show_finding(title: str, finding: "Finding | None", otherwise: str) -> None:
    if finding is None:
        console.print(f"  {otherwise}")
        return
    value, low, high = finding.differences["auc"]
    answer = {"helps": "yes", "hurts": "no, worse", "unsure": "not for sure"}[finding.verdict]
    console.print(
        f"  {title}: [bold]{answer}[/bold], {value:+.4f} ({low:+.4f} to {high:+.4f})\n"
        f"    {finding.better} over {finding.than}"
    )
