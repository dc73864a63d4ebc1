"""Crash-safe checkpoints; nothing in them is ever unpickled.

```
checkpoints/
  index.json               names and checksums of the last, the best and the kept checkpoints
  epoch-0001-step-000000/  weights.safetensors  optimizer.safetensors  state.json
```
Kept epochs that are neither last nor best keep only their weights.
A checkpoint's name holds its finished epochs, and its finished steps of the next epoch. It is
written completely, under a new name, before the index names it; then folders that the index does
not name are removed. So the index always names complete checkpoints.
"""

import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from torch import Tensor

from invlearn.data.parts import sha256
from invlearn.runtime import atomic
from invlearn.runtime.distributed import ALONE, Group
from invlearn.runtime.errors import RunError
from invlearn.runtime.safe_load import json_of
from invlearn.runtime.tensor_files import (
    NO_SHARDS,
    Shard,
    private_copy,
    read_tensors,
    write_tensors,
)

FILES = ("optimizer.safetensors", "state.json", "weights.safetensors")

Which = Literal["last", "best"]

_KEPT = "epoch-"
"""Prefix of kept epochs in the index."""


@dataclass(slots=True)
class TrainState:
    """Training progress: the state to save in addition to weights and moments."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Steps finished within the current epoch."""
    best_score: float | None = None
    """Best validation score so far."""
    best_epoch: int | None = None
    """Epoch of the best score, from 0."""
    epochs_since_best: int = 0
    """Epochs finished since the best one."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: TrainState
    run: str = ""
    """Id of its run, from `run.json`; empty in checkpoints of earlier versions."""


def save(
    folder: Path,
    checkpoint: Checkpoint,
    *,
    best: bool,
    keep: int = 0,
    shards: Mapping[str, Shard] = NO_SHARDS,
    group: Group = ALONE,
) -> None:
    """Write a checkpoint, make it the last one, and remove those no longer needed.

    All processes of the group call it together. The first one writes replicated tensors; every
    process writes its own shards.

    Args:
        folder: The run's `checkpoints` folder.
        checkpoint: The content.
        best: Make it the best one as well.
        keep: Number of recent epochs whose weights are kept.
        shards: Weights and moments that are rows of a larger table, by name.
        group: The processes.

    Raises:
        InvlearnError: The disk is full or not writable; earlier checkpoints are unchanged.
    """
    name = f"epoch-{checkpoint.state.epoch:04d}-step-{checkpoint.state.step:06d}"
    if not group.is_first:
        if shards:
            _write_parts(Path(group.broadcast_object(None)), checkpoint, shards, group)
        return
    state = asdict(checkpoint.state) | ({"run": checkpoint.run} if checkpoint.run else {})
    with atomic.new_folder(folder / name, overwrite=True) as partial:
        (partial / "state.json").write_text(json.dumps(state))
        if shards:
            group.broadcast_object(str(partial.resolve()))
        _write_parts(partial, checkpoint, shards, group)
        checksums = {file: sha256(partial / file) for file in FILES}
    index = _read_index(folder) if (folder / "index.json").exists() else {}
    entry = {"name": name, "sha256": checksums}
    index |= {"last": entry, "best": entry} if best else {"last": entry}
    if checkpoint.state.step == 0 and checkpoint.state.epoch > 0:
        index[_kept_as(checkpoint.state.epoch)] = entry
        for epoch in _kept(index)[: -keep or None]:
            del index[_kept_as(epoch)]
    atomic.write_json(folder / "index.json", index)
    _remove_unnamed(folder, index)


def _write_parts(
    folder: Path, checkpoint: Checkpoint, shards: Mapping[str, Shard], group: Group
) -> None:
    """Write weights and moments: each process its shards, the first one all others."""
    parts = {"weights": checkpoint.weights, "optimizer": checkpoint.optimizer}
    for part, tensors in parts.items():
        cut = {name: shard for name, shard in shards.items() if name in tensors}
        if cut or group.is_first:
            together = group if cut else ALONE
            write_tensors(folder / f"{part}.safetensors", tensors, shards=cut, group=together)


def load(folder: Path, which: Which, shards: Mapping[str, Shard] = NO_SHARDS) -> Checkpoint:
    """Read the last or the best checkpoint.

    Args:
        folder: The run's `checkpoints` folder.
        which: `last` or `best`.
        shards: Weights and moments of which only some rows are read (see `read_tensors`).

    Raises:
        RunError: There is no checkpoint, or a file of it is missing, truncated or changed.
    """
    index, place = _find(folder, which)
    for name in FILES:
        _check(place / name, which, index)
    with _readable(place):
        weights = read_tensors(place / "weights.safetensors", shards)
        optimizer = read_tensors(place / "optimizer.safetensors", shards)
    return Checkpoint(weights, optimizer, *_read_state(place))


def load_private(folder: Path, which: Which) -> Checkpoint:
    """Read the weights of the last or the best checkpoint into private memory.

    Later changes of the files have no effect on the checked weights.

    Returns:
        The checkpoint, without moments.

    Raises:
        RunError: There is no checkpoint, or a file of it is missing, truncated or changed.
    """
    index, place = _find(folder, which)
    _check(place / "state.json", which, index)
    weights = _read_private(place / "weights.safetensors", which, index)
    return Checkpoint(weights, {}, *_read_state(place))


def _find(folder: Path, which: Which) -> tuple[dict[str, Any], Path]:
    """Return the index and the folder of a checkpoint."""
    index = _read_index(folder)
    if which not in index:
        raise RunError(f"{folder} has no {which} checkpoint yet; resume the run to make one")
    return index, folder / index[which]["name"]


def _read_private(file: Path, which: str, index: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a file in private memory, with the checksum verified."""
    if not file.is_file():
        _check(file, which, index)
    with _readable(file), private_copy(file) as (copy, digest):
        _check(file, which, index, digest)
        return read_tensors(copy)


