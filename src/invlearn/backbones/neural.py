"""Backbones with a perceptron over a user's and an item's embeddings (He et al., WWW 2017)."""

from typing import ClassVar, final

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from invlearn.backbones.backbone import EMBEDDINGS, Key
from invlearn.backbones.layers import Dropout, embedding, halving_widths, output_layer, tower


@final
class MLP(nn.Module):
    """Perceptron over the two concatenated embeddings (Eq. 10).

    With `dim` 32 and 3 layers: embeddings of 128, layers of 128, 64 and 32.
    """

    tables: ClassVar[dict[str, Key]] = EMBEDDINGS

    def __init__(
        self,
        n_users: int,
        n_items: int,
        *,
        dim: PositiveInt = 32,
        layers: PositiveInt = 3,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        widths = halving_widths(dim, layers)
        self.user_embedding = embedding(n_users, widths[0] // 2)
        self.item_embedding = embedding(n_items, widths[0] // 2)
        self.tower = tower(widths, dropout)
        self.output = output_layer(dim)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, shape `(pairs,)`, like `users` and `items`."""
        inputs = torch.cat([self.user_embedding(users), self.item_embedding(items)], dim=-1)
        return self.output(self.tower(inputs)).squeeze(-1)


@final
class NeuMF(nn.Module):
    """GMF and MLP with a joint output layer, trained end to end (Eq. 12)."""

    tables: ClassVar[dict[str, Key]] = {
        "user_factors.weight": "user",
        "item_factors.weight": "item",
        **EMBEDDINGS,
    }

    def __init__(
        self,
        n_users: int,
        n_items: int,
        *,
        dim: PositiveInt = 32,
        layers: PositiveInt = 3,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        widths = halving_widths(dim, layers)
        self.user_factors = embedding(n_users, dim)
        self.item_factors = embedding(n_items, dim)
        self.user_embedding = embedding(n_users, widths[0] // 2)
        self.item_embedding = embedding(n_items, widths[0] // 2)
        self.tower = tower(widths, dropout)
        self.output = output_layer(2 * dim)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, shape `(pairs,)`, like `users` and `items`."""
        product = self.user_factors(users) * self.item_factors(items)
        inputs = torch.cat([self.user_embedding(users), self.item_embedding(items)], dim=-1)
        return self.output(torch.cat([product, self.tower(inputs)], dim=-1)).squeeze(-1)
