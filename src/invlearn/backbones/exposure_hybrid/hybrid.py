"""The hybrid backbone: exposures, labels of the history and trained factors."""

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from invlearn.backbones.backbone import Factors
from invlearn.backbones.exposure_hybrid.exposure_factors import ExposureModel, fit_exposure_factors
from invlearn.backbones.exposure_hybrid.mixed_model import MixedModel, fit_mixed_model
from invlearn.backbones.exposure_hybrid.mixing import PARTS, best_parts
from invlearn.backbones.exposure_hybrid.shown import KINDS, Shown
from invlearn.backbones.rates import Floats
from invlearn.data.exposures import Exposures
from invlearn.data.types import IntegerIds

MAP_SHRINKAGE, COEFFICIENT_SHRINKAGE, BETWEEN_SHRINKAGE = 15.0, 10.0, 60.0
"""Ridge penalties, in rows: maps of exposure factors, their coefficients, and the coefficients of
their products."""
MEMBERS = ("trained part", "exposure factors", "mixed model", "intercepts")
"""Members of the mix, in order."""


@final
class ExposureHybrid(nn.Module):
    """SVD++ with exposure factors, mixed with three regressions by validation.

    The trained part is SVD++ with labels (Koren, KDD 2008, https://doi.org/10.1145/1401890.1401944,
    Eq. 15 and Section 4.3), whose factors add linear maps of exposure factors `x`:
    `z = b + b_u + b_i + v_u x_u + v_i x_i + x_u W x_i + (p_u + A x_u + s_u) (q_i + B x_i)`, with
    `s_u = |N(u)|^-1/2 sum y_j + |R(u)|^-1/2 sum y'_j` over the items `N(u)` that the user was shown
    and the items `R(u)` that they labelled, with one table `y'` for likes and one for dislikes.
    In training, the scored pair is left out of the sums, as it is for later pairs. Penalties are
    ridge, in rows. Those of the columns of `p`, `q`, `y` and `y'` increase geometrically from
    `least_shrinkage` to `most_shrinkage`: strong factors use columns with little shrinkage, weak
    ones use columns that suppress noise, and no single constant has to fit every dataset. Initial
    values and penalties of the biases come from a model of biases alone, by evidence
    (`invlearn.backbones.exposure_hybrid.mixed_model`).

    In evaluation mode its logits are mixed with those of three regressions, fitted when the
    exposures are read: exposure factors (`exposure_factors.py`), the mixed model of intercepts and
    exposure factors, and that of intercepts alone. The four weights are fitted on validation. So a
    dataset with too few labels for factors gets a regression, and one with many gets the factors.
    In evaluation mode all is one inner product.

    With `unlabelled` off, rows without a label are not read, to measure their value.
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
        least_shrinkage: PositiveFloat = 1.0,
        most_shrinkage: PositiveFloat = 64.0,
        smoothing: PositiveFloat = 30.0,
        crossed: PositiveInt = 16,
        unlabelled: bool = True,
    ) -> None:
        super().__init__()
        self._shape, self._factors = (n_users, n_items), factors
        self._columns: Any = {"crossed": crossed, "smoothing": smoothing}
        self._reads_unlabelled = unlabelled
        columns = np.geomspace(least_shrinkage, most_shrinkage, dim)
        self._shrinkages = torch.from_numpy(columns).float()
        width = factors + 1

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(0.03 * torch.randn(*shape))

        self.users, self.items = drawn(n_users, dim), drawn(n_items, dim)
        self.shown, self.liked, self.disliked = (drawn(n_items, dim) for _ in KINDS)
        self.user_map, self.item_map = drawn(width, dim), drawn(width, dim)
        self.between = nn.Parameter(torch.zeros(width, width))
        self.user_coefficients = nn.Parameter(torch.zeros(width))
        self.item_coefficients = nn.Parameter(torch.zeros(width))
        self.user_bias = nn.Parameter(torch.zeros(n_users))
        self.item_bias = nn.Parameter(torch.zeros(n_items))
        self.bias = nn.Parameter(torch.zeros(1))
        self.penalties: dict[str, float | Tensor] = {}
        """Ridge penalty of each parameter, or of its columns, for the mean loss of rows."""
        rest = dim + width + factors + 2
        self.user_features = nn.Buffer(torch.zeros(n_users, width))
        self.item_features = nn.Buffer(torch.zeros(n_items, width))
        self.user_rest = nn.Buffer(torch.zeros(n_users, rest))
        self.item_rest = nn.Buffer(torch.zeros(n_items, rest))
        self.mix = nn.Buffer(torch.eye(len(MEMBERS))[0])
        self._read: _Read | None = None
        self._rests = False
        """Whether the evaluation tables are current."""

    def fit_exposures(self, exposures: Exposures) -> None:
        """Fit the regressions, store the histories, and initialize the biases."""
        if not self._reads_unlabelled:
            exposures = exposures.labelled
        factors = fit_exposure_factors(exposures, self._shape, factors=self._factors)
        smooth, plain = (
            fit_mixed_model(exposures, self._shape, factors=k, **self._columns)
            for k in (self._factors, 0)
        )
        shown = Shown.of(exposures, self._shape, self.bias.device)
        self._read = _Read((factors, smooth, plain), shown)
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
        rows: dict[str, float | Tensor] = {
            **dict.fromkeys(("users", "items", *KINDS), self._shrinkages),
            "between": BETWEEN_SHRINKAGE,
            **dict.fromkeys(("user_map", "item_map"), MAP_SHRINKAGE),
            **dict.fromkeys(("user_coefficients", "item_coefficients"), COEFFICIENT_SHRINKAGE),
            **{name: plain.penalties[name] for name in ("user_bias", "item_bias")},
        }
        self.penalties = {name: shrinkage / n for name, shrinkage in rows.items()}

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, shape `(pairs,)`, like `users` and `items`."""
        if not self.training:
            return (self.user_rest[users] * self.item_rest[items]).sum(-1)
        self._rests = False
        distinct, place = torch.unique(users, return_inverse=True)
        x_users, x_items = self.user_features[users], self.item_features[items]
        its = self.items[items] + x_items @ self.item_map
        mine = (self._persons(distinct)[place] * its).sum(-1)
        if self._read:
            own = self._read.shown.own(users, items, self._tables())
            mine = mine - (own * its).sum(-1)
        crossed = ((x_users @ self.between) * x_items).sum(-1)
        sides = self._user_sides(users) + self.item_bias[items] + x_items @ self.item_coefficients
        return mine + crossed + sides

    def train(self, mode: bool = True) -> "ExposureHybrid":
        """Set the mode; for evaluation the tables of one inner product are computed."""
        if self.training and not mode and self._read and not self._rests:
            self._rest(self._trained(self._read.shown))
        return super().train(mode)

    def fit_on_validation(self, users: IntegerIds, items: IntegerIds, labels: IntegerIds) -> None:
        """Fit the weights of the four members on labelled validation rows, by AUC.

        Args:
            users: Dense user ids, shape `(rows,)`.
            items: Dense item ids, shape `(rows,)`.
            labels: 1 or 0, shape `(rows,)`.
        """
        if not self._read or not 0 < labels.sum() < len(labels):
            return
        trained = self._trained(self._read.shown)
        own = trained.scores(users, items).double().cpu().numpy()
        members = np.stack([own, *self._read.scores(users, items)])
        before = np.round(PARTS * self.mix.cpu().numpy()).astype(np.int64)
        parts = best_parts(members, labels, start=before)
        self.mix.copy_(torch.from_numpy(parts / PARTS))
        self._rest(trained)

    @property
    def fitted_on_validation(self) -> dict[str, float]:
        """The weights of the mix."""
        return dict(zip(MEMBERS, self.mix.tolist(), strict=True))

    def as_factors(self) -> Factors:
        """Return the evaluation tables."""
        return Factors(self.user_rest, self.item_rest)

    def _persons(self, users: Tensor) -> Tensor:
        """Return `p_u + A x_u + s_u`, shape `(users, dim)`."""
        own = self.users[users] + self.user_features[users] @ self.user_map
        if not self._read:
            return own
        return own + self._read.shown.sums(users, self._tables())

    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.shown, self.liked, self.disliked

    def _user_sides(self, users: Tensor) -> Tensor:
        return (
            self.bias + self.user_bias[users] + self.user_features[users] @ self.user_coefficients
        )

    @torch.no_grad()
    def _trained(self, shown: Shown) -> "_Tables":
        """Return the trained part as tables, with complete sums."""
        every = torch.arange(self._shape[0], device=self.bias.device)
        persons = torch.cat([self._persons(block) for block in shown.blocks()])
        return _Tables(
            torch.cat([persons, self.user_features @ self.between], dim=1),
            torch.cat([self.items + self.item_features @ self.item_map, self.item_features], dim=1),
            self._user_sides(every),
            self.item_bias + self.item_features @ self.item_coefficients,
        )

    @torch.no_grad()
    def _rest(self, trained: "_Tables") -> None:
        """Write the evaluation tables of the mix: factors, then user and item terms."""
        assert self._read is not None
        device, mix = self.bias.device, self.mix
        members = self._read.tables(self._factors, device)
        factors, mixed = members[:2]
        left, dim = mix[0] * trained.left, trained.left.shape[1] - self.between.shape[0]
        left[:, dim : dim + mixed.left.shape[1]] += mix[2] * mixed.left
        users = mix @ torch.stack([trained.users, *(model.users for model in members)])
        items = mix @ torch.stack([trained.items, *(model.items for model in members)])
        ones = [torch.ones(n, 1, device=device) for n in self._shape]
        self.user_rest.copy_(torch.cat([left, mix[1] * factors.left, users[:, None], ones[0]], 1))
        self.item_rest.copy_(torch.cat([trained.right, factors.right, ones[1], items[:, None]], 1))
        self._rests = True


