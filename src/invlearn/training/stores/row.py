"""The row store: the cost of a step depends on its batch, not on the catalogue."""

from collections.abc import Iterator, Mapping
from typing import final

from torch import Tensor, nn

from invlearn.backbones.backbone import Key
from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Batch, Pairs, Params, Proposal
from invlearn.runtime.distributed import ALONE, Group
from invlearn.training.stores.data_parallel import over_replicas
from invlearn.training.stores.huge_pages import on_huge_pages
from invlearn.training.stores.row_optimizer import Moment, RowOptimizer, Values
from invlearn.training.stores.store import IndexedBatch, StepContext, Store, distinct


@final
class RowStore(Store):
    """Gathers the rows of a batch into compact tables and writes them back after the step.

    The optimizer is row-wise: rows outside the batch, and their moments, do not change.
    Parameters that are not tables are used whole. Frozen parameters (without `requires_grad`) do
    not change. Large tables move to huge pages, as the same parameters.
    """

    _optimizer: RowOptimizer

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
        for name, weight in module.named_parameters():
            if name in tables:
                weight.data = on_huge_pages(weight.data)
        super().__init__(module, tables, seed=seed, group=group)
        self._optimizer = RowOptimizer(self._weights, config, self._penalties)

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
