"""Exposure factors: a logistic regression on factors of the exposure matrix.

A truncated singular value decomposition of the matrix users x items, 1 where a pair was exposed in
training, labelled or not, and a logistic regression of the training labels on its factors, on
counts and on rates. The factors do not use labels: a model that does not beat this has learned
nothing from individual labels beyond exposures and positive rates.

Shapes: `users`, `items` and `labels` are `(rows,)`; `factors` is the number of singular values.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from invlearn.backbones.rates import Floats, logit, mean_rate, rate_of, shrunk_logit
from invlearn.data.exposures import Exposures, Shape
from invlearn.data.types import IntegerIds
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.random import torch_seed

FACTORS = 32
"""Singular values kept."""
L2 = 10.0
"""Penalty; chosen with `FACTORS` by validation log loss on four data sets (`docs/metrics.md`)."""
BLOCK_ROWS = 1 << 14
"""Rows whose columns are in memory at a time."""

Block = tuple[Floats, Floats]
"""Columns of shape `(rows, columns)` and labels of shape `(rows,)`."""


class Tables(NamedTuple):
    """A model of pairs as inner products: the logit is `left[u] @ right[i] + users[u] + items[i]`.

    `users` includes the intercept.
    """

    left: Floats
    """User factors, shape `(n_users, factors)`."""
    right: Floats
    """Item factors, shape `(n_items, factors)`."""
    users: Floats
    """User terms, shape `(n_users,)`."""
    items: Floats
    """Item terms, shape `(n_items,)`."""


@dataclass(frozen=True, slots=True)
class ExposureModel:
    """A fitted logistic regression on exposure factors."""

    users: "Side"
    items: "Side"
    coefficients: Floats
    """Coefficients of the unstandardized columns, shape `(columns,)`."""
    intercept: float

    def score(self, users: IntegerIds, items: IntegerIds) -> Floats:
        """Return the logits of pairs, shape `(rows,)`; rates include training rows' own labels.

        Args:
            users: Dense user ids, shape `(rows,)`.
            items: Dense item ids, shape `(rows,)`.
        """
        logits = np.full(len(users), self.intercept)
        for start in range(0, len(users), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            columns = _columns(self.users, self.items, users[rows], items[rows])
            logits[rows] += columns @ self.coefficients
        return logits

    def tables(self) -> Tables:
        """Return the model as tables of users and items."""
        k = self.users.factors.shape[1]
        of_users, of_items, products = np.split(self.coefficients, [k + 2, 2 * (k + 2)])
        own, other = (
            side.columns(np.arange(len(side.rows)), None) for side in (self.users, self.items)
        )
        return Tables(
            left=self.users.factors * products,
            right=self.items.factors,
            users=own @ of_users + self.intercept,
            items=other @ of_items,
        )


def fit_exposure_factors(
    exposures: Exposures, shape: Shape, *, seed: int = 0, factors: int = FACTORS, l2: float = L2
) -> ExposureModel:
    """Fit the labels of training rows on exposures.

    The columns are the factors of the user and of the item, their products, `log(1 + exposures)`
    of each, and the logit of the shrunk positive rate of each, without the training row's
    own label. All are standardized; then the columns of factor `k` are multiplied by `s_k / s_1`,
    so that factors are penalized more the less they explain of the exposures.

    Memory: the exposures, `(n_users + n_items) x factors`, and one block.

    Args:
        exposures: Training rows with and without a label. If all labels are equal, every logit is
            the logit of their mean.
        shape: Numbers of users and of items; ids are below them.
        seed: Seed of the randomized decomposition.
        factors: Singular values to keep, at most the rank.
        l2: Penalty: `l2 / 2` times the squared coefficients is added to the summed log loss.

    Raises:
        ConfigError: `factors` is below 1, or `l2` is not above 0.
    """
    if factors < 1 or not l2 > 0:
        raise ConfigError(
            f"exposure factors need factors of at least 1 and l2 above 0; found {factors} and {l2}"
        )
    left, strengths, right = exposure_svd(exposures, shape, factors=factors, seed=seed)
    known = exposures.labels >= 0
    labels = exposures.labels[known]
    shown = (exposures.users, exposures.items)
    users, items = (
        Side.of(side, ids, ids[known], labels)
        for side, ids in zip((left, right), shown, strict=True)
    )

    def blocks() -> Iterator[Block]:
        for start in range(0, len(labels), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            own = labels[rows].astype(np.float64)
            of_users, of_items = (ids[known][rows] for ids in shown)
            yield _columns(users, items, of_users, of_items, own), own

    emphasis = strengths / strengths.max(initial=0.0)
    one_side = np.concatenate([emphasis, [1.0, 1.0]])
    emphasis = np.concatenate([one_side, one_side, emphasis])
    if not 0 < labels.sum(dtype=np.int64) < len(labels):
        return ExposureModel(users, items, 0 * emphasis, float(logit(mean_rate(labels))))
    return ExposureModel(users, items, *_fit(blocks, emphasis, l2))


def exposure_svd(
    exposures: Exposures,
    shape: Shape,
    *,
    factors: int,
    seed: int = 0,
    smoothing: float | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Decompose the binary matrix of exposed pairs by randomized subspace iteration.

    Halko, Martinsson and Tropp (2011), Algorithm 5.1, by `torch.svd_lowrank`; the matrix
    is sparse, and repeated pairs count once.

    Args:
        exposures: The exposed pairs.
        shape: Numbers of users and of items; ids are below them.
        factors: Singular values to keep.
        seed: Seed of the initial subspace.
        smoothing: Normalize by degrees, as correspondence analysis does: each entry is divided by
            the roots of its user's and item's exposures plus `smoothing`, and the vectors by the
            roots of their own side's, so that they are means. None: no normalization.

    Returns:
        Left vectors `(users, k)`, descending singular values `(k,)`, right vectors
        `(items, k)`; `k` is the minimum of `factors` and the rank.
    """
    pairs = torch.from_numpy(np.stack([exposures.users, exposures.items]).astype(np.int64))
    ones = torch.ones(pairs.shape[1], dtype=torch.float64)
    matrix = torch.sparse_coo_tensor(pairs, ones, shape, check_invariants=True).coalesce()
    matrix.values().fill_(1)
    roots = None
    if smoothing is not None:
        degrees = (matrix.sum(side).to_dense() for side in (1, 0))
        roots = [torch.sqrt(degree + smoothing) for degree in degrees]
        of_users, of_items = (root[ids] for root, ids in zip(roots, matrix.indices(), strict=True))
        matrix.values().div_(of_users * of_items)
    width = min(factors + 16, *shape)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(torch_seed(seed, "exposure factors"))
        left, strengths, right = torch.svd_lowrank(matrix, q=width, niter=16)
    if roots:
        left, right = left / roots[0][:, None], right / roots[1][:, None]
    kept = slice(min(factors, int((strengths > 1e-9 * strengths.max()).sum())))
    return left[:, kept].numpy(), strengths[kept].numpy(), right[:, kept].numpy()


