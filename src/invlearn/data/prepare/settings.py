"""Settings of a preparation that determine its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from narwhals.stable.v2.dtypes import DType

from invlearn.data.logs.text import Role
from invlearn.data.prepare.checks import Check, identifies, one_of, orders
from invlearn.data.prepare.labels import Bounds, Percentile, Rule
from invlearn.data.prepare.repeats import Repeats
from invlearn.data.prepare.splits import WORDS, Split
from invlearn.data.prepare.table import ITEM, USER
from invlearn.runtime.errors import ConfigError, unknown


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """All settings that determine the dataset made from a log."""

    rules: tuple[Rule, ...]
    user: str = "user"
    item: str = "item"
    time: str | None = None
    split: Split = field(default_factory=Split)
    split_column: str | None = None
    repeats: str = "last"
    bad_rows: str = "error"
    core: int = 0
    text_ids: bool = False

    def __post_init__(self) -> None:
        if self.repeats not in get_args(Repeats):
            raise unknown("policy for repeated pairs", self.repeats, get_args(Repeats))
        if self.bad_rows not in ("error", "drop"):
            raise unknown("way with bad rows", self.bad_rows, ("error", "drop"))
        if self.user == self.item:
            raise ConfigError(f"user and item are both column '{self.user}'; name two columns")
        if self.core < 0:
            raise ConfigError(f"core must be 0 (off) or more; found {self.core}")
        if self.split.how == "temporal" and self.time is None:
            raise ConfigError("a temporal split needs a time column; name it with --time")
        if (self.split.how == "column") != (self.split_column is not None):
            raise ConfigError(
                "the split 'column' and a split column go together; found split "
                f"'{self.split.how}' and split column {self.split_column or 'none'}"
            )

    @property
    def rule_columns(self) -> tuple[str, ...]:
        """Columns that the rules use, in order of appearance."""
        named = [check.column for rule in self.rules for check in rule.checks()]
        return tuple(dict.fromkeys(named))

    @property
    def copies_matter(self) -> bool:
        """Whether copies of a row would change labels: percentiles and majorities count rows."""
        counts = any(
            isinstance(rule, Bounds) and isinstance(rule.quantity, Percentile)
            for rule in self.rules
        )
        return self.time is not None and (counts or self.repeats == "majority")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns to read from the log."""
        named = (self.user, self.item, self.time, *self.rule_columns, self.split_column)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def roles(self) -> dict[str, Role]:
        """Roles of the columns to read from the log."""
        roles: dict[str, Role] = dict.fromkeys(self.columns, "number")
        if self.split_column is not None:
            roles[self.split_column] = "value"
        for column in (self.user, self.item):
            roles[column] = "text id" if self.text_ids else "id"
        return roles

    def checks(self, schema: Mapping[str, DType]) -> list[Check]:
        """Return the checks that every row of a log must pass."""
        columns = {USER: self.user, ITEM: self.item}
        wanted = [
            identifies(name, kind, schema[name], any_text=self.text_ids)
            for kind, name in columns.items()
        ]
        if self.time is not None:
            wanted.append(orders(self.time, schema[self.time]))
        for rule in self.rules:
            wanted.extend(rule.checks())
        if self.split_column is not None:
            wanted.append(one_of(self.split_column, list(WORDS)))
        return wanted
