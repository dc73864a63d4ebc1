"""Layers shared by backbones, initialized as in neural collaborative filtering.

Embeddings are normal with standard deviation 0.01, hidden layers Xavier-uniform, the output layer
Kaiming-uniform for a sigmoid, biases zero, as in the paper's GMF and NeuMF.
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
"""Dropout probability of a layer's inputs."""


_BLOCK_ROWS = 1 << 18
"""Rows drawn at a time if most are discarded; a multiple of 16."""

_group: ContextVar[Group] = ContextVar("group", default=ALONE)


class Share(nn.Embedding):
    """A table with only this process's share of the rows."""


@contextmanager
def shares(group: Group) -> Generator[None, None, None]:
    """Make `embedding` keep only a process's share of the rows, equal to those of the whole table.

    A buffer that is a table must keep the same share, `rows_here`.
    """
    token = _group.set(group)
    try:
        yield
    finally:
        _group.reset(token)


def rows_here(rows: int) -> slice:
    """Return the rows of a table to allocate: all, or within `shares` this process's share."""
    return _group.get().share(rows)


def embedding(rows: int, dim: int, *, spread: float = 0.01) -> nn.Embedding:
    """Return a table of shape `(rows, dim)`, normal with standard deviation `spread`."""
    group = _group.get()
    if not group.is_alone:
        weight = drawn_share(rows, dim, spread, group)
        return Share(len(weight), dim, _weight=weight)
    table = nn.Embedding(rows, dim)
    nn.init.normal_(table.weight, std=spread)
    return table


def drawn_share(rows: int, dim: int, spread: float, group: Group) -> Tensor:
    """Return a process's rows of the table of `embedding`, in the memory of those and a block.

    torch's generator cannot skip, so every row is drawn: in order, sixteen numbers at a time; the
    last few are drawn with those before them.
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
    """Return a linear layer from `dim` features to one logit."""
    layer = nn.Linear(dim, 1)
    nn.init.kaiming_uniform_(layer.weight, a=1, nonlinearity="sigmoid")
    nn.init.zeros_(layer.bias)
    return layer


def projection(before: int, after: int) -> nn.Linear:
    """Return a linear layer from `before` to `after` features."""
    layer = nn.Linear(before, after)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def tower(widths: list[int], dropout: float) -> nn.Sequential:
    """Return a perceptron with ReLU after each layer.

    Args:
        widths: Width of the input, then of each layer.
        dropout: Dropout probability of each layer's inputs.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Dropout(dropout), projection(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


def halving_widths(dim: int, layers: int) -> list[int]:
    """Return the widths of a tower that halves them in each layer and ends with `dim`.

    Example:
        >>> halving_widths(32, 3)
        [256, 128, 64, 32]
    """
    return [dim * 2**power for power in range(layers, -1, -1)]
