"""The row store: the cost of a step depends on its batch, not on the catalogue."""

from collections.abc import Iterator
from typing import final

from torch import Tensor

from invlearn.backbones.backbone import Key
from invlearn.data.types import Batch, Pairs, Params, Proposal
from invlearn.training.stores.data_parallel import over_replicas
from invlearn.training.stores.huge_pages import on_huge_pages
from invlearn.training.stores.row_optimizer import RowOptimizer
from invlearn.training.stores.store import IndexedBatch, StepContext, Store, distinct


@final
class RowStore(Store):
    """Gathers the rows of a batch into compact tables and writes them back after the step.

    The optimizer is row-wise: rows outside the batch, and their moments, do not change.
    Parameters that are not tables are used whole. Frozen parameters (without `requires_grad`) do
    not change. Large tables move to huge pages, as the same parameters.
    """

    _optimizer: RowOptimizer

    def _placed(self, table: Tensor, key: Key) -> Tensor:
        return on_huge_pages(table)

    def index(self, batch: Batch) -> IndexedBatch:
        """Return the batch on the device, with the rows that it uses."""
        rows, batch = distinct(batch)
        return self._on_device(batch, rows)

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
        rows = {name: context.rows[key] for name, key in self._tables.items()}
        self._optimizer.step(rows, context.params, proposal, context.batch, is_finite)

    def tensors(self) -> Iterator[Tensor]:
        """Yield all weights and moments used by steps, not copied; shapes are fixed."""
        yield from self._weights.values()
        yield from self._frozen.values()
        yield from self._optimizer.tensors()
