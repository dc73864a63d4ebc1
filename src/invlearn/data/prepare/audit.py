"""Audit of a preparation, step by step, for the terminal and the card."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from invlearn.data.cold import chunks, cold_rows
from invlearn.data.parts import Part
from invlearn.data.prepare.table import Counts


@dataclass(frozen=True, slots=True)
class Stage:
    """Counts of the table after one preparation step."""

    name: str
    after: Counts
    dropped: Mapping[str, int]
    """Number of rows the step dropped, by reason; reasons without rows are absent."""


@dataclass(frozen=True, slots=True)
class PartFacts:
    """Counts of rows, users and items in one labelled part of the dataset."""

    positive: int
    negative: int
    users: int
    users_all_positive: int
    users_all_negative: int
    items: int
    cold_users: int = 0
    """Number of users without a training row."""
    cold_items: int = 0
    """Number of items without a training row."""
    cold_rows: int = 0
    """Number of rows with such a user or item."""

    @property
    def rows(self) -> int:
        """Number of rows of the part."""
        return self.positive + self.negative

    @property
    def users_scored(self) -> int:
        """Number of users with both classes, for whom per-user metrics are defined."""
        return self.users - self.users_all_positive - self.users_all_negative


@dataclass(frozen=True, slots=True)
class SideFacts:
    """Facts of a table of user or item features."""

    name: str
    """Name of the table."""
    sha256: str
    """Checksum of its content."""
    without_row: int
    """Number of dataset ids without a row in the table: all their features are missing."""
    not_in_log: int
    """Number of table rows whose id is not in the dataset; they were left out."""
    missing: Mapping[str, int]
    """Number of ids without a value, by column; includes ids without a row."""
    rare: Mapping[str, int]
    """Number of ids whose category no other id has, by column; it is coded as unknown."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Record of one preparation."""

    stages: tuple[Stage, ...]
    """Steps in order; the table before a step is the table after the previous step."""
    repeated_pairs: int
    """Number of pairs that occurred more than once."""
    conflicts: int
    """Number of pairs that occurred with both labels."""
    parts: Mapping[str, PartFacts]
    """Facts of train, valid and test."""
    features: Mapping[str, SideFacts] = field(default_factory=dict[str, SideFacts])
    """Facts of the `user` and `item` feature tables, if any."""
    crossed: int = 0
    """Number of pairs that occurred in more than one part of a given split; one row of each is
    kept."""

    @property
    def final(self) -> Counts:
        """Counts of the dataset."""
        return self.stages[-1].after

    def to_json(self) -> dict[str, Any]:
        """Return the audit as plain values, as stored in `data.json`."""
        values = TypeAdapter(Audit).dump_python(self, mode="json")
        return {name: value for name, value in values.items() if name != "features" or value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Audit":
        """Return the audit stored by `to_json`."""
        return TypeAdapter(Audit).validate_python(value)


def facts_of(part: Part, train: Part, *, n_users: int, n_items: int) -> PartFacts:
    """Count classes, users and items of a labelled part, and those without a training row."""
    positive, negative, items = (np.zeros(n, np.int64) for n in (n_users, n_users, n_items))
    for rows in chunks(part):
        users, is_positive = part.users[rows], part.labels[rows] == 1
        positive += np.bincount(users[is_positive], minlength=n_users)
        negative += np.bincount(users[~is_positive], minlength=n_users)
        items += np.bincount(part.items[rows], minlength=n_items)
    cold, _ = cold_rows(train, part, (n_users, n_items))
    return PartFacts(
        positive=int(positive.sum()),
        negative=int(negative.sum()),
        users=int(((positive + negative) > 0).sum()),
        users_all_positive=int(((positive > 0) & (negative == 0)).sum()),
        users_all_negative=int(((positive == 0) & (negative > 0)).sum()),
        items=int((items > 0).sum()),
        cold_users=cold.users,
        cold_items=cold.items,
        cold_rows=cold.rows,
    )
