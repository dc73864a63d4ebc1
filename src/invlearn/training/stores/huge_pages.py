"""Room for big tables in huge pages, so that rows drawn at random are found without a long search.

A processor looks up the page of every row that it reads. With pages of 4 KiB a table of a gigabyte
has more of them than the processor remembers; with pages of 2 MiB it has five hundred.
"""

import numpy as np
import torch
from torch import Tensor

LEAST_BYTES = 1 << 22
"""Size from which numpy asks the kernel for huge pages (Linux; elsewhere nothing happens)."""
ALIGNMENT = 64
"""Bytes of a cache line: a row of 16 numbers must not lie across two."""


def on_huge_pages(tensor: Tensor) -> Tensor:
    """Copy a big tensor of the host to where the kernel was asked for huge pages.

    Args:
        tensor: Any; one on another device, or below `LEAST_BYTES`, is returned as it is.

    Returns:
        The same values.
    """
    if _stays(tensor):
        return tensor
    return _room(tensor).copy_(tensor)


def zeros_on_huge_pages(like: Tensor) -> Tensor:
    """Zeros where a copy of `like` would lie, without a second tensor of that size on the way.

    Args:
        like: Any tensor.

    Returns:
        Zeros of its shape, type and device.
    """
    if _stays(like):
        return torch.zeros_like(like)
    return _room(like).zero_()


def _stays(tensor: Tensor) -> bool:
    """Whether a tensor is not one that huge pages are asked for."""
    return tensor.device.type != "cpu" or tensor.nbytes < LEAST_BYTES


def _room(tensor: Tensor) -> Tensor:
    """Memory of no set values for a tensor of this shape and type."""
    room = np.empty(tensor.nbytes + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    place = torch.from_numpy(room[start : start + tensor.nbytes])
    return place.view(tensor.dtype).view(tensor.shape)
