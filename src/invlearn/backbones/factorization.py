"""Backbones that multiply a user's and an item's factors."""

from typing import ClassVar, final

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from invlearn.backbones.backbone import BIASES, EMBEDDINGS, Factors, Key
from invlearn.backbones.layers import embedding, output_layer


@final
class GMF(nn.Module):
    """Generalized matrix factorization: a weighted inner product (He et al., WWW 2017, Eq. 9).

    `z = h (p_u * q_i) + b`.
    """

    tables: ClassVar[dict[str, Key]] = EMBEDDINGS

    def __init__(self, n_users: int, n_items: int, *, dim: PositiveInt = 32) -> None:
        super().__init__()
        self.user_embedding = embedding(n_users, dim)
        self.item_embedding = embedding(n_items, dim)
        self.output = output_layer(dim)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, shape `(pairs,)`, like `users` and `items`."""
        return self.output(self.user_embedding(users) * self.item_embedding(items)).squeeze(-1)

    def as_factors(self) -> Factors:
        """Return users `(h p_u, b)` and items `(q_i, 1)`."""
        users, items = self.user_embedding.weight, self.item_embedding.weight
        bias = self.output.bias.expand(len(users), 1)
        return Factors(
            torch.cat([users * self.output.weight, bias], dim=1),
            torch.cat([items, torch.ones_like(items[:, :1])], dim=1),
        )


@final
class BiasedMF(nn.Module):
    """Matrix factorization with biases (Koren et al., Computer 2009, Eq. 4).

    `z = b + b_u + b_i + p_u q_i`.
    """

    tables: ClassVar[dict[str, Key]] = EMBEDDINGS | BIASES

    def __init__(self, n_users: int, n_items: int, *, dim: PositiveInt = 32) -> None:
        super().__init__()
        self.user_embedding = embedding(n_users, dim)
        self.item_embedding = embedding(n_items, dim)
        self.user_bias = embedding(n_users, 1)
        self.item_bias = embedding(n_items, 1)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, shape `(pairs,)`, like `users` and `items`."""
        product = (self.user_embedding(users) * self.item_embedding(items)).sum(-1)
        biases = self.user_bias(users) + self.item_bias(items)
        return product + biases.squeeze(-1) + self.bias

    def as_factors(self) -> Factors:
        """Return users `(p_u, b_u + b, 1)` and items `(q_i, 1, b_i)`."""
        users, items = self.user_embedding.weight, self.item_embedding.weight
        own, one = self.user_bias.weight + self.bias, torch.ones_like(self.user_bias.weight)
        return Factors(
            torch.cat([users, own, one], dim=1),
            torch.cat([items, torch.ones_like(items[:, :1]), self.item_bias.weight], dim=1),
        )