class _Tables(NamedTuple):
    """A model as inner products (`exposure_factors.Tables`), on a device."""

    left: Tensor
    right: Tensor
    users: Tensor
    items: Tensor

    @classmethod
    def of(cls, tables: Sequence[Floats], width: int, device: torch.device) -> "_Tables":
        """Move tables to a device, with factors padded by zeros."""
        left, right, users, items = (torch.from_numpy(t).float().to(device) for t in tables)
        pad = (0, max(0, width - left.shape[1]))
        return cls(nn.functional.pad(left, pad), nn.functional.pad(right, pad), users, items)

    def scores(self, users: IntegerIds, items: IntegerIds) -> Tensor:
        """Return the logits of pairs of dense ids, shape `(rows,)`."""
        device = self.left.device
        u, i = (torch.from_numpy(ids.astype(np.int64)).to(device) for ids in (users, items))
        return (self.left[u] * self.right[i]).sum(-1) + self.users[u] + self.items[i]


class _Read:
    """Fitted regressions and histories; shared by copies of a backbone."""

    def __init__(self, models: tuple[ExposureModel, MixedModel, MixedModel], shown: Shown) -> None:
        self.models, self.shown = models, shown
        self._tables: tuple[_Tables, ...] = ()
        self._scored: tuple[Any, Any, list[Floats]] | None = None

    def scores(self, users: Any, items: Any) -> list[Floats]:
        """Return the logits of the regressions, cached for the last pairs."""
        if not self._scored or self._scored[0] is not users or self._scored[1] is not items:
            self._scored = users, items, [model.score(users, items) for model in self.models]
        return self._scored[2]

    def tables(self, width: int, device: torch.device) -> tuple[_Tables, ...]:
        """Return the regressions as tables on a device, cached."""
        if not self._tables or self._tables[0].left.device != device:
            found = (_Tables.of(model.tables(), width, device) for model in self.models)
            self._tables = tuple(found)
        return self._tables

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Read":
        return self
