"""What the numbers say, in words: every sentence is chosen by intervals, none is fixed."""

from collections.abc import Iterator, Sequence
from typing import Literal

from invlearn.paper.results import Difference, Gap, Level, Results, Side, Table, TableRow

Outcome = Literal["ahead", "behind", "tie", "mixed"]

METRICS = {"auc": "AUC", "gauc": "GAUC", "ndcg@20": "NDCG@20"}
"""Metrics that are judged, by name, and how they are written."""
STAND_IN = "SIMULATED STAND-IN"
"""Mark of everything that was not measured on the data that the paper names."""

NEGLIGIBLE = 0.001
"""An interval that lies within so much of 0 stands for no difference that anybody could use,
however sure its sign is."""

_NONE_TUNED, _IG_RELEASED = Side(method="None", way="tuned"), Side(method="IG", way="released")
_QUESTIONS: tuple[tuple[Side, Side, dict[Outcome, str]], ...] = (
    (
        _IG_RELEASED,
        Side(method="IG", way="ablated"),
        {
            "tie": "Without its unlabelled step the released loop does as well, to within the "
            "interval, so these runs show no gain from unlabelled pairs",
            "ahead": "The unlabelled step adds to the released loop, which is behind without it",
            "behind": "The unlabelled step holds the released loop back, which is ahead without it",
            "mixed": "Without its unlabelled step the released loop is ahead by one metric and "
            "behind by another",
        },
    ),
    (
        _NONE_TUNED,
        _IG_RELEASED,
        {
            "tie": "Plain training on the labelled pairs, its settings tuned, ties with IG as "
            "released",
            "ahead": "Plain training on the labelled pairs, its settings tuned, is ahead of IG as "
            "released",
            "behind": "IG as released stays ahead of plain training, even with tuned settings",
            "mixed": "Plain training with tuned settings is ahead of IG as released by one metric "
            "and behind by another",
        },
    ),
    (
        Side(method="IG", way="tuned"),
        _NONE_TUNED,
        {
            "tie": "With an equal budget of tuning for both, IG and plain training tie",
            "ahead": "With an equal budget of tuning for both, IG is ahead of plain training",
            "behind": "With an equal budget of tuning for both, IG is behind plain training",
            "mixed": "With an equal budget of tuning for both, IG is ahead of plain training by "
            "one metric and behind by another",
        },
    ),
    (
        Side(method="IG", way="printed"),
        Side(method="None", way="printed"),
        {
            "tie": "As printed, at the published rates, IG and plain training tie",
            "ahead": "As printed, at the published rates, IG is ahead of plain training",
            "behind": "As printed, at the published rates, IG is behind plain training",
            "mixed": "As printed, at the published rates, IG is ahead of plain training by one "
            "metric and behind by another",
        },
    ),
)


def verdict(results: Results) -> list[str]:
    """Sentences on what was reproduced, where the gain comes from, and what to do about it."""
    found: list[str] = []
    for table in results.tables:
        lead = f"On the {STAND_IN} for Micro Video: " if table.stand_in else ""
        for backbone in dict.fromkeys(row.backbone for row in table.rows):
            said = [*_reproduced(table, backbone), *_answered(results, table, backbone)]
            found += [f"{lead}**{backbone}.** {sentence}" for sentence in said]
    return [*found, _advice(results)]


def outcome(gap: Gap) -> Outcome:
    """What an interval of a difference says.

    Example:
        >>> outcome(Gap(mean=0.01, low=-0.01, high=0.03)), outcome(Gap(mean=-3, low=-4, high=-2))
        ('tie', 'behind')
    """
    if gap.low > 0:
        return "ahead"
    return "behind" if gap.high < 0 else "tie"


def overall(difference: Difference) -> Outcome:
    """What the intervals of all judged metrics say together.

    A win by one metric and ties by the others is a win; wins and losses together are mixed. A
    difference that is negligible is a tie.
    """
    judged = [gap for name, gap in difference.metrics.items() if name in METRICS]
    outcomes = {outcome(gap) for gap in judged if not negligible(gap)}
    if {"ahead", "behind"} <= outcomes:
        return "mixed"
    for single in ("ahead", "behind"):
        if single in outcomes:
            return single
    return "tie"


