"""Steps of the optimizer on some rows of tables; the other rows and their moments rest."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Params
from invlearn.strategies.gradients import rows_with_gradient
from invlearn.training.stores.huge_pages import zeros_on_huge_pages
from invlearn.training.stores.optimizers import Moments, Update, update_rule
from invlearn.training.stores.store import where_finite


class Values(NamedTuple):
    """Values of the gathered rows, or of a parameter that is no table."""

    old: Tensor
    """Before the step."""
    params: Tensor
    """Where to step from."""
    gradients: Tensor | None
    """Along which; none: the point itself is kept, and the moments are as they were."""


class Moment(NamedTuple):
    """When a step is taken, and how."""

    step: int
    """From 1."""
    lr: float
    """Learning rate."""
    skip_zero_grad_rows: bool
    """Whether rows of tables without a gradient rest."""
    is_finite: Tensor | None
    """Where it is false nothing changes; none is true."""


@final
class RowOptimizer:
    """Keeps the moments of every weight, and steps."""

    def __init__(
        self, weights: Params, config: OptimizerConfig, penalties: Mapping[str, Tensor]
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
            rows: Gathered rows of the table; none for a tensor that is no table.
            values: Of those rows.
            moment: When, and how.
        """
        old, params, gradients = values
        if gradients is None:
            _write(weight, rows, where_finite(moment.is_finite, params, old))
            return
        before = tuple(_read(kept, rows) for kept in self._moments[name])
        total = gradients if rows is None else gradients + self._l2 * params
        if name in self._penalties:
            total = total + self._penalties[name] * params
        update = self._rule(params, total, before, moment.step, moment.lr)
        if moment.skip_zero_grad_rows and rows is not None:
            update = _rested(update, Update(params, before), rows_with_gradient(gradients))
        _write(weight, rows, where_finite(moment.is_finite, update.weight, old))
        for kept, new, was in zip(self._moments[name], update.moments, before, strict=True):
            _write(kept, rows, where_finite(moment.is_finite, new, was))

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
