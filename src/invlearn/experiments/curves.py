"""Curves of an experiment: a metric over the share of labels that is kept or flipped."""

from collections.abc import Iterator
from pathlib import Path

from invlearn.experiments.results import Group, Results
from invlearn.reporting.charts import Reading, is_installed, save, share_chart

METRICS = ("auc", "gauc")
BASELINES = ("item+user-rate", "exposure-factors")
"""Trivial baselines in the curves: the best ones."""
AXES = {
    "label_share": ("training labels kept", 1.0),
    "flip_positives": ("positive training labels flipped", 0.0),
    "flip_negatives": ("negative training labels flipped", 0.0),
}
"""Title of each axis, and its value without a change of labels."""
NOTE = "Bands: 95 % intervals of the mean, for other users and other seeds."


def draw_curves(results: Results, out: Path) -> list[Path]:
    """Draw a curve for each dataset, backbone, metric, and axis with more than one value.

    Returns:
        The SVG files written; none if nothing was varied or the extra `report` is not installed.
    """
    written: list[Path] = []
    for axis, groups in _series(results) if is_installed() else ():
        first = groups[0]
        for metric in METRICS:
            readings, test = _readings(groups, axis, metric), f"test {metric.upper()}"
            title = f"{first.dataset}, {first.backbone}: {test}"
            chart = share_chart(readings, title, test, NOTE, AXES[axis][0])
            name = f"{first.dataset}-{first.backbone}-{axis.replace('_', '-')}-{metric}.svg"
            save(chart, out / name.replace("/", "-"))
            written.append(out / name)
    return written


def _series(results: Results) -> Iterator[tuple[str, list[Group]]]:
    """Yield groups that differ in one axis only, with that axis."""
    for axis in AXES:
        lines: dict[tuple[str, str], list[Group]] = {}
        for group in results.groups:
            if all(getattr(group, name) == AXES[name][1] for name in AXES if name != axis):
                lines.setdefault((group.dataset, group.backbone), []).append(group)
        yield from ((axis, groups) for groups in lines.values() if len(groups) > 1)


def _readings(groups: list[Group], axis: str, metric: str) -> Iterator[Reading]:
    for group in sorted(groups, key=lambda group: getattr(group, axis)):
        shown = {name: group.baselines[name] for name in BASELINES if name in group.baselines}
        for name, method in (group.methods | shown).items():
            if mean := method.means.get(metric):
                share, trivial = getattr(group, axis), name in shown
                yield Reading(method.name, share, mean.value, mean.low, mean.high, trivial)
