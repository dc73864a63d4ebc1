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
    progress_bars,
    short,
    show_table,
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
ANSWERS = {"helps": "yes", "hurts": "no, they hurt", "unsure": "not for sure"}
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
    dataset: Path, *, out: Path | None = None, trials: int = 6, seeds: int = 3, workers: Workers = 1
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
    workers: Workers = 1,
) -> None:
    """Measure the paper's Table 2 and Figures 3 to 6, and compare them with the published numbers.

    Everything takes hours. Run the same command again after a stop.

    Parameters
    ----------
    what
        The table, a figure, or all.
    data
        Folder with MovieLens-1M in the split of the paper's authors.
    out
        Experiment folder; created, or continued if it exists.
    page
        Markdown file to write; its data and plots go into the folder of the same name next to it.
    row
        Row of the table, such as "GMF IG"; default: all rows.
    way
        How to repeat the rows; default: all ways.
    seeds
        Seeds of each row, default: 3 as printed, 5 otherwise.
    trials
        Trainings of the search of each tuned row, default: as planned.
    stand_in
        Measure on simulated data instead of Micro Video, which was never released.
    full_size
        Simulate them at full size; hours more.
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
    for line in work.summary(written):
        console.print(line, markup=False)
    console.print(f"Wrote {written}; its data and plots are in {written.with_suffix('')}.")


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
            title = f"{group.title}: means, below them the difference from {results.reference}"
            rows = group.methods | group.baselines
            cells = [(name, *(_cell(m, metric) for metric in SHOWN)) for name, m in rows.items()]
            show_table(title, "", SHOWN, cells)
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


def _cell(method: "Method", metric: str, *, ends: bool = True) -> str:
    """Format a mean with its mark, and below it the interval of the difference."""
    if is_hidden(metric, method.name):
        return ""
    if metric not in method.means:
        return "-" if ends else "-  "
    value, difference = short(method.means[metric].value), method.differences.get(metric)
    if difference is None:
        return f"{value}  "
    below = f"\n{interval(difference.low, difference.high, '+')}" if ends else ""
    return f"{value} {MARKS[method.outcome(metric)]}{below}"


def _show_sweeps(results: "Results") -> None:
    """Print the AUC by label corruption, one table per dataset and backbone."""
    lines: dict[str, list[Group]] = {}
    for group in results.groups:
        lines.setdefault(f"{group.dataset}, {group.backbone}: AUC", []).append(group)
    for title, groups in lines.items():
        for start in range(0, len(groups), GROUPS_PER_TABLE):
            some = groups[start : start + GROUPS_PER_TABLE]
            heads = ["\n".join(group.weakening) or "all labels" for group in some]
            columns = [group.methods | group.baselines for group in some]
            names = (*some[0].methods, *STRONG_BASELINES)
            cells = [(n, *(_cell(c[n], "auc", ends=False) for c in columns)) for n in names]
            show_table(title, "", heads, cells)


def _show_tally(results: "Results") -> None:
    tables = counted(len(results.groups), "table")
    rows = [(name, *cells) for name, cells in results.tallies(SHOWN).items()]
    show_table(f"Wins / ties / losses against {results.reference}, {tables}", "", SHOWN, rows)


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
    methods = advice.group.methods | advice.group.baselines
    rows: list[tuple[str, ...]] = []
    for name in (*advice.group.methods, *STRONG_BASELINES):
        means, effort = methods[name].means, methods[name].effort
        values = [short(means[m].value) if m in means else "-" for m in ADVICE_METRICS]
        rows.append((name, *values, f"{effort.seconds:,.0f}" if effort else ""))
    show_table("Test part, means over seeds", "", (*ADVICE_METRICS, "seconds"), rows)
    console.print(f"Do unclear rows help here? {ANSWERS[advice.verdict]}")
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
    console.print(
        f"Best: {advice.winner}, {_gain(advice.lead)} over {advice.lead.than}\n"
        "  Differences of AUC with 95 % intervals over users and seeds; see docs/choosing.md.\n"
        f"  All numbers are in {out / 'results.md'}."
    )
    console.print(f"Next: {advice.command}", soft_wrap=True)


def _show_finding(title: str, finding: "Finding | None", otherwise: str) -> None:
    if finding is None:
        console.print(f"  {otherwise}")
        return
    console.print(
        f"  {title}: {ANSWERS[finding.verdict]}, {_gain(finding)}\n"
        f"    {finding.better} over {finding.than}"
    )


def _gain(finding: "Finding") -> str:
    value, low, high = finding.differences["auc"]
    return f"{value:+.4f} ({low:+.4f} to {high:+.4f})"
