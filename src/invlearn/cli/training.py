"""Commands that train and evaluate."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from invlearn.cli.display import (
    SHOWN,
    console,
    interval,
    is_hidden,
    progress_bars,
    short,
    show_table,
)
from invlearn.cli.options import FLAG, Draws, MovedDataset, Overwrite, Runs
from invlearn.config.schema import OtherLog, RunConfig
from invlearn.runtime.interruption import interruptible
from invlearn.runtime.text import counted

if TYPE_CHECKING:
    from invlearn.evaluation.evaluation import Difference, Evaluation
    from invlearn.inference.comparison import Comparison
    from invlearn.training.run import Run


def train(
    dataset: Path,
    *,
    out: Path,
    config: Path | None = None,
    overwrite: Overwrite = False,
    resume_if_exists: Annotated[bool, FLAG] = False,
    options: Annotated[RunConfig | None, Parameter(name="*")] = None,
) -> None:
    """Train a backbone with a strategy. Ctrl-C saves a checkpoint and stops.

    Under `torchrun --nproc-per-node N -m invlearn train ...`, N processes share each batch.

    Parameters
    ----------
    dataset
        Dataset folder.
    out
        Run folder to write.
    config
        YAML file of the options below; options on the command line override it.
    resume_if_exists
        If OUT is a run with the same settings and dataset, resume it; use this with a launcher that
        restarts. Any other run is an error, or is replaced with --overwrite.
    """
    from invlearn.runtime.distributed import started_again
    from invlearn.training.run import train as work

    given = options.model_dump(exclude_unset=True) if options else {}
    with _training() as shared:
        resume_if_exists = resume_if_exists or shared["group"].any_rank(started_again())
        run = work(
            dataset,
            out,
            config=config,
            overwrite=overwrite,
            resume_if_exists=resume_if_exists,
            **shared,
            **given,
        )
    if shared["group"].is_first:
        _show_run(run)


def resume(run: Path, *, dataset: MovedDataset = None, device: str | None = None) -> None:
    """Resume a stopped run; the final weights are the same as without the stop.

    Parameters
    ----------
    run
        Run folder.
    device
        Device to resume on, default: the run's own. On another device the weights differ by
        rounding.
    """
    from invlearn.training.run import resume as work

    was_finished = (run / "test.json").is_file()
    with _training() as shared:
        done = work(run, dataset=dataset, device=device, **shared)
    if shared["group"].is_first:
        if was_finished:
            console.print("The run had already finished; its test metrics were computed again.")
        _show_run(done)


def evaluate(
    run: Runs,
    /,
    *,
    part: Literal["train", "valid", "test"] = "test",
    other: Annotated[OtherLog | None, Parameter(name="*", negative_iterable="")] = None,
    dataset: MovedDataset = None,
    catalogue: Annotated[bool, FLAG] = False,
    draws: Draws = 1000,
    seed: int = 0,
    out: Path | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure runs with intervals, next to trivial baselines, and compare several runs.

    Parameters
    ----------
    part
        Part of the dataset to measure on.
    catalogue
        Rank the whole catalogue as well, for 1,000 users.
    seed
        Seed of the bootstrap.
    out
        JSON file for all metrics.
    """
    given = locals()
    from invlearn.inference.comparison import compare_runs
    from invlearn.runtime import atomic

    del given["out"], given["overwrite"]
    if out:
        atomic.need_absent(out, overwrite=overwrite)
    with progress_bars() as progress:
        compared = compare_runs(given.pop("run"), **given, progress=progress)
    if out:
        compared.write(out)
    _show_comparison(compared)


@contextmanager
def _training() -> Generator[dict[str, Any], None, None]:
    """Yield the process group, the progress bars of its first process, and the stop request."""
    from invlearn.runtime.distributed import joined

    with (
        joined() as group,
        progress_bars(shown=group.is_first) as progress,
        interruptible() as should_stop,
    ):
        yield {"group": group, "progress": progress, "should_stop": should_stop}


def _show_run(run: "Run") -> None:
    """Print the best epoch of a run, and its test metrics next to the baselines."""
    test, config = run.test, run.config
    best = run.epochs[test["epoch"] - 1]
    console.print(
        f"{config.strategy} over {config.backbone}: best of {counted(len(run.epochs), 'epoch')} is "
        f"{test['epoch']} by validation {config.select_by} "
        f"({best['valid'][config.select_by]:.4f})"
    )
    if fitted := test.get("fitted_on_validation"):
        weights = (f"{name} {weight:.2f}" for name, weight in fitted.items())
        console.print(f"Fitted on validation: {', '.join(weights)}")
    if test["epoch"] == config.epochs:
        console.print("The last epoch was the best one: more --epochs may do better.")
    rows = {"this run": test} | test["baselines"]
    intervals = {"this run": test["intervals"]}
    _show_metrics("Test part", rows, intervals)
    _show_counts(test)
    _show_cold({"this run": test})
    console.print(f"Wrote {run.folder}; all figures are in {run.folder / 'test.json'}.")


