"""From run folders to what the paper's figures draw, as small plain values.

A figure's data hold no more points than can be seen; whatever is counted is counted before any
point is left out.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from invlearn.errors import RunError
from invlearn.paper.rows import Figure
from invlearn.recording import read_lines
from invlearn.strategies.inverse import CHOICES

BINS = 50
"""Equal bins over [0, 1] that weights are counted in."""
MAX_POINTS = 250
"""Points drawn of one series at most."""
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Relative difference below which two mean losses in float32 do not tell two points apart."""


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Distributions of the weights of both labels, at the first and the last epoch."""

    title: str
    """Of the panel."""
    n_pairs: int
    """Unlabelled pairs that were counted."""
    counts: dict[str, dict[str, tuple[int, ...]]]
    """Pairs in each of `BINS` equal bins over [0, 1], by epoch (`first`, `last`), then by weight
    (`w1`, `w0`)."""
    positive_fraction: dict[str, float]
    """Part of the pairs with w1 above one half, by epoch."""


@dataclass(frozen=True, slots=True)
class Judges:
    """Losses of training-test batches at the chosen point, and what was chosen."""

    title: str
    """Of the panel."""
    n_steps: int
    """Judged steps of the run."""
    every: int
    """One of so many judged steps is among the points, from the first on."""
    steps: tuple[int, ...]
    """Numbers of the points among the judged steps, from 1."""
    losses: tuple[float, ...]
    """Mean log loss of the training-test batch at the chosen point, after `steps`."""
    choices: tuple[str, ...]
    """What was chosen there: direct, inverse or stay."""
    counts: dict[str, int]
    """How often each was chosen, over all judged steps."""
    n_rounding: int
    """Judged steps whose three losses agree to within rounding, so that chance chose."""


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


def read_beliefs(run: Path, title: str) -> Beliefs:
    """Distributions of w1 and w0 from the beliefs that a run folder keeps (Figures 3 and 4).

    Raises:
        RunError: The run kept none.
    """
    w1 = {epoch: _read_weights(run / f"beliefs-{epoch}.npy") for epoch in ("first", "last")}
    return Beliefs(
        title,
        n_pairs=len(w1["last"]),
        counts={epoch: {"w1": binned(w), "w0": binned(1 - w)} for epoch, w in w1.items()},
        positive_fraction={epoch: float((w > 0.5).mean()) for epoch, w in w1.items()},
    )


def binned(weights: npt.NDArray[np.floating[Any]]) -> tuple[int, ...]:
    """Count weights of shape `(pairs,)` in `BINS` equal bins over [0, 1].

    Example:
        >>> binned(np.array([0.0, 0.01, 1.0]))[::49]
        (2, 1)
    """
    counts, _ = np.histogram(weights, bins=BINS, range=(0.0, 1.0))
    return tuple(counts.tolist())


def read_judges(run: Path, title: str) -> Judges:
    """Losses of judged steps from the record of a run (Figures 5 and 6).

    Raises:
        RunError: No step of the run was judged.
    """
    lines = [line for line in read_lines(run / "steps.jsonl") if "choice" in line]
    if not lines:
        raise RunError(
            f"{run} has no judged step in steps.jsonl; this figure needs a run of a strategy "
            "that judges, such as ig"
        )
    losses = np.array([line["judge_losses"] for line in lines])
    choices = np.array([line["choice"] for line in lines])
    best = losses[np.arange(len(choices)), choices]
    every = -(-len(lines) // MAX_POINTS)
    shown = np.arange(0, len(lines), every)
    times = np.bincount(choices, minlength=len(CHOICES))
    return Judges(
        title,
        n_steps=len(lines),
        every=every,
        steps=tuple((shown + 1).tolist()),
        losses=tuple(round(float(loss), 6) for loss in best[shown]),
        choices=tuple(CHOICES[choice] for choice in choices[shown]),
        counts={name: int(times[number]) for number, name in enumerate(CHOICES)},
        n_rounding=int((np.ptp(losses, axis=1) <= ROUNDING * losses.min(axis=1)).sum()),
    )


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


def _read_weights(file: Path) -> npt.NDArray[np.float64]:
    try:
        return np.load(file).astype(np.float64)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{file} is missing or damaged ({error}); this figure needs a run with a strategy that "
            "uses unlabelled pairs"
        ) from error
