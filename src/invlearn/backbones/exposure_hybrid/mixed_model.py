"""A logistic regression of labels on exposures, with penalties fitted by evidence.

The logit of a pair is `b + b_u + b_i + v_u x_u + v_i x_i + x_u W x_i`: an intercept for every user
and item, coefficients of their columns (exposure factors, log count of exposures), and coefficients
of products of the two. Each group of coefficients has a normal prior; its precision, the ridge
penalty, maximizes the likelihood of the labels (empirical Bayes by Laplace's approximation: MacKay,
Bayesian Interpolation, Neural Computation 1992, https://doi.org/10.1162/neco.1992.4.3.415, Eq. 3.21
and Section 4). So a dataset with very different items and uninformative factors gets intercepts
alone, and another gets factors, without a setting.
Intercepts use the slower, more stable update of expectation maximization, with a fixed number of
passes: if ids do not differ at all, their penalty has not converged.

Shapes: `users`, `items` and `labels` are `(rows,)`; `width` counts the factors and the log count.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.backbones.exposure_hybrid.exposure_factors import BLOCK_ROWS, Tables, exposure_svd
from invlearn.backbones.exposure_hybrid.intercepts import LEAST, MOST, Intercepts, LabelledColumns
from invlearn.backbones.rates import Floats, rate_of
from invlearn.data.exposures import Exposures, Shape
from invlearn.data.types import IntegerIds

ROUNDS = 10
"""Rounds of alternating updates of intercepts, coefficients and penalties."""

FIRST_PENALTY = 10.0
"""Initial penalty of every coefficient."""

GROUPS = ("user_coefficients", "item_coefficients", "user_count", "item_count", "same", "crossed")
"""Groups of coefficients; each has one penalty."""


@dataclass(frozen=True, slots=True)
class MixedModel:
    """The fitted regression."""

    intercept: float
    user_bias: Floats
    """User intercepts, shape `(n_users,)`."""
    item_bias: Floats
    """Item intercepts, shape `(n_items,)`."""
    users: Floats
    """Columns `x_u`, shape `(n_users, width)`."""
    items: Floats
    """Columns `x_i`, shape `(n_items, width)`."""
    user_coefficients: Floats
    """`v_u`, shape `(width,)`."""
    item_coefficients: Floats
    """`v_i`, shape `(width,)`."""
    between: Floats
    """`W`, shape `(width, width)`."""
    penalties: dict[str, float]
    """Penalties by group, including `user_bias` and `item_bias`: half of one times the squared
    coefficients is added to the summed log loss."""

    def score(self, users: IntegerIds, items: IntegerIds) -> Floats:
        """Return the logits of pairs of dense ids, shape `(rows,)`."""
        left, right, of_users, of_items = self.tables()
        logits = of_users[users] + of_items[items]
        for start in range(0, len(logits), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            logits[rows] += (left[users[rows]] * right[items[rows]]).sum(axis=1)
        return logits

    def tables(self) -> Tables:
        """Return the model as tables of users and items."""
        return Tables(
            left=self.users @ self.between,
            right=self.items,
            users=self.users @ self.user_coefficients + self.user_bias + self.intercept,
            items=self.items @ self.item_coefficients + self.item_bias,
        )


def fit_mixed_model(
    exposures: Exposures, shape: Shape, *, factors: int, crossed: int = 16, smoothing: float = 30.0
) -> MixedModel:
    """Fit the labels of training rows on exposures.

    Memory: the exposures, the columns, and one block of rows times the coefficients.

    Args:
        exposures: Training rows with and without a label. If all labels are equal, every logit is
            the logit of their mean.
        shape: Numbers of users and of items; ids are below them.
        factors: Exposure factors normalized by degrees, at most the rank. 0: intercepts alone.
        crossed: Leading factors of which all products are columns, else only like products.
        smoothing: Exposures added to every degree (`exposure_svd`).

    Example:
        >>> labels = np.array([1, 0, 1, 0], np.int8)
        >>> shown = Exposures(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), labels)
        >>> fit_mixed_model(shown, (2, 2), factors=0).item_bias.round(1)
        array([ 1.5, -1.5])
    """
    sides, strengths = _columns_of(exposures, shape, factors, smoothing)
    known = exposures.labels >= 0
    rows = LabelledColumns(
        exposures.users[known], exposures.items[known], exposures.labels[known].astype(np.float64)
    )
    layout = _Layout.of(len(strengths), crossed) if factors else _Layout.empty()
    design = _Design(rows, sides, layout)
    intercepts = Intercepts.start(rows, shape)
    coefficients = np.zeros(len(layout.groups))
    penalties = np.full(len(layout.groups), FIRST_PENALTY)
    if 0 < rows.labels.sum() < len(rows.labels):
        intercepts, coefficients, penalties = _fitted(design, intercepts, coefficients, penalties)
    by_group = {
        name: float(penalties[layout.groups == number][0])
        for number, name in enumerate(GROUPS)
        if (layout.groups == number).any()
    }
    by_group |= dict(zip(("user_bias", "item_bias"), intercepts.penalties, strict=True))
    spread = layout.spread(coefficients, sides[0].shape[1])
    return MixedModel(intercepts.constant, *intercepts.values, *sides, *spread, by_group)


def _fitted(
    design: "_Design", intercepts: Intercepts, coefficients: Floats, penalties: Floats
) -> tuple[Intercepts, Floats, Floats]:
    """Return intercepts, coefficients and their penalties, fitted in turn."""
    offsets, variances = np.zeros(len(design.rows.labels)), np.zeros(0)
    for _ in range(ROUNDS):
        intercepts = intercepts.swept(design.rows, offsets)
        if not len(coefficients):
            continue
        if len(variances):
            penalties = _by_evidence(coefficients, variances, penalties, design.layout.groups)
        base = intercepts.of(design.rows)
        coefficients, offsets, variances = _newton(design, base, coefficients, penalties, offsets)
    return intercepts.swept(design.rows, offsets), coefficients, penalties


def _columns_of(
    exposures: Exposures, shape: Shape, factors: int, smoothing: float
) -> tuple[tuple[Floats, Floats], Floats]:
    """Return the columns of users and of items, and the singular values.

    Columns are standardized over ids; then those of factor `k` are multiplied by `s_k / s_1`, so
    that factors are penalized more the less they explain of the exposures.
    """
    if not factors:
        return (np.zeros((shape[0], 0)), np.zeros((shape[1], 0))), np.zeros(0)
    left, strengths, right = exposure_svd(exposures, shape, factors=factors, smoothing=smoothing)
    emphasis = np.append(strengths / strengths.max(initial=0.0), 1.0)

    def columns(vectors: Floats, shown: IntegerIds) -> Floats:
        counts = np.log1p(np.bincount(shown, minlength=len(vectors)))
        found = np.column_stack([vectors, counts])
        spread, centered = found.std(axis=0), found - found.mean(axis=0)
        is_more = spread > 1e-6 * np.abs(found).max(axis=0)  # more than rounding error
        return np.divide(centered, spread, out=np.zeros_like(found), where=is_more) * emphasis

    return (columns(left, exposures.users), columns(right, exposures.items)), strengths


class _Layout(NamedTuple):
    """Order of the coefficients: users, items, then entries of `between`."""

    groups: npt.NDArray[np.int64]
    """Index in `GROUPS` of each coefficient's group."""
    left: npt.NDArray[np.int64]
    """Column of the user in each product, shape `(products,)`."""
    right: npt.NDArray[np.int64]
    """Column of the item in each product, shape `(products,)`."""
    n_crossed: int = 0
    """Factors whose products all come first; like products of the others follow."""

    @classmethod
    def of(cls, k: int, crossed: int) -> "_Layout":
        """Return the layout for `k` factors."""
        n = min(crossed, k)
        left, right = (index.ravel() for index in np.indices((n, n)))
        rest = np.arange(n, k)
        left, right = np.concatenate([left, rest]), np.concatenate([right, rest])
        same, other = GROUPS.index("same"), GROUPS.index("crossed")
        sides = np.concatenate([np.full(k, 0), [2], np.full(k, 1), [3]])
        return cls(np.concatenate([sides, np.where(left == right, same, other)]), left, right, n)

    @classmethod
    def empty(cls) -> "_Layout":
        """Return the layout without coefficients."""
        none = np.zeros(0, np.int64)
        return cls(none, none, none)

    def spread(self, coefficients: Floats, width: int) -> tuple[Floats, Floats, Floats]:
        """Return the coefficients as two vectors and a matrix."""
        between = np.zeros((width, width))
        between[self.left, self.right] = coefficients[2 * width :]
        return coefficients[:width], coefficients[width : 2 * width], between


