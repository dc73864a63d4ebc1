"""The inverse-gradient step of GMF as one hand-written kernel: a reference for `step.py` only.

Algorithm 1 as printed with a lazy Adam, in float32 on one thread: what a step costs if it is
written by hand for one backbone, one strategy and one optimizer. Compiled by Numba.
"""

from math import exp, log1p

import numpy as np
import torch
from numba import njit
from torch import nn

from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Batch
from invlearn.strategies.inverse import STRIDES

FLOAT = np.float32
fused = njit(fastmath=True, error_model="numpy")


class Table:
    """Rows, their moments, and room for those that a batch touches."""

    def __init__(self, weight: torch.Tensor, room: int) -> None:
        self.weight = weight.detach().numpy().copy()
        n_rows, dim = self.weight.shape
        self.first, self.second = np.zeros_like(self.weight), np.zeros_like(self.weight)
        self.places = np.full(n_rows, -1, np.int32)
        self.rows = np.empty(room, np.int64)
        self.params, self.gradients = np.empty((room, dim), FLOAT), np.empty((room, dim), FLOAT)

    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.weight, self.first, self.second, self.places, self.rows, self.params,
                self.gradients)  # fmt: skip


class FusedGMF:
    """GMF and its moments, trained in place by the kernel."""

    def __init__(self, module: nn.Module, config: OptimizerConfig, *, alpha_ratio: float) -> None:
        room = 2**14
        weights = dict(module.named_parameters())
        self._users = Table(weights["user_embedding.weight"], room)
        self._items = Table(weights["item_embedding.weight"], room)
        head = torch.cat([weights["output.weight"][0], weights["output.bias"]]).detach().numpy()
        self._head = np.stack([head, np.zeros_like(head), np.zeros_like(head)])
        self._config, self._alpha_ratio = config, alpha_ratio

    def __call__(self, batch: Batch) -> int:
        """Take a step; what the judges chose, 0 without any."""
        ids = [ids.numpy() for ids in (*batch.labelled, *batch.unlabelled)]
        beta1, beta2 = self._config.beta1, self._config.beta2
        adam = (beta1, beta2, batch.lr / (1 - beta1 ** (batch.step + 1)),
                1 / (1 - beta2 ** (batch.step + 1)), self._config.eps)  # fmt: skip
        return ig_step(
            self._users.arrays(), self._items.arrays(), self._head, *ids, batch.labels.numpy(),
            FLOAT(self._alpha_ratio * batch.lr) * np.array(STRIDES, FLOAT), batch.is_meta_batch,
            tuple(FLOAT(value) for value in adam),
        )  # fmt: skip

    def weights(self) -> dict[str, torch.Tensor]:
        """Weights by the names of the module."""
        head = torch.from_numpy(self._head[0])
        return {
            "user_embedding.weight": torch.from_numpy(self._users.weight),
            "item_embedding.weight": torch.from_numpy(self._items.weight),
            "output.weight": head[None, :-1],
            "output.bias": head[-1:],
        }


@fused
def ig_step(
    users, items, head, users_l, items_l, users_u, items_u, labels, strides, is_meta_batch, adam
):
    """Locate, try if there are judges, descend, and write back."""
    n_users, (u_l, u_u) = gathered(users, users_l, users_u)
    n_items, (i_l, i_u) = gathered(items, items_l, items_u)
    slope_head, choice = np.zeros_like(head[0]), 0
    if is_meta_batch:
        add_dual_gradient(users, items, head[0], u_u, i_u, slope_head)
        losses = judged(users, items, head[0], slope_head, u_l, i_l, labels, strides)
        for k in range(1, len(losses)):
            if losses[k] < losses[choice]:
                choice = k
        moved(users, n_users, strides[choice])
        moved(items, n_items, strides[choice])
        head[0] += strides[choice] * slope_head
        slope_head[:] = 0
    add_gradient(users, items, head[0], u_l, i_l, labels, slope_head)
    written(users, n_users, adam)
    written(items, n_items, adam)
    adam_row(head[0], head[0], head[1], head[2], slope_head, adam)
    return choice


@fused
def gathered(table, ids_l, ids_u):
    """Distinct rows side by side, with gradients of zero, and the place of each id among them."""
    weight, _, _, places, rows, params, gradients = table
    found, n = (np.empty(len(ids_l), np.int32), np.empty(len(ids_u), np.int32)), 0
    for ids, out in zip((ids_l, ids_u), found):  # noqa: B905
        for k in range(len(ids)):
            place = places[ids[k]]
            if place < 0:
                place = np.int32(n)
                places[ids[k]], rows[n] = place, ids[k]
                n += 1
            out[k] = place
    for k in range(n):
        row = weight[rows[k]]
        for d in range(weight.shape[1]):
            params[k, d], gradients[k, d] = row[d], FLOAT(0)
    return n, found