def logistic_regression(blocks: Callable[[], Iterator[Block]], *, l2: float) -> Floats:
    """Fit coefficients by Newton's method, in about six passes over the blocks.

    The Hessian has shape `(columns, columns)`. It is worth its cost since every pass recomputes
    the columns, and methods without it (L-BFGS) take ten times as many passes.

    Args:
        blocks: Yields the same blocks at each call; their last column is the constant 1. Both
            labels must occur.
        l2: Penalty of half the squared coefficients, above 0; the constant has none.

    Returns:
        Coefficients of shape `(columns,)` that minimize the penalized sum of log losses.
    """
    coefficients = np.zeros(next(blocks())[0].shape[1])
    loss, gradient, curvature = _derivatives(blocks, coefficients, l2)
    for _ in range(100):
        step = np.linalg.solve(curvature, gradient)
        if gradient @ step <= 1e-9 * loss:
            return coefficients - step  # quadratic convergence: the error is about squared
        while (there := _derivatives(blocks, coefficients - step, l2))[0] > loss:
            step /= 2
        coefficients, (loss, gradient, curvature) = coefficients - step, there
    return coefficients


def _derivatives(
    blocks: Callable[[], Iterator[Block]], coefficients: Floats, l2: float
) -> tuple[float, Floats, Floats]:
    """Return the penalized loss, its gradient and its Hessian."""
    penalties = np.append(np.full(len(coefficients) - 1, l2), 0.0)
    loss = 0.5 * float(penalties @ coefficients**2)
    gradient, curvature = penalties * coefficients, np.diag(penalties)
    for columns, labels in blocks():
        logits = columns @ coefficients
        rates = rate_of(logits)
        loss += float((np.logaddexp(0, logits) - labels * logits).sum())
        gradient += columns.T @ (rates - labels)
        root = columns * np.sqrt(rates * (1 - rates))[:, None]
        curvature += root.T @ root
    return loss, gradient, curvature


