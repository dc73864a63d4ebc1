"""What a person sees in the terminal: progress bars and one-screen summaries."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from math import isnan
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from invlearn.evaluation.baselines import NO_LOSS
from invlearn.runtime.distributed import ALONE, Group
from invlearn.runtime.progress import Progress
from invlearn.runtime.text import counted

if TYPE_CHECKING:
    from invlearn.data.catalogue import KnownDataset
    from invlearn.data.dataset import Dataset
    from invlearn.data.prepare.audit import Audit
    from invlearn.data.simulation.simulate import Simulated
    from invlearn.evaluation.evaluation import Difference, Evaluation
    from invlearn.inference.comparison import Comparison
    from invlearn.reporting.write import Report
    from invlearn.training.run import Run

SHOWN = ("auc", "gauc", "ndcg@10", "log_loss")
"""Metrics of a summary; the files hold all of them."""

console = Console(highlight=False)


@contextmanager
def progress_bars(group: Group = ALONE) -> Generator[Progress, None, None]:
    """Show a bar for each stage that work reports, and nothing where nobody watches.

    Of several processes the first one shows.
    """
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=12),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}"),
    )
    # Trainings may be many minutes apart, and the time that remains is told from the latest ones.
    period = 4 * 3600
    hidden = not (console.is_terminal and group.is_first)
    with Bars(*columns, console=console, disable=hidden, speed_estimate_period=period) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int, **figures: float | str) -> None:
            text = "  ".join(_figure(name, value) for name, value in figures.items())
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, figures="")
            bars.update(tasks[stage], completed=done, total=total, figures=text)

        yield show


def show_audit(audit: "Audit", out: str) -> None:
    """Print what preparation did, step by step, and what the dataset holds."""
    names = ("positive", "negative", "unlabelled", "users", "items", "dropped")
    table = number_table("What happened to the rows", "step", names)
    for stage in audit.stages:
        after = stage.after
        numbers = (after.positive, after.negative, after.unlabelled, after.users, after.items)
        dropped = sum(stage.dropped.values())
        table.add_row(stage.name, *(f"{n:,}" for n in numbers), f"{dropped:,}" if dropped else "")
    console.print(table)
    for stage in audit.stages:
        for reason, rows in stage.dropped.items():
            console.print(f"  {counted(rows, 'row')} dropped at '{stage.name}': {reason}")
    console.print(
        f"  repeated pairs {audit.repeated_pairs:,}, of which with both labels {audit.conflicts:,}"
    )
    _show_parts(audit)
    _show_features(audit)
    share = f"{audit.final.labelled_fraction:.1%}"
    console.print(f"Wrote {out}: {counted(audit.final.rows, 'pair')}, {share} of them labelled.")


def show_simulated(simulated: "Simulated") -> None:
    """Print what the simulator wrote."""
    console.print(
        f"Wrote {simulated.folder}: {counted(simulated.n_rows, 'impression')} of "
        f"{counted(simulated.n_items, 'video')} to {counted(simulated.n_users, 'user')},\n"
        f"  {simulated.true_positive_fraction:.1%} of them truly liked, in "
        f"{counted(simulated.n_files, 'file')}."
    )


def show_weakened(made: "Dataset") -> None:
    """Print what a weakening left of the labels of the training rows."""
    done = made.card["weakened"]
    table = number_table("Training rows", "", ("positive", "negative", "unlabelled"))
    for name, rows in {"before": done["from"]["rows"], "after": made.card["rows"]}.items():
        numbers = (*rows["train"].values(), rows["unlabelled"])
        table.add_row(name, *(f"{n:,}" for n in numbers))
    console.print(table)
    console.print(
        f"  {counted(done['n_hidden'], 'label')} hidden\n"
        f"  {done['n_flipped_positives']:,} positive and {done['n_flipped_negatives']:,} negative "
        "ones of the others flipped\n"
        f"Wrote {made.folder}; validation and test are as they were."
    )


def show_run(run: "Run", *, was_finished: bool = False) -> None:
    """Print how a run ended: its best epoch, and its test metrics beside the baselines.

    Args:
        run: The run.
        was_finished: Whether it had gone to its end before it was asked to go on.
    """
    if was_finished:
        console.print("Nothing was left to do: the run had finished; it was measured again.")
    test = run.test
    best = run.epochs[test["epoch"] - 1]
    config = run.config
    console.print(
        f"{config.strategy} over {config.backbone}: best of {counted(len(run.epochs), 'epoch')} is "
        f"{test['epoch']} by validation {config.select_by} "
        f"({best['valid'][config.select_by]:.4f})"
    )
    if fitted := test.get("fitted_on_validation"):
        weights = (f"{name} {weight:.2f}" for name, weight in fitted.items())
        console.print(f"Decided by validation: {', '.join(weights)}")
    if test["epoch"] == config.epochs:
        console.print("The last epoch was the best one: more --epochs may do better.")
    rows = {"this run": test} | test["baselines"]
    intervals = {"this run": test["intervals"]}
    console.print(_metrics_table("Test part", rows, intervals))
    _show_counts(test)
    console.print(f"Wrote {run.folder}; all figures are in {run.folder / 'test.json'}.")


def show_comparison(compared: "Comparison") -> None:
    """Print the metrics of runs and baselines on the same rows, and what differs from the first."""
    assessments, differences = compared.assessments, compared.differences
    first = next(iter(assessments.values()))
    evaluations: dict[str, Evaluation] = {n: a.backbone for n, a in assessments.items()}
    evaluations |= first.baselines
    rows = {name: e.to_json()["values"] for name, e in evaluations.items()}
    intervals = {name: e.intervals for name, e in evaluations.items()}
    with_intervals = ", with 95 % intervals" if first.backbone.intervals else ""
    console.print(_metrics_table(first.part + with_intervals, rows, intervals))
    _show_as_released(evaluations)
    for name, assessment in assessments.items():
        if assessment.catalogue:
            values, ranges = assessment.catalogue.values, assessment.catalogue.intervals
            texts = (f"{m} {_value(values[m], ranges.get(m))}" for m in values)
            console.print(f"  {name}, whole catalogue:")
            for text in texts:
                console.print("    " + text.replace("\n", "  "))
    if differences:
        console.print(_difference_table(next(iter(assessments)), differences))
        console.print("  Intervals cover which users were tested, not the seed of the training.")
    _show_counts(first.backbone.counts)
    for name in compared.unfinished:
        console.print(f"  {name} has not finished; these are figures of its best epoch so far.")
    for reason, rows in compared.left_out.items():
        console.print(f"  {counted(rows, 'row')} left out: {reason}")
    if compared.n_seen:
        console.print(
            f"  {counted(compared.n_seen, 'row has', 'rows have')} a pair that the runs were "
            "trained or validated on,\n"
            "  so these figures flatter them; leave such rows out with --seen drop"
        )


def _show_as_released(evaluations: Mapping[str, "Evaluation"]) -> None:
    """Print the released code's NDCG@20, where it was asked for."""
    for name, found in evaluations.items():
        for metric, value in found.values.items():
            if metric.endswith("_as_released"):
                text = _value(value, found.intervals.get(metric)).replace("\n", "  ")
                console.print(f"  {name}: {metric} {text}")


