"""The layers that backbones share, initialised as in neural collaborative filtering.

Embeddings are normal with deviation 0.01, hidden layers Xavier-uniform, the output layer
Kaiming-uniform for a sigmoid, biases zero: what the paper's GMF and NeuMF use.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from invlearn.runtime.distributed import ALONE, Group

Dropout = Annotated[float, Field(ge=0, lt=1)]
"""Chance that an input of a layer is left out while training."""


_BLOCK_ROWS = 1 << 18
"""Rows that are drawn at a time where most are not kept; a multiple of 16."""

_group: ContextVar[Group] = ContextVar("group", default=ALONE)


class Share(nn.Embedding):
    """A table of which a process holds its share of the rows."""


@contextmanager
def shares(group: Group) -> Generator[None, None, None]:
    """Let `embedding` keep a process' share of the rows, with the weights that the whole has.

    A buffer that is a table must keep the same share, `rows_here`.
    """
    token = _group.set(group)
    try:
        yield
    finally:
        _group.reset(token)


def rows_here(rows: int) -> slice:
    """Which rows of a table of so many are made: all, but for a process' share within `shares`."""
    return _group.get().share(rows)


def embedding(rows: int, dim: int, *, spread: float = 0.01) -> nn.Embedding:
    """Table of `rows` x `dim` weights, normal with deviation `spread`."""
    group = _group.get()
    if not group.is_alone:
        weight = drawn_share(rows, dim, spread, group)
        return Share(len(weight), dim, _weight=weight)
    table = nn.Embedding(rows, dim)
    nn.init.normal_(table.weight, std=spread)
    return table


def drawn_share(rows: int, dim: int, spread: float, group: Group) -> Tensor:
    """A process' rows of the table that `embedding` draws, in the memory of those and a block.

    torch's generator cannot skip, so every row is drawn: its numbers come in order, sixteen
    at a time, but for the last few, which are drawn with those before them.
    """
    own = group.share(rows)
    kept = torch.empty(own.stop - own.start, dim)
    ends = [*range(_BLOCK_ROWS, rows // _BLOCK_ROWS * _BLOCK_ROWS, _BLOCK_ROWS), rows]
    for deviation in (1.0, spread):  # `nn.Embedding` draws once itself
        for start, end in pairwise([0, *ends]):
            block = torch.empty(end - start, dim).normal_(std=deviation)
            first, last = max(own.start, start), min(own.stop, end)
            if first < last:
                kept[first - own.start : last - own.start] = block[first - start : last - start]
    return kept


def output_layer(dim: int) -> nn.Linear:
    """Map of `dim` features to one logit."""
    layer = nn.Linear(dim, 1)
    nn.init.kaiming_uniform_(layer.weight, a=1, nonlinearity="sigmoid")
    nn.init.zeros_(layer.bias)
    return layer


def projection(before: int, after: int) -> nn.Linear:
    """Map of `before` features to `after`, without a rectifier."""
    layer = nn.Linear(before, after)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def tower(widths: list[int], dropout: float) -> nn.Sequential:
    """Perceptron with a rectifier after each layer.

    Args:
        widths: Width of the input, then of each layer.
        dropout: Chance that an input of a layer is left out while training.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Dropout(dropout), projection(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


def halving_widths(dim: int, layers: int) -> list[int]:
    """Widths of a tower whose last layer is `dim` wide and in which each layer halves its input.

    Example:
        >>> halving_widths(32, 3)
        [256, 128, 64, 32]
    """
    return [dim * 2**power for power in range(layers, -1, -1)]
