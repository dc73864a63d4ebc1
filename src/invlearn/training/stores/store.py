"""Store interface: hold parameters and optimizer state, gather rows, apply updates.

A step has two parts. `index` works on ids, on the host, since the number of rows depends on the
ids. The rest is tensor arithmetic of known shapes on the device, and can be compiled:
`gather_indexed` gathers, a strategy proposes, `update` updates.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from invlearn.backbones.auxiliary import name_in_backbone
from invlearn.data.types import Batch, Pairs, Params, Proposal, Score
from invlearn.runtime.random import torch_seed
from invlearn.training.stores.strategy_state import StrategyState


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
    """Holds a backbone's parameters, the optimizer's moments and the strategy's state."""

    _strategy_state: StrategyState

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
        """Replace the state that the strategy gets in the next step."""
        self._strategy_state.keep(state)

    def write_row_state(self, rows: Tensor | None, row_updates: Params) -> None:
        """Write the strategy's updates of labelled rows into the row state."""
        self._strategy_state.write_row_state(rows, row_updates)

    @property
    def row_state(self) -> Params:
        """State of the labelled rows by name, not copied."""
        return self._strategy_state.row_state

    @row_state.setter
    def row_state(self, row_state: Mapping[str, Tensor]) -> None:
        self._strategy_state.set_row_state(row_state)

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

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return optimizer state and strategy state by name, not copied."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state`."""


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
            torch.manual_seed(step_seed)
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


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a host tensor on a device, copied asynchronously."""
    if device.type == "cpu":
        return tensor
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def sent_batch(batch: Batch, device: torch.device) -> Batch:
    """Return a batch with ids and labels on a device."""
    labelled, unlabelled = (
        Pairs(sent(pairs.users, device), sent(pairs.items, device))
        for pairs in (batch.labelled, batch.unlabelled)
    )
    labels = sent(batch.labels, device)
    rows = None if batch.rows is None else sent(batch.rows, device)
    origin = batch.origin
    if origin is not None:
        origin = Pairs(sent(origin.users, device), sent(origin.items, device))
    return batch._replace(
        labelled=labelled, labels=labels, unlabelled=unlabelled, rows=rows, origin=origin
    )


def where_finite(is_finite: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    """Return the new value if the step is finite, else the old one."""
    return new if is_finite is None else torch.where(is_finite, new, old)
