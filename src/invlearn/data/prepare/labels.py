"""Label rules, which map a log row to clear positive, clear negative, or unlabelled feedback.

A rule gives each row the label 1 (positive), 0 (negative) or null (unlabelled). Rules have a short
text form, which `str` prints and `grammar.parse_rule` parses:

```
rating > 2                                             positive if so, else negative
watch_ratio >= 1.5, < 0.2                              between the two bounds: unlabelled
play_time_ms / duration_ms >= 1.5, < 0.2               the same on a ratio of two columns
percentile(play_time_ms by duration_ms) >= 0.8, < 0.2  the same on the rank among like durations
events(is_hate=0, is_like=1)                           the first event that occurred decides
label(liked)                                           a column that holds 1, 0 or null
```
"""

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import narwhals.stable.v2 as nw
import numpy as np
from narwhals.stable.v2.dtypes import DType

from invlearn.data.engines.engine import IN_MEMORY, Engine, Rows
from invlearn.data.prepare.checks import Check, numeric
from invlearn.data.prepare.table import LABEL, number, working
from invlearn.runtime.errors import ConfigError

Operator = Literal[">", ">=", "<", "<="]

_COMPARED = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


@dataclass(frozen=True, slots=True)
class Bound:
    """One side of a comparison, such as `>= 1.5`."""

    operator: Operator
    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ConfigError(f"a bound must be a finite number; found {self.value}")

    def __str__(self) -> str:
        return f"{self.operator} {repr(float(self.value)).removesuffix('.0')}"

    @property
    def upward(self) -> bool:
        """Whether the bound is a lower bound (`>` or `>=`)."""
        return self.operator.startswith(">")

    def rounded(self) -> "Bound":
        """Return the bound with the nearest value of single precision."""
        return Bound(self.operator, float(np.float32(self.value)))

    def holds(self, value: nw.Expr) -> nw.Expr:
        """Return whether `value` satisfies the bound; null where it is null."""
        return _COMPARED[self.operator](value, self.value)


@dataclass(frozen=True, slots=True)
class Column:
    """The value of a column, for example a watch ratio, seconds or a rating."""

    name: str
    signed: bool = False
    """Whether values below 0 are valid; otherwise they are bad rows."""

    def __str__(self) -> str:
        return f"signed({quoted(self.name)})" if self.signed else quoted(self.name)

    def checks(self) -> tuple[Check, ...]:
        """Return the checks that rows must pass for this quantity to exist."""
        if self.signed:
            return (numeric(self.name, "a number"),)
        hint = f"; if the scale does go below 0, write signed({quoted(self.name)}) in the rule"
        return (numeric(self.name, "a number >= 0", hint=hint),)

    def onto(self, rows: Rows, name: str, engine: Engine) -> Rows:
        """Add the quantity to `rows` as a Float64 column `name`."""
        return rows.with_columns(number(self.name).alias(name))


@dataclass(frozen=True, slots=True)
class Ratio:
    """One column divided by another, such as watch time by duration."""

    top: str
    bottom: str
    single: bool = False
    """Whether the quotient has single precision, as that of two such columns."""

    def __str__(self) -> str:
        return f"{quoted(self.top)} / {quoted(self.bottom)}"

    def checks(self) -> tuple[Check, ...]:
        """Return the checks that rows must pass for this quantity to exist."""
        return numeric(self.top, "a number >= 0"), numeric(self.bottom, "a number > 0")

    def onto(self, rows: Rows, name: str, engine: Engine) -> Rows:
        """Add the quantity to `rows` as a Float64 column `name`; null if the divisor is not > 0."""
        divisor = nw.when(number(self.bottom) > 0).then(number(self.bottom))
        quotient = number(self.top) / divisor
        if self.single:
            quotient = quotient.cast(nw.Float32).cast(nw.Float64)
        return rows.with_columns(quotient.alias(name))


