"""Store interface: hold parameters and optimizer state, gather rows, apply updates.

A step has two parts. `index` works on ids, on the host, since the number of rows depends on the
ids. The rest is tensor arithmetic of known shapes on the device, and can be compiled:
`gather_indexed` gathers, a strategy proposes, `update` updates.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from invlearn.backbones.auxiliary import name_in_backbone
from invlearn.backbones.backbone import Key
from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import NO_TENSORS, Batch, Pairs, Params, Proposal, Score
from invlearn.runtime.distributed import ALONE, Group
from invlearn.runtime.random import torch_seed
from invlearn.runtime.tensor_files import NO_SHARDS, Shard
from invlearn.training.stores.row_optimizer import RowOptimizer

STEP_STATE, ROW_STATE = ":state:", ":row_state:"
"""Prefixes of strategy state by name. No parameter has an empty name, so `parameter:number` never
begins with either."""


ON_HOST = ("labelled", "labels", "unlabelled", "rows", "origin")
"""Parts of a batch that the sampler makes on the host."""


class IndexedBatch(NamedTuple):
    """A batch on the device, and the table rows that it uses."""

    batch: Batch
    """The batch; its ids are indices in `rows`."""
    rows: dict[str, Tensor]
    """Distinct dense ids of the batch by key (`user`, `item`), ascending."""


class StepContext(NamedTuple):
    """Arguments of a strategy for one batch."""

    score: Score
    """Logits of pairs at given parameters."""
    params: Params
    """The gathered parameters."""
    batch: Batch
    """The batch; its ids are row numbers of the gathered tables."""
    rows: dict[str, Tensor]
    """Distinct dense ids of the batch by key (`user`, `item`), ascending."""


class Store(ABC):
    """Holds a backbone's parameters, the optimizer's moments and the strategy's state.

    The strategy's state has two parts, saved with the moments: tensors that it passes from step to
    step, and rows for the labelled training rows.
    """

    shards: Mapping[str, Shard] = NO_SHARDS
    """Rows on this process, by the names of sharded weights and moments."""
    _optimizer: Any
    """Holds the moments; its `state` and `load_state` name them `parameter:name`."""

    def __init__(
        self,
        module: nn.Module,
        tables: Mapping[str, Key],
        config: OptimizerConfig,
        *,
        seed: int,
        group: Group = ALONE,
    ) -> None:
        """Store the parameters of `module`, in place, and start without strategy state.

        Args:
            module: A backbone in training mode.
            tables: Index key of each table, by parameter or buffer name.
            config: Update rule; each batch has its learning rate.
            seed: Seed of dropout masks.
            group: The processes that share each batch.
        """
        self._group, self._tables, self._l2 = group, dict(tables), config.l2
        parameters = dict(module.named_parameters())
        named = parameters | dict(module.named_buffers())
        for name in tables.keys() & named.keys():
            named[name].data = self._placed(named[name].data, tables[name])
        self._score_at = scorer(module, seed)
        self._weights = {n: w.detach() for n, w in parameters.items() if w.requires_grad}
        self._frozen = {n: named[n].detach() for n in tables if n in named.keys() - self._weights}
        self._device = next((w.device for w in named.values()), torch.device("cpu"))
        self._penalties = penalties_of(module)
        self._step_state = self._row_state = NO_TENSORS
        self._optimizer = self._new_optimizer(module, config)

    def _new_optimizer(self, module: nn.Module, config: OptimizerConfig) -> Any:
        """Return the optimizer, with moments of zero."""
        return RowOptimizer(self._weights, config, self._penalties)

    def _placed(self, table: Tensor, key: Key) -> Tensor:
        """Return the memory in which to hold a table."""
        return table

    def gather(self, batch: Batch) -> StepContext:
        """Return the parameters that `batch` uses; nothing changes."""
        return self.gather_indexed(self.index(batch))

    def apply(self, context: StepContext, proposal: Proposal) -> None:
        """Apply the optimizer's update from the proposed parameters and gradients.

        Without gradients the proposed parameters are stored without an optimizer step.
        """
        self.keep_state(proposal.state)
        self.write_row_state(context.batch.rows, proposal.row_updates)
        self.update(context, proposal)

    def keep_state(self, state: Params) -> None:
        """Replace the state that the strategy gets in the next step.

        Tensors that share storage with a weight are copied, since weights are updated in place.
        """
        places = {w.untyped_storage().data_ptr() for w in self._weights.values()} if state else ()
        self._step_state = {
            name: tensor.clone() if tensor.untyped_storage().data_ptr() in places else tensor
            for name, tensor in state.items()
        }

    def write_row_state(self, rows: Tensor | None, row_updates: Params) -> None:
        """Write the strategy's updates of labelled rows into the row state."""
        for name, values in row_updates.items():
            assert rows is not None, (
                "a strategy with row updates must ask for row state in its feed"
            )
            self._row_state[name].index_copy_(0, rows, values.to(self._row_state[name]))

    @property
    def row_state(self) -> Params:
        """State of the labelled rows by name, not copied."""
        return self._row_state

    @row_state.setter
    def row_state(self, row_state: Mapping[str, Tensor]) -> None:
        self._row_state = {name: tensor.to(self._device) for name, tensor in row_state.items()}

    @abstractmethod
    def index(self, batch: Batch) -> IndexedBatch:
        """Return the batch on the device, with the rows that it uses."""

    @abstractmethod
    def gather_indexed(self, indexed: IndexedBatch) -> StepContext:
        """Return the context with the gathered rows."""

    @abstractmethod
    def update(
        self, context: StepContext, proposal: Proposal, *, is_finite: Tensor | None = None
    ) -> None:
        """Update the parameters and moments, but not the strategy's state.

        Args:
            context: The arguments of the strategy.
            proposal: Its proposal.
            is_finite: A boolean scalar on the device; if false, nothing changes. None counts as
                true.
        """

    def all_ranks_finite(self, is_finite: Tensor) -> Tensor:
        """Return whether a proposal is finite on all ranks, from the value of this rank."""
        return is_finite

    def state(self) -> dict[str, Tensor]:
        """Return strategy state and moments by name, not copied."""
        return {
            **{STEP_STATE + name: tensor for name, tensor in self._step_state.items()},
            **{ROW_STATE + name: tensor for name, tensor in self._row_state.items()},
            **self._optimizer.state(),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state`."""
        self._optimizer.load_state(state)
        self._step_state, self._row_state = (
            {
                name.removeprefix(mark): tensor.to(self._device, copy=True)
                for name, tensor in state.items()
                if name.startswith(mark)
            }
            for mark in (STEP_STATE, ROW_STATE)
        )

    def _on_device(self, batch: Batch, rows: Mapping[str, Tensor]) -> IndexedBatch:
        """Return a batch with the strategy's state, and its rows, on the device."""
        moved = {name: self._sent(getattr(batch, name)) for name in ON_HOST}
        if self._step_state or self._row_state:
            moved |= {"state": self._step_state, "row_state": self._row_state}
        batch = batch._replace(**moved)
        return IndexedBatch(batch, {key: self._sent(ids) for key, ids in rows.items()})

    def _sent(self, value: Any) -> Any:
        """Return host tensors on the device, copied asynchronously."""
        if isinstance(value, Pairs):
            return Pairs(*map(self._sent, value))
        if value is None or self._device.type == "cpu":
            return value
        pinned = value.pin_memory() if self._device.type == "cuda" else value
        return pinned.to(self._device, non_blocking=True)


def scorer(module: nn.Module, seed: int) -> Callable[[int], Score]:
    """Return a function from step number to score function.

    A module that draws random numbers (dropout) draws the same ones in every call of one step, so
    that scores of the same pairs differ by the parameters only. They are a function of (seed,
    step). A trial call detects whether it draws any.
    """
    plain = partial(_score, module)
    if not draws_random_numbers(module):
        return lambda step: plain

    def score_at(step: int) -> Score:
        step_seed = torch_seed(seed, "dropout", step)

        def score(weights: Params, pairs: Pairs) -> Tensor:
            # Seeding the generators of all kinds of devices takes longer than a small step.
            on_host = pairs.users.device.type == "cpu"
            (torch.default_generator if on_host else torch).manual_seed(step_seed)
            return plain(weights, pairs)

        return score

    return score_at


@torch.no_grad()
def draws_random_numbers(module: nn.Module) -> bool:
    """Return whether a forward pass, in the current mode, uses torch's generator."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    ids = torch.zeros(2, dtype=torch.int64, device=device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        before = _generator_states(device)
        module(ids, ids)
        after = _generator_states(device)
    return any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def _generator_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _score(module: nn.Module, weights: Params, pairs: Pairs) -> Tensor:
    return functional_call(module, weights, (pairs.users, pairs.items))


def penalties_of(module: nn.Module) -> dict[str, Tensor]:
    """Return ridge penalties by parameter name, including auxiliary models."""
    own: dict[str, float | Tensor] = getattr(module, "penalties", {})
    return {
        name: torch.as_tensor(own[base], dtype=weight.dtype, device=weight.device)
        for name, weight in module.named_parameters()
        if (base := name_in_backbone(name)) in own
    }


def distinct(batch: Batch) -> tuple[dict[str, Tensor], Batch]:
    """Return the distinct ids of a batch, and the batch with ids replaced by indices."""
    split = [len(batch.labelled.users), len(batch.unlabelled.users)]
    rows: dict[str, Tensor] = {}
    places: list[tuple[Tensor, ...]] = []
    for key, column in (("user", 0), ("item", 1)):
        ids = torch.cat([batch.labelled[column], batch.unlabelled[column]])
        rows[key], inverse = distinct_ids(ids)
        places.append(inverse.split(split))
    labelled, unlabelled = (Pairs(users, items) for users, items in zip(*places, strict=True))
    return rows, batch._replace(labelled=labelled, unlabelled=unlabelled)


def distinct_ids(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct ids, ascending, and their inverse: a faster `torch.unique`.

    Ids are sorted by their lower 16 bits, then by the next 16: numpy uses a radix sort for short
    integers, which takes a quarter of the time (`benchmarks/step.py`).

    Args:
        ids: Dense ids on the host, int64 of shape `(pairs,)`.

    Returns:
        Two int64 tensors, shapes `(rows,)` and `(pairs,)`.

    Example:
        >>> distinct_ids(torch.tensor([70_000, 3, 70_000]))
        (tensor([    3, 70000]), tensor([1, 0, 1]))
    """
    values = ids.numpy()
    order = values.astype(np.uint16).argsort(kind="stable")
    for shift in range(16, int(values.max(initial=0)).bit_length(), 16):
        order = order[(values[order] >> shift).astype(np.uint16).argsort(kind="stable")]
    ascending = values[order]
    is_first = np.empty(len(values), np.bool_)
    is_first[:1] = True
    np.not_equal(ascending[1:], ascending[:-1], out=is_first[1:])
    places = np.empty_like(values)
    places[order] = is_first.cumsum() - 1
    return torch.from_numpy(ascending[is_first]), torch.from_numpy(places)
