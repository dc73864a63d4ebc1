"""The backbone that reads everything: exposures, labels of the history, factors of its own."""

from typing import Any, NamedTuple, final

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from invlearn.backbones.backbone import Factors
from invlearn.exposure_factors import ExposureModel, Tables, fit_exposure_factors
from invlearn.exposures import Exposures
from invlearn.mixed_model import MixedModel, fit_mixed_model
from invlearn.mixing import PARTS, best_parts
from invlearn.rates import Floats, IntegerIds

KINDS = ("shown", "liked", "disliked")
"""What an item can be to a user: shown at all, and by its label."""
MAP_SHRINKAGE, SLOPE_SHRINKAGE = 15.0, 10.0
"""Ridge penalties of the maps of exposure factors and of their slopes, in rows."""
MEMBERS = 4
"""The trained part, exposure factors, the mixed model, intercepts alone."""


@final
class ExposureHybrid(nn.Module):
    """Exposures in every form, mixed by validation with three regressions on them.

    The trained part is SVD++ with labels (Koren, KDD 2008, https://doi.org/10.1145/1401890.1401944,
    Eq. 15 and Section 4.3), whose factors add linear maps of exposure factors `x`:
    `z = b + b_u + b_i + v_u x_u + v_i x_i + x_u W x_i + (p_u + A x_u + s_u) (q_i + B x_i)`, with
    `s_u = |N(u)|^-1/2 sum y_j + |R(u)|^-1/2 sum y'_j` over the items `N(u)` that the user was shown
    and the items `R(u)` that they labelled, `y'` being one table for likes and one for dislikes.
    While it trains, the pair that is asked about is left out of the sums, as it is for a pair that
    comes up later. Each table has a ridge penalty of its own, in rows; biases start where, and are
    penalised as, a model of biases alone finds them by evidence (`invlearn.mixed_model`).

    At rest its logits are mixed with those of three regressions that are fitted when the exposures
    are read: exposure factors (`invlearn.exposure_factors`), the mixed model of intercepts and
    exposure factors, and that of intercepts alone. Validation decides the four weights. So a
    dataset with too few labels to learn factors from gets a regression, and one with many the
    factors. At rest all is one inner product.

    With `unlabelled` off, rows without a label are not read, which shows what they are worth.
    It trains in the dense store, and best in batches of whole users.
    """

    by_user = True

    def __init__(
        self,
        n_users: int,
        n_items: int,
        *,
        dim: PositiveInt = 32,
        factors: PositiveInt = 32,
        shrinkage: NonNegativeFloat = 60.0,
        smoothing: PositiveFloat = 30.0,
        crossed: PositiveInt = 16,
        unlabelled: bool = True,
    ) -> None:
        super().__init__()
        self._shape, self._factors = (n_users, n_items), factors
        self._shrinkage, self._smoothing, self._crossed = shrinkage, smoothing, crossed
        self._reads_unlabelled = unlabelled
        width = factors + 1

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(0.03 * torch.randn(*shape))

        self.users, self.items = drawn(n_users, dim), drawn(n_items, dim)
        self.shown, self.liked, self.disliked = (drawn(n_items, dim) for _ in KINDS)
        self.user_map, self.item_map = drawn(width, dim), drawn(width, dim)
        self.between = nn.Parameter(torch.zeros(width, width))
        self.user_slopes = nn.Parameter(torch.zeros(width))
        self.item_slopes = nn.Parameter(torch.zeros(width))
        self.user_bias = nn.Parameter(torch.zeros(n_users))
        self.item_bias = nn.Parameter(torch.zeros(n_items))
        self.bias = nn.Parameter(torch.zeros(1))
        self.penalties: dict[str, float] = {}
        """Ridge penalty of each weight for each row of the loss's mean."""
        rest = dim + width + factors + 2
        self.user_features: Tensor
        self.item_features: Tensor
        self.user_rest: Tensor
        self.item_rest: Tensor
        self.mix: Tensor
        self.register_buffer("user_features", torch.zeros(n_users, width))
        self.register_buffer("item_features", torch.zeros(n_items, width))
        self.register_buffer("user_rest", torch.zeros(n_users, rest))
        self.register_buffer("item_rest", torch.zeros(n_items, rest))
        self.register_buffer("mix", torch.eye(MEMBERS)[0])
        self._read: _Read | None = None

    def read(self, exposures: Exposures) -> None:
        """Fit the regressions, take in the histories, start from intercepts."""
        n_users, n_items = self._shape
        if not self._reads_unlabelled:
            exposures = exposures.labelled

        def mixed(factors: int) -> MixedModel:
            return fit_mixed_model(
                exposures,
                n_users=n_users,
                n_items=n_items,
                factors=factors,
                crossed=self._crossed,
                smoothing=self._smoothing,
            )

        factors = fit_exposure_factors(
            exposures, n_users=n_users, n_items=n_items, factors=self._factors
        )
        smooth, plain = mixed(self._factors), mixed(0)
        histories = _Histories.of(exposures, self._shape, self.bias.device)
        self._read = _Read((factors, smooth, plain), histories)
        with torch.no_grad():
            self.bias.fill_(plain.intercept)
            for mine, found in (
                (self.user_bias, plain.user_bias),
                (self.item_bias, plain.item_bias),
                (self.user_features[:, : smooth.users.shape[1]], smooth.users),
                (self.item_features[:, : smooth.items.shape[1]], smooth.items),
            ):
                mine.copy_(torch.from_numpy(found))
        n = max(int((exposures.labels >= 0).sum()), 1)
        rows = {
            **dict.fromkeys(("users", "items", *KINDS, "between"), self._shrinkage),
            **dict.fromkeys(("user_map", "item_map"), MAP_SHRINKAGE),
            **dict.fromkeys(("user_slopes", "item_slopes"), SLOPE_SHRINKAGE),
            **{name: plain.penalties[name] for name in ("user_bias", "item_bias")},
        }
        self.penalties = {name: shrinkage / n for name, shrinkage in rows.items()}

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of shape `(pairs,)` for `users` and `items` of that shape."""
        if not self.training:
            return (self.user_rest[users] * self.item_rest[items]).sum(-1)
        distinct, place = torch.unique(users, return_inverse=True)
        x_users, x_items = self.user_features[users], self.item_features[items]
        its = self.items[items] + x_items @ self.item_map
        mine = (self._persons(distinct)[place] * its).sum(-1)
        if self._read:
            mine = mine - (self._own(users, items) * its).sum(-1)
        crossed = ((x_users @ self.between) * x_items).sum(-1)
        sides = self._user_sides(users) + self.item_bias[items] + x_items @ self.item_slopes
        return mine + crossed + sides

    def train(self, mode: bool = True) -> "ExposureHybrid":
        """Switch between training and rest, for which all is written as one inner product."""
        if self.training and not mode and self._read:
            self._rest()
        return super().train(mode)

    def settle(self, users: IntegerIds, items: IntegerIds, labels: IntegerIds) -> None:
        """Weigh the three members as suits labelled rows of the validation part best, by AUC.

        Args:
            users: Dense user ids, shape `(rows,)`.
            items: Dense item ids, shape `(rows,)`.
            labels: 1 or 0, shape `(rows,)`.
        """
        if not self._read or not 0 < labels.sum() < len(labels):
            return
        self._compose(torch.eye(MEMBERS)[0])
        was_training = self.training
        super().train(False)
        with torch.no_grad():
            pairs = (torch.from_numpy(ids.astype(np.int64)) for ids in (users, items))
            own = self(*(ids.to(self.bias.device) for ids in pairs))
        super().train(was_training)
        members = np.stack([own.double().cpu().numpy(), *self._read.scores(users, items)])
        before = np.round(PARTS * self.mix.cpu().numpy()).astype(np.int64)
        parts = best_parts(members, labels, start=before)
        self.mix.copy_(torch.from_numpy(parts / PARTS))
        self._rest()

    def as_factors(self) -> Factors:
        """The tables of rest."""
        return Factors(self.user_rest, self.item_rest)

    def _persons(self, users: Tensor) -> Tensor:
        """`p_u + A x_u + s_u`, shape `(users, dim)`."""
        own = self.users[users] + self.user_features[users] @ self.user_map
        if not self._read:
            return own
        for kind, table in zip(self._read.histories.kinds, self._tables(), strict=True):
            counts = kind.counts[users]
            bags = torch.repeat_interleave(torch.arange(len(users), device=users.device), counts)
            ends = counts.cumsum(0)
            within = torch.arange(len(bags), device=users.device) - (ends - counts)[bags]
            items = kind.items[kind.starts[users][bags] + within]
            summed = torch.zeros_like(own).index_add(0, bags, table[items])
            own = own + summed * kind.scales[users][:, None]
        return own

    def _own(self, users: Tensor, items: Tensor) -> Tensor:
        """What the pair itself adds to its user's sums, shape `(pairs, dim)`."""
        assert self._read is not None
        histories = self._read.histories
        keys = users * self._shape[1] + items
        place = torch.searchsorted(histories.keys, keys).clamp_max(len(histories.keys) - 1)
        there = histories.keys[place] == keys
        labels = histories.labels[place]
        marks = (there, there & (labels == 1), there & (labels == 0))
        total = torch.zeros_like(self.items[items])
        for kind, mark, table in zip(histories.kinds, marks, self._tables(), strict=True):
            total = total + (mark * kind.scales[users])[:, None] * table[items]
        return total

    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.shown, self.liked, self.disliked

    def _user_sides(self, users: Tensor) -> Tensor:
        return self.bias + self.user_bias[users] + self.user_features[users] @ self.user_slopes

    def _rest(self) -> None:
        self._compose(self.mix)

    @torch.no_grad()
    def _compose(self, mix: Tensor) -> None:
        """Write the tables of rest for a mix: left times right, then sides."""
        assert self._read is not None
        device = self.bias.device
        mix, every = mix.to(device), torch.arange(self._shape[0], device=device)
        persons = torch.cat([self._persons(block) for block in every.split(4096)])
        factors, mixed, plain = (
            _Tables.of(model.tables(), self._factors, device) for model in self._read.models
        )
        crossed = mix[0] * self.user_features @ self.between
        crossed[:, : mixed.left.shape[1]] += mix[2] * mixed.left
        left = [mix[0] * persons, crossed, mix[1] * factors.left]
        right = [self.items + self.item_features @ self.item_map, self.item_features, factors.right]
        own = self._user_sides(every), self.item_bias + self.item_features @ self.item_slopes
        others = (factors, mixed, plain)
        users = mix @ torch.stack([own[0], *(model.users for model in others)])
        items = mix @ torch.stack([own[1], *(model.items for model in others)])
        ones = [torch.ones(n, 1, device=device) for n in self._shape]
        self.user_rest.copy_(torch.cat([*left, users[:, None], ones[0]], dim=1))
        self.item_rest.copy_(torch.cat([*right, ones[1], items[:, None]], dim=1))


