"""Row-wise optimizer steps; other rows and their moments do not change."""

from collections.abc import Iterator, Mapping
from typing import final

import torch
from torch import Tensor

from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Batch, Params, Proposal
from invlearn.strategies.gradients import rows_with_gradient
from invlearn.training.stores.huge_pages import zeros_on_huge_pages
from invlearn.training.stores.update_rules import Tensors, update_rule


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
        self._weights, self._l2, self._penalties = weights, config.l2, penalties
        self._moments: dict[str, Tensors] = {
            name: tuple(zeros_on_huge_pages(weight) for _ in range(n_moments))
            for name, weight in weights.items()
        }

    def step(
        self,
        rows: Mapping[str, Tensor],
        old: Params,
        proposal: Proposal,
        batch: Batch,
        is_finite: Tensor | None,
    ) -> None:
        """Update all parameters and their moments in place.

        Args:
            rows: Gathered rows of each table, by parameter name.
            old: Values of those rows, and of the other parameters, before the step.
            proposal: Parameters to step from, and gradients. A parameter without a gradient is
                stored, and its moments do not change.
            batch: The batch: number and learning rate of the step.
            is_finite: If false, nothing changes; none counts as true.
        """
        for name, weight in self._weights.items():
            held, places = (weight, *self._moments[name]), rows.get(name)
            params, gradients = proposal.params[name], proposal.gradients.get(name)
            before, new = (old[name],), (params,)
            if gradients is not None:
                moments = tuple(_read(moment, places) for moment in held[1:])
                total = gradients if places is None else gradients + self._l2 * params
                if name in self._penalties:
                    total = total + self._penalties[name] * params
                before = (*before, *moments)
                new = self._rule(params, total, moments, batch.step + 1, batch.lr)
                if proposal.skip_zero_grad_rows and places is not None:
                    moves, still = rows_with_gradient(gradients), (params, *moments)
                    new = tuple(torch.where(moves, *pair) for pair in zip(new, still, strict=True))
            for tensor, after, was in zip(held, new, before, strict=False):
                _write(tensor, places, where_finite(is_finite, after, was))

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


def _read(tensor: Tensor, rows: Tensor | None) -> Tensor:
    """Return rows of a table, or a whole tensor without rows."""
    return tensor if rows is None else tensor.index_select(0, rows)


def _write(tensor: Tensor, rows: Tensor | None, new: Tensor) -> None:
    """Write rows of a table, or a whole tensor without rows."""
    if rows is None:
        tensor.copy_(new)
    else:
        tensor.index_copy_(0, rows, new)


def where_finite(is_finite: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    """Return the new value if the step is finite, else the old one."""
    return new if is_finite is None else torch.where(is_finite, new, old)
