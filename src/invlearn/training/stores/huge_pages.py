"""Huge pages for large tables, for fewer TLB misses in random row access.

A processor looks up the page of every row that it reads. With 4 KiB pages a table of a gigabyte has
more pages than the TLB holds; with 2 MiB pages it has five hundred.
"""

import numpy as np
import torch
from torch import Tensor

LEAST_BYTES = 1 << 22
"""Size from which numpy requests huge pages from the kernel (Linux only)."""
ALIGNMENT = 64
"""Bytes of a cache line: a row of 16 numbers must not cross two."""


def on_huge_pages(tensor: Tensor) -> Tensor:
    """Return a copy of a large CPU tensor in memory with huge pages.

    Args:
        tensor: Any tensor; on another device or below `LEAST_BYTES` it is returned itself.

    Returns:
        The same values.
    """
    return tensor if _stays(tensor) else _room(tensor).copy_(tensor)


def zeros_on_huge_pages(like: Tensor) -> Tensor:
    """Return zeros in memory with huge pages, without a temporary tensor.

    Args:
        like: Any tensor.

    Returns:
        Zeros of its shape, dtype and device.
    """
    return torch.zeros_like(like) if _stays(like) else _room(like).zero_()


def _stays(tensor: Tensor) -> bool:
    """Return whether huge pages are not used for a tensor."""
    return tensor.device.type != "cpu" or tensor.nbytes < LEAST_BYTES


def _room(tensor: Tensor) -> Tensor:
    """Return an uninitialized tensor of the same shape and dtype."""
    room = np.empty(tensor.nbytes + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    place = torch.from_numpy(room[start : start + tensor.nbytes])
    return place.view(tensor.dtype).view(tensor.shape)
