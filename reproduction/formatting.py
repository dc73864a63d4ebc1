"""How numbers, intervals and tables are written on the page."""

from collections.abc import Sequence
from typing import Literal

from reproduction.results import Gap

NEGLIGIBLE = 0.001
"""An interval within this distance of 0 is a difference too small to matter in use."""
Lines = Sequence[Sequence[str]]


def outcome(gap: Gap) -> Literal["ahead", "behind", "tie", "negligible"]:
    """Return what an interval of a difference says; a tie if it contains 0.

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


def number(value: float | None, *, signed: bool = False) -> str:
    """Format a metric with four decimals and without the leading zero, or a dash.

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
    """Format a difference and its interval, as in `+.0010 (-.0005 to +.0025)`."""
    mean, low, high = (number(x, signed=True) for x in (gap.mean, gap.low, gap.high))
    return f"{mean} ({low} to {high})"


def section(title: str, text: str, header: Sequence[str], lines: Lines) -> str:
    """Return a heading, a sentence and a table; nothing if the table would be empty."""
    parts = [title, text, markdown_table(header, lines)]
    return "\n\n".join(part for part in parts if part) if lines else ""


def markdown_table(header: Sequence[str], lines: Lines) -> str:
    """Return a table whose columns are aligned in the raw text too."""
    cells = [[cell.replace("|", "\\|") for cell in line] for line in [header, *lines]]
    widths = [max(len(line[at]) for line in cells) for at in range(len(header))]
    rule = ["-" * width for width in widths]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        for line in [cells[0], rule, *cells[1:]]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
