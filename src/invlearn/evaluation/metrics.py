"""Ranking metrics of labelled rows: pure functions of tie groups, in float64.

Rows with the same user and score form a *tie group*. Metrics depend only on the groups, so the
order of rows does not matter. Metrics of positions are expected values under a random order inside
each group (McSherry and Najork, ECIR 2008).

Legend of shapes: `rows` labelled rows, `groups` tie groups, `users` distinct users.
Functions named `user_*` return one value per user, shape `(users,)`; NaN if undefined.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


LOWER_IS_BETTER = frozenset({"log_loss"})
"""Metrics that are better when lower; all others are better when higher."""


def is_better(metric: str, score: float, best: float | None) -> bool:
    """Return whether a score beats the best one so far; any score beats none.

    Example:
        >>> is_better("log_loss", 0.5, 0.6), is_better("auc", 0.5, 0.6)
        (True, False)
    """
    if best is None:
        return True
    return score < best if metric in LOWER_IS_BETTER else score > best


@dataclass(frozen=True, slots=True)
class TieGroups:
    """Labelled rows sorted by user and descending score, with ties grouped."""

    ids: Integers
    """Ids of the users with rows, ascending, shape `(users,)`."""
    user: Integers
    """Index in `ids` of each group's user, shape `(groups,)`, ascending."""
    level: Integers
    """Index of each group's score among all distinct scores, ascending, `(groups,)`."""
    score: Floats
    """Score of each group, shape `(groups,)`, descending within a user."""
    before: Integers
    """Rows of the same user with a higher score, shape `(groups,)`."""
    size: Integers
    """Rows in each group, shape `(groups,)`."""
    positives: Integers
    """Rows with label 1 in each group, shape `(groups,)`."""
    user_rows: Integers
    """Rows of each user, shape `(users,)`."""
    user_positives: Integers
    """Rows with label 1 of each user, shape `(users,)`."""

    def user_sums(self, values: npt.NDArray[np.number]) -> Floats:
        """Return the sum of `values`, shape `(groups,)`, within each user."""
        sums = np.bincount(self.user, weights=values, minlength=len(self.ids))
        return sums.astype(np.float64, copy=False)


def tie_groups(users: npt.ArrayLike, labels: npt.ArrayLike, scores: npt.ArrayLike) -> TieGroups:
    """Return the tie groups of labelled rows, by one sort.

    User, rank of the score and label are packed into one integer, since sorting integers is several
    times faster than sorting by three columns; they fit if `rows` is below 2^31.

    Args:
        users: Integer user ids, shape `(rows,)`, at least one.
        labels: 1 or 0, shape `(rows,)`.
        scores: Finite real scores, shape `(rows,)`.
    """
    ids, user = _numbered(np.asarray(users, np.int64))
    levels, level = np.unique(np.asarray(scores, np.float64), return_inverse=True)
    key = (user * len(levels) + (len(levels) - 1 - level)) * 2 + np.asarray(labels, np.int64)
    key.sort()
    label, group = key & 1, key >> 1
    first = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    size = np.diff(first, append=len(key))
    user, fall = np.divmod(group[first], len(levels))
    level = len(levels) - 1 - fall
    positives = np.add.reduceat(label, first)
    rows, liked = (np.bincount(user, x).astype(np.int64) for x in (size, positives))
    before = first - (np.cumsum(rows) - rows)[user]
    return TieGroups(ids, user, level, levels[level], before, size, positives, rows, liked)


def placements(groups: TieGroups) -> tuple[Floats, Floats]:
    """Count correctly ordered pairs of a positive and a negative row, by user.

    Each array sums to `AUC * positives * negatives` over all users (Mann-Whitney, ties 1/2).
    They are sums per user of DeLong's placement values, times a constant.

    Returns:
        For each user's positive rows, the negatives (of all users) below them; and for its negative
        rows, the positives above them; both of shape `(users,)`.
    """
    negatives = groups.size - groups.positives
    level_positives = np.bincount(groups.level, weights=groups.positives)
    level_negatives = np.bincount(groups.level, weights=negatives)
    below = np.cumsum(level_negatives) - level_negatives / 2
    above = level_positives.sum() - np.cumsum(level_positives) + level_positives / 2
    return (
        groups.user_sums(groups.positives * below[groups.level]),
        groups.user_sums(negatives * above[groups.level]),
    )


def auc(groups: TieGroups) -> float:
    """Compute the AUC over rows of all users, ties 1/2.

    Returns:
        Probability that a positive row scores above a negative one; NaN for one class.

    Example:
        >>> auc(tie_groups([0, 0, 1, 1], [1, 0, 1, 0], [2.0, 1.0, 1.0, -3.0]))
        0.875
    """
    wins, _ = placements(groups)
    positives = groups.positives.sum()
    return float(_share(wins.sum(), positives * (groups.size.sum() - positives)))


