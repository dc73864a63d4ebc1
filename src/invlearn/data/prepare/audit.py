"""What preparation did to a log, step by step: plain values for the screen and the card."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from invlearn.data.parts import Part
from invlearn.data.prepare.table import Counts

CHUNK = 1 << 22
"""Rows that are counted at a time."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The table after one step of preparation."""

    name: str
    after: Counts
    dropped: Mapping[str, int]
    """Rows that the step dropped, by reason; reasons without rows are absent."""


@dataclass(frozen=True, slots=True)
class PartFacts:
    """Who and what is in one labelled part of the dataset."""

    positive: int
    negative: int
    users: int
    users_all_positive: int
    users_all_negative: int
    items: int

    @property
    def rows(self) -> int:
        """Rows of the part."""
        return self.positive + self.negative

    @property
    def users_scored(self) -> int:
        """Users with both classes, whom per-user metrics can judge."""
        return self.users - self.users_all_positive - self.users_all_negative


@dataclass(frozen=True, slots=True)
class SideFacts:
    """What became of a table of user or item features."""

    name: str
    """What to call the table."""
    sha256: str
    """Checksum of its content."""
    without_row: int
    """Ids of the dataset that the table has no row for: all of their features are missing."""
    not_in_log: int
    """Rows of the table whose id is none of the dataset's; they were left out."""
    missing: Mapping[str, int]
    """Ids without a value, by column; those without a row among them."""
    rare: Mapping[str, int]
    """Ids whose category no other id has, by categorical column; it counts as unknown."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The story of one preparation."""

    stages: tuple[Stage, ...]
    """Steps in order; what was there before a step is what was there after the one before it."""
    repeated_pairs: int
    """Pairs that occurred more than once."""
    conflicts: int
    """Pairs that occurred with both labels."""
    parts: Mapping[str, PartFacts]
    """Facts of train, valid and test."""
    features: Mapping[str, SideFacts] = field(default_factory=dict[str, SideFacts])
    """Facts of the table of `user` and of `item` features, where there are any."""

    @property
    def final(self) -> Counts:
        """What the dataset holds."""
        return self.stages[-1].after

    def to_json(self) -> dict[str, Any]:
        """Return the audit as plain values, as `data.json` keeps it."""
        values = asdict(self) | {"stages": [asdict(stage) for stage in self.stages]}
        return {name: value for name, value in values.items() if name != "features" or value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Audit":
        """Rebuild an audit from what `to_json` returned."""
        stages = tuple(
            Stage(stage["name"], Counts(**stage["after"]), stage["dropped"])
            for stage in value["stages"]
        )
        parts = {name: PartFacts(**facts) for name, facts in value["parts"].items()}
        sides = {name: SideFacts(**facts) for name, facts in value.get("features", {}).items()}
        return cls(stages, value["repeated_pairs"], value["conflicts"], parts, sides)


def facts_of(part: Part, *, n_users: int, n_items: int) -> PartFacts:
    """Count classes, users and items of a labelled part."""
    positive, negative, items = (np.zeros(n, np.int64) for n in (n_users, n_users, n_items))
    for start in range(0, len(part), CHUNK):
        rows = slice(start, start + CHUNK)
        users, is_positive = part.users[rows], part.labels[rows] == 1
        positive += np.bincount(users[is_positive], minlength=n_users)
        negative += np.bincount(users[~is_positive], minlength=n_users)
        items += np.bincount(part.items[rows], minlength=n_items)
    return PartFacts(
        positive=int(positive.sum()),
        negative=int(negative.sum()),
        users=int(((positive + negative) > 0).sum()),
        users_all_positive=int(((positive > 0) & (negative == 0)).sum()),
        users_all_negative=int(((positive == 0) & (negative > 0)).sum()),
        items=int((items > 0).sum()),
    )
