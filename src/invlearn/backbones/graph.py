"""Graph backbones: message passing over exposures."""

from typing import Any, final

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from invlearn.backbones.backbone import Factors
from invlearn.backbones.layers import embedding
from invlearn.data.exposures import Exposures


@final
class LightGCN(nn.Module):
    """LightGCN over exposures: mean of embeddings propagated 0, 1, ... `layers` times.

    He et al., LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation,
    SIGIR 2020 (https://arxiv.org/abs/2002.02126), Eq. 3 and 4, with equal layer weights. An edge
    has weight `1 / sqrt(degree of user x degree of item)`, times a learned weight per layer for
    edges with a label and one for edges without; the labels themselves are not used. As in the
    paper, the graph contains the edge of a training pair while that pair is scored. The biases are
    ours: the paper only ranks, but here logits must give probabilities.

    In training, every score propagates over the whole graph, so a step costs as much as the graph,
    in the dense store. The final propagated embeddings are saved, so that scoring needs no
    graph.
    """

    def __init__(
        self, n_users: int, n_items: int, *, dim: PositiveInt = 32, layers: NonNegativeInt = 2
    ) -> None:
        super().__init__()
        self.nodes = embedding(n_users + n_items, dim)
        self.user_bias = embedding(n_users, 1)
        self.item_bias = embedding(n_items, 1)
        self.bias = nn.Parameter(torch.zeros(1))
        self.kinds = nn.Parameter(torch.ones(layers, 2))
        self.smoothed = nn.Buffer(self.nodes.weight.detach().clone())
        self._graphs: tuple[Tensor, ...] = ()
        self._n_users = n_users

    def fit_exposures(self, exposures: Exposures) -> None:
        """Build the graph, which is not saved with the parameters."""
        users = torch.from_numpy(exposures.users)
        items = torch.from_numpy(exposures.items) + self._n_users
        labelled = torch.from_numpy(exposures.labels >= 0)
        ends = torch.stack([torch.cat([users, items]), torch.cat([items, users])])
        n_nodes = len(self.nodes.weight)
        scale = torch.bincount(ends[0], minlength=n_nodes).clamp_min(1).float().rsqrt()
        weights, both = scale[ends[0]] * scale[ends[1]], torch.cat([labelled, labelled])
        size = (n_nodes, n_nodes)
        self._graphs = tuple(
            torch.sparse_coo_tensor(ends[:, kind], weights[kind], size, check_invariants=True)
            .coalesce()
            .to(self.nodes.weight.device)
            for kind in (~both, both)
        )

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, shape `(pairs,)`, like `users` and `items`."""
        nodes = self._smooth() if self.training else self.smoothed
        product = (nodes[users] * nodes[items + self._n_users]).sum(-1)
        biases = self.user_bias(users) + self.item_bias(items)
        return product + biases.squeeze(-1) + self.bias

    def train(self, mode: bool = True) -> "LightGCN":
        """Set the mode; for evaluation the embeddings are propagated once and stored."""
        if self.training and not mode and self._graphs:
            with torch.no_grad():
                self.smoothed.copy_(self._smooth())
        return super().train(mode)

    def _smooth(self) -> Tensor:
        """Return the embeddings' mean over layers, shape `(n_users + n_items, dim)`."""
        layer = total = self.nodes.weight
        if not self._graphs:
            return total
        for unlabelled, labelled in self.kinds:
            layer = unlabelled * _Messages.apply(self._graphs[0], layer) + labelled * (
                _Messages.apply(self._graphs[1], layer)
            )
            total = total + layer
        return total / (len(self.kinds) + 1)

    def as_factors(self) -> Factors:
        """Return the propagated embeddings, with biases as two more columns."""
        users, items = self.smoothed.split([self._n_users, len(self.smoothed) - self._n_users])
        own, one = self.user_bias.weight + self.bias, torch.ones_like(self.user_bias.weight)
        ones = torch.ones_like(self.item_bias.weight)
        return Factors(
            torch.cat([users, own, one], 1), torch.cat([items, ones, self.item_bias.weight], 1)
        )


class _Messages(torch.autograd.Function):
    """Product of a symmetric sparse matrix and a table, with both derivatives by the table."""

    generate_vmap_rule = False

    @staticmethod
    def forward(graph: Tensor, table: Tensor) -> Tensor:
        return graph @ table

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.graph = inputs[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, ctx.graph @ gradients[0]

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return ctx.graph @ tangents[1]
