"""How many numbers a backbone holds, by arithmetic.

They are read off small backbones, whose sizes are sums of parts by user, by item and by neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from invlearn.backbones.backbone import Key
from invlearn.config.schema import RunConfig
from invlearn.data.features import FeatureCard
from invlearn.runtime.distributed import ALONE, Group
from invlearn.runtime.errors import ConfigError
from invlearn.training.sharing import build_model

FLOAT, LONG = 4, 8
"""Bytes of a weight and of an id."""
WIDEST = 1_000_000
"""Numbers of a user or an item in tables, at most."""
TOY = 16
"""Users and items of the backbone that is asked, and pairs of each kind."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is to train on."""

    users: int
    items: int
    train: int
    """Labelled training rows."""
    valid: int = 0
    test: int = 0
    unlabelled: int = 0


class Numbers(NamedTuple):
    """How many numbers a backbone and its peers hold, four bytes each."""

    trained: dict[Key, int]
    """In tables, for each user and each item."""
    frozen: dict[Key, int]
    """The same in tables that do not train."""
    whole: int
    """Trained, in no table."""
    fixed: int
    """Not trained, in no table."""
    cut_late: dict[Key, int]
    """Of either kind of table, what several processes make whole before they cut it."""

    def of_rows(self, rows: Mapping[Key, float]) -> float:
        """Trained numbers in so many rows of the tables."""
        return sum(n * self.trained[key] for key, n in rows.items())


def numbers_of(
    config: RunConfig, counts: Counts, features: FeatureCard, n_auxiliary: int = 0
) -> Numbers:
    """Count the numbers of a backbone.

    What is in no table may grow with users and items as well, as the nodes of a graph do.

    Args:
        config: Settings, complete.
        counts: How many users and items.
        features: Which features there are of them.
        n_auxiliary: Copies that train beside it.

    Raises:
        ConfigError: A user or an item has more than `WIDEST` numbers.
    """
    base, more_users, more_items = (
        _counted(config, features, n_users, n_items)
        for n_users, n_items in ((TOY, TOY), (2 * TOY, TOY), (TOY, 2 * TOY))
    )
    copies = 1 + n_auxiliary

    def at_size(count: Callable[[Numbers], int]) -> int:
        by_user, by_item = (count(more) - count(base) for more in (more_users, more_items))
        grown = by_user * (counts.users - TOY) + by_item * (counts.items - TOY)
        return (count(base) + grown // TOY) * copies

    def copied(kind: dict[Key, int]) -> dict[Key, int]:
        return {key: n * copies for key, n in kind.items()}

    widest = max(base.trained.values())
    if widest > WIDEST:
        raise ConfigError(
            f"a user or an item would have {widest:,} numbers, and {WIDEST:,} are the most that "
            "anything is planned for; take a smaller --model.dim"
        )
    return Numbers(
        copied(base.trained),
        copied(base.frozen),
        at_size(lambda numbers: numbers.whole),
        at_size(lambda numbers: numbers.fixed),
        copied(_cut_late(config, features)),
    )


def _counted(config: RunConfig, features: FeatureCard, n_users: int, n_items: int) -> Numbers:
    """Count the numbers of a small backbone."""
    module = _small(config, features, n_users, n_items)
    tables: dict[str, Key] = getattr(module, "tables", {})
    trained, frozen = _none(), _none()
    whole = fixed = 0
    for name, weight in _weights(module).items():
        key = tables.get(name)
        if key is not None:
            (trained if weight.requires_grad else frozen)[key] += _n_of(weight) // len(weight)
        elif weight.requires_grad:
            whole += _n_of(weight)
        else:
            fixed += _n_of(weight)
    return Numbers(trained, frozen, whole, fixed, _none())


def _cut_late(config: RunConfig, features: FeatureCard) -> dict[Key, int]:
    """Numbers of a user and an item that one of several processes makes for all of them."""
    found = _none()
    if config.store == "sharded":
        module = _small(config, features, TOY, TOY, Group(0, 2))
        weights = _weights(module)
        for name, key in getattr(module, "tables", {}).items():
            if len(weights[name]) == TOY:
                found[key] += _n_of(weights[name]) // TOY
    return found


def _small(
    config: RunConfig, features: FeatureCard, n_users: int, n_items: int, group: Group = ALONE
) -> nn.Module:
    """A backbone as a process makes it, without memory if it can be."""
    given = config, n_users, n_items, features, group
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build_model(*given)
        except (RuntimeError, NotImplementedError, ConfigError):  # its maker looks at values
            return build_model(*given)


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _n_of(weight: Tensor) -> int:
    """Numbers of four bytes in a tensor."""
    return -(-weight.numel() * weight.element_size() // FLOAT)


def _none() -> dict[Key, int]:
    return {"user": 0, "item": 0}


def rows_in_play(store: str, counts: Counts, n_pairs: float) -> dict[Key, float]:
    """Distinct users and items of so many pairs, if all were equally frequent; else fewer.

    The dense store has all of them in play.
    """
    sizes: dict[Key, float] = {"user": counts.users, "item": counts.items}
    if store == "dense":
        return sizes
    return {key: n * (1 - (1 - 1 / n) ** n_pairs) for key, n in sizes.items()}
