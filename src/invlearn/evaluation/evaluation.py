"""Metrics with confidence intervals from scores of labelled rows.

Intervals come from a bootstrap over users, since rows of a user are similar. Metrics per user are
ratios of sums over users. The AUC over all rows compares rows of different users and is no such
ratio, so it is resampled by its Hajek projection (Obuchowski, Biometrics 1997).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.evaluation import metrics
from invlearn.evaluation.bootstrap import Metric, Ratio, interval, resampled, value
from invlearn.evaluation.metrics import Floats, TieGroups
from invlearn.runtime.errors import ConfigError, DataError


class Difference(NamedTuple):
    """Difference of a metric between two runs, with its interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Return value and interval; non-finite numbers become `None`."""
        return {name: _number(x) for name, x in self._asdict().items()}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics of one run on one set of rows."""

    values: dict[str, float]
    """Value of each metric; NaN if undefined, for example GAUC without a scored user."""
    intervals: dict[str, tuple[float, float]]
    """Ends of the interval of each metric; empty without bootstrap draws."""
    counts: dict[str, int]
    """Numbers of rows and users evaluated, and of users left out by reason."""
    draws: dict[str, Floats] = field(repr=False, compare=False)
    """Each metric under each bootstrap draw, shape `(draws,)`; for paired differences only."""
    basis: str = field(repr=False, compare=False)
    """Fingerprint of rows and draws; evaluations are comparable if it is equal."""

    def to_json(self) -> dict[str, Any]:
        """Return values, intervals and counts for JSON; non-finite numbers become `None`."""
        return {
            "values": {name: _number(x) for name, x in self.values.items()},
            "intervals": {
                n: [_number(low), _number(up)] for n, (low, up) in self.intervals.items()
            },
            "counts": self.counts,
        }


def evaluate(
    users: npt.ArrayLike,
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    ks: Sequence[int] = (10, 20),
    draws: int = 1000,
    seed: int = 0,
    name: str = "run",
) -> Evaluation:
    """Compute metrics of scores on labelled rows.

    Users with one class are excluded from the metrics per user, and counted; `auc` and `log_loss`
    are over all rows. Only the order of the scores matters, except for `log_loss`.

    Args:
        users: Integer user ids, shape `(rows,)`.
        labels: 1 or 0, shape `(rows,)`.
        scores: Finite real scores, shape `(rows,)`; `log_loss` requires logits.
        ks: Cutoffs of NDCG.
        draws: Bootstrap draws over users for the intervals; 0 for none.
        seed: Seed of the draws; the same seed and users give the same draws.
        name: Name of the scores in error messages.

    Raises:
        DataError: Columns differ in length or are empty, users are not integers, a label is not 1
            or 0, there is only one class, or a score is not finite.
        ConfigError: A cutoff of NDCG is below 1.
    """
    columns = _columns(users, labels, scores, name=name)
    _check_cuts(ks)
    groups = metrics.tie_groups(*columns)
    basis = fingerprint(groups.ids, groups.user_rows, groups.user_positives)
    found, counts = _metrics(groups, ks), _counts(groups)
    del columns, groups  # free the memory before the bootstrap
    return summarize(found, counts, basis=basis, draws=draws, seed=seed)


def paired_difference(run: Evaluation, reference: Evaluation) -> dict[str, Difference]:
    """Compare two runs metric by metric on the same draws of the same users.

    Much of the variance of a metric comes from the drawn users and cancels in the difference, so
    two runs can differ significantly although their intervals overlap.

    Returns:
        `run - reference` for every metric that both have, with its interval.

    Raises:
        DataError: The two were evaluated on different rows, or with different draws.
        ConfigError: There are no draws to compare.
    """
    if run.basis != reference.basis:
        raise DataError(
            "the two evaluations use different rows or draws, so their difference has no meaning; "
            "evaluate both on the same part of the same dataset with one seed"
        )
    if not run.draws:
        raise ConfigError("a paired difference needs bootstrap draws; evaluate with draws above 0")
    return {
        name: Difference(
            run.values[name] - reference.values[name],
            *interval(run.draws[name] - reference.draws[name]),
        )
        for name in run.values
        if name in reference.values
    }


def summarize(
    found: Mapping[str, Metric], counts: dict[str, int], *, basis: str, draws: int, seed: int
) -> Evaluation:
    """Compute values and intervals from sums over users.

    Args:
        found: Metrics by name, all over the same users in the same order.
        counts: Counts of rows and users to report.
        basis: Fingerprint of the rows; evaluations are comparable if it is equal.
        draws: Bootstrap draws over users; 0 for none.
        seed: Seed of the draws.
    """
    if draws < 0:
        raise ConfigError(f"the bootstrap needs 0 draws (no intervals) or more; found {draws}")
    with np.errstate(over="ignore", invalid="ignore"):  # huge scores have infinite log loss
        values = {name: value(metric) for name, metric in found.items()}
        drawn = resampled(found, draws=draws, seed=seed) if draws else {}
    # The projection of the AUC is linear, and can leave [0, 1].
    within = {n: draw.clip(0, 1) if n == "auc" else draw for n, draw in drawn.items()}
    intervals = {name: interval(sample) for name, sample in within.items()}
    return Evaluation(values, intervals, counts, drawn, f"{basis} {draws} {seed}")


