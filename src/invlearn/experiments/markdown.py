"""Tables of an experiment in Markdown that is readable as text."""

from collections.abc import Mapping, Sequence
from math import isnan

from invlearn.evaluation.baselines import is_meaningless
from invlearn.experiments.results import Group, Method, Results, failures
from invlearn.runtime.text import counted

METRICS = ("auc", "gauc", "ndcg@10", "log_loss")
MARKS = {"win": "▲", "tie": "=", "loss": "▼"}


EFFORT = ("seconds a run", "epochs", "peak MiB", "trials", "pruned", "failed", "search seconds")


def to_markdown(results: Results) -> str:
    """Return a table for each group, then wins, ties and losses."""
    parts = [_group(group, results.reference) for group in results.groups]
    return "\n".join([*parts, _tally(results)])


def _group(group: Group, reference: str) -> str:
    counts, methods = group.counts, [*group.methods.values()]
    every = [*methods, *group.baselines.values()]
    remarks = [f"{method.name}: {remark}" for method in methods for remark in method.remarks]
    if ahead := group.ahead_of_all("auc"):
        remarks.append(f"by AUC every method is behind {', '.join(ahead)}")
    means = {m.name: [_mean(m, metric) for metric in METRICS] for m in every}
    others = [method for method in every if method.differences]
    differences = {m.name: [_difference(m, metric) for metric in METRICS] for m in others}
    lines = [
        f"## {group.title}",
        "",
        f"{counted(counts['rows'], 'test row')} of {counted(counts['users'], 'user')}, "
        f"{counts['users_scored']:,} of them with both classes; settings and epochs chosen by "
        f"{group.select_by} on the validation part.",
        "",
        *_table("mean over seeds", METRICS, means),
        "",
        *_table(f"difference from {reference}", METRICS, differences),
        "",
        *_table("method", [*EFFORT, "chosen"], {m.name: _effort(m) for m in methods}),
        "",
    ]
    for title, notes in (("Warnings:", remarks), ("Failed:", failures(methods))):
        if notes:
            lines += [title, "", *(f"- {note}" for note in notes), ""]
    return "\n".join(lines)


def _table(first: str, heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the lines of a table with right-aligned columns, except `chosen`."""
    rule = "".join("---|" if head == "chosen" else "--:|" for head in heads)
    body = [f"| {' | '.join([name, *cells])} |" for name, cells in ((first, heads), *rows.items())]
    return [body[0], f"|---|{rule}", *body[1:]]


def _mean(method: Method, metric: str) -> str:
    mean = method.means.get(metric)
    if mean is None or isnan(mean.value) or is_meaningless(metric, method.name):
        return "-"
    return f"{mean.value:.4f}" + ("" if isnan(mean.spread) else f" ± {mean.spread:.4f}")


def _difference(method: Method, metric: str) -> str:
    difference = method.differences.get(metric)
    if difference is None or any(map(isnan, difference)) or is_meaningless(metric, method.name):
        return "-"
    value, low, high = difference
    return f"{MARKS[method.outcome(metric)]} {value:+.4f} ({low:+.4f} to {high:+.4f})"


def _effort(method: Method) -> list[str]:
    states = [trial.state for trial in method.trials]
    trials = [str(n) for n in (len(states), states.count("pruned"), states.count("failed"))]
    chosen = ", ".join(f"{name} {_short(v)}" for name, v in method.settings.items()) or "defaults"
    if (effort := method.effort) is None:
        return ["-", "-", "-", *trials, "-", chosen]
    peak = "-" if effort.peak_bytes is None else f"{effort.peak_bytes / 2**20:.0f}"
    run = [f"{effort.seconds:.1f}", f"{effort.epochs:.1f}", peak]
    return [*run, *trials, f"{effort.search_seconds:.0f}", chosen]


def _tally(results: Results) -> str:
    lines = [
        f"## Wins, ties and losses against {results.reference}",
        "",
        f"Over {counted(len(results.groups), 'table')} above; a win or a loss is a 95 % "
        "interval, paired by user and seed, on one side of 0.",
        "",
        *_table("method", METRICS, results.tallies(METRICS)),
    ]
    return "\n".join([*lines, ""])


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
