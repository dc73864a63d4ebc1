"""A wide and a deep part, whose embeddings use factors pretrained on exposures."""

from typing import Any, Literal, final

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from invlearn.backbones.backbone import Key
from invlearn.backbones.factorization import GMF, BiasedMF
from invlearn.backbones.layers import Dropout, rows_here
from invlearn.backbones.neural import MLP, NeuMF
from invlearn.backbones.pretraining import PRETRAINING
from invlearn.backbones.wide import Wide
from invlearn.data.exposures import Exposures

DEEP = {"gmf": GMF, "mf": BiasedMF, "mlp": MLP, "neumf": NeuMF}
"""Backbones for the deep part."""


@final
class WideDeep(nn.Module):
    """The sum of a wide part and a deep part, trained together.

    Cheng et al., Wide & Deep Learning for Recommender Systems, DLRS 2016
    (https://doi.org/10.1145/2988450.2988454), Eq. 3: `z = wide + deep`. The wide part is `Wide`:
    counts, rates and biases. The deep part is another backbone, `gmf`, `mf`, `mlp` or `neumf`, with
    `dim`, and with `layers` and `dropout` if it has them.

    The deep part's embeddings use `factors` pretrained on exposures (`pretraining.py`), scaled to
    rows of mean length 1. By default they are fixed inputs: `p_u + x_u A` replaces `p_u`, with one
    matrix `A` per embedding, initially the identity. With `trainable` the factors are added to the
    initial embeddings instead, for the same logits before the first step. The pretraining exposures
    include the training pairs.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        *,
        deep: Literal["gmf", "mf", "mlp", "neumf"] = "neumf",
        pretrained: Literal["none", "svd", "als"] = "svd",
        trainable: bool = False,
        factors: PositiveInt = 32,
        dim: PositiveInt = 32,
        layers: PositiveInt = 3,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        self._shape, self._pretrained, self._factors = (n_users, n_items), pretrained, factors
        self._here: dict[Key, slice] = {"user": rows_here(n_users), "item": rows_here(n_items)}
        self.wide = Wide(n_users, n_items)
        tower: dict[str, Any] = {"layers": layers, "dropout": dropout}
        given = {} if deep in ("gmf", "mf") else tower
        self.deep = DEEP[deep](n_users, n_items, dim=dim, **given)
        self._sides: dict[str, Key] = {
            name.removesuffix(".weight"): key
            for name, key in self.deep.tables.items()
            if not name.endswith("_bias.weight")
        }
        if pretrained != "none" and not trainable:
            for name in self._sides:
                weight = self.deep.get_parameter(f"{name}.weight")
                setattr(self.deep, name, InformedEmbedding(weight, factors))

    @property
    def tables(self) -> dict[str, Key]:
        """Id that indexes each table of both parts."""
        fixed: dict[str, Key] = {
            f"{name}.factors": self._sides[name]
            for name, table in self.deep.named_children()
            if isinstance(table, InformedEmbedding)
        }
        parts = {"wide": Wide.tables, "deep": self.deep.tables | fixed}
        return {
            f"{part}.{name}": key for part, tables in parts.items() for name, key in tables.items()
        }

    def fit_exposures(self, exposures: Exposures) -> None:
        """Fit the wide part's counts and the pretrained factors."""
        self.wide.fit_exposures(exposures)
        if self._pretrained == "none":
            return
        made = PRETRAINING[self._pretrained](exposures, self._shape, factors=self._factors)
        of_side = {"user": torch.from_numpy(made.users), "item": torch.from_numpy(made.items)}
        for name, side in self._sides.items():
            _inform(self.deep.get_submodule(name), _of_length_one(of_side[side])[self._here[side]])

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, shape `(pairs,)`, like `users` and `items`."""
        return self.wide(users, items) + self.deep(users, items)


@final
class InformedEmbedding(nn.Module):
    """An embedding plus a linear map of fixed factors: `p + x A`."""

    def __init__(self, weight: nn.Parameter, n_factors: int) -> None:
        super().__init__()
        self.weight = weight
        self.map = nn.Parameter(torch.eye(n_factors, weight.shape[1]))
        self.factors = nn.Buffer(torch.zeros(len(weight), n_factors))

    def forward(self, ids: Tensor) -> Tensor:
        """Return embeddings of shape `(ids, width)`."""
        return nn.functional.embedding(ids, self.weight) + self.factors[ids] @ self.map


@torch.no_grad()
def _inform(table: nn.Module, factors: Tensor) -> None:
    """Set the factors of an embedding, or add them to its initial values."""
    if isinstance(table, InformedEmbedding):
        table.factors.copy_(factors)
    elif isinstance(table, nn.Embedding):
        width = min(table.embedding_dim, factors.shape[1])
        table.weight[:, :width] += factors[:, :width].to(table.weight)


def _of_length_one(factors: Tensor) -> Tensor:
    """Return the factors scaled so that the rows' mean squared length is 1."""
    return factors / factors.square().sum(dim=1).mean().sqrt().clamp_min(1e-12)