@dataclass(frozen=True, slots=True)
class _Design:
    """The columns of labelled rows, computed block by block."""

    rows: LabelledColumns
    sides: tuple[Floats, Floats]
    layout: _Layout

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Yield parts of the rows and their columns in float32, which is twice as fast."""
        left, right = (side.astype(np.float32) for side in self.sides)
        n, rest = self.layout.n_crossed, slice(self.layout.n_crossed, -1)
        for part in self._parts():
            mine, its = left[self.rows.users[part]], right[self.rows.items[part]]
            crossed = (mine[:, :n, None] * its[:, None, :n]).reshape(len(mine), n * n)
            yield part, np.concatenate([mine, its, crossed, mine[:, rest] * its[:, rest]], axis=1)

    def times(self, coefficients: Floats) -> Floats:
        """Return columns times coefficients, shape `(rows,)`, without the columns in memory."""
        width = self.sides[0].shape[1]
        of_users, of_items, between = self.layout.spread(coefficients, width)
        left, right = self.sides[0] @ between, self.sides[1]
        found = (self.sides[0] @ of_users)[self.rows.users]
        found += (right @ of_items)[self.rows.items]
        for part in self._parts():
            found[part] += (left[self.rows.users[part]] * right[self.rows.items[part]]).sum(axis=1)
        return found

    def _parts(self) -> Iterator[slice]:
        for start in range(0, len(self.rows.labels), BLOCK_ROWS):
            yield slice(start, start + BLOCK_ROWS)


def _newton(
    design: _Design, base: Floats, coefficients: Floats, penalties: Floats, offsets: Floats
) -> tuple[Floats, Floats, Floats]:
    """Take one Newton step of the coefficients, halved until the loss does not rise.

    Args:
        design: The columns.
        base: Sum of each row's intercepts, shape `(rows,)`.
        coefficients: Coefficients to step from.
        penalties: Penalty of each coefficient.
        offsets: Columns times coefficients, shape `(rows,)`.

    Returns:
        New coefficients, columns times coefficients, and posterior variances.
    """
    labels = design.rows.labels
    rates = rate_of(base + offsets)
    gradient, curvature = penalties * coefficients, np.diag(penalties)
    for part, columns in design.blocks():
        error = (rates[part] - labels[part]).astype(np.float32)
        gradient = gradient + columns.T @ error
        root = columns * np.sqrt(rates[part] * (1 - rates[part])).astype(np.float32)[:, None]
        curvature += root.T @ root
    inverse = np.linalg.inv(curvature).astype(np.float64)
    step = -inverse @ gradient
    change = design.times(step)

    def loss(length: float) -> float:
        logits = base + offsets + length * change
        moved = coefficients + length * step
        fit = np.logaddexp(0, logits) - labels * logits
        return float(fit.sum() + 0.5 * (penalties * moved**2).sum())

    length, before = 1.0, loss(0.0)
    while not loss(length) <= before and length > 1e-6:
        length /= 2
    return coefficients + length * step, offsets + length * change, inverse.diagonal().copy()


def _by_evidence(
    coefficients: Floats, variances: Floats, penalties: Floats, groups: npt.NDArray[np.int64]
) -> Floats:
    """Return penalties by group: well-determined coefficients over their squared length."""
    determined = np.bincount(groups, 1 - penalties * variances)
    squares = np.bincount(groups, coefficients**2)
    found = np.divide(determined, squares, out=np.full_like(squares, MOST), where=squares > 1e-12)
    return np.clip(found, LEAST, MOST)[groups]
