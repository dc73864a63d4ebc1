"""What a backbone is: any `nn.Module` that maps (users, items) to logits.

`users` and `items` are dense ids, int64 of shape `(pairs,)`; the logits have shape `(pairs,)`.
"""

from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from invlearn.data.exposures import Exposures
from invlearn.data.features import Features
from invlearn.data.types import IntegerIds

Key = Literal["user", "item"]
"""The id by which a table is looked up."""


@runtime_checkable
class Backbone(Protocol):
    """A backbone that says which of its tables are looked up by which id.

    It is made as `Class(n_users, n_items, **options)`. A module without `tables` is a backbone as
    well; all its weights are then taken to be touched at every step (DenseStore).

    Two more attributes are looked for, and need not be there: `penalties`, a ridge penalty for each
    weight by parameter name (a number, or a tensor with one for each column), whose product with
    the gathered parameters every store adds to their gradient; and `by_user`, true if the rows of a
    user had better follow each other in batches.
    """

    tables: ClassVar[dict[str, Key]]
    """Id by which each table is looked up, by parameter name; a row per id, and no row is used
    but through that id, so that a step needs only the rows of its batch. A property where the
    options decide."""

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of pairs."""
        ...


@runtime_checkable
class FitsExposures(Protocol):
    """A backbone that reads exposures before its first step.

    What scoring needs of them must be in buffers whose shapes its constructor decides, so that
    they are saved and loaded with the weights, and a trained backbone needs no dataset.
    """

    def fit_exposures(self, exposures: Exposures) -> None:
        """Take in who was shown what; called once, before training."""
        ...


@runtime_checkable
class ReadsFeatures(Protocol):
    """A backbone that knows users and items by more than their ids.

    It is made as `Class(n_users, n_items, features=card, **options)`: the card (`FeatureCard`)
    decides all shapes. The features themselves must be in buffers, as for `FitsExposures`.
    """

    def read_features(self, features: Features) -> None:
        """Take in the features of all users and items; called once, before training."""
        ...


@runtime_checkable
class FitsOnValidation(Protocol):
    """A backbone that leaves a few numbers, such as the weights of a mix, to validation."""

    def fit_on_validation(self, users: IntegerIds, items: IntegerIds, labels: IntegerIds) -> None:
        """Decide them by labelled rows of the validation part; called after every epoch."""
        ...

    @property
    def fitted_on_validation(self) -> dict[str, float]:
        """What was decided, by name; shown to whoever trained it."""
        ...


class Factors(NamedTuple):
    """Two tables whose inner products are logits: `z = users[u] @ items[i]`."""

    users: Tensor
    """A row for each user, shape `(n_users, width)`."""
    items: Tensor
    """A row for each item, shape `(n_items, width)`."""


@runtime_checkable
class InnerProduct(Protocol):
    """A backbone that can say its logits as inner products, so that ranking is one matrix product.

    Optional: a backbone without `as_factors` is asked for the logits of every pair.
    """

    def as_factors(self) -> Factors:
        """Factors whose inner products equal `forward` in evaluation mode, up to rounding."""
        ...
