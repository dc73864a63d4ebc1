"""A factorization machine plus a perceptron, over ids and features."""

from typing import ClassVar, final

from pydantic import PositiveInt
from torch import Tensor, nn

from invlearn.backbones.backbone import Key
from invlearn.backbones.fields import PairFields
from invlearn.backbones.layers import Dropout, output_layer, tower
from invlearn.data.features import NO_FEATURES, FeatureCard, Features


def second_order(factors: Tensor) -> Tensor:
    """Compute the sum of inner products over all pairs of fields (DeepFM, Eq. 2).

    `sum_{f < g} v_f v_g = 1/2 sum_k ((sum_f v_fk)^2 - sum_f v_fk^2)`, Rendle's form, with a cost
    linear in the number of fields.

    Args:
        factors: Shape `(pairs, fields, dim)`; numeric fields already multiplied by their values.

    Returns:
        Sums, shape `(pairs,)`.

    Example:
        >>> second_order(Tensor([[[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]]]))
        tensor([17.])
    """
    return (factors.sum(1).square() - factors.square().sum(1)).sum(-1) / 2


@final
class DeepFM(nn.Module):
    """DeepFM: weights of fields, products of their factors, and a perceptron over the factors.

    Guo et al., DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, IJCAI 2017
    (https://doi.org/10.24963/ijcai.2017/239), Eq. 1 to 4: with the fields `f` of a pair (user id,
    item id, every feature of both), `z = b + sum w_f x_f + sum_{f < g} x_f x_g v_f v_g + MLP(x v)`,
    where `x_f` is the value of a numeric field and 1 for others. Without features it is matrix
    factorization with biases, plus a perceptron over the same two embeddings.
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
        layers: PositiveInt = 2,
        width: PositiveInt = 64,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        self._dim = dim
        card = features if use_features else NO_FEATURES
        self.fields = PairFields(n_users, n_items, card, 1 + dim)
        self.tower = tower([self.fields.n_fields * dim] + [width] * layers, dropout)
        self.output = output_layer(width)

    def read_features(self, features: Features) -> None:
        """Store the codes and values of all users and items."""
        self.fields.read(features)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, shape `(pairs,)`, like `users` and `items`."""
        weights, factors = self.fields(users, items).split([1, self._dim], dim=-1)
        deep = self.output(self.tower(factors.flatten(1))).squeeze(-1)
        return weights.sum((1, 2)) + second_order(factors) + deep