def _fit(
    blocks: Callable[[], Iterator[Block]], emphasis: Floats, l2: float
) -> tuple[Floats, float]:
    """Return coefficients and intercept of raw columns, fitted on standardized ones."""
    mean, spread = _moments(blocks)
    scale = np.divide(emphasis, spread, out=np.zeros_like(spread), where=spread > 0)

    def standardized() -> Iterator[Block]:
        for columns, labels in blocks():
            yield np.column_stack([(columns - mean) * scale, np.ones(len(labels))]), labels

    coefficients = logistic_regression(standardized, l2=l2)
    intercept = float(coefficients[-1])
    coefficients = coefficients[:-1] * scale
    return coefficients, intercept - float(mean @ coefficients)


def _moments(blocks: Callable[[], Iterator[Block]]) -> tuple[Floats, Floats]:
    """Return each column's mean and standard deviation, 0 if only rounding error."""
    n_rows, total, squares = 0, 0.0, 0.0
    for columns, labels in blocks():
        n_rows += len(labels)
        total = total + columns.sum(axis=0)
        squares = squares + (columns**2).sum(axis=0)
    mean, square = np.asarray(total) / n_rows, np.asarray(squares) / n_rows
    variance = square - mean**2
    return mean, np.sqrt(np.where(variance > 1e-12 * square, variance, 0.0))


@dataclass(frozen=True, slots=True)
class Side:
    """Data of users or of items; fields have shape `(ids,)` except `factors`."""

    factors: Floats
    """Factors, shape `(ids, factors)`."""
    log_exposures: Floats
    rows: npt.NDArray[np.int64]
    positives: Floats
    mean: float

    @classmethod
    def of(
        cls, factors: Floats, shown: IntegerIds, labelled: IntegerIds, labels: npt.NDArray[np.int8]
    ) -> "Side":
        """Count the exposures and labels of each id."""
        n_ids = len(factors)
        return cls(
            factors,
            np.log1p(np.bincount(shown, minlength=n_ids)),
            np.bincount(labelled, minlength=n_ids),
            np.bincount(labelled, weights=labels, minlength=n_ids).astype(np.float64),
            mean_rate(labels),
        )

    def columns(self, ids: IntegerIds, own: Floats | None) -> Floats:
        """Return factors, log count and rate; `mean` keeps the own label, to not reveal it."""
        positives, rows = self.positives[ids], self.rows[ids]
        if own is not None:
            positives, rows = positives - own, rows - 1
        rate = shrunk_logit(positives, rows, self.mean)
        return np.column_stack([self.factors[ids], self.log_exposures[ids], rate])


def _columns(
    users: Side, items: Side, user_ids: IntegerIds, item_ids: IntegerIds, own: Floats | None = None
) -> Floats:
    """Return all columns of pairs, shape `(rows, 3 factors + 4)`.

    Args:
        users: Data of the users.
        items: Data of the items.
        user_ids: Dense user ids, shape `(rows,)`.
        item_ids: Dense item ids, shape `(rows,)`.
        own: Labels to leave out of the rates, for training rows; shape `(rows,)`.
    """
    left, right = users.columns(user_ids, own), items.columns(item_ids, own)
    mine, its = users.factors[user_ids], items.factors[item_ids]
    return np.column_stack([left, right, mine * its])
