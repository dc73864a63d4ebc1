"""Backbones that represent a user by the items shown to them."""

from typing import ClassVar, final

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from invlearn.backbones.backbone import Key
from invlearn.backbones.layers import embedding, rows_here
from invlearn.data.exposures import Exposures, histories


@final
class SVDpp(nn.Module):
    """SVD++: a user is represented by own factors and the items shown.

    Koren, Factorization Meets the Neighborhood, KDD 2008 (https://doi.org/10.1145/1401890.1401944),
    Eq. 15: `z = b + b_u + b_i + q_i (p_u + |N(u)|^-1/2 sum y_j)`, the sum over the items `j` in
    `N(u)` that the user was shown. Items with and without a label have different
    learned weights. The scored item is left out of the sum, since no training pair is scored
    later.

    The sum is over at most `history` items, drawn once if a user was shown more. With any store,
    every step uses all factors `y`.
    """

    tables: ClassVar[dict[str, Key]] = {
        "user_embedding.weight": "user",
        "user_bias.weight": "user",
        "shown": "user",
        "shown_labelled": "user",
        "item_embedding.weight": "item",
        "item_bias.weight": "item",
        "item_ids": "item",
    }

    def __init__(
        self, n_users: int, n_items: int, *, dim: PositiveInt = 32, history: PositiveInt = 100
    ) -> None:
        super().__init__()
        self.user_embedding = embedding(n_users, dim)
        self.item_embedding = embedding(n_items, dim)
        self.user_bias = embedding(n_users, 1)
        self.item_bias = embedding(n_items, 1)
        self.bias = nn.Parameter(torch.zeros(1))
        self.shown_factors = nn.Parameter(0.01 * torch.randn(n_items, dim))
        self.kinds = nn.Parameter(torch.ones(2))
        self._here, items = rows_here(n_users), rows_here(n_items)
        n_here = self._here.stop - self._here.start
        self.shown = nn.Buffer(torch.full((n_here, history), -1))
        self.shown_labelled = nn.Buffer(torch.zeros(n_here, history))
        self.item_ids = nn.Buffer(torch.arange(items.start, items.stop))

    def fit_exposures(self, exposures: Exposures) -> None:
        """Store the items that each user was shown."""
        rows = histories(exposures.users, here=self._here, length=self.shown.shape[1])
        there = rows >= 0
        labelled = there & (exposures.labels[rows] >= 0)
        self.shown.copy_(torch.from_numpy(np.where(there, exposures.items[rows], -1)))
        self.shown_labelled.copy_(torch.from_numpy(labelled))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, shape `(pairs,)`, like `users` and `items`."""
        shown = self.shown[users]
        others = (shown >= 0) & (shown != self.item_ids[items][:, None])
        weights = torch.lerp(self.kinds[0], self.kinds[1], self.shown_labelled[users]) * others
        weights = weights * others.sum(1, keepdim=True).clamp_min(1).rsqrt()
        summed = (weights[:, None] @ self.shown_factors[shown.clamp_min(0)]).squeeze(1)
        product = ((self.user_embedding(users) + summed) * self.item_embedding(items)).sum(-1)
        biases = self.user_bias(users) + self.item_bias(items)
        return product + biases.squeeze(-1) + self.bias
