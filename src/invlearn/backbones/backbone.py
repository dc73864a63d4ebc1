"""What a backbone is: any `nn.Module` that maps (users, items) to logits.

`users` and `items` are dense ids, int64 of shape `(pairs,)`; the logits have shape `(pairs,)`.
"""

from typing import ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor

Key = Literal["user", "item"]
"""The id by which a table is looked up."""


@runtime_checkable
class Backbone(Protocol):
    """A backbone that says which of its tables are looked up by which id.

    It is made as `Class(n_users, n_items, **options)`. A module without `tables` is a backbone as
    well; all its weights are then taken to be touched at every step (DenseStore).
    """

    tables: ClassVar[dict[str, Key]]
    """Id by which each table is looked up, by parameter name; a row per id, and no row is used
    but through that id, so that a step needs only the rows of its batch."""

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of pairs."""
        ...