class _Tables(NamedTuple):
    """A regression as inner products (`exposure_factors.Tables`), on a device."""

    left: Tensor
    right: Tensor
    users: Tensor
    items: Tensor

    @classmethod
    def of(cls, tables: Tables, width: int, device: torch.device) -> "_Tables":
        """Zeros fill up factors that are not there."""
        left, right, users, items = (torch.from_numpy(t).float().to(device) for t in tables)
        pad = (0, max(0, width - left.shape[1]))
        return cls(nn.functional.pad(left, pad), nn.functional.pad(right, pad), users, items)


class _Kind(NamedTuple):
    """Items of one kind by user: those of `u` are `items[starts[u]:starts[u] + counts[u]]`."""

    items: Tensor
    starts: Tensor
    counts: Tensor
    scales: Tensor
    """One over the root of the number of items that the sum is divided by, shape `(n_users,)`."""


class _Histories(NamedTuple):
    """What every user was shown, and the label of each pair."""

    kinds: tuple[_Kind, ...]
    """As `KINDS`."""
    keys: Tensor
    """`user * n_items + item` of every exposed pair, ascending."""
    labels: Tensor
    """1, 0 or -1 of each."""

    @classmethod
    def of(cls, exposures: Exposures, shape: tuple[int, int], device: torch.device) -> "_Histories":
        keys = exposures.users * shape[1] + exposures.items
        order = np.argsort(keys, kind="stable")
        users, items, labels = (column[order] for column in exposures)
        n_shown, n_labelled = (
            np.bincount(users[rows], minlength=shape[0]) for rows in (labels >= -1, labels >= 0)
        )
        kinds: list[_Kind] = []
        for rows, total in (
            (labels >= -1, n_shown),
            (labels == 1, n_labelled),
            (labels == 0, n_labelled),
        ):
            counts = np.bincount(users[rows], minlength=shape[0])
            columns = (items[rows], counts.cumsum() - counts, counts)
            scales = np.maximum(total, 1).astype(np.float32) ** -0.5
            tensors = (torch.from_numpy(column).to(device) for column in (*columns, scales))
            kinds.append(_Kind(*tensors))
        return cls(
            tuple(kinds),
            torch.from_numpy(keys[order]).to(device),
            torch.from_numpy(labels).to(device),
        )


class _Read:
    """What was read; a copy of a backbone shares it."""

    def __init__(
        self, models: tuple[ExposureModel, MixedModel, MixedModel], histories: _Histories
    ) -> None:
        self.models, self.histories = models, histories
        self._scored: tuple[Any, Any, list[Floats]] | None = None

    def scores(self, users: Any, items: Any) -> list[Floats]:
        """Logits of the regressions; those of the last pairs that were asked for are kept."""
        if not self._scored or self._scored[0] is not users or self._scored[1] is not items:
            self._scored = users, items, [model.score(users, items) for model in self.models]
        return self._scored[2]

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Read":
        return self
