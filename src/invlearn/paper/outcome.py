"""What an interval says, and how numbers are written."""

from typing import Literal

from invlearn.paper.results import Comparison, Gap

Outcome = Literal["ahead", "behind", "tie", "negligible", "mixed"]

METRICS = {"auc": "AUC", "gauc": "GAUC", "ndcg@20": "NDCG@20"}
"""Metrics that are judged, by name, and how they are written."""
NEGLIGIBLE = 0.001
"""An interval that lies within so much of 0 stands for no difference that anybody could use,
however sure its sign is."""


def outcome(gap: Gap) -> Outcome:
    """What an interval of a difference says; a tie if it covers 0, whatever its width.

    Example:
        >>> outcome(Gap(mean=0.01, low=-0.01, high=0.03)), outcome(Gap(mean=-3, low=-4, high=-2))
        ('tie', 'behind')
        >>> outcome(Gap(mean=1e-4, low=1e-5, high=2e-4))
        'negligible'
    """
    if gap.low <= 0 <= gap.high:
        return "tie"
    if -NEGLIGIBLE < gap.low <= gap.high < NEGLIGIBLE:
        return "negligible"
    return "ahead" if gap.low > 0 else "behind"


def by_outcome(comparison: Comparison, wanted: Outcome) -> list[str]:
    """Judged metrics, as they are written, whose interval says so."""
    return [
        label
        for name, label in METRICS.items()
        if name in comparison.metrics and outcome(comparison.metrics[name]) == wanted
    ]


def overall(comparison: Comparison) -> Outcome:
    """What the intervals of all judged metrics say together.

    A win by one metric is a win unless another one is lost: wins and losses together are mixed.
    Without either, one negligible difference makes the whole negligible.
    """
    if by_outcome(comparison, "ahead") and by_outcome(comparison, "behind"):
        return "mixed"
    for single in ("ahead", "behind", "negligible"):
        if by_outcome(comparison, single):
            return single
    return "tie"


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


def interval(gap: Gap) -> str:
    """A difference and its interval, as in `+.0010 (-.0005 to +.0025)`."""
    mean, low, high = (number(x, signed=True) for x in (gap.mean, gap.low, gap.high))
    return f"{mean} ({low} to {high})"


def gaps(comparison: Comparison) -> str:
    """The judged differences and their intervals, in a line."""
    return ", ".join(
        f"{label} {interval(comparison.metrics[name])}"
        for name, label in METRICS.items()
        if name in comparison.metrics
    )


def listed(words: list[str]) -> str:
    """Words as a list in a sentence.

    Example:
        >>> listed(["AUC", "GAUC", "NDCG@20"])
        'AUC, GAUC and NDCG@20'
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
