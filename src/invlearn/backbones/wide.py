"""The wide part: a linear model of counts and rates."""

from typing import ClassVar, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from invlearn.backbones.backbone import Key
from invlearn.backbones.layers import embedding, rows_here
from invlearn.backbones.rates import PSEUDO_ROWS, Floats, mean_rate
from invlearn.data.exposures import Exposures, Ids


@final
class Wide(nn.Module):
    """Sum of log counts, shrunk rates and biases of user and item.

    `z = m + s_u (r_u - m) + s_i (r_i - m) + w_u c_u + w_i c_i + b_u + b_i`: `c` is
    `log(1 + exposures)`, standardized; `r` the logit of the positive rate, shrunk as in
    `invlearn.backbones.rates`; `m` that of all rows. In training, a labelled pair's own label is
    left out of the rates of its user and item, which would otherwise reveal it.

    The coefficients `s` are positive. Leaving a like out lowers its item's rate, so among the rows
    of an item the likes have the lower rates. With an item bias to compensate, a negative
    coefficient could recover every label.
    """

    tables: ClassVar[dict[str, Key]] = {
        "user_bias.weight": "user",
        "user_counts": "user",
        "user_ids": "user",
        "item_bias.weight": "item",
        "item_counts": "item",
        "item_ids": "item",
    }

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self._shape = n_users, n_items
        self.user_bias = embedding(n_users, 1)
        self.item_bias = embedding(n_items, 1)
        self.count_coefficients = nn.Parameter(torch.zeros(2))
        self.log_rate_coefficients = nn.Parameter(torch.zeros(2))
        self._here = rows_here(n_users), rows_here(n_items)
        users, items = (torch.arange(here.start, here.stop) for here in self._here)
        self.user_counts = nn.Buffer(torch.zeros(len(users), 3))
        self.user_ids = nn.Buffer(users)
        self.item_counts = nn.Buffer(torch.zeros(len(items), 3))
        self.item_ids = nn.Buffer(items)
        self.prior = nn.Buffer(torch.full((2,), PSEUDO_ROWS / 2))
        self._keep(np.empty(0, np.int64), np.empty(0, np.int8))

    def fit_exposures(self, exposures: Exposures) -> None:
        """Count exposures, likes and dislikes, and store the labels of pairs."""
        known = exposures.labels >= 0
        labels = exposures.labels[known]
        sides = ((exposures.users, self.user_counts), (exposures.items, self.item_counts))
        for (ids, counts), n, here in zip(sides, self._shape, self._here, strict=True):
            shown, likes, dislikes = (
                np.bincount(ids[rows], minlength=n)
                for rows in (slice(None), exposures.labels == 1, exposures.labels == 0)
            )
            columns = [_standardized_log(shown), likes, dislikes]
            counts.copy_(torch.from_numpy(np.column_stack(columns)[here]))
        mean = mean_rate(labels)
        self.prior.copy_(torch.from_numpy(PSEUDO_ROWS * np.array([mean, 1 - mean])))
        self._keep(exposures.users[known] * self._shape[1] + exposures.items[known], labels)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, shape `(pairs,)`, like `users` and `items`."""
        counts = torch.stack([self.user_counts[users], self.item_counts[items]], dim=1)
        shown, labels = counts[..., 0], counts[..., 1:]
        if self.training:
            labels = labels - self._own(users, items)[:, None]
        rates = _log_odds(1 + labels / self.prior)
        biases = self.user_bias(users) + self.item_bias(items)
        coefficients = self.log_rate_coefficients.exp()
        wide = rates @ coefficients + shown @ self.count_coefficients + biases.squeeze(-1)
        return wide + _log_odds(self.prior)

    def _own(self, users: Tensor, items: Tensor) -> Tensor:
        """Return each pair's own like and dislike counts, shape `(pairs, 2)`."""
        keys = self.user_ids[users] * self._shape[1] + self.item_ids[items]
        place = torch.searchsorted(self.keys, keys)
        return self.marks[place] * (self.keys[place] == keys)[:, None]

    def _keep(self, keys: Ids, labels: npt.NDArray[np.int8]) -> None:
        """Store likes and dislikes by ascending key, followed by a sentinel key.

        They are used only in training, and not saved with the parameters.
        """
        order = np.argsort(keys, kind="stable")
        ends = np.append(keys[order], self._shape[0] * self._shape[1])
        marks = np.append(np.eye(2)[1 - labels[order]], np.zeros((1, 2)), axis=0)
        self.keys = nn.Buffer(torch.from_numpy(ends).to(self.prior.device), persistent=False)
        self.marks = nn.Buffer(torch.from_numpy(marks).to(self.prior), persistent=False)


def _standardized_log(counts: Ids) -> Floats:
    """Return `log(1 + counts)`, standardized."""
    logs = np.log1p(counts)
    logs -= logs.mean()
    return logs / max(logs.std(), 1e-6)


def _log_odds(counts: Tensor) -> Tensor:
    """Return the log of the first count over the second, along the last axis."""
    logs = counts.log()
    return logs[..., 0] - logs[..., 1]
