"""Training logs: one JSON line per step and per epoch, and TensorBoard on request."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from invlearn.runtime import atomic
from invlearn.runtime.errors import ConfigError, RunError
from invlearn.runtime.safe_load import from_json

FLUSH_STEPS = 64
"""Steps between reads of the logged tensors, to avoid device synchronization."""


class Recorder:
    """Appends to `steps.jsonl` and `epochs.jsonl` in a run folder."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        n_steps: int = 0,
        n_epochs: int = 0,
        tensorboard: bool = False,
    ) -> None:
        """Open the logs, and drop lines that a resumed run will write again.

        Args:
            folder: The run folder; none to log in memory only.
            n_steps: Steps taken so far; later lines are dropped.
            n_epochs: Epochs finished so far; later lines are dropped.
            tensorboard: Write scalars for TensorBoard into `folder/tensorboard` too.
        """
        self._files = folder and (folder / "steps.jsonl", folder / "epochs.jsonl")
        self._waiting: list[tuple[int, int, Mapping[str, Tensor]]] = []
        self._current: list[dict[str, Any]] = []
        if self._files:
            _keep(self._files[0], "step", n_steps)
            _keep(self._files[1], "epoch", n_epochs)
            lines = read_lines(self._files[0])
            self._current += [line for line in lines if line.get("epoch") == n_epochs]
        choices = (line.get("choice") for line in self._current)
        self.choices: Counter[Any] = Counter(one for one in choices if isinstance(one, int))
        """Counts of the judges' choices in the current epoch."""
        wanted = tensorboard and folder
        self._board: Any = _open_board(wanted / "tensorboard", n_steps) if wanted else None

    def step(self, epoch: int, step: int, log: Mapping[str, Tensor]) -> None:
        """Add the strategy's log of a step.

        Args:
            epoch: Number of the epoch, from 0.
            step: Number of the step over all epochs, from 0.
            log: Scalars and short vectors.
        """
        self._waiting.append((epoch, step, log))
        if len(self._waiting) >= FLUSH_STEPS:
            self.flush()

    def epoch(self, epoch: int, figures: Mapping[str, Any]) -> None:
        """Write the record of a finished epoch."""
        self.flush()
        self._current.clear()
        self.choices.clear()
        if self._files:
            _append(self._files[1], [{"epoch": epoch, **figures}])
        if self._board:
            for name, value in _scalars(figures):
                self._board.add_scalar(f"epoch/{name}", value, epoch)

    def flush(self) -> None:
        """Write the buffered records."""
        lines = [
            {"epoch": epoch, "step": step, **{name: value.tolist() for name, value in log.items()}}
            for epoch, step, log in self._waiting
        ]
        self._waiting.clear()
        self._current += lines
        self.choices.update(line["choice"] for line in lines if "choice" in line)
        if self._files:
            _append(self._files[0], lines)
        for line in lines if self._board else []:
            for name, value in _scalars(line):
                self._board.add_scalar(f"step/{name}", value, line["step"])

    def sync(self) -> None:
        """Write the buffered records and fsync, before a checkpoint is saved."""
        self.flush()
        for file in self._files or ():
            atomic.sync(file)

    def current_steps(self) -> list[dict[str, Any]]:
        """Return the records of all steps of the current epoch."""
        self.flush()
        return list(self._current)

    def close(self) -> None:
        """Write the buffered records and close the TensorBoard file."""
        self.flush()
        if self._board:
            self._board.close()


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSON-lines file, without a truncated last line.

    Raises:
        RunError: Another line is damaged.
    """
    if not file.is_file():
        return
    with file.open("rb") as stream:
        for number, line in enumerate(stream):
            if line.endswith(b"\n"):
                try:
                    record = from_json(line)
                    if not isinstance(record, dict):
                        raise ValueError("it is not a record")
                except ValueError as error:
                    raise RunError(
                        f"line {number + 1} of {file} is damaged ({error}); restore the file or "
                        "train the run again"
                    ) from error
                yield cast(dict[str, Any], record)


def best_epoch(epochs: Iterable[Mapping[str, Any]]) -> int | None:
    """Return the number of the best epoch, from 1; none before the first epoch.

    Args:
        epochs: Records of `epochs.jsonl`, in order.

    Example:
        >>> best_epoch([{"best": True}, {"best": True}, {"best": False}])
        2
    """
    marked = [number for number, epoch in enumerate(epochs, 1) if epoch.get("best")]
    return marked[-1] if marked else None


def _keep(file: Path, key: str, bound: int) -> None:
    """Drop the records whose `key` is `bound` or more.

    Raises:
        RunError: Earlier records are missing, so the run cannot be resumed exactly.
    """
    places = ((line.get(key), line) for line in read_lines(file))
    kept = [line for place, line in places if isinstance(place, int) and place < bound]
    if [line[key] for line in kept] != [*range(bound)]:
        raise RunError(
            f"{file} has {len(kept):,} whole records of the {bound:,} that the last checkpoint "
            "needs; restore the file or train the run again"
        )
    atomic.write_text(file, "".join(json.dumps(line) + "\n" for line in kept))


def _append(file: Path, lines: list[dict[str, Any]]) -> None:
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in lines)
    except OSError as error:
        raise atomic.cannot_write(file, error) from error


def _scalars(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a record with dotted names."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and name not in ("epoch", "step"):
            yield prefix + name, float(value)


def _open_board(folder: Path, n_steps: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "tensorboard is not installed; pip install 'invlearn[tensorboard]' or omit "
            "--tensorboard"
        ) from error
    return SummaryWriter(str(folder), purge_step=n_steps or None)
