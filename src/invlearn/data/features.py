"""Categorical and numeric features of users and items, as columns."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveInt

from invlearn.config.schema import Settings
from invlearn.runtime.errors import DataError

Kind = Literal["user", "item"]
Codes = npt.NDArray[np.int32]
Values = npt.NDArray[np.float32]


class Scale(Settings):
    """Mean and standard deviation of a numeric column before standardisation."""

    mean: float
    """Mean of the values that are not missing."""
    spread: float
    """Standard deviation of these values; 0 for a constant column."""


class SideCard(Settings):
    """The feature columns of users or of items, in the order of the arrays."""

    categorical: dict[str, PositiveInt] = Field(default_factory=dict)
    """Number of codes of each categorical column, including code 0."""
    numeric: dict[str, Scale] = Field(default_factory=dict)
    """Scale of each numeric column."""


class FeatureCard(Settings):
    """The feature columns and sizes (no values) that are needed to build a backbone."""

    user: SideCard = SideCard()
    """Feature columns of users."""
    item: SideCard = SideCard()
    """Feature columns of items."""


NO_FEATURES = FeatureCard()
"""Card of a dataset without features."""


@dataclass(frozen=True, slots=True, eq=False)
class SideFeatures:
    """Features of all users, or of all items, in the order of the dense ids.

    Raises:
        DataError: The columns do not match the card.
    """

    card: SideCard
    codes: Codes
    """Codes of the categorical columns; 0 is missing, unknown or rare; `(ids, columns)`."""
    values: Values
    """Standardised numeric columns; 0 is the mean or missing; shape `(ids, columns)`."""

    def __post_init__(self) -> None:
        n_ids, card = len(self.codes), self.card
        wanted = (n_ids, len(card.categorical)), (n_ids, len(card.numeric))
        found = self.codes.shape, self.values.shape
        limits = np.array(list(card.categorical.values()), np.int32)
        if found != wanted or (self.codes < 0).any() or (self.codes >= limits).any():
            raise DataError(
                f"features of shapes {found[0]} and {found[1]} do not fit their card, which has "
                f"{wanted[0][1]} categorical columns of {limits.tolist()} codes and "
                f"{wanted[1][1]} numeric ones; take both from one dataset"
            )

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def none(cls, n_ids: int) -> "SideFeatures":
        """Return features without columns for `n_ids` ids."""
        return cls(SideCard(), np.empty((n_ids, 0), np.int32), np.empty((n_ids, 0), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of all users and items of a dataset."""

    users: SideFeatures
    items: SideFeatures

    @property
    def card(self) -> FeatureCard:
        """The feature columns and sizes that are needed to build a backbone."""
        return FeatureCard(user=self.users.card, item=self.items.card)