def _read_state(place: Path) -> tuple[TrainState, str]:
    """Return the state and the run id from `state.json`."""
    with _readable(place):
        state = json_of(place / "state.json")
        run = str(state.pop("run", ""))
        return TrainState(**state), run


@contextmanager
def _readable(path: Path) -> Generator[None, None, None]:
    """Convert errors in the content of a file to `RunError`."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} cannot be read ({error}); train the run again") from error


def exists(folder: Path) -> bool:
    """Return whether a checkpoint exists."""
    return (folder / "index.json").is_file()


def tidy(folder: Path) -> None:
    """Remove checkpoints that the index does not name, left by a killed process."""
    _remove_unnamed(folder, _read_index(folder))


def kept_epochs(folder: Path) -> list[int]:
    """Return the numbers of the kept epochs, from 1, ascending.

    Raises:
        RunError: There is no checkpoint, or the index is damaged.
    """
    return _kept(_read_index(folder))


def load_kept(folder: Path, epoch: int) -> dict[str, Tensor]:
    """Read the weights at the end of one of `kept_epochs`.

    Raises:
        RunError: The file is missing, truncated or changed.
    """
    index, which = _read_index(folder), _kept_as(epoch)
    return _read_private(folder / index[which]["name"] / "weights.safetensors", which, index)


def _kept_as(epoch: int) -> str:
    """Return the name of a kept epoch in the index."""
    return f"{_KEPT}{epoch:04d}"


def _kept(index: Mapping[str, Any]) -> list[int]:
    numbers = (name.removeprefix(_KEPT) for name in index if name.startswith(_KEPT))
    return sorted(int(number) for number in numbers if number.isdecimal())


def _read_index(folder: Path) -> dict[str, Any]:
    file = folder / "index.json"
    try:
        index: dict[str, dict[str, Any]] = {
            which: {"name": str(entry["name"]), "sha256": dict(entry["sha256"])}
            for which, entry in json_of(file).items()
        }
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}; train the run again") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{file} is damaged ({error!r}); train the run again") from error
    if any(Path(entry["name"]).name != entry["name"] for entry in index.values()):
        raise RunError(f"{file} names a folder outside of it, so it was not written by invlearn")
    return index


def _check(file: Path, which: str, index: Mapping[str, Any], digest: str = "") -> None:
    """Raise `RunError` if the file is missing or changed; `digest` is its checksum, if known."""
    is_missing = not file.is_file()
    if not is_missing and (digest or sha256(file)) == index[which]["sha256"].get(file.name):
        return
    other = "best" if which == "last" else "last"
    own, spare = index[which]["name"], index.get(other, index[which])["name"]
    hint = f"; the {other} checkpoint, {spare}, may be intact" if spare != own else ""
    damage = "is missing" if is_missing else "was changed or truncated since it was written"
    raise RunError(f"{file} {damage}; restore it or train the run again{hint}")


def _remove_unnamed(folder: Path, index: Mapping[str, Any]) -> None:
    """Remove checkpoints that the index does not name, and kept epochs' other files."""
    named = {entry["name"] for entry in index.values()}
    whole = {index[which]["name"] for which in ("last", "best") if which in index}
    for path in folder.glob("*step-*"):
        if path.name not in named:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in whole:
            for name in FILES[:2]:
                (path / name).unlink(missing_ok=True)
