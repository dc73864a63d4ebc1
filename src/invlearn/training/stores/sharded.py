"""The sharded store: rows of large tables distributed over several processes."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from invlearn.backbones.backbone import Key
from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Batch, Pairs, Params, Proposal
from invlearn.runtime.distributed import Group
from invlearn.runtime.tensor_files import Shard
from invlearn.training.stores.data_parallel import share_of, shared, summed
from invlearn.training.stores.huge_pages import on_huge_pages
from invlearn.training.stores.row_exchange import RowExchange
from invlearn.training.stores.row_optimizer import RowOptimizer
from invlearn.training.stores.store import IndexedBatch, StepContext, Store, distinct

ELSEWHERE = -1
"""Row number of a user or item that only another process gathers."""


@final
class ShardedStore(Store):
    """Holds a shard of each table and its moments; takes the same steps as `RowStore`.

    A process gathers the rows of its share of the batch from their owners. The owner sums the
    gradients of the processes that gathered a row, and takes the optimizer step. Parameters that
    are not tables are replicated.
    """

    _optimizer: RowOptimizer
    _route: RowExchange
    """Of the batch that was indexed last."""

    def __init__(
        self,
        module: nn.Module,
        tables: Mapping[str, Key],
        config: OptimizerConfig,
        *,
        seed: int,
        group: Group,
        n_rows: Mapping[str, int],
    ) -> None:
        """Store the parameters of `module`, in place.

        Args:
            module: A backbone in training mode, whose tables hold this process's rows, or all
                rows, which are then cut.
            tables: Index key of each table, by parameter or buffer name.
            config: Update rule; each batch has its learning rate.
            seed: Seed of dropout masks.
            group: The processes.
            n_rows: Rows of the whole tables of each key.
        """
        self._module, self._n_rows = module, n_rows
        super().__init__(module, tables, config, seed=seed, group=group)
        names = {name: name.rpartition(":")[0] for name in self._optimizer.state()}
        names |= {name: name for name in tables}
        self.shards = {
            name: Shard(own.start, own.stop, n_rows[tables[table]])
            for name, table in names.items()
            if table in tables
            for own in [group.share(n_rows[tables[table]])]
        }

    def _placed(self, table: Tensor, key: Key) -> Tensor:
        n_rows = self._n_rows[key]
        own = table[self._group.share(n_rows)].clone() if len(table) == n_rows else table
        return on_huge_pages(own)

    def index(self, batch: Batch) -> IndexedBatch:
        """Find the rows of this process's share of `batch`, and request them."""
        labelled, unlabelled = (
            Pairs(ids.users[own], ids.items[own])
            for ids in (batch.labelled, batch.unlabelled)
            for own in [share_of(self._group)(ids)]
        )
        rows, mine = distinct(batch._replace(labelled=labelled, unlabelled=unlabelled))
        batch = batch._replace(
            labelled=self._elsewhere(batch.labelled, mine.labelled),
            unlabelled=self._elsewhere(batch.unlabelled, mine.unlabelled),
        )
        indexed = self._on_device(batch, rows)
        self._route = RowExchange(self._group, indexed.rows, self._n_rows)
        return indexed

    def _elsewhere(self, pairs: Pairs, mine: Pairs) -> Pairs:
        """Return all pairs, with gathered row numbers for this process's pairs."""
        own = share_of(self._group)(pairs)
        users, items = (torch.full_like(ids, ELSEWHERE) for ids in pairs)
        users[own], items[own] = mine.users, mine.items
        return Pairs(users, items)

    def gather_indexed(self, indexed: IndexedBatch) -> StepContext:
        """Return the context with rows gathered from their owners."""
        batch, rows = indexed
        route, score = self._route, self._score_at(batch.step)
        params, frozen = self._gathered(route)

        def score_rows(weights: Params, pairs: Pairs) -> Tensor:
            return score({**frozen, **weights}, pairs)

        def add(gradients: Params) -> Params:
            cut, whole = self._parted(gradients)
            sums = route.summed(cut, self._tables) | (summed(self._group, whole) if whole else {})
            return {name: sums[name] for name in gradients}

        everywhere = shared(score_rows, self._group, _is_here, add)
        return StepContext(everywhere, params, batch, rows)

    def _gathered(self, route: RowExchange) -> tuple[Params, Params]:
        """Return the gathered trainable and frozen parameters."""
        everything = self._weights | self._frozen
        cut, whole = self._parted(everything)
        owned = {name: table[route.rows(self._tables[name])] for name, table in cut.items()}
        found = route.fetched(owned, self._tables) | whole
        weights = {name: found[name] for name in self._weights}
        return weights, {name: found[name] for name in self._frozen}

    def all_ranks_finite(self, is_finite: Tensor) -> Tensor:
        """Return whether a proposal is finite on every rank."""
        not_finite = self._group.all_reduce((~is_finite).to(torch.int32))
        return not_finite == 0

    def update(
        self, context: StepContext, proposal: Proposal, *, is_finite: Tensor | None = None
    ) -> None:
        """Send the proposal to the owners of the rows, which take the step."""
        route, gradients = self._route, proposal.gradients
        sent = {f"gradient:{name}": v for name, v in self._parted(gradients)[0].items()}
        if proposal.params is not context.params or not gradients:
            sent |= {f"params:{name}": v for name, v in self._parted(proposal.params)[0].items()}
        keys = {name: self._tables[name.partition(":")[2]] for name in sent}
        owned = route.owned(sent, keys)
        rows = {name: route.rows(key) for name, key in self._tables.items()}
        old = {n: w[rows[n]] if n in rows else context.params[n] for n, w in self._weights.items()}
        params = {
            n: owned.get(f"params:{n}", old[n]) if n in rows else proposal.params[n] for n in old
        }
        gradients = {n: owned.get(f"gradient:{n}", value) for n, value in gradients.items()}
        stepped = proposal._replace(params=params, gradients=gradients)
        self._optimizer.step(rows, old, stepped, context.batch, is_finite)

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the logits of pairs at the current parameters, on every process.

        Args:
            users: Dense user ids, shape `(pairs,)`, the same on every process.
            items: Dense item ids, likewise.
        """
        pairs = Pairs(users, items)
        own = share_of(self._group)(pairs)
        asked, places = {}, []
        for key, ids in (("user", users[own]), ("item", items[own])):
            asked[key], inverse = torch.unique(ids, return_inverse=True)
            places.append(inverse)
        weights, frozen = self._gathered(RowExchange(self._group, asked, self._n_rows))
        module = self._module  # possibly without auxiliary models
        known = dict(module.named_parameters()) | dict(module.named_buffers())
        everything = {n: w for n, w in {**weights, **frozen}.items() if n in known}
        found = functional_call(module, everything, tuple(places))
        return self._group.all_reduce(found.new_zeros(len(users)).masked_scatter_(own, found))

    def _parted(self, values: Params) -> tuple[Params, Params]:
        """Return the values of tables, and those of other parameters."""
        cut = {name: value for name, value in values.items() if name in self._tables}
        return cut, {name: value for name, value in values.items() if name not in self._tables}


def _is_here(pairs: Pairs) -> Tensor:
    return pairs.users != ELSEWHERE
