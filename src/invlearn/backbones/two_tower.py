"""Two-tower model: inner product of a user and an item perceptron."""

from typing import ClassVar, final

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from invlearn.backbones.backbone import Factors, Key
from invlearn.backbones.fields import PairFields, SideFields
from invlearn.backbones.layers import Dropout, projection, tower
from invlearn.data.features import NO_FEATURES, FeatureCard, Features

SPREAD = 0.2
"""Standard deviation of initial embeddings. With the 0.01 of other backbones the outputs of towers
are so small that their product has no effect for many epochs."""
BLOCK_IDS = 65_536
"""Ids per block when the outputs of all ids are computed."""


@final
class TwoTower(nn.Module):
    """Two towers: inner product of a user perceptron's and an item perceptron's output.

    Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations,
    RecSys 2019 (https://doi.org/10.1145/3298689.3346996), section 3: `z = u(x) v(y)`, `x` the
    concatenated embeddings of the user's id and features, `y` those of the item. Two changes, since
    logits must give probabilities, not only ranks: vectors are not normalized, and each tower also
    outputs a bias, so that a new item gets one from its features.
    """

    tables: ClassVar[dict[str, Key]] = PairFields.tables

    def __init__(
        self,
        n_users: int,
        n_items: int,
        *,
        features: FeatureCard = NO_FEATURES,
        use_features: bool = True,
        dim: PositiveInt = 32,
        layers: PositiveInt = 1,
        width: PositiveInt = 64,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        card = features if use_features else NO_FEATURES
        self.fields = PairFields(n_users, n_items, card, dim, spread=SPREAD)
        self.user_tower, self.item_tower = (
            nn.Sequential(
                tower([side.n_fields * dim] + [width] * layers, dropout), projection(width, 1 + dim)
            )
            for side in (self.fields.user, self.fields.item)
        )

    def read_features(self, features: Features) -> None:
        """Store the codes and values of all users and items."""
        self.fields.read(features)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, shape `(pairs,)`, like `users` and `items`."""
        left = self.user_tower(self.fields.user(users).flatten(1))
        right = self.item_tower(self.fields.item(items).flatten(1))
        product = (left[:, 1:] * right[:, 1:]).sum(-1)
        return product + left[:, 0] + right[:, 0]

    def as_factors(self) -> Factors:
        """Return users `(b_u, u, 1)` and items `(1, v, b_i)`."""
        left = _outputs(self.user_tower, self.fields.user)
        right = _outputs(self.item_tower, self.fields.item)
        return Factors(
            torch.cat([left, torch.ones_like(left[:, :1])], dim=1),
            torch.cat([torch.ones_like(right[:, :1]), right[:, 1:], right[:, :1]], dim=1),
        )


def _outputs(top: nn.Module, fields: SideFields) -> Tensor:
    """Return the bias and vector of every id, shape `(ids, 1 + dim)`."""
    ids = torch.arange(fields.ids.num_embeddings, device=fields.ids.weight.device)
    return torch.cat([top(fields(block).flatten(1)) for block in ids.split(BLOCK_IDS)])