@fused
def logit(p, q, head):
    z = FLOAT(0)
    for d in range(len(p)):
        z += head[d] * p[d] * q[d]
    return z + head[len(p)]


@fused
def add_pull(pull, p, q, slope_p, slope_q, head, slope_head):
    """Add what the derivative of a loss by one logit pulls at."""
    for d in range(len(p)):
        scaled = pull * head[d]
        slope_head[d] += pull * p[d] * q[d]
        slope_p[d] += scaled * q[d]
        slope_q[d] += scaled * p[d]
    slope_head[len(p)] += pull


@fused
def add_dual_gradient(users, items, head, u, i, slope_head):
    """Gradient of the mean inverse dual loss (Eq. 4): `sigmoid(z) - w1` of each logit."""
    p, slope_p, q, slope_q = users[5], users[6], items[5], items[6]
    for k in range(len(u)):
        z = logit(p[u[k]], q[i[k]], head)
        small = FLOAT(exp(-abs(z)))
        rest = FLOAT(log1p(small))
        l0, l1 = max(z, FLOAT(0)) + rest, max(-z, FLOAT(0)) + rest
        sigmoid = (FLOAT(1) if z > 0 else small) / (1 + small)
        pull = (sigmoid - l0 * l0 / (l0 * l0 + l1 * l1)) / FLOAT(len(u))
        add_pull(pull, p[u[k]], q[i[k]], slope_p[u[k]], slope_q[i[k]], head, slope_head)


@fused
def judged(users, items, head, slope_head, u, i, labels, strides):
    """Mean log loss of the labelled pairs at the three points, one look at each row."""
    losses, dim = np.zeros(len(strides), np.float64), len(head) - 1
    up, down = head + strides[1] * slope_head, head + strides[2] * slope_head
    for k in range(len(u)):
        p, gp, q, gq = users[5][u[k]], users[6][u[k]], items[5][i[k]], items[6][i[k]]
        z0, z1, z2 = head[dim], up[dim], down[dim]
        for d in range(dim):
            z0 += head[d] * p[d] * q[d]
            z1 += up[d] * (p[d] + strides[1] * gp[d]) * (q[d] + strides[1] * gq[d])
            z2 += down[d] * (p[d] + strides[2] * gp[d]) * (q[d] + strides[2] * gq[d])
        for place, z in enumerate((z0, z1, z2)):
            losses[place] += max(z, FLOAT(0)) - labels[k] * z + FLOAT(log1p(exp(-abs(z))))
    return losses


@fused
def moved(table, n, stride):
    """Go to the chosen point; gradients begin at zero again."""
    params, gradients = table[5], table[6]
    for k in range(n):
        for d in range(params.shape[1]):
            params[k, d] += stride * gradients[k, d]
            gradients[k, d] = FLOAT(0)


@fused
def add_gradient(users, items, head, u, i, labels, slope_head):
    """Gradient of the mean log loss (Eq. 1): `sigmoid(z) - y` of each logit."""
    p, slope_p, q, slope_q = users[5], users[6], items[5], items[6]
    for k in range(len(u)):
        z = logit(p[u[k]], q[i[k]], head)
        pull = (FLOAT(1) / (1 + FLOAT(exp(-z))) - labels[k]) / FLOAT(len(u))
        add_pull(pull, p[u[k]], q[i[k]], slope_p[u[k]], slope_q[i[k]], head, slope_head)


@fused
def written(table, n, adam):
    """Step from the point along the gradient, into the table; forget the places."""
    weight, first, second, places, rows, params, gradients = table
    for k in range(n):
        row = rows[k]
        adam_row(weight[row], params[k], first[row], second[row], gradients[k], adam)
        places[row] = -1


@fused
def adam_row(weight, params, first, second, gradients, adam):
    """Kingma and Ba, ICLR 2015, Algorithm 1, on one row."""
    beta1, beta2, length, spread, eps = adam
    for d in range(len(weight)):
        first[d] = beta1 * first[d] + (1 - beta1) * gradients[d]
        second[d] = beta2 * second[d] + (1 - beta2) * gradients[d] * gradients[d]
        weight[d] = params[d] - length * first[d] / (np.sqrt(second[d] * spread) + eps)
