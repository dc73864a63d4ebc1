"""Exposure model of a simulated feed: the pairs shown, and the users' preferences.

Exposure is biased as in a real feed: few items are popular (Zipf's law), few users are active,
and among items of similar popularity those near the user's taste are shown more often. For each
user, the catalogue, sorted from popular to rare, is cut into as many strides as the user has rows,
and one item is drawn from each stride. So no pair occurs twice (except for rare replays), and no
array of size users x items is ever allocated.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.data.simulation.counters import Positions, Reals, permuted, uniform
from invlearn.runtime.random import stream

N_FACTORS = 4
N_CANDIDATES = 4
"""Candidate items per stride, among which the feed chooses by the user's taste."""
BASE, USER_SPREAD, ITEM_SPREAD, TASTE_SPREAD = -0.3, 0.5, 0.5, 2.5
"""Mean of the preference logit, and standard deviations of its three terms."""
AFFINITY = 0.35
"""Weight of a user's taste in the feed's choice among candidates."""
ACTIVITY_SPREAD = 1.0
"""Standard deviation of the logarithm of rows per user."""
ZIPF, FLATNESS = 0.9, 5.0
"""Popularity of the item of rank `x` (from 0) is `(x + FLATNESS) ** -ZIPF`."""
CEILING = 0.25
"""Maximum fraction of a stride that one item can fill: every stride has four items or more,
unless the user sees more than an eighth of the catalogue."""
REPLAY_FRACTION = 0.01

Factors = npt.NDArray[np.float32]


class Exposures(NamedTuple):
    """Rows of the log before the users' reactions; columns of shape `(rows,)`."""

    users: Positions
    items: Positions
    preference: Reals
    """Logit of the probability that the user likes the item."""


@dataclass(frozen=True, slots=True, eq=False)
class Audience:
    """The users and items of a feed, and the order of the exposures."""

    seed: int
    n_rows: int
    first_slot: Positions
    """Slots of user `u` are `first_slot[u]` to `first_slot[u + 1] - 1`; shape `(users + 1,)`."""
    scale: Reals
    """Scale of the popularity curve for each user's strides, shape `(users,)`."""
    by_rank: Positions
    """Items from popular to rare, shape `(items,)`."""
    user_biases: Reals
    item_biases: Reals
    user_factors: Factors
    """Shape `(users, factors)`."""
    item_factors: Factors
    """Shape `(items, factors)`."""

    def exposures(self, rows: Positions) -> Exposures:
        """Return users, items and preferences of the log rows with the given numbers."""
        slots = permuted(key(self.seed, "order"), rows, self.n_rows)
        users = np.searchsorted(self.first_slot, slots, side="right") - 1
        replay = uniform(key(self.seed, "replay"), slots) < REPLAY_FRACTION
        slots = slots - (replay & (slots > self.first_slot[users]))
        items = self._chosen(users, slots)
        taste = (self.user_factors[users] * self.item_factors[items]).sum(axis=1)
        preference = BASE + self.user_biases[users] + self.item_biases[items] + taste
        return Exposures(users, items, preference)

    def _chosen(self, users: Positions, slots: Positions) -> Positions:
        """Draw one item of each slot's stride: a softmax over the taste for the candidates."""
        first, end = self._rank_bin(users, slots)
        draws = slots[:, None] * N_CANDIDATES + np.arange(N_CANDIDATES)
        place = uniform(key(self.seed, "candidate"), draws)
        ranks = first[:, None] + place * (end - first)[:, None]
        candidates = self.by_rank[ranks.astype(np.int64)]
        taste = np.einsum("sf,scf->sc", self.user_factors[users], self.item_factors[candidates])
        gumbel = -np.log(-np.log(uniform(key(self.seed, "choice"), draws)))
        best = (AFFINITY * taste + gumbel).argmax(axis=1)
        return np.take_along_axis(candidates, best[:, None], axis=1)[:, 0]

    def _rank_bin(self, users: Positions, slots: Positions) -> tuple[Positions, Positions]:
        """Return the first rank of each slot's stride, and the first rank after it."""
        n_slots = self.first_slot[users + 1] - self.first_slot[users]
        place = slots - self.first_slot[users]
        ceiling = _ceiling(n_slots, len(self.by_rank))
        first, end = (_rank(at / ceiling, self.scale[users]) for at in (place, place + 1))
        first = np.minimum(first, len(self.by_rank) - 1)
        return first, np.clip(end, first + 1, len(self.by_rank))