def _show_comparison(compared: "Comparison") -> None:
    """Print the metrics of runs and baselines on the same rows, and differences from the first."""
    first = next(iter(compared.assessments.values()))
    evaluations: dict[str, Evaluation] = {n: a.backbone for n, a in compared.assessments.items()}
    evaluations |= first.baselines
    rows = {name: e.to_json()["values"] for name, e in evaluations.items()}
    intervals = {name: e.intervals for name, e in evaluations.items()}
    with_intervals = ", with 95 % intervals" if first.backbone.intervals else ""
    _show_metrics(first.part + with_intervals, rows, intervals)
    for name, assessment in compared.assessments.items():
        if assessment.catalogue:
            console.print(f"  {name}, whole catalogue:")
            for metric, value in assessment.catalogue.values.items():
                text = _value(value, assessment.catalogue.intervals.get(metric))
                console.print(f"    {metric} {text}".replace("\n", "  "))
    if compared.differences:
        _show_differences(next(iter(compared.assessments)), compared.differences)
        console.print("  Intervals cover which users were tested, not the seed of the training.")
    _show_counts(first.backbone.counts)
    _show_cold({name: found.to_json() for name, found in compared.assessments.items()})
    _show_warnings(compared)


def _show_warnings(compared: "Comparison") -> None:
    for name in compared.unfinished:
        console.print(f"  {name} has not finished; its metrics are those of its best epoch so far.")
    for reason, rows in compared.left_out.items():
        console.print(f"  {counted(rows, 'row')} left out: {reason}")
    if compared.n_seen:
        console.print(
            f"  {counted(compared.n_seen, 'row has', 'rows have')} a pair that the runs were "
            "trained or validated on,\n"
            "  so these metrics are too good; remove such rows with --seen drop"
        )


def _show_metrics(
    title: str,
    rows: Mapping[str, Mapping[str, Any]],
    intervals: Mapping[str, Mapping[str, Sequence[float]]],
) -> None:
    """Print one line per method, with metrics and their intervals."""

    def cell(name: str, metric: str) -> str:
        ends = intervals.get(name, {}).get(metric)
        return "" if is_hidden(metric, name) else _value(rows[name].get(metric), ends)

    show_table(title, "", SHOWN, ((name, *(cell(name, m) for m in SHOWN)) for name in rows))


def _show_differences(first: str, differences: Mapping[str, Mapping[str, "Difference"]]) -> None:
    rows = (
        (
            name,
            *(f"{short(d.value, '+')}\n{interval(*d[1:], '+')}" for d in (found[m] for m in SHOWN)),
        )
        for name, found in differences.items()
    )
    show_table(f"Difference from {first}, paired on the same users", "", SHOWN, rows)


def _value(value: float | None, ends: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    return f"{short(value)}\n{interval(ends[0], ends[1])}" if ends else short(value)


def _show_counts(counts: Mapping[str, Any]) -> None:
    console.print(
        f"  {counted(counts['rows'], 'row')} of {counted(counts['users'], 'user')}; per-user "
        f"metrics over the {counts['users_scored']:,} with both classes\n"
        f"  ({counted(counts['users_all_positive'], 'has', 'have')} only positives, "
        f"{counts['users_all_negative']:,} only negatives)"
    )


def _show_cold(tests: Mapping[str, Mapping[str, Any]]) -> None:
    """Print how many rows have an unknown user or item, and the metrics of runs without them."""
    cold = next(iter(tests.values())).get("cold")
    if not cold or not cold["rows"]:
        return
    console.print(
        f"  {counted(cold['rows'], 'row has', 'rows have')} a user or item without a training row "
        f"({counted(cold['users'], 'user')}, {counted(cold['items'], 'item')})"
    )
    for name, test in tests.items():
        values = (test["without_cold"] or {}).get("values", {})
        shown = ", ".join(f"{m} {short(values[m])}" for m in SHOWN if values.get(m) is not None)
        console.print(f"    {name} without them: {shown or 'no metrics, since a class is missing'}")