@dataclass(frozen=True, slots=True)
class Percentile:
    """Percentile of a value among all rows of similar duration, in (0, 1).

    Rows are cut into `bins` of about equal size by `by`, equal values always together. In a bin of
    `n` rows, a row with `a` smaller and `b` equal values (itself included) has the mid-rank
    percentile `(a + b/2) / n`. Long videos are thus compared with long videos only.
    """

    name: str
    by: str
    bins: int = 20

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ConfigError(f"percentile needs at least one bin; found bins={self.bins}")

    def __str__(self) -> str:
        bins = "" if self.bins == 20 else f", bins={self.bins}"
        return f"percentile({quoted(self.name)} by {quoted(self.by)}{bins})"

    def checks(self) -> tuple[Check, ...]:
        """Return the checks that rows must pass for this quantity to exist."""
        return numeric(self.name, "a number >= 0"), numeric(self.by, "a number > 0")

    def onto(self, rows: Rows, name: str, engine: Engine) -> Rows:
        """Add the quantity to `rows` as a Float64 column `name`."""
        length, group, value = f"{name}length", f"{name}bin", f"{name}value"
        n, size = nw.col("n"), nw.len().cast(nw.Int64).alias("n")
        rows = rows.with_columns(number(self.by).alias(length), number(self.name).alias(value))
        lengths = engine.collect(rows.group_by(length).agg(size)).sort(length)
        bins = (n.cum_sum() - n) * self.bins // n.sum()
        lent = engine.from_polars(lengths.select(length, bins.alias(group)))
        rows = rows.join(lent, on=length, how="left")
        values = rows.group_by(group, value).agg(size)
        ahead = n.cum_sum().over(group, order_by=value) - n
        percentile = (ahead + n / 2) / n.sum().over(group)
        values = engine.materialize(values.select(group, value, percentile.alias(name)))
        return rows.join(values, on=[group, value], how="left").drop(length, group, value)


Quantity = Column | Ratio | Percentile


@dataclass(frozen=True, slots=True)
class Bounds:
    """Positive within one bound; negative within a second, or everywhere else without a second."""

    quantity: Quantity
    positive: Bound
    negative: Bound | None = None

    def __post_init__(self) -> None:
        quantity = self.quantity
        values = [bound.value for bound in (self.positive, self.negative) if bound]
        outside = [value for value in values if not 0 <= value <= 1]
        if outside and isinstance(quantity, Percentile):
            raise ConfigError(
                f"label rule '{self}' asks for a percentile of {outside[0]:g}; percentiles lie "
                "between 0 and 1"
            )
        if min(values) < 0 and isinstance(quantity, Column) and not quantity.signed:
            raise ConfigError(
                f"label rule '{self}' has a bound below 0, but negative values count as bad rows; "
                f"if they are meant, write signed({quoted(quantity.name)})"
            )
        if self.negative and _overlap(self.positive, self.negative):
            raise ConfigError(
                f"label rule '{self}' contradicts itself: some values would be positive and "
                "negative at once; the second bound must lie on the other side of the first"
            )

    def __str__(self) -> str:
        return f"{self.quantity} {self.positive}" + (f", {self.negative}" if self.negative else "")

    def checks(self) -> tuple[Check, ...]:
        """Return the checks that rows must pass before the rule applies."""
        return self.quantity.checks()

    def onto(self, rows: Rows, name: str, engine: Engine) -> Rows:
        """Add the rule's labels to `rows` as an Int8 column `name`."""
        rows = self.quantity.onto(rows, name, engine)
        value = nw.col(name)
        refused = self.negative.holds(value) if self.negative else ~self.positive.holds(value)
        otherwise = nw.when(refused).then(nw.lit(0, nw.Int8))
        label = nw.when(self.positive.holds(value)).then(nw.lit(1, nw.Int8)).otherwise(otherwise)
        return rows.with_columns(label.alias(name))