def key(seed: int, purpose: str) -> int:
    """Return the key of the counter-based random numbers (see `counters.py`) for one purpose."""
    return int(stream(seed, f"simulate {purpose}").integers(2**62))


def gather(n_users: int, n_items: int, n_rows: int, *, seed: int) -> Audience:
    """Draw users and items, and distribute the rows over the users.

    Args:
        n_users: At least 1.
        n_items: At least 1.
        n_rows: At least `n_users`, at most `n_users * n_items`.
        seed: Determines all draws.
    """
    rng = stream(seed, "simulate audience")
    activity = _activity(rng.lognormal(sigma=ACTIVITY_SPREAD, size=n_users), n_items, n_rows)
    spread = np.sqrt(TASTE_SPREAD) / N_FACTORS**0.25  # of each of two factors of N_FACTORS products
    return Audience(
        seed=seed,
        n_rows=n_rows,
        first_slot=np.concatenate([[0], activity.cumsum()]),
        scale=_scales(activity, n_items),
        by_rank=rng.permutation(n_items),
        user_biases=rng.normal(scale=USER_SPREAD, size=n_users),
        item_biases=rng.normal(scale=ITEM_SPREAD, size=n_items),
        user_factors=rng.normal(scale=spread, size=(n_users, N_FACTORS)).astype(np.float32),
        item_factors=rng.normal(scale=spread, size=(n_items, N_FACTORS)).astype(np.float32),
    )


def _activity(weights: Reals, n_items: int, n_rows: int) -> Positions:
    """Return rows per user, proportional to `weights`, at least 1, at most `n_items`."""
    rows = np.ones(len(weights), np.int64)
    while left := n_rows - int(rows.sum()):
        weights = np.where(rows < n_items, weights, 0.0)
        share = (left * weights / weights.sum()).astype(np.int64)
        if not share.any():  # fewer rows left than users below the maximum: one each
            share[np.argsort(-weights, kind="stable")[:left]] = 1
        rows += np.minimum(share, n_items - rows)
    return rows


# A user's strides. Popularity `p(x) = (x + FLATNESS) ** -ZIPF` is scaled by `t` and clipped at 1:
# where `t p(x) > 1` a stride has the minimum length, beyond it lengths grow as `1 / p`.


def _ceiling(n_slots: Positions, n_items: int) -> Reals:
    return np.clip(2.0 * n_slots / n_items, CEILING, 1.0)


def _scales(activity: Positions, n_items: int) -> Reals:
    """Find the `t` for which each user's strides end at the last item, by bisection."""
    n_slots, users = np.unique(activity, return_inverse=True)
    wanted = n_slots / _ceiling(n_slots, n_items)
    low = np.full(len(n_slots), -50.0)
    high = np.full(len(n_slots), ZIPF * np.log(n_items + FLATNESS))
    for _ in range(60):
        middle = (low + high) / 2
        short = _mass(np.exp(middle), n_items) < wanted
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.exp(high)[users]


def _head(scale: Reals) -> Reals:
    """Return the rank up to which the popularity curve is clipped."""
    return np.maximum(scale ** (1 / ZIPF) - FLATNESS, 0.0)


def _mass(scale: Reals, n_items: int) -> Reals:
    """Integrate the scaled and clipped popularity over all ranks."""
    head, rest = _head(scale), 1 - ZIPF
    return head + scale * ((n_items + FLATNESS) ** rest - (head + FLATNESS) ** rest) / rest


def _rank(mass: Reals, scale: Reals) -> Positions:
    """Return the rank up to which the scaled and clipped popularity integrates to `mass`."""
    head, rest = _head(scale), 1 - ZIPF
    tail = np.maximum(mass - head, 0.0) * rest / scale + (head + FLATNESS) ** rest
    rank = np.where(mass < head, mass, tail ** (1 / rest) - FLATNESS)
    return (rank + 1e-6).astype(np.int64)  # integer bounds must not be rounded down