def negligible(gap: Gap) -> bool:
    """Whether all of an interval is too close to 0 to matter.

    Example:
        >>> negligible(Gap(mean=1e-4, low=1e-5, high=2e-4))
        True
    """
    return -NEGLIGIBLE < gap.low <= gap.high < NEGLIGIBLE


def number(value: float | None, *, signed: bool = False) -> str:
    """Four decimals without the leading zero, or a dash.

    Example:
        >>> number(0.83146), number(-0.0021, signed=True), number(1.0), number(None)
        ('.8315', '-.0021', '1.0000', '-')
    """
    if value is None:
        return "-"
    text = f"{value:+.4f}" if signed else f"{value:.4f}"
    text = text.replace("-0.0000", "+0.0000" if signed else "0.0000")
    return text.replace("0.", ".", 1) if abs(value) < 0.99995 else text


def gaps(difference: Difference) -> str:
    """The judged differences and their intervals, in a line."""
    return ", ".join(
        f"{label} {interval(difference.metrics[name])}"
        for name, label in METRICS.items()
        if name in difference.metrics
    )


def interval(gap: Gap) -> str:
    """A difference and its interval, as in `+.0010 (-.0005 to +.0025)`."""
    mean, low, high = (number(x, signed=True) for x in (gap.mean, gap.low, gap.high))
    return f"{mean} ({low} to {high})"


def _reproduced(table: Table, backbone: str) -> Iterator[str]:
    """How IG as released compares with the printed row; not asked of simulated data."""
    for row in table.rows:
        if table.stand_in or (row.backbone, row.method) != (backbone, "IG"):
            continue
        if row.published and "released" in row.ways:
            parts = [_beside(row, name, label) for name, label in METRICS.items()]
            yield "IG as released against the printed row: " + ", ".join(filter(None, parts)) + "."


def _beside(row: TableRow, name: str, label: str) -> str:
    level = row.ways["released"].metrics.get(name)
    if level is None or row.published is None:
        return ""
    printed = getattr(row.published, name.partition("@")[0])
    return f"{label} {number(level.mean)} for {number(printed)} ({_inside(level, printed)})"


def _inside(level: Level, printed: float) -> str:
    if level.low is None or level.high is None:
        return f"{number(level.mean - printed, signed=True)}, no interval"
    where = "inside" if level.low <= printed <= level.high else "outside"
    return f"{where} {number(level.low)} to {number(level.high)}"


def _answered(results: Results, table: Table, backbone: str) -> Iterator[str]:
    for of, less, sentences in _QUESTIONS:
        for difference in _found(results.differences, of, less):
            if (difference.dataset, difference.backbone) == (table.dataset, backbone):
                seeds = f"{difference.n_seeds} seed{'s' * (difference.n_seeds > 1)}"
                said = sentences[overall(difference)]
                yield f"{said}: {gaps(difference)}; {seeds}.{_too_small(difference)}"


def _too_small(difference: Difference) -> str:
    """A word on differences that are sure and yet too small to count."""
    judged = [gap for name, gap in difference.metrics.items() if name in METRICS]
    sure = any(outcome(gap) != "tie" and negligible(gap) for gap in judged)
    return f" Less than {number(NEGLIGIBLE)} counts as nothing." if sure else ""


def _found(differences: Sequence[Difference], of: Side, less: Side) -> list[Difference]:
    return [d for d in differences if (d.of, d.less) == (of, less)]


def _advice(results: Results) -> str:
    """What to do with data like these, by plain training against IG, both tuned."""
    real = {table.dataset for table in results.tables if not table.stand_in}
    tuned = _found(results.differences, Side(method="IG", way="tuned"), _NONE_TUNED)
    outcomes = {overall(d) for d in tuned if d.dataset in real}
    if not outcomes:
        return (
            "**What to do:** not measured yet; IG and plain training have to be tuned alike first."
        )
    if outcomes == {"ahead"}:
        return (
            "**What to do:** on data like these, use IG, and tune the learning rate with it: it is "
            "ahead of plain training on equal terms."
        )
    if "ahead" in outcomes or "mixed" in outcomes:
        return (
            "**What to do:** on data like these it depends on the backbone; tune the learning rate "
            "of plain training first, then let validation decide whether IG adds to it."
        )
    return (
        "**What to do:** on data like these, tune the learning rate of plain training first; on "
        "equal terms IG adds nothing to it here. Where labels are scarce it may be otherwise: "
        "compare on your own data."
    )
