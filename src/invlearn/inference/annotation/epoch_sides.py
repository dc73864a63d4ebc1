"""Agreement of a run's kept epochs: the sign of their logits, pair by pair."""

from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from invlearn.data.prepare.queried_pairs import BLOCK_PAIRS, QueriedPairs
from invlearn.evaluation.scoring import score_pairs
from invlearn.runtime import atomic
from invlearn.training import checkpoint
from invlearn.training.checkpoint import Checkpoint, TrainState
from invlearn.training.run import Run
from invlearn.training.run_folder import load_weights


@final
class OtherEpochs:
    """Epochs of a run whose weights were kept, except the best one."""

    def __init__(self, run: Run) -> None:
        self._run, self._place = run, run.folder / "checkpoints"
        self.best = checkpoint.load(self._place, "best").state.epoch
        """Number of the best epoch, from 1."""
        kept = checkpoint.kept_epochs(self._place)
        self.numbers = [epoch for epoch in kept if epoch != self.best]
        """Numbers of the epochs, from 1, ascending."""

    def counts_above(
        self, queried: QueriedPairs, place: Path, report: Callable[[int], None]
    ) -> npt.NDArray[np.uint16] | None:
        """Count for each pair the epochs whose logit is above 0.

        The backbone gets the weights of one epoch after the other, and those of the best one at
        the end, so memory never holds two sets of weights.

        Args:
            queried: The pairs.
            place: Folder for the counts.
            report: Called with the number of pairs done, over all epochs.

        Returns:
            A memory-mapped file of shape `(pairs,)`, or none if there are no other epochs.

        Raises:
            RunError: The weights of an epoch are missing or damaged.
        """
        if not self.numbers or not queried.n_pairs:
            return None
        above = _zeros(place / "above", queried.n_pairs)
        try:
            for number, epoch in enumerate(self.numbers):
                self._put(checkpoint.load_kept(self._place, epoch))
                start = 0
                for block in queried.blocks():
                    users, items = np.maximum(block.users, 0), np.maximum(block.items, 0)
                    at = slice(start, start := start + len(users))
                    above[at] += score_pairs(self._run.module, users, items) > 0
                    report(number * queried.n_pairs + start)
        finally:
            self._put(checkpoint.load_private(self._place, "best").weights)
        return above

    def _put(self, weights: dict[str, Tensor]) -> None:
        saved = Checkpoint(weights, {}, TrainState())
        load_weights(self._run.module, saved, self._run.folder, as_they_are=True)


def _zeros(file: Path, n_pairs: int) -> npt.NDArray[np.uint16]:
    """Return a memory-mapped file of zeros, written in full.

    A write to a hole of a mapped file on a full disk would kill the process.

    Raises:
        InvlearnError: The disk is full or cannot be written.
    """
    try:
        with file.open("wb") as stream:
            for start in range(0, n_pairs, BLOCK_PAIRS):
                stream.write(np.zeros(min(BLOCK_PAIRS, n_pairs - start), np.uint16).data)
    except OSError as error:
        raise atomic.cannot_write(file, error) from error
    return np.memmap(file, np.uint16, "r+", shape=(n_pairs,))