def show_report(written: "Report") -> None:
    """Print what a report says first, and where it is."""
    for words in written.findings:
        console.print(f"* {words}", markup=False)
    size = written.file.stat().st_size / 1e6
    console.print(
        f"Wrote {written.file} ({size:.1f} MB); open it in a browser, no network is needed.",
        markup=False,
    )


def show_datasets(known: Mapping[str, "KnownDataset"]) -> None:
    """Print the public data sets that invlearn can prepare."""
    for name, entry in known.items():
        console.print(f"[bold]{name}[/bold]  {entry.title}")
        lines = Table.grid(padding=(0, 2))
        lines.add_row(
            "  size",
            f"{entry.n_rows:,} rows, {entry.n_users:,} users, {entry.n_items:,} items; "
            f"{entry.size}",
        )
        lines.add_row("  rule", entry.forms[0].rule)
        lines.add_row("  licence", entry.licence)
        lines.add_row("  from", entry.homepage)
        console.print(lines)


def show_choices(
    choices: Mapping[str, tuple[str, Mapping[str, tuple[Any, Any]]]], prefix: str
) -> None:
    """Print names with what they are and the options that they take.

    Args:
        choices: By name: one sentence, and type and default of each option.
        prefix: Of the options on the command line, such as `model`.
    """
    lines = Table.grid(padding=(0, 2))
    for name, (sentence, options) in choices.items():
        what = sentence.removeprefix(f"`{name}`: ")
        lines.add_row(f"[bold]{name}[/bold]", what[:1].upper() + what[1:])
        for option, (_, default) in options.items():
            lines.add_row("", f"--{prefix}.{option.replace('_', '-')}, {default} by default")
    console.print(lines)


