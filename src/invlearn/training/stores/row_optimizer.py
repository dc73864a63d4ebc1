"""Steps of the optimizer on some rows of tables; the other rows and their moments rest."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Weights
from invlearn.strategies.slopes import rows_with_slope
from invlearn.training.stores.huge_pages import zeros_on_huge_pages
from invlearn.training.stores.optimizers import Moments, Update, update_rule
from invlearn.training.stores.store import where_sound


class Values(NamedTuple):
    """Of the rows that were in play, or of a weight that is no table."""

    old: Tensor
    """Before the step."""
    point: Tensor
    """Where to step from."""
    slope: Tensor | None
    """Along which; none: the point itself is kept, and the moments are as they were."""


class Moment(NamedTuple):
    """When a step is taken, and how."""

    step: int
    """From 1."""
    rate: float
    """Learning rate."""
    rests: bool
    """Whether rows of tables without a slope rest."""
    sound: Tensor | None
    """Where it is false nothing changes; none is true."""


@final
class RowOptimizer:
    """Keeps the moments of every weight, and steps."""

    def __init__(
        self, weights: Weights, config: OptimizerConfig, penalties: Mapping[str, Tensor]
    ) -> None:
        """Begin with moments of zero.

        Args:
            weights: What is stepped.
            config: Update rule; its rate comes with each step.
            penalties: Ridge penalties by name, for weights that have one of their own.
        """
        n_moments, self._rule = update_rule(config)
        self._l2, self._penalties = config.l2, penalties
        self._moments: dict[str, Moments] = {
            name: tuple(zeros_on_huge_pages(weight) for _ in range(n_moments))
            for name, weight in weights.items()
        }

    def step(
        self, name: str, weight: Tensor, rows: Tensor | None, values: Values, moment: Moment
    ) -> None:
        """Step, in place.

        Args:
            name: Of the weight.
            weight: A table, or a tensor that is none.
            rows: Rows of the table that were in play; none for a tensor that is none.
            values: Of those rows.
            moment: When, and how.
        """
        old, point, slope = values
        if slope is None:
            _write(weight, rows, where_sound(moment.sound, point, old))
            return
        before = tuple(_read(kept, rows) for kept in self._moments[name])
        total = slope if rows is None else slope + self._l2 * point
        if name in self._penalties:
            total = total + self._penalties[name] * point
        update = self._rule(point, total, before, moment.step, moment.rate)
        if moment.rests and rows is not None:
            update = _rested(update, Update(point, before), rows_with_slope(slope))
        _write(weight, rows, where_sound(moment.sound, update.weight, old))
        for kept, new, was in zip(self._moments[name], update.moments, before, strict=True):
            _write(kept, rows, where_sound(moment.sound, new, was))

    def tensors(self) -> Iterator[Tensor]:
        """Every moment, not copied."""
        for moments in self._moments.values():
            yield from moments

    def state(self) -> dict[str, Tensor]:
        """Moments by `parameter:number`, not copied."""
        return {
            f"{name}:{number}": moment
            for name, moments in self._moments.items()
            for number, moment in enumerate(moments)
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy moments back."""
        for name, moment in self.state().items():
            moment.copy_(state[name])


def _rested(update: Update, before: Update, moving: Tensor) -> Update:
    """An update of the moving rows alone."""
    pairs = zip(update.moments, before.moments, strict=True)
    moments = tuple(torch.where(moving, new, old) for new, old in pairs)
    return Update(torch.where(moving, update.weight, before.weight), moments)


def _read(tensor: Tensor, rows: Tensor | None) -> Tensor:
    """Some rows of a table, or all of a tensor that is none."""
    return tensor if rows is None else tensor.index_select(0, rows)


def _write(tensor: Tensor, rows: Tensor | None, new: Tensor) -> None:
    """Put new values into some rows of a table, or into all of a tensor that is none."""
    if rows is None:
        tensor.copy_(new)
    else:
        tensor.index_copy_(0, rows, new)
