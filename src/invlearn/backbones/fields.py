"""Users and items as fields: the id, and one field per feature.

A field is a vector: the row of the id, the row of a category, or the row of a numeric column times
its value. `fields` tensors have the shape `(ids, fields, width)`.
"""

from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from invlearn.backbones.backbone import Key
from invlearn.backbones.layers import embedding, rows_here
from invlearn.data.features import NO_FEATURES, FeatureCard, Features, SideCard, SideFeatures
from invlearn.runtime.errors import ConfigError


@final
class SideFields(nn.Module):
    """Fields of users, or of items.

    Codes and values of the features are buffers, saved with the parameters. Until they are read,
    every category is unknown and every number is its mean.

    Ids index a table. With any store, every step uses all parameters of categories and numbers, so
    its cost grows with the number of categories.
    """

    def __init__(self, n_ids: int, card: SideCard, width: int, *, spread: float) -> None:
        super().__init__()
        ends = np.cumsum([0, *card.categorical.values()], dtype=np.int32)
        self._starts, n_codes = ends[:-1], int(ends[-1])
        self.ids = embedding(n_ids, width, spread=spread)
        self.categories = _rows(n_codes, width, spread)
        """Parameters of the codes, column by column, shape `(codes, width)`."""
        self.coefficients = _rows(len(card.numeric), width, spread)
        """Parameters of the numeric columns, shape `(columns, width)`."""
        self._here = rows_here(n_ids)
        n_here = self._here.stop - self._here.start
        self.codes = nn.Buffer(torch.tensor(self._starts).expand(n_here, -1).contiguous())
        self.values = nn.Buffer(torch.zeros(n_here, len(card.numeric)))
        self.n_fields = 1 + self.codes.shape[1] + self.values.shape[1]

    def read(self, features: SideFeatures) -> None:
        """Store the codes, as rows of `categories`, and the values."""
        self.codes.copy_(torch.from_numpy(features.codes[self._here] + self._starts))
        self.values.copy_(torch.tensor(features.values[self._here]))

    def forward(self, ids: Tensor) -> Tensor:
        """Return the fields of dense ids, shape `(ids, fields, width)`."""
        fields = [self.ids(ids)[:, None]]
        if self.categories is not None:
            fields.append(functional.embedding(self.codes[ids], self.categories))
        if self.coefficients is not None:
            fields.append(self.values[ids][:, :, None] * self.coefficients)
        return torch.cat(fields, dim=1)


@final
class PairFields(nn.Module):
    """Fields of users and of items."""

    tables: ClassVar[dict[str, Key]] = {
        "fields.user.ids.weight": "user",
        "fields.user.codes": "user",
        "fields.user.values": "user",
        "fields.item.ids.weight": "item",
        "fields.item.codes": "item",
        "fields.item.values": "item",
    }
    """Tables of a backbone with an attribute `fields` of this class."""

    def __init__(
        self, n_users: int, n_items: int, card: FeatureCard, width: int, *, spread: float = 0.01
    ) -> None:
        super().__init__()
        self.user = SideFields(n_users, card.user, width, spread=spread)
        self.item = SideFields(n_items, card.item, width, spread=spread)
        self._card = card

    @property
    def n_fields(self) -> int:
        """Number of fields of a pair."""
        return self.user.n_fields + self.item.n_fields

    def read(self, features: Features) -> None:
        """Store the features of users and items, if the card has any.

        Raises:
            ConfigError: The features do not match the card.
        """
        if self._card == NO_FEATURES:
            return
        if features.card != self._card:
            raise ConfigError(
                f"the backbone was built for {_in_words(self._card)}, and the dataset has "
                f"{_in_words(features.card)}, or others of their categories or scales; make it "
                "with features=Dataset.open(...).feature_card"
            )
        self.user.read(features.users)
        self.item.read(features.items)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the fields of pairs, users' first, shape `(pairs, fields, width)`."""
        return torch.cat([self.user(users), self.item(items)], dim=1)


def _rows(n_rows: int, width: int, spread: float) -> nn.Parameter | None:
    """Return a parameter with `n_rows` rows; none for 0 rows."""
    return nn.Parameter(spread * torch.randn(n_rows, width)) if n_rows else None


def _in_words(card: FeatureCard) -> str:
    names = [
        f"{kind} {name}"
        for kind, side in (("user", card.user), ("item", card.item))
        for name in (*side.categorical, *side.numeric)
    ]
    return f"the features {', '.join(names)}" if names else "none"
