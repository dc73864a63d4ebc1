"""Named tensors in a safetensors file, written by one process or by several at once.

The format (https://huggingface.co/docs/safetensors): eight bytes for the length of a JSON header,
the header with type, shape and offsets of each tensor, the tensors row by row. So each process
writes its rows of a sharded table at their offsets, and the file equals that of a single process.
"""

import hashlib
import json
import os
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import combinations
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from invlearn.runtime import atomic
from invlearn.runtime.distributed import ALONE, Group
from invlearn.runtime.errors import InvlearnError

_NAMES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Type names, in the order in which safetensors sorts tensors by type."""


class Shard(NamedTuple):
    """The rows of a table that a process holds: from `first` up to, not including, `end`."""

    first: int
    end: int
    n_rows: int
    """Number of rows of the whole table."""


NO_SHARDS: Mapping[str, Shard] = {}
COPY_BYTES = 1 << 24
"""Block size of file copies."""


def write_tensors(
    file: Path,
    tensors: Mapping[str, Tensor],
    *,
    shards: Mapping[str, Shard] = NO_SHARDS,
    group: Group = ALONE,
) -> None:
    """Write named tensors; a tensor with several names is stored once.

    Args:
        file: Output file, on a disk that all processes see.
        tensors: Tensors by name; the same names on each process.
        shards: Tensors that are rows of a larger table, and their row ranges.
        group: The processes, if there are shards; otherwise only this process writes.

    Raises:
        InvlearnError: The disk is full or not writable.
    """
    shapes = {
        name: (shards[name].n_rows, *tensor.shape[1:]) if name in shards else tuple(tensor.shape)
        for name, tensor in tensors.items()
    }
    tied = _tied(tensors, shapes, group)
    tensors = {name: tensor for name, tensor in tensors.items() if name not in tied}
    places, head = _laid_out(tensors, shapes, tied)
    try:
        if group.is_first:
            with file.open("wb") as stream:
                stream.write(head)
                stream.truncate(max((place.stop for place in places.values()), default=len(head)))
        group.barrier()
        with file.open("r+b") as stream:
            for name, tensor in tensors.items():
                if name not in shards and not group.is_first:
                    continue
                first = shards[name].first if name in shards else 0
                row_bytes = tensor.element_size() * prod(tensor.shape[1:])
                stream.seek(places[name].start + first * row_bytes)
                stream.write(_bytes_of(tensor))
            stream.flush()
            os.fsync(stream.fileno())
        group.barrier()
    except OSError as error:
        if group.is_alone or not isinstance(error, FileNotFoundError):
            raise atomic.cannot_write(file, error) from error
        raise InvlearnError(
            f"{file.parent} disappeared while it was written; see the message of another process, "
            "or check that all see the same disk"
        ) from error


def read_tensors(file: Path, shards: Mapping[str, Shard] = NO_SHARDS) -> dict[str, Tensor]:
    """Return the named tensors; those that were tied are tied again.

    Args:
        file: A file written by `write_tensors`.
        shards: Tensors of which to read only some rows, and these rows.

    Raises:
        SafetensorError: The file is damaged.
    """
    with safe_open(file, "pt") as opened:
        tied: dict[str, str] = json.loads((opened.metadata() or {}).get("tied", "{}"))
        if not shards:
            tensors = load_file(file)
        else:
            tensors = {
                name: opened.get_slice(name)[shards[name].first : shards[name].end]
                if name in shards
                else opened.get_tensor(name)
                for name in opened.keys()  # noqa: SIM118  it is no mapping
            }
    return tensors | {name: tensors[first] for name, first in tied.items()}


@contextmanager
def private_copy(file: Path) -> Generator[tuple[Path, str], None, None]:
    """Copy a file so that no other process can change it, into memory if supported (Linux).

    Tensors that `read_tensors` maps from the copy stay valid after the block; the memory is freed
    with the last of them.

    Yields:
        Path of the copy, and the SHA-256 of its content, in hexadecimal.

    Raises:
        OSError: The file cannot be read, or there is no space for the copy.
    """
    with ExitStack() as stack:
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create(file.name)
            path = Path(f"/proc/self/fd/{descriptor}")
        else:
            path = Path(stack.enter_context(TemporaryDirectory(prefix="invlearn-")), file.name)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        stack.callback(os.close, descriptor)
        digest = hashlib.sha256()
        with file.open("rb") as source, os.fdopen(descriptor, "wb", closefd=False) as copy:
            while block := source.read(COPY_BYTES):
                digest.update(block)
                copy.write(block)
        yield path, digest.hexdigest()


def _laid_out(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], tied: Mapping[str, str]
) -> tuple[dict[str, slice], bytes]:
    """Return the byte range of each tensor in the file, and the header bytes."""
    order, ranges, entries = list(_NAMES), dict[str, slice](), dict[str, object]()
    if tied:
        entries["__metadata__"] = {"tied": json.dumps(tied, sort_keys=True)}
    start = 0
    for name in sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name)):
        end = start + tensors[name].element_size() * prod(shapes[name])
        ranges[name] = slice(start, end)
        entries[name] = {
            "dtype": _NAMES[tensors[name].dtype],
            "shape": shapes[name],
            "data_offsets": [start, end],
        }
        start = end
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    head = len(header).to_bytes(8, "little") + header
    return {n: slice(len(head) + r.start, len(head) + r.stop) for n, r in ranges.items()}, head


def _bytes_of(tensor: Tensor) -> memoryview:
    """Return a tensor's bytes in row order, without a copy if possible."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _tied(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], group: Group
) -> dict[str, str]:
    """Return the names of tensors repeated on any process, with the first name of each.

    Empty shards cannot be compared locally.
    """
    first: dict[tuple[object, ...], str] = {}
    tied: dict[str, str] = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and first.setdefault(place, name) != name:
            tied[name] = first[place]
    if group.is_alone or not group.any_rank(bool(tied)):
        return tied
    return {
        name: first
        for first, name in combinations(tensors, 2)
        if (tensors[first].dtype, shapes[first]) == (tensors[name].dtype, shapes[name])
        and group.any_rank(tied.get(name) == first)
    }
