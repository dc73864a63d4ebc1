"""How long work tells its watcher where it stands; showing it is the command line's business."""

from typing import Protocol


class Progress(Protocol):
    """Called by long work after each part of it."""

    def __call__(self, stage: str, done: int, total: int, **figures: float | str) -> None:
        """Take note that `done` of `total` parts of `stage` are over.

        Args:
            stage: What is being done, in a few words; a new text begins a new bar.
            done: Parts finished.
            total: Parts in all.
            figures: Anything worth showing beside the bar, such as the loss.
        """
        ...


def silent(stage: str, done: int, total: int, **figures: float | str) -> None:
    """Show nothing: the default of every function that reports progress."""