def fingerprint(*columns: npt.NDArray[np.integer[Any]]) -> str:
    """Return the SHA-256 of integer columns."""
    digest = hashlib.sha256()
    for column in columns:
        digest.update(np.ascontiguousarray(column, np.int64).tobytes())
    return digest.hexdigest()


def _metrics(groups: TieGroups, ks: Sequence[int]) -> dict[str, Metric]:
    rows, positives = groups.user_rows, groups.user_positives
    own_auc = metrics.user_auc(groups)
    scored = ((positives > 0) & (positives < rows)).astype(np.float64)  # users with both classes
    return {
        "auc": _auc(groups),
        "gauc": _over_users(own_auc, scored),
        "gauc_impressions": _over_users(own_auc, scored * rows),
        "gauc_positives": _over_users(own_auc, scored * positives),
        **{f"ndcg@{k}": _over_users(metrics.user_ndcg(groups, k), scored) for k in ks},
        "mrr": _over_users(metrics.user_mrr(groups), scored),
        "mrr_all": _over_users(metrics.user_mrr_all(groups), scored),
        "log_loss": (Ratio(metrics.user_log_loss(groups), rows),),
    }


def _auc(groups: TieGroups) -> Metric:
    """Return the projection of AUC: terms of the positive and of the negative rows."""
    by_positives, by_negatives = metrics.placements(groups)
    positives = groups.user_positives.astype(np.float64)
    negatives = groups.user_rows - positives
    return (
        Ratio(by_positives, positives * negatives.sum()),
        Ratio(by_negatives, negatives * positives.sum()),
    )


def _over_users(values: Floats, weights: Floats) -> Metric:
    """Return the weighted mean of one value per user; weight 0 for users without one."""
    return (Ratio(np.where(weights > 0, values, 0.0) * weights, weights),)


def _counts(groups: TieGroups) -> dict[str, int]:
    rows, positives = groups.user_rows, groups.user_positives
    all_positive, all_negative = int((positives == rows).sum()), int((positives == 0).sum())
    return {
        "rows": int(rows.sum()),
        "users": len(rows),
        "users_scored": len(rows) - all_positive - all_negative,
        "users_all_positive": all_positive,
        "users_all_negative": all_negative,
    }


def _columns(
    users: npt.ArrayLike, labels: npt.ArrayLike, scores: npt.ArrayLike, *, name: str
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Floats]:
    """Return the three columns as checked arrays."""
    u, y, s = np.asarray(users), np.asarray(labels), np.asarray(scores, np.float64)
    if not (u.ndim == 1 and u.shape == y.shape == s.shape):
        raise DataError(
            f"users, labels and scores of {name} have the shapes {u.shape}, {y.shape} and "
            f"{s.shape}; give one of each per row"
        )
    if y.dtype.kind not in "biuf" or not set(np.unique(y).tolist()) <= {0, 1}:
        raise DataError(f"a label of {name} is neither 1 nor 0; evaluate on labelled rows only")
    if len(np.unique(y)) < 2:
        found = f"all {len(y)} rows have the label {y[0]:g}" if len(y) else "there are no rows"
        raise DataError(f"{name} cannot be evaluated: {found}; give rows of both classes")
    if u.dtype.kind not in "iu":
        raise DataError(
            f"users of {name} are of type {u.dtype}, expected integers; number them first, as with "
            "np.unique(users, return_inverse=True)[1]"
        )
    check_finite(s, name=name)
    return u, y, s


def check_finite(scores: npt.NDArray[Any], *, name: str) -> None:
    """Refuse NaN or infinite scores, whose order would be arbitrary.

    Raises:
        DataError: A score is not finite; names their number and `name`.
    """
    if scores.size and np.isfinite([scores.min(), scores.max()]).all():
        return
    wrong = int(scores.size - np.isfinite(scores).sum())
    if wrong:
        raise DataError(
            f"{wrong} of {scores.size} scores of {name} are NaN or infinite, so they have no "
            "order; train again with a smaller learning rate"
        )


def _check_cuts(ks: Sequence[int]) -> None:
    wrong = [k for k in ks if k < 1]
    if wrong:
        raise ConfigError(f"a list cannot be cut at {wrong[0]}; give k of at least 1")


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
