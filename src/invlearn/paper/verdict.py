"""What the numbers say, in words: every sentence is chosen by intervals, none is fixed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from invlearn.paper.outcome import (
    METRICS,
    NEGLIGIBLE,
    by_outcome,
    gaps,
    listed,
    number,
    outcome,
    overall,
)
from invlearn.paper.results import Comparison, Results, Side, Table, TableRow, Way

STAND_IN = "SIMULATED STAND-IN"
"""Mark of everything that was not measured on the data that the paper names."""
CLOSE = 0.003
"""Largest distance from a published number that counts as meeting it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A comparison that the verdict answers."""

    of: Side
    less: Side
    opening: str
    """Of the sentence."""
    of_words: str
    """What `of` is, in words."""
    less_words: str
    """What it is measured against, in words."""


_NONE_TUNED, _IG_TUNED = Side(method="None", way="tuned"), Side(method="IG", way="tuned")
_NONE_PRINTED, _IG_PRINTED = Side(method="None", way="printed"), Side(method="IG", way="printed")
_IG_RELEASED, _ABLATED = Side(method="IG", way="released"), Side(method="IG", way="ablated")
_EQUAL = "With an equal budget of tuning for both, "
_QUESTIONS = (
    Question(
        _IG_RELEASED, _NONE_PRINTED, "The paper's own comparison: ", "IG as released",
        "plain training on the labelled pairs as printed",
    ),
    Question(
        _IG_RELEASED, _ABLATED, "What the unlabelled step does: ", "the released loop",
        "the same loop without its unlabelled step",
    ),
    Question(
        _IG_PRINTED, _NONE_PRINTED, "As printed, at the published rates, ", "IG", "plain training"
    ),
    Question(
        _NONE_TUNED, _IG_RELEASED, "With tuned settings, ",
        "plain training on the labelled pairs", "IG as released",
    ),
    Question(_IG_TUNED, _NONE_TUNED, _EQUAL, "IG", "plain training"),
)  # fmt: skip


def verdict(results: Results) -> list[str]:
    """Sentences on what was reproduced, where the gain comes from, and what to do about it."""
    found: list[str] = []
    for table in results.tables:
        lead = f"On the {STAND_IN} for Micro Video: " if table.stand_in else ""
        for backbone in dict.fromkeys(row.backbone for row in table.rows):
            said = [*_reproduced(table, backbone), *_answered(results, table, backbone)]
            found += [f"{lead}**{backbone}.** {sentence}" for sentence in said]
    return [*found, _advice(results)]


# What was reproduced; not asked of simulated data


def _reproduced(table: Table, backbone: str) -> Iterator[str]:
    """How far the measured values are from the published ones."""
    rows = [row for row in table.rows if row.backbone == backbone and row.published]
    if table.stand_in or not rows:
        return
    for row in rows:
        if row.method == "IG" and "released" in row.ways:
            parts = [_beside(row, name, label) for name, label in METRICS.items()]
            yield (
                "IG as released, measured less published, on the same test users: "
                f"{'; '.join(filter(None, parts))}."
            )
    parts = [_distances(rows, way, words) for way, words in _REPEATED.items()]
    if any(parts):
        yield "AUC of every row, measured less published: " + "; ".join(filter(None, parts)) + "."
    yield from _unfinished(rows)


_REPEATED: dict[Way, str] = {"printed": "as printed", "released": "as released"}


def distance(row: TableRow, way: Way, name: str) -> float | None:
    """Measured less published value of a metric, where there are both."""
    level = row.ways[way].metrics.get(name) if way in row.ways else None
    if level is None or row.published is None:
        return None
    return level.mean - getattr(row.published, name.partition("@")[0])


def _beside(row: TableRow, name: str, label: str) -> str:
    away = distance(row, "released", name)
    if away is None:
        return ""
    sd = row.ways["released"].metrics[name].sd
    spread = f"another seed: ± {number(sd)}" if sd is not None else "one seed"
    where = "within" if abs(away) <= CLOSE else "not within"
    return f"{label} {number(away, signed=True)} ({where} {number(CLOSE)}; {spread})"


def _distances(rows: Sequence[TableRow], way: Way, words: str) -> str:
    """Distances of all rows from the published AUC, and how many are small."""
    away = {row.method: d for row in rows if (d := distance(row, way, "auc")) is not None}
    if not away:
        return ""
    close = sum(abs(d) <= CLOSE for d in away.values())
    each = ", ".join(f"{method} {number(d, signed=True)}" for method, d in away.items())
    return f"{words} {each} ({close} of {len(away)} within {number(CLOSE)})"


def _unfinished(rows: Sequence[TableRow]) -> Iterator[str]:
    """How many rows as printed might have gone on improving."""
    printed = [row.ways["printed"] for row in rows if "printed" in row.ways]
    at_cap = [found for found in printed if found.at_cap]
    if at_cap:
        yield (
            f"Of the {len(printed)} rows as printed, {len(at_cap)} were best in the last of their "
            f"{at_cap[0].epoch_cap} epochs in most seeds, so they were still improving; the paper "
            "does not say how many epochs it trained, and the levels of these rows depend on it."
        )


# What compares how


def _answered(results: Results, table: Table, backbone: str) -> Iterator[str]:
    for question in _QUESTIONS:
        for found in _found(results.differences, question.of, question.less):
            if (found.dataset, found.backbone) == (table.dataset, backbone):
                seeds = f"{found.n_seeds} seed{'s' * (found.n_seeds > 1)}"
                yield (
                    f"{question.opening}{_answer(question, found, table)}: {gaps(found)}; {seeds}."
                    f"{_part_of_gain(results, found, table)}{_unfinished_sides(found, table)}"
                )


def _answer(question: Question, found: Comparison, table: Table) -> str:
    """What the intervals say, with the metrics that say so."""
    of, less = question.of_words, question.less_words
    ahead, behind = (listed(by_outcome(found, way)) for way in ("ahead", "behind"))
    said = {
        "ahead": f"{of} is ahead of {less} by {ahead}",
        "behind": f"{of} is behind {less} by {behind}",
        "mixed": f"{of} is ahead of {less} by {ahead} and behind by {behind}",
        "negligible": f"{of} differs from {less} by {_little(found, table)}",
        "tie": f"{of} and {less} tie, so these runs show no difference between them",
    }
    return said[overall(found)]


def _little(found: Comparison, table: Table) -> str:
    """How little the negligible differences are, beside what another seed does."""
    parts: list[str] = []
    for name, label in METRICS.items():
        gap = found.metrics.get(name)
        if gap and outcome(gap) == "negligible":
            sd = _spread(found, table, name)
            less = sd is not None and max(abs(gap.low), abs(gap.high)) < sd
            seed = f"less than another seed does ({label} ± {number(sd)})"
            parts.append(seed if less else f"a negligible {label}")
    return listed(parts)


def _spread(found: Comparison, table: Table, name: str) -> float | None:
    """Standard deviation over seeds of the side that is looked at."""
    for row in table.rows:
        if (row.backbone, row.method) == (found.backbone, found.of.method):
            level = row.ways[found.of.way].metrics.get(name) if found.of.way in row.ways else None
            return level.sd if level else None
    return None


def _unfinished_sides(found: Comparison, table: Table) -> str:
    """Which side was still improving when it had to stop, and how long the other might go on."""
    ways = {
        (row.method, way): measured
        for row in table.rows
        if row.backbone == found.backbone
        for way, measured in row.ways.items()
    }
    sides = (found.of, found.less)
    said = ""
    for side, beside in (sides, sides[::-1]):
        one, other = (ways.get((s.method, s.way)) for s in (side, beside))
        if one and other and one.at_cap and one.epoch_cap < other.epoch_cap:
            said += (
                f" {side.method} {_SIDES[side.way]} was best in the last of its {one.epoch_cap} "
                f"epochs in most seeds; the other could go on to {other.epoch_cap}."
            )
    return said


_SIDES: dict[Way, str] = {
    "printed": "as printed",
    "released": "as released",
    "ablated": "without the unlabelled step",
    "tuned": "tuned",
}


def _part_of_gain(results: Results, found: Comparison, table: Table) -> str:
    """What the unlabelled step makes of the gain in AUC that the paper reports for IG."""
    published = {
        row.method: row.published.auc
        for row in table.rows
        if row.backbone == found.backbone and row.published
    }
    asked = (found.of, found.less) == (_IG_RELEASED, _ABLATED) and not table.stand_in
    if not asked or not {"IG", "None"} <= published.keys() or "auc" not in found.metrics:
        return ""
    gain, gap = published["IG"] - published["None"], found.metrics["auc"]
    gains = any(
        beside.backbone == found.backbone
        and beside.dataset == table.dataset
        and overall(beside) == "ahead"
        for beside in _found(results.differences, _IG_RELEASED, _NONE_PRINTED)
    )
    small = gains and overall(found) in ("tie", "negligible")
    rest = (
        " What else the released loop gains, it gains without unlabelled pairs: see below where it "
        "differs from the text."
    )
    return (
        f" The published gain of IG over None is {number(gain, signed=True)} AUC; the unlabelled "
        f"step makes {gap.mean / gain:.1%} of that ({gap.low / gain:.1%} to {gap.high / gain:.1%})."
    ) + rest * small


def _found(comparisons: Sequence[Comparison], of: Side, less: Side) -> list[Comparison]:
    return [found for found in comparisons if (found.of, found.less) == (of, less)]


# What to do


def _advice(results: Results) -> str:
    """What to do with data like these, by plain training against IG, both tuned."""
    real = {table.dataset for table in results.tables if not table.stand_in}
    tuned = [d for d in _found(results.differences, _IG_TUNED, _NONE_TUNED) if d.dataset in real]
    if not tuned:
        return (
            "**What to do:** not measured yet; IG and plain training have to be tuned alike first."
        )
    won = [f"{listed(by)} with {d.backbone}" for d in tuned if (by := by_outcome(d, "ahead"))]
    outcomes = {overall(found) for found in tuned}
    if outcomes == {"ahead"}:
        return (
            "**What to do:** on data like these, use IG, and tune the learning rate with it: on "
            f"equal terms it is ahead of plain training by {listed(won)}."
        )
    if won:
        return (
            "**What to do:** on data like these it depends on backbone and metric: on equal terms "
            f"IG is ahead by {listed(won)}, and not elsewhere. Tune the learning rate of plain "
            "training first, then let validation decide whether IG adds to it."
        )
    return (
        "**What to do:** on data like these, tune the learning rate of plain training first; on "
        f"equal terms IG shows no gain over it here. {_room(tuned)} What happens where labels are "
        "scarce is measured in [experiments](../experiments/README.md); and compare on your own "
        "data."
    )


def _room(tuned: Sequence[Comparison]) -> str:
    """The largest gain that the intervals do not rule out."""
    highest = {
        (found.metrics[name].high, f"{label} with {found.backbone}")
        for found in tuned
        for name, label in METRICS.items()
        if name in found.metrics
    }
    most, where = max(highest)
    if most <= 0:
        return "Every interval lies below 0: it is behind."
    return (
        "That does not show that there is none: at the settings that were found the intervals "
        f"leave room for one of up to {number(most, signed=True)} ({where})"
        f"{', which is negligible' * (most < NEGLIGIBLE)}; another search may find others."
    )
