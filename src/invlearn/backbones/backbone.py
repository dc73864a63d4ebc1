"""The backbone interface: any `nn.Module` that maps (users, items) to logits.

`users` and `items` are dense ids, int64 of shape `(pairs,)`; the logits have shape `(pairs,)`.
"""

from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from invlearn.data.exposures import Exposures
from invlearn.data.features import Features
from invlearn.data.types import IntegerIds

Key = Literal["user", "item"]
"""The id that indexes a table."""
EMBEDDINGS: dict[str, Key] = {"user_embedding.weight": "user", "item_embedding.weight": "item"}
"""Tables of embeddings of most backbones."""
BIASES: dict[str, Key] = {"user_bias.weight": "user", "item_bias.weight": "item"}
"""Tables of biases of most backbones."""


@runtime_checkable
class Backbone(Protocol):
    """A backbone that declares which id indexes each of its tables.

    It is constructed as `Class(n_users, n_items, **options)`. A module without `tables` is also a
    backbone; then every step uses all its parameters (DenseStore).

    Two more attributes are optional: `penalties`, a ridge penalty for each parameter by name (a
    number, or a tensor with one per column), whose product with the gathered parameters every store
    adds to their gradient; and `by_user`, true if the rows of a user should be adjacent in
    batches.
    """

    tables: ClassVar[dict[str, Key]]
    """Id that indexes each table, by parameter name. A table has a row per id, used only through
    that id, so that a step needs only the rows of its batch. A property if it depends on
    options."""

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the logits of pairs."""
        ...


@runtime_checkable
class FitsExposures(Protocol):
    """A backbone that reads exposures before its first step.

    Values needed for scoring must be in buffers with shapes fixed by the constructor, so that they
    are saved and loaded with the parameters, and a trained backbone needs no dataset.
    """

    def fit_exposures(self, exposures: Exposures) -> None:
        """Read the exposed pairs; called once, before training."""
        ...


@runtime_checkable
class ReadsFeatures(Protocol):
    """A backbone that uses features of users and items.

    It is constructed as `Class(n_users, n_items, features=card, **options)`: the card
    (`FeatureCard`) fixes all shapes. The features must be in buffers, as for `FitsExposures`.
    """

    def read_features(self, features: Features) -> None:
        """Store the features of all users and items; called once, before training."""
        ...


@runtime_checkable
class FitsOnValidation(Protocol):
    """A backbone that fits a few numbers, such as mixing weights, on validation."""

    def fit_on_validation(self, users: IntegerIds, items: IntegerIds, labels: IntegerIds) -> None:
        """Fit them on labelled rows of the validation part; called after every epoch."""
        ...

    @property
    def fitted_on_validation(self) -> dict[str, float]:
        """The fitted numbers by name, reported after training."""
        ...


class Factors(NamedTuple):
    """Two tables whose inner products are logits: `z = users[u] @ items[i]`."""

    users: Tensor
    """One row per user, shape `(n_users, width)`."""
    items: Tensor
    """One row per item, shape `(n_items, width)`."""


@runtime_checkable
class InnerProduct(Protocol):
    """A backbone whose logits are inner products, so that ranking is one matrix product.

    Optional: without `as_factors` the logits of every pair are computed.
    """

    def as_factors(self) -> Factors:
        """Return factors with products equal to `forward` in evaluation mode, up to rounding."""
        ...
