"""The wide part: what counts and rates say of a pair, in a few weights."""

from typing import ClassVar, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from invlearn.backbones.backbone import Key
from invlearn.backbones.layers import embedding
from invlearn.exposures import Exposures, Ids
from invlearn.rates import PSEUDO_ROWS, mean_rate


@final
class Wide(nn.Module):
    """Log counts, shrunk rates and biases of user and item, added up.

    `z = m + s_u (r_u - m) + s_i (r_i - m) + w_u c_u + w_i c_i + b_u + b_i`: `c` is
    `log(1 + exposures)`, standardised; `r` the logit of the positive rate, shrunk as in
    `invlearn.rates`; `m` that of all rows. While it trains, a labelled pair's own label is left out
    of the rates of its user and item, which would tell it otherwise.

    The slopes `s` stay above 0. Leaving a like out lowers its item's rate, so among the rows of one
    item the lower rates belong to the likes: a bias could put the item back in its place, and a
    negative slope would read the labels off.
    """

    tables: ClassVar[dict[str, Key]] = {
        "user_bias.weight": "user",
        "user_shown": "user",
        "user_labels": "user",
        "user_ids": "user",
        "item_bias.weight": "item",
        "item_shown": "item",
        "item_labels": "item",
        "item_ids": "item",
    }

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self._shape = n_users, n_items
        self.user_bias = embedding(n_users, 1)
        self.item_bias = embedding(n_items, 1)
        self.shown_slopes = nn.Parameter(torch.zeros(2))
        self.log_rate_slopes = nn.Parameter(torch.zeros(2))
        self.user_shown: Tensor
        self.item_shown: Tensor
        self.user_labels: Tensor
        self.item_labels: Tensor
        self.user_ids: Tensor
        self.item_ids: Tensor
        self.prior: Tensor
        for side, n in (("user", n_users), ("item", n_items)):
            self.register_buffer(f"{side}_shown", torch.zeros(n))
            self.register_buffer(f"{side}_labels", torch.zeros(n, 2))
            self.register_buffer(f"{side}_ids", torch.arange(n))
        self.register_buffer("prior", torch.full((2,), PSEUDO_ROWS / 2))
        self.keys: Tensor
        self.labels: Tensor
        self._keep(np.empty(0, np.int64), np.empty(0, np.int8))

    def read(self, exposures: Exposures) -> None:
        """Count exposures, likes and dislikes, and keep the label of each labelled pair."""
        known = exposures.labels >= 0
        labels = exposures.labels[known]
        for ids, shown, labelled in (
            (exposures.users, self.user_shown, self.user_labels),
            (exposures.items, self.item_shown, self.item_labels),
        ):
            shown.copy_(_standardised_log(np.bincount(ids, minlength=len(shown))))
            for column, wanted in enumerate((1, 0)):
                rows = ids[exposures.labels == wanted]
                counts = np.bincount(rows, minlength=len(labelled))
                labelled[:, column] = torch.from_numpy(counts).to(labelled)
        mean = mean_rate(labels)
        self.prior.copy_(torch.from_numpy(PSEUDO_ROWS * np.array([mean, 1 - mean])))
        self._keep(exposures.users[known] * self._shape[1] + exposures.items[known], labels)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of shape `(pairs,)` for `users` and `items` of that shape."""
        shown = torch.stack([self.user_shown[users], self.item_shown[items]], dim=1)
        labels = torch.stack([self.user_labels[users], self.item_labels[items]], dim=1)
        if self.training:
            labels = labels - self._own(users, items)[:, None]
        middle = _log_odds(self.prior)
        rates = _log_odds(labels + self.prior) - middle
        slopes = self.log_rate_slopes.exp()
        biases = self.user_bias(users) + self.item_bias(items)
        return middle + rates @ slopes + shown @ self.shown_slopes + biases.squeeze(-1)

    def _own(self, users: Tensor, items: Tensor) -> Tensor:
        """The pair's own part in the likes and dislikes of its ids, shape `(pairs, 2)`."""
        keys = self.user_ids[users] * self._shape[1] + self.item_ids[items]
        place = torch.searchsorted(self.keys, keys)
        label = torch.where(self.keys[place] == keys, self.labels[place], -1)
        return torch.stack([label == 1, label == 0], dim=1).to(self.prior.dtype)

    def _keep(self, keys: Ids, labels: npt.NDArray[np.int8]) -> None:
        """Keep labels by key, ascending, and after them a key that no pair has.

        They are not saved with the weights: at rest nobody asks for them.
        """
        order = np.argsort(keys, kind="stable")
        columns = {
            "keys": np.append(keys[order], self._shape[0] * self._shape[1]),
            "labels": np.append(labels[order], np.int8(-1)),
        }
        for name, column in columns.items():
            tensor = torch.from_numpy(column).to(self.prior.device)
            self.register_buffer(name, tensor, persistent=False)


def _standardised_log(counts: Ids) -> Tensor:
    """Log of one more than each count, with mean 0 and deviation 1 where they differ."""
    logs = np.log1p(counts)
    logs -= logs.mean()
    return torch.from_numpy(logs / max(logs.std(), 1e-6))


def _log_odds(counts: Tensor) -> Tensor:
    """Log of the first count over the second, along the last axis."""
    logs = counts.log()
    return logs[..., 0] - logs[..., 1]
