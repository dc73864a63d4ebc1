"""The layers that backbones share, initialised as in neural collaborative filtering.

Embeddings are normal with deviation 0.01, hidden layers Xavier-uniform, the output layer
Kaiming-uniform for a sigmoid, biases zero: what the paper's GMF and NeuMF use.
"""

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import nn

Dropout = Annotated[float, Field(ge=0, lt=1)]
"""Chance that an input of a layer is left out while training."""


def embedding(rows: int, dim: int, *, spread: float = 0.01) -> nn.Embedding:
    """Table of `rows` x `dim` weights, normal with deviation `spread`."""
    table = nn.Embedding(rows, dim)
    nn.init.normal_(table.weight, std=spread)
    return table


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
