"""Tensors by name in a safetensors file, written by one process or by several at once.

The format (https://huggingface.co/docs/safetensors): eight bytes for the length of a JSON header,
the header with type, shape and place of each tensor, the tensors row by row. So processes that hold
rows of one table each write theirs into the place where they belong, and the file is the one that a
single process would have written.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from invlearn import atomic
from invlearn.errors import InvlearnError
from invlearn.processes import ALONE, Group

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class Shard(NamedTuple):
    """Which rows of a whole table a process holds: from `first` up to, not including, `end`."""

    first: int
    end: int
    n_rows: int
    """Of the whole table."""


NO_SHARDS: Mapping[str, Shard] = {}


def write_tensors(
    file: Path,
    tensors: Mapping[str, Tensor],
    *,
    shards: Mapping[str, Shard] = NO_SHARDS,
    group: Group = ALONE,
) -> None:
    """Write tensors, each once, whatever names it stands under.

    Args:
        file: Where to; on a disk that all processes see.
        tensors: On each process the same names.
        shards: Which of them are rows of a bigger one, and where they belong.
        group: The processes, if there are shards; else only this one writes.

    Raises:
        InvlearnError: The disk is full or cannot be written.
    """
    if shards:
        _write_together(file, tensors, shards, group)
        return
    tied = _tied(tensors)
    kept = {name: tensor.detach() for name, tensor in tensors.items() if name not in tied}
    users = Counter(tensor.untyped_storage().data_ptr() for tensor in kept.values())
    owned = {  # safetensors wants them on the CPU and no memory shared
        name: tensor.cpu().contiguous()
        if users[tensor.untyped_storage().data_ptr()] == 1
        else tensor.cpu().contiguous().clone()
        for name, tensor in kept.items()
    }
    try:
        save_file(owned, file, {"tied": json.dumps(tied)} if tied else None)
    except SafetensorError as error:  # its own error for a full disk
        raise atomic.cannot_write(file, OSError(str(error))) from error


def read_tensors(file: Path, shards: Mapping[str, Shard] = NO_SHARDS) -> dict[str, Tensor]:
    """Read tensors; what was one tensor under several names is so again.

    Args:
        file: What `write_tensors` wrote.
        shards: Of which tensors only some rows are wanted, and which.

    Raises:
        SafetensorError: The file is damaged.
    """
    with safe_open(file, "pt") as opened:
        tied: dict[str, str] = json.loads((opened.metadata() or {}).get("tied", "{}"))
        if shards:
            tensors = {
                name: opened.get_slice(name)[shards[name].first : shards[name].end]
                if name in shards
                else opened.get_tensor(name)
                for name in opened.keys()  # noqa: SIM118  it is no mapping
            }
        else:
            tensors = load_file(file)
    return tensors | {name: tensors[first] for name, first in tied.items()}


class _Place(NamedTuple):
    """Where a tensor stands in a file."""

    start: int
    """Bytes from the end of the header."""
    shape: list[int]


def _write_together(
    file: Path, tensors: Mapping[str, Tensor], shards: Mapping[str, Shard], group: Group
) -> None:
    """Each process writes its rows; what is whole is written by the first."""
    places, head = _laid_out(tensors, shards)
    try:
        if group.is_first:
            with file.open("wb") as stream:
                stream.write(head)
                stream.truncate(len(head) + _end(tensors, places))
        group.wait()
        with file.open("r+b") as stream:
            for name, tensor in tensors.items():
                if name not in shards and not group.is_first:
                    continue
                first = shards[name].first if name in shards else 0
                row_bytes = tensor.element_size() * prod(tensor.shape[1:])
                stream.seek(len(head) + places[name].start + first * row_bytes)
                stream.write(_bytes_of(tensor))
            stream.flush()
            os.fsync(stream.fileno())
        group.wait()
    except FileNotFoundError as error:
        raise InvlearnError(
            f"{file.parent} has gone while it was written; another process says why, or this one "
            "does not see the same disk"
        ) from error
    except OSError as error:
        raise atomic.cannot_write(file, error) from error


def _laid_out(
    tensors: Mapping[str, Tensor], shards: Mapping[str, Shard]
) -> tuple[dict[str, _Place], bytes]:
    """Where every tensor will stand, and the bytes before them."""
    places: dict[str, _Place] = {}
    entries: dict[str, object] = {}
    start = 0
    for name, tensor in sorted(tensors.items(), key=lambda one: (-one[1].element_size(), one[0])):
        rows = [shards[name].n_rows] if name in shards else [*tensor.shape[:1]]
        places[name] = _Place(start, [*rows, *tensor.shape[1:]])
        end = start + tensor.element_size() * prod(places[name].shape)
        entries[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": places[name].shape,
            "data_offsets": [start, end],
        }
        start = end
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return places, len(header).to_bytes(8, "little") + header


def _end(tensors: Mapping[str, Tensor], places: Mapping[str, _Place]) -> int:
    ends = (p.start + tensors[n].element_size() * prod(p.shape) for n, p in places.items())
    return max(ends, default=0)


def _bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's memory, row by row, not copied if it can be helped."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _tied(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of tensors that stand under another name before, and that name."""
    first: dict[tuple[object, ...], str] = {}
    tied: dict[str, str] = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and first.setdefault(place, name) != name:
            tied[name] = first[place]
    return tied
