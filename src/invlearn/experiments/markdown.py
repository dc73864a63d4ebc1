"""The tables of an experiment in Markdown that also reads well as text."""

from collections.abc import Mapping, Sequence
from math import isnan

from invlearn.evaluation.baselines import NO_LOSS
from invlearn.experiments.results import Group, Method, Outcome, Results, failures
from invlearn.runtime.text import counted

METRICS = ("auc", "gauc", "ndcg@10", "log_loss")
MARKS = {"win": "▲", "tie": "=", "loss": "▼"}


def to_markdown(results: Results, metrics: Sequence[str] = METRICS) -> str:
    """Every group as a table, then wins, ties and losses.

    Args:
        results: What was found.
        metrics: Which metrics to show.
    """
    parts = [_group(group, results.reference, metrics) for group in results.groups]
    return "\n".join([*parts, _tally(results, metrics)])


def _group(group: Group, reference: str, metrics: Sequence[str]) -> str:
    counts = group.counts
    lines = [
        f"## {group.title}",
        "",
        f"{counted(counts['rows'], 'test row')} of {counted(counts['users'], 'user')}, "
        f"{counts['users_scored']:,} of them with both classes; settings and epochs chosen by "
        f"{group.select_by} on the validation part.",
        "",
        *_table(group, reference, metrics),
        "",
        *_efforts(group),
        "",
    ]
    remarks = [f"{m.name}: {remark}" for m in group.methods.values() for remark in m.remarks]
    if ahead := group.ahead_of_all("auc"):
        remarks.append(f"by AUC every method is behind {', '.join(ahead)}")
    if remarks:
        lines += ["Mind:", "", *(f"- {remark}" for remark in remarks), ""]
    broken = failures([*group.methods.values()])
    if broken:
        lines += ["Failed:", "", *(f"- {line}" for line in broken), ""]
    return "\n".join(lines)


def _table(group: Group, reference: str, metrics: Sequence[str]) -> list[str]:
    methods = [*group.methods.values(), *group.baselines.values()]
    return [
        *_head("mean over seeds", metrics),
        *(_row(m.name, [_mean(m, metric) for metric in metrics]) for m in methods),
        "",
        *_head(f"difference from {reference}", metrics),
        *(
            _row(m.name, [_difference(m, metric) for metric in metrics])
            for m in methods
            if m.differences
        ),
    ]


def _head(first: str, names: Sequence[str]) -> list[str]:
    return [_row(first, names), f"|---|{'--:|' * len(names)}"]


def _row(first: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


def _mean(method: Method, metric: str) -> str:
    mean = method.means.get(metric)
    if mean is None or isnan(mean.value) or _means_nothing(method, metric):
        return "-"
    return f"{mean.value:.4f}" + ("" if isnan(mean.spread) else f" ± {mean.spread:.4f}")


def _difference(method: Method, metric: str) -> str:
    difference = method.differences.get(metric)
    if difference is None or any(map(isnan, difference)) or _means_nothing(method, metric):
        return "-"
    value, low, high = difference
    return f"{MARKS[method.outcome(metric)]} {value:+.4f} ({low:+.4f} to {high:+.4f})"


def _means_nothing(method: Method, metric: str) -> bool:
    return metric == "log_loss" and method.name in NO_LOSS


def _efforts(group: Group) -> list[str]:
    lines = [
        "| method | seconds a run | epochs | peak MiB | trials | given up | failed "
        "| search seconds | chosen |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for method in group.methods.values():
        states = [trial.state for trial in method.trials]
        effort = method.effort
        run = (
            f"{effort.seconds:.1f} | {effort.epochs:.1f} | {_mebibytes(effort.peak_bytes)}"
            if effort
            else "- | - | -"
        )
        searched = f"{effort.search_seconds:.0f}" if effort else "-"
        chosen = ", ".join(f"{name} {_short(v)}" for name, v in method.settings.items())
        lines.append(
            f"| {method.name} | {run} | {len(states)} | {states.count('pruned')} "
            f"| {states.count('failed')} | {searched} | {chosen or 'defaults'} |"
        )
    return lines


def _tally(results: Results, metrics: Sequence[str]) -> str:
    n_groups = len(results.groups)
    lines = [
        f"## Wins, ties and losses against {results.reference}",
        "",
        f"Over {counted(n_groups, 'table')} above; a win or a loss is a 95 % "
        "interval, paired by user and seed, on one side of 0.",
        "",
        *_head("method", metrics),
    ]
    tallies = {metric: results.tally(metric) for metric in metrics}
    for name in next(iter(tallies.values())):
        cells = [
            "" if metric == "log_loss" and name in NO_LOSS else _counted(tallies[metric].get(name))
            for metric in metrics
        ]
        lines.append(_row(name, cells))
    return "\n".join([*lines, ""])


def _counted(counts: Mapping[Outcome, int] | None) -> str:
    return f"{counts['win']} / {counts['tie']} / {counts['loss']}" if counts else "-"


def _mebibytes(n_bytes: int | None) -> str:
    return "-" if n_bytes is None else f"{n_bytes / 2**20:.0f}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
