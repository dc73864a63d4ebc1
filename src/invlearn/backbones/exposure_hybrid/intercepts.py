"""Intercepts of users and items, with penalties fitted by evidence.

Half of a penalty times the squared intercepts is added to the log loss summed over the rows.
"""

from typing import NamedTuple

import numpy as np

from invlearn.backbones.rates import Floats, logit, mean_rate, rate_of
from invlearn.data.types import IntegerIds

SWEEPS = 8
"""Passes over the intercepts per round."""
LEAST, MOST = 0.05, 1e5
"""Bounds of every penalty: below, a single class would give huge coefficients; above, coefficients
are about 0."""
LONGEST = 1.0
"""Maximum step of an intercept in a pass: Newton's method may overshoot."""


class LabelledColumns(NamedTuple):
    """Labelled rows."""

    users: IntegerIds
    items: IntegerIds
    labels: Floats


class Intercepts(NamedTuple):
    """The constant, and the intercepts of users and of items with their penalties."""

    constant: float
    values: tuple[Floats, Floats]
    penalties: tuple[float, float]

    @classmethod
    def start(cls, rows: LabelledColumns, shape: tuple[int, int]) -> "Intercepts":
        """Return zeros, with the constant at the mean rate's logit."""
        mean = float(logit(mean_rate(rows.labels.astype(np.int8))))
        return cls(mean, (np.zeros(shape[0]), np.zeros(shape[1])), (1.0, 1.0))

    def of(self, rows: LabelledColumns) -> Floats:
        """Return the sum of the intercepts of each row."""
        return self.constant + self.values[0][rows.users] + self.values[1][rows.items]

    def swept(self, rows: LabelledColumns, offsets: Floats) -> "Intercepts":
        """Return improved intercepts, by Newton steps for one side at a time, and the penalties.

        Given the other side, a side's intercepts are independent of each other.

        Args:
            rows: Labelled rows.
            offsets: Offset of each row's logit, shape `(rows,)`.
        """
        constant, values, penalties = self.constant, [*self.values], [*self.penalties]
        ids = (rows.users, rows.items)

        def residuals() -> tuple[Floats, Floats]:
            rates = rate_of(constant + values[0][rows.users] + values[1][rows.items] + offsets)
            return rows.labels - rates, rates * (1 - rates)

        for _ in range(SWEEPS):
            for side in (1, 0):
                error, weight = residuals()
                value, n = values[side], len(values[side])
                pull = np.bincount(ids[side], error, n) - penalties[side] * value
                precision = np.bincount(ids[side], weight, n) + penalties[side]
                values[side] = value + np.clip(pull / precision, -LONGEST, LONGEST)
                has = np.bincount(ids[side], minlength=n) > 0
                spread = (values[side][has] ** 2 + 1 / precision[has]).sum()
                penalties[side] = float(np.clip(has.sum() / spread, LEAST, MOST))
            error, weight = residuals()
            constant += float(np.clip(error.sum() / max(weight.sum(), 1e-9), -LONGEST, LONGEST))
        return Intercepts(constant, (values[0], values[1]), (penalties[0], penalties[1]))