@dataclass(frozen=True, slots=True)
class Events:
    """Label by the first listed event that occurred; a row without events is unlabelled.

    An event occurred if its column is true or not 0. Null means that it did not occur, since logs
    omit such events.
    """

    evidence: tuple[tuple[str, int], ...]
    """Column and label (1 or 0), strongest first."""

    def __post_init__(self) -> None:
        names = [name for name, _ in self.evidence]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"label rule '{self}' must name at least one event, and none twice")
        if any(label not in (0, 1) for _, label in self.evidence):
            raise ConfigError(f"label rule '{self}' must give each event the label 1 or 0")

    def __str__(self) -> str:
        return f"events({', '.join(f'{quoted(name)}={label}' for name, label in self.evidence)})"

    def checks(self) -> tuple[Check, ...]:
        """Return the checks that rows must pass before the rule applies."""
        hint = (
            "; write null or 0 where an event did not occur or is not known, or a rule such as "
            "signed({}) > 0, < 0 if -1 means the opposite"
        )
        return tuple(
            numeric(name, "a number >= 0, true, false or null", hint=hint.format(quoted(name)))
            for name, _ in self.evidence
        )

    def onto(self, rows: Rows, name: str, engine: Engine) -> Rows:
        """Add the rule's labels to `rows` as an Int8 column `name`."""
        given = [
            nw.when(number(column) != 0).then(nw.lit(label, nw.Int8))
            for column, label in self.evidence
        ]
        return rows.with_columns(nw.coalesce(*given).alias(name))


@dataclass(frozen=True, slots=True)
class Given:
    """A column that already holds labels: 1, 0, or null for unlabelled."""

    name: str

    def __str__(self) -> str:
        return f"label({quoted(self.name)})"

    def checks(self) -> tuple[Check, ...]:
        """Return the checks that rows must pass before the rule applies."""
        return (numeric(self.name, "1, 0 or null"),)

    def onto(self, rows: Rows, name: str, engine: Engine) -> Rows:
        """Add the rule's labels to `rows` as an Int8 column `name`."""
        return rows.with_columns(nw.col(working(self.name)).cast(nw.Int8).alias(name))


Rule = Bounds | Events | Given


def for_types(rules: Sequence[Rule], schema: Mapping[str, DType]) -> tuple[Rule, ...]:
    """Return rules that compare columns of single precision in their own type.

    In single precision .7 is a little less than in double precision. Like pandas, Polars and
    DuckDB, `x >= 0.7` holds for a column `x` of single precision whose value was written as .7.

    Args:
        rules: The rules.
        schema: Types of the columns of the log.
    """

    def is_single(name: str) -> bool:
        return schema[name] == nw.Float32

    def typed(rule: Rule) -> Rule:
        match rule:
            case Bounds(Column(name)) if is_single(name):
                quantity = rule.quantity
            case Bounds(Ratio(top, bottom)) if is_single(top) and is_single(bottom):
                quantity = replace(rule.quantity, single=True)
            case _:
                return rule
        negative = rule.negative.rounded() if rule.negative else None
        return Bounds(quantity, rule.positive.rounded(), negative)

    return tuple(map(typed, rules))


def labelled(rows: Rows, rules: Sequence[Rule], engine: Engine = IN_MEMORY) -> Rows:
    """Add the column `LABEL`: the label of the first rule that gives one, else null.

    Args:
        rows: A table whose rows pass the rules' `checks`. Percentiles are computed among all of
            its rows, regardless of other rules. The order of the result is arbitrary.
        rules: At least one, strongest first.
        engine: Engine of the table.
    """
    names = [f"__rule_{position}__" for position in range(len(rules))]
    for name, rule in zip(names, rules, strict=True):
        rows = rule.onto(rows, name, engine)
    return rows.with_columns(nw.coalesce(*names).alias(LABEL)).drop(names)


def quoted(name: str) -> str:
    """Return a column name in rule syntax: in backticks if it is not a plain word.

    Example:
        >>> quoted("rating"), quoted("watch time")
        ('rating', '`watch time`')
    """
    plain = re.fullmatch(r"[^\W\d][\w.]*", name)
    return name if plain else f"`{name.replace('`', '``')}`"


def _overlap(first: Bound, second: Bound) -> bool:
    """Return whether some number satisfies both bounds."""
    if first.upward == second.upward:
        return True
    low, high = (first, second) if first.upward else (second, first)
    closed = low.operator == ">=" and high.operator == "<="
    return low.value < high.value or (closed and low.value == high.value)
