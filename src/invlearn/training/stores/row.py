"""The row store: the cost of a step depends on its batch, not on the catalogue."""

from collections.abc import Iterator, Mapping
from typing import final

import torch
from torch import Tensor, nn

from invlearn.backbones.backbone import Key
from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Batch, Pairs, Params, Proposal
from invlearn.runtime.distributed import ALONE, Group
from invlearn.training.stores.data_parallel import over_replicas
from invlearn.training.stores.huge_pages import on_huge_pages
from invlearn.training.stores.row_optimizer import Moment, RowOptimizer, Values
from invlearn.training.stores.store import (
    IndexedBatch,
    StepContext,
    Store,
    distinct,
    penalties_of,
    scorer,
    sent,
    sent_batch,
)
from invlearn.training.stores.strategy_state import StrategyState


@final
class RowStore(Store):
    """Gathers the rows of a batch into compact tables and writes them back after the step.

    The optimizer is row-wise: rows outside the batch, and their moments, do not change.
    Parameters that are not tables are used whole. Frozen parameters (without `requires_grad`) do
    not change. Large tables move to huge pages, as the same parameters.
    """

    def __init__(
        self,
        module: nn.Module,
        tables: Mapping[str, Key],
        config: OptimizerConfig,
        *,
        seed: int,
        group: Group = ALONE,
    ) -> None:
        """Store the parameters of `module`, in place.

        Args:
            module: A backbone in training mode.
            tables: Index key of each table, by parameter name.
            config: Update rule; each batch has its learning rate.
            seed: Seed of dropout masks.
            group: The processes, with replicated parameters, that share each batch.
        """
        self._tables, self._group = dict(tables), group
        self._score_at = scorer(module, seed)
        for name, weight in module.named_parameters():
            if name in self._tables:
                weight.data = on_huge_pages(weight.data)
        self._weights = {n: w.detach() for n, w in module.named_parameters() if w.requires_grad}
        everything = dict(module.named_parameters()) | dict(module.named_buffers())
        self._frozen = {n: everything[n].detach() for n in tables if n not in self._weights}
        self._device = next((w.device for w in everything.values()), torch.device("cpu"))
        self._optimizer = RowOptimizer(self._weights, config, penalties_of(module))
        self._strategy_state = StrategyState(self._weights)

    def index(self, batch: Batch) -> IndexedBatch:
        """Return the batch on the device, with the rows that it uses."""
        rows, batch = distinct(batch)
        rows = {key: sent(ids, self._device) for key, ids in rows.items()}
        return IndexedBatch(sent_batch(self._strategy_state.added_to(batch), self._device), rows)

    def gather_indexed(self, indexed: IndexedBatch) -> StepContext:
        """Return the context with the gathered rows."""
        batch, rows = indexed

        def gathered(name: str, weight: Tensor) -> Tensor:
            key = self._tables.get(name)
            return weight if key is None else weight.index_select(0, rows[key])

        params = {name: gathered(name, weight) for name, weight in self._weights.items()}
        frozen = {name: gathered(name, weight) for name, weight in self._frozen.items()}
        score = self._score_at(batch.step)

        def score_rows(weights: Params, pairs: Pairs) -> Tensor:
            return score({**frozen, **weights}, pairs)

        score_here = score_rows if frozen else score
        return StepContext(over_replicas(score_here, self._group), params, batch, rows)

    def update(
        self, context: StepContext, proposal: Proposal, *, is_finite: Tensor | None = None
    ) -> None:
        """Update the gathered rows and scatter them back."""
        moment = Moment(
            context.batch.step + 1, context.batch.lr, proposal.skip_zero_grad_rows, is_finite
        )
        for name, weight in self._weights.items():
            rows = context.rows[self._tables[name]] if name in self._tables else None
            values = Values(
                context.params[name], proposal.params[name], proposal.gradients.get(name)
            )
            self._optimizer.step(name, weight, rows, values, moment)

    def tensors(self) -> Iterator[Tensor]:
        """Yield all weights and moments used by steps, not copied; shapes are fixed."""
        yield from self._weights.values()
        yield from self._frozen.values()
        yield from self._optimizer.tensors()

    def state(self) -> dict[str, Tensor]:
        """Return moments by `parameter:number`, and the strategy's state."""
        return self._strategy_state.state() | self._optimizer.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore moments and the strategy's state."""
        self._optimizer.load_state(state)
        self._strategy_state.load_state(state)
