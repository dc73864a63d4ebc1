"""How many parameters a backbone has, from the shapes of its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import expm1, log1p
from typing import NamedTuple

import torch
from torch import nn

from invlearn.backbones.backbone import Key
from invlearn.config.schema import RunConfig
from invlearn.data.features import FeatureCard
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.meta import ShapesOnly
from invlearn.training.build import make_backbone

FLOAT, LONG = 4, 8
"""Bytes of a parameter and of an id."""
TOY_USERS, TOY_ITEMS = 1009, 1013
"""Size of a backbone that cannot be built without values; primes, so that a dimension of that many
rows is one of users or of items."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of a dataset."""

    users: int
    items: int
    train: int
    """Labelled training rows."""
    valid: int = 0
    test: int = 0
    unlabelled: int = 0

    @property
    def exposed(self) -> int:
        """Training rows with and without a label."""
        return self.train + self.unlabelled

    @property
    def ids(self) -> dict[Key, int]:
        """Users and items by key."""
        return {"user": self.users, "item": self.items}


class ParamCount(NamedTuple):
    """Numbers of four bytes that a backbone and its auxiliary models hold."""

    trained: dict[Key, int]
    """In tables, for each user and each item."""
    frozen: dict[Key, int]
    """The same in tables that do not train."""
    whole: int
    """Trained, in no table."""
    fixed: int
    """Not trained, in no table."""
    per_pair: int
    """In the rows that one model uses for one pair, a row of every matrix: its activations."""

    def of_rows(self, rows: Mapping[Key, float], *, frozen: bool = False) -> float:
        """Trained or frozen numbers in so many rows of the tables."""
        per_row = self.frozen if frozen else self.trained
        return sum(n * per_row[key] for key, n in rows.items())


def count_params(
    config: RunConfig, counts: Counts, features: FeatureCard, n_auxiliary: int = 0
) -> ParamCount:
    """Count the parameters and buffers of a backbone.

    It is built on torch's meta device, which has shapes and no memory. One that cannot be is built
    for a few users and items, and its tables are scaled to their number.

    Args:
        config: Settings, complete.
        counts: How many users and items.
        features: Which features there are of them.
        n_auxiliary: Auxiliary models that train with it.

    Raises:
        ConfigError: The backbone cannot be built with these options.
    """
    module, n_rows = _built(config, counts, features)
    copies = 1 + n_auxiliary
    tables: dict[str, Key] = getattr(module, "tables", {})
    trained: dict[Key, int] = {"user": 0, "item": 0}
    frozen: dict[Key, int] = {"user": 0, "item": 0}
    whole = fixed = per_pair = 0
    for name, weight in (*module.named_parameters(), *module.named_buffers()):
        n = -(-weight.numel() * weight.element_size() // FLOAT)
        row = n // max(len(weight), 1) if weight.dim() else n
        if name in tables:
            (trained if weight.requires_grad else frozen)[tables[name]] += copies * row
            per_pair += row
            continue
        per_pair += weight.shape[-1] if weight.dim() > 1 else 0
        n = row * n_rows.get(len(weight), len(weight)) if weight.dim() else n
        whole, fixed = (whole + n, fixed) if weight.requires_grad else (whole, fixed + n)
    return ParamCount(trained, frozen, copies * whole, copies * fixed, per_pair)


def _built(
    config: RunConfig, counts: Counts, features: FeatureCard
) -> tuple[nn.Module, dict[int, int]]:
    """The backbone without memory, or a small one with the real number of rows for its own."""
    try:
        with ShapesOnly(), torch.device("meta"):
            return make_backbone(config, counts.users, counts.items, features), {}
    except (RuntimeError, NotImplementedError, ConfigError):  # its constructor looks at values
        with torch.random.fork_rng(devices=[]):
            module = make_backbone(config, TOY_USERS, TOY_ITEMS, features)
    n_rows = {TOY_USERS: counts.users, TOY_ITEMS: counts.items}
    return module, n_rows | {TOY_USERS + TOY_ITEMS: counts.users + counts.items}


def distinct(n: int, n_draws: float) -> float:
    """How many of `n` things come up in so many draws, on average.

    Example:
        >>> round(distinct(10, 1000)), round(distinct(10**9, 1000))
        (10, 1000)
    """
    return -n * expm1(n_draws * log1p(-1 / n)) if n > 1 else min(n, n_draws)
