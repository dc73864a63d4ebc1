"""What is known of users and items besides their ids: categories and numbers, as columns."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, PositiveInt

from invlearn.runtime.errors import DataError

Kind = Literal["user", "item"]
Codes = npt.NDArray[np.int32]
Values = npt.NDArray[np.float32]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class Scale(_Frozen):
    """What a numeric column was before it was standardised."""

    mean: float
    """Of the values that are there."""
    spread: float
    """Their standard deviation; 0 for a column of equal values."""


class SideCard(_Frozen):
    """The feature columns of users, or those of items; their order is that of the arrays."""

    categorical: dict[str, PositiveInt] = {}
    """Number of codes of each categorical column, code 0 among them."""
    numeric: dict[str, Scale] = {}
    """Scale of each numeric column."""


class FeatureCard(_Frozen):
    """All that a backbone must know of features to be made: columns and sizes, no values."""

    user: SideCard = SideCard()
    """Columns of users."""
    item: SideCard = SideCard()
    """Columns of items."""


NO_FEATURES = FeatureCard()
"""Users and items that are known by their ids alone."""


@dataclass(frozen=True, slots=True, eq=False)
class SideFeatures:
    """Features of all users, or of all items, in the order of the dense ids.

    Raises:
        DataError: The columns are not those of the card.
    """

    card: SideCard
    codes: Codes
    """Of each categorical column; 0 is missing, unknown or rare; shape `(ids, columns)`."""
    values: Values
    """Of each numeric column, standardised; 0, the mean, is also missing; `(ids, columns)`."""

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
        """No column for `n_ids` ids."""
        return cls(SideCard(), np.empty((n_ids, 0), np.int32), np.empty((n_ids, 0), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of all users and items of a dataset."""

    users: SideFeatures
    items: SideFeatures

    @property
    def card(self) -> FeatureCard:
        """What a backbone for them must know to be made."""
        return FeatureCard(user=self.users.card, item=self.items.card)
