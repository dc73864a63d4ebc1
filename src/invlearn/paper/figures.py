"""From run folders to what the paper's figures draw, as small plain values.

A figure's data hold no more points than can be seen; whatever is counted is counted before any
point is left out.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from invlearn.paper.rows import Figure
from invlearn.reporting.traces import BINS, Beliefs, Judges, read_beliefs, read_judges


@dataclass(frozen=True, slots=True)
class FigureData:
    """All that is needed to draw a figure again."""

    name: str
    """As in `figure3`."""
    title: str
    """What it shows."""
    kind: Literal["beliefs", "judges"]
    """Which kind of panel it has."""
    caption: str
    """How to read it: what was counted, and which points were left out."""
    panels: tuple[Beliefs, ...] | tuple[Judges, ...]
    """In reading order."""

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return json.loads(json.dumps(asdict(self)))


def figure_data(figure: Figure, runs: Sequence[Path]) -> FigureData:
    """What a figure draws, from the run folders behind its panels.

    Args:
        figure: Which one.
        runs: A run folder for each panel, in order; checkpoints are not needed.

    Raises:
        RunError: A folder lacks the records that the figure is drawn from.
    """
    pairs = list(zip(figure.panels, runs, strict=True))
    if figure.kind == "beliefs":
        beliefs = tuple(read_beliefs(run, panel.title) for panel, run in pairs)
        caption = beliefs_caption(beliefs)
        return FigureData(figure.name, figure.title, figure.kind, caption, beliefs)
    judges = tuple(read_judges(run, panel.title) for panel, run in pairs)
    return FigureData(figure.name, figure.title, figure.kind, judges_caption(judges), judges)


def beliefs_caption(panels: Sequence[Beliefs]) -> str:
    """What was counted, and how many pairs are believed positive."""
    pairs = " and ".join(f"{n:,}" for n in sorted({panel.n_pairs for panel in panels}))
    parts = "; ".join(
        f"{panel.title} {panel.positive_fraction['first']:.0%} after the first epoch, "
        f"{panel.positive_fraction['last']:.0%} after the last"
        for panel in panels
    )
    return (
        f"Weights of {pairs} sampled pairs in {BINS} equal bins, the same pairs at both epochs. "
        f"Believed positive (w1 > 0.5): {parts}."
    )


def judges_caption(panels: Sequence[Judges]) -> str:
    """How often each way was chosen, how often by chance, and which points are drawn."""
    parts = "; ".join(
        f"{panel.title}: {panel.counts['direct']:,} direct, {panel.counts['inverse']:,} inverse, "
        f"{panel.counts['stay']:,} stay" + (f", 1 in {panel.every} drawn") * (panel.every > 1)
        for panel in panels
    )
    rounding = sum(panel.n_rounding for panel in panels)
    n_steps = sum(panel.n_steps for panel in panels)
    return (
        f"Log loss of each training-test batch at the chosen point. Counts of all steps: {parts}. "
        f"In {rounding:,} of {n_steps:,} steps the three losses agree to "
        "within float32 rounding, so that chance chose."
    )
