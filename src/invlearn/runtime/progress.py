"""Progress-callback protocol; the command line displays the progress."""

from typing import Protocol


class Progress(Protocol):
    """Callback for long-running work, called after each part."""

    def __call__(self, stage: str, done: int, total: int, **figures: float | str) -> None:
        """Report that `done` of `total` parts of `stage` are finished.

        Args:
            stage: Short description of the work; a new text starts a new progress bar.
            done: Number of finished parts.
            total: Total number of parts.
            figures: Values to show next to the bar, such as the loss.
        """
        ...


def silent(stage: str, done: int, total: int, **figures: float | str) -> None:
    """Do nothing; the default of every function that reports progress."""
