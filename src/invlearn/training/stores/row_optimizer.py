"""Row-wise optimizer steps; other rows and their moments do not change."""

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
    """Values of the gathered rows, or of a parameter that is not a table."""

    old: Tensor
    """Parameters before the step."""
    params: Tensor
    """Parameters to step from."""
    gradients: Tensor | None
    """Gradients; if none, `params` is stored and the moments do not change."""


class Moment(NamedTuple):
    """Number and options of a step."""

    step: int
    """Number of the step, from 1."""
    lr: float
    """Learning rate."""
    skip_zero_grad_rows: bool
    """Skip rows with zero gradient (no momentum, no decay)."""
    is_finite: Tensor | None
    """If false, nothing changes; none counts as true."""


@final
class RowOptimizer:
    """Holds the moments of all parameters and takes steps."""

    def __init__(
        self, weights: Params, config: OptimizerConfig, penalties: Mapping[str, Tensor]
    ) -> None:
        """Create moments of zero.

        Args:
            weights: The parameters.
            config: Update rule; each step has its learning rate.
            penalties: Ridge penalties by name, for parameters with an individual one.
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
        """Update a parameter and its moments in place.

        Args:
            name: Name of the parameter.
            weight: A table, or another parameter.
            rows: Gathered rows of the table; none for other parameters.
            values: Values of those rows.
            moment: Options of the step.
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
        """Yield all moments, not copied."""
        for moments in self._moments.values():
            yield from moments

    def state(self) -> dict[str, Tensor]:
        """Return moments by `parameter:number`, not copied."""
        return {
            f"{name}:{number}": moment
            for name, moments in self._moments.items()
            for number, moment in enumerate(moments)
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore moments."""
        for name, moment in self.state().items():
            moment.copy_(state[name])


def _rested(update: Update, before: Update, moving: Tensor) -> Update:
    """Return the update restricted to the rows in `moving`."""
    pairs = zip(update.moments, before.moments, strict=True)
    moments = tuple(torch.where(moving, new, old) for new, old in pairs)
    return Update(torch.where(moving, update.weight, before.weight), moments)


def _read(tensor: Tensor, rows: Tensor | None) -> Tensor:
    """Return rows of a table, or a whole tensor without rows."""
    return tensor if rows is None else tensor.index_select(0, rows)


def _write(tensor: Tensor, rows: Tensor | None, new: Tensor) -> None:
    """Write rows of a table, or a whole tensor without rows."""
    if rows is None:
        tensor.copy_(new)
    else:
        tensor.index_copy_(0, rows, new)