def user_auc(groups: TieGroups) -> Floats:
    """Compute each user's AUC, ties 1/2; NaN for users with one class. Their mean is GAUC."""
    negatives = groups.size - groups.positives
    below = groups.user_sums(negatives)[groups.user] - _running(groups, negatives) + negatives / 2
    positives = groups.user_positives
    wins = groups.user_sums(groups.positives * below)
    return _share(wins, positives * (groups.user_rows - positives))


def user_ndcg(groups: TieGroups, k: int) -> Floats:
    """Compute each user's expected NDCG@k: binary gain, discount `1 / log2(1 + position)`.

    The ideal has all positives of the user first, cut at `k`. NaN without positives.
    """
    return _user_gain(groups, discounts(k))


def user_mrr_all(groups: TieGroups) -> Floats:
    """Compute each user's expected mean of `1 / position` of positives, over its ideal."""
    longest = int(groups.user_rows.max())
    return _user_gain(groups, _cumulative(1 / np.arange(1.0, longest + 1)))


def user_mrr(groups: TieGroups) -> Floats:
    """Compute the expected `1 / position` of each user's first positive; NaN without one.

    The first positive is in the user's first group with one. With `p` positives among the `m` rows
    of that group, it is the `j`-th row with probability `C(m - j, p - 1) / C(m, p)`.
    """
    hits = np.flatnonzero(groups.positives)
    users, place = np.unique(groups.user[hits], return_index=True)
    first = hits[place]
    m, p = groups.size[first], groups.positives[first]
    group, j = _ranges(m - p + 1)
    chance = _first_positive_chance(m[group], p[group], j + 1)
    expected = np.bincount(group, weights=chance / (groups.before[first][group] + j + 1))
    out = np.full(len(groups.ids), np.nan)
    out[users] = expected
    return out


def user_log_loss(groups: TieGroups) -> Floats:
    """Compute each user's sum of log losses, with scores as logits."""
    negatives = groups.size - groups.positives
    loss = groups.positives * np.logaddexp(0, -groups.score)
    loss += negatives * np.logaddexp(0, groups.score)
    return groups.user_sums(loss)


def discounts(k: int) -> Floats:
    """Return sums of the discounts `1 / log2(1 + position)` of the first 0, ..., k positions.

    Example:
        >>> discounts(2).round(4).tolist()
        [0.0, 1.0, 1.6309]
    """
    return _cumulative(1 / np.log2(np.arange(2.0, k + 2)))


def expected_gain(before: Integers, size: Integers, cumulative: Floats) -> Floats:
    """Compute the mean discount of the positions `before + 1` to `before + size`.

    This is the expected gain of a row of a tie group in random order; 0 past the table's end.

    Args:
        before: Rows ranked above the group, shape `(groups,)`.
        size: Rows in the group, shape `(groups,)`.
        cumulative: Sums of discounts of the first 0, 1, ... positions, as by `discounts(k)`.
    """
    end = len(cumulative) - 1
    top, bottom = np.minimum(before, end), np.minimum(before + size, end)
    return (cumulative[bottom] - cumulative[top]) / size


def _numbered(ids: Integers) -> tuple[Integers, Integers]:
    """Return the distinct ids, ascending, and the inverse, as `np.unique` does.

    Dense ids are marked in a boolean array, which is much faster than sorting.
    """
    low, high = int(ids.min()), int(ids.max())
    if high - low > 4 * len(ids):
        return np.unique(ids, return_inverse=True)
    offset = ids - low
    there = np.zeros(high - low + 1, np.bool_)
    there[offset] = True
    return np.flatnonzero(there) + low, (np.cumsum(there) - 1)[offset]


def _user_gain(groups: TieGroups, cumulative: Floats) -> Floats:
    gain = groups.positives * expected_gain(groups.before, groups.size, cumulative)
    ideal = cumulative[np.minimum(groups.user_positives, len(cumulative) - 1)]
    return _share(groups.user_sums(gain), ideal)


def _first_positive_chance(m: Integers, p: Integers, j: Integers) -> Floats:
    """Return `C(m - j, p - 1) / C(m, p)`, by log factorials to avoid overflow."""
    logs = _cumulative(np.log(np.arange(1.0, m.max(initial=0) + 1)))
    some = logs[m - j] - logs[p - 1] - logs[m - j - p + 1]
    return np.exp(some - (logs[m] - logs[p] - logs[m - p]))


def _running(groups: TieGroups, counts: Integers) -> Integers:
    """Return the running sum of `counts` over the groups of a user, inclusive."""
    total = np.cumsum(counts)
    start = np.flatnonzero(groups.before == 0)
    return total - (total[start] - counts[start])[groups.user]


def _ranges(lengths: Integers) -> tuple[Integers, Integers]:
    """Return for each length `n` its index `n` times, and 0, 1, ..., n - 1."""
    place = np.repeat(np.arange(len(lengths)), lengths)
    return place, np.arange(len(place)) - (np.cumsum(lengths) - lengths)[place]


def _cumulative(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def _share(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """Return `part / whole`, NaN where `whole` is zero."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
