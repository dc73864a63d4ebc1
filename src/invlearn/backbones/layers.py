"""The layers that backbones share, initialised as in neural collaborative filtering.

Embeddings are normal with deviation 0.01, hidden layers Xavier-uniform, the output layer
Kaiming-uniform for a sigmoid, biases zero: what the paper's GMF and NeuMF use.
"""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

Dropout = Annotated[float, Field(ge=0, lt=1)]
"""Chance that an input of a layer is left out while training."""


def embedding(rows: int, dim: int) -> nn.Embedding:
    """Table of `rows` x `dim` weights."""
    table = nn.Embedding(rows, dim)
    nn.init.normal_(table.weight, std=0.01)
    return table


def output_layer(dim: int) -> nn.Linear:
    """Map of `dim` features to one logit."""
    layer = nn.Linear(dim, 1)
    nn.init.kaiming_uniform_(layer.weight, a=1, nonlinearity="sigmoid")
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
        layer = nn.Linear(before, after)
        nn.init.xavier_uniform_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        layers += [nn.Dropout(dropout), layer, nn.ReLU()]
    return nn.Sequential(*layers)


def halving_widths(dim: int, layers: int) -> list[int]:
    """Widths of a tower whose last layer is `dim` wide and in which each layer halves its input.

    Example:
        >>> halving_widths(32, 3)
        [256, 128, 64, 32]
    """
    return [dim * 2**power for power in range(layers, -1, -1)]
