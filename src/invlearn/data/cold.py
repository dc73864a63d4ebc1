"""Rows with a user or item that has no training row."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.data.parts import Part

CHUNK = 1 << 22
"""Rows to look at at a time."""


class Cold(NamedTuple):
    """Numbers of cold rows, and of users and items without a training row."""

    rows: int
    users: int
    items: int


NO_COLD = Cold(0, 0, 0)


def chunks(part: Part) -> Iterator[slice]:
    """Yield the rows of a part, a chunk at a time."""
    yield from (slice(start, start + CHUNK) for start in range(0, len(part), CHUNK))


def cold_rows(
    train: Part, rows: Part, shape: tuple[int, int]
) -> tuple[Cold, npt.NDArray[np.bool_]]:
    """Count the rows of a part with a user or item without a training row.

    Args:
        train: The training rows.
        rows: The rows to look at.
        shape: Numbers of users and items.

    Returns:
        The counts, and whether each row has a known user and a known item, shape `(rows,)`.
    """
    is_warm = np.ones(len(rows), bool)
    n_new: list[int] = []
    for column, n in zip(("users", "items"), shape, strict=True):
        is_known, is_there = np.zeros(n, bool), np.zeros(n, bool)
        for chunk in chunks(train):
            is_known[getattr(train, column)[chunk]] = True
        for chunk in chunks(rows):
            ids = getattr(rows, column)[chunk]
            is_there[ids] = True
            is_warm[chunk] &= is_known[ids]
        n_new.append(int((is_there & ~is_known).sum()))
    return Cold(int((~is_warm).sum()), *n_new), is_warm