def show_environment(found: Mapping[str, Any], lacking: Mapping[str, Sequence[str]]) -> None:
    """Print what the library was found to run on.

    Args:
        found: What `environment.environment` gives.
        lacking: Packages that are not installed, by extra.
    """
    lines = Table.grid(padding=(0, 2))
    for name, version in {"python": found["python"], **found["versions"]}.items():
        lines.add_row(name, version)
    lines.add_row("machine", f"{found['platform']}, {found['cpu_count']} processors")
    lines.add_row("threads", f"{found['threads']} (OMP_NUM_THREADS decides)")
    lines.add_row("gpu", found["gpu"] or "none; none is needed")
    for extra, packages in lacking.items():
        says = f"lacks {', '.join(packages)}" if packages else "installed"
        lines.add_row(f"\\[{extra}]", says)
    console.print(lines)


def _show_parts(audit: "Audit") -> None:
    names = ("positive", "negative", "users", "with both classes", "all +", "all -")
    table = number_table("What the dataset holds", "part", names)
    for name, part in audit.parts.items():
        numbers = (
            part.positive,
            part.negative,
            part.users,
            part.users_scored,
            part.users_all_positive,
            part.users_all_negative,
        )
        table.add_row(name, *(f"{n:,}" for n in numbers))
    console.print(table)


def _show_features(audit: "Audit") -> None:
    for kind, facts in audit.features.items():
        words = [
            f"{name} ({'categorical' if name in facts.rare else 'numeric'}, {n:,} missing"
            + (f", {facts.rare[name]:,} rare)" if facts.rare.get(name) else ")")
            for name, n in facts.missing.items()
        ]
        console.print(f"  {kind} features of {facts.name}: {', '.join(words)}")
        console.print(
            f"    {counted(facts.without_row, f'{kind} has', f'{kind}s have')} no row there; "
            f"{counted(facts.not_in_log, 'row there is', 'rows there are')} of {kind}s that the "
            "dataset does not have"
        )


def _metrics_table(
    title: str,
    rows: Mapping[str, Mapping[str, Any]],
    intervals: Mapping[str, Mapping[str, Sequence[float]]],
) -> Table:
    table = number_table(title, "", SHOWN)
    for name, values in rows.items():
        ranges = intervals.get(name, {})
        hidden = ("log_loss",) if name in NO_LOSS else ()
        table.add_row(
            name,
            *("" if m in hidden else _value(values.get(m), ranges.get(m)) for m in SHOWN),
        )
    return table


def _difference_table(first: str, differences: Mapping[str, Mapping[str, "Difference"]]) -> Table:
    title = f"Difference from {first}, paired on the same users"
    table = number_table(title, "", SHOWN)
    for name, found in differences.items():
        shown = (found[metric] for metric in SHOWN)
        table.add_row(name, *(f"{short(d.value, '+')}\n{ends(*d[1:], '+')}" for d in shown))
    return table


def number_table(title: str, first: str, numbers: Sequence[str]) -> Table:
    """Make a table that never cuts a number off; only its names are folded."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _show_counts(counts: Mapping[str, Any]) -> None:
    console.print(
        f"  {counted(counts['rows'], 'row')} of {counted(counts['users'], 'user')}; per-user "
        f"metrics over the {counts['users_scored']:,} with both classes\n"
        f"  ({counted(counts['users_all_positive'], 'has', 'have')} only positives, "
        f"{counts['users_all_negative']:,} only negatives)"
    )


def _value(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    if not interval:
        return short(value)
    return f"{short(value)}\n{ends(interval[0], interval[1])}"


def ends(low: float, high: float, sign: str = "") -> str:
    """Both ends of an interval; with `sign="+"`, of a difference."""
    return f"{short(low, sign)}{'..' if sign else '-'}{short(high, sign)}"


def short(value: float, sign: str = "") -> str:
    """Four decimals, without the 0 before the point; a dash for what is not a number.

    Example:
        >>> short(0.81236), short(-0.5, "+"), short(10.25)
        ('.8124', '-.5000', '10.2500')
    """
    if isnan(value):
        return "-"
    text = f"{value:{sign}.4f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.99995 else text


def _figure(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    if name.endswith("_per_second"):
        return f"{value:,.0f} {name.removesuffix('_per_second')}/s"
    return f"{name} {value:.4g}"
