"""A train step: gather parameters, let the strategy propose, apply the update.

When compiled (`torch.compile`), all tensor arithmetic of a step is one graph: losses, gradients,
trials, choice and the optimizer's update are fused, and only the rows of the batch are touched, as
in eager mode. The compiled step is reused by later trainings of the same backbone, strategy and
parameter shapes in the process, with any settings.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple
from warnings import warn

import torch
from torch import Tensor, nn

from invlearn.data.types import Batch, LabelledRows, Pairs, Params, Proposal, Score
from invlearn.runtime.errors import InvlearnWarning
from invlearn.strategies import Strategy
from invlearn.strategies.gradients import at_hand
from invlearn.training.stores import RowStore, Store
from invlearn.training.stores.store import IndexedBatch

PAYING_STEPS = 30_000
"""Steps from which compiling on a CPU usually pays off, with batches of 1,024: it takes 15 to 70
seconds, and saves half a millisecond to several per step (`benchmarks/step.py`)."""
RECOMPILATIONS = 16
"""Maximum of compiled variants of one step: with or without unlabelled pairs, judges."""


class Step(NamedTuple):
    """Result of a step."""

    log: Mapping[str, Tensor]
    """Values logged by the strategy."""
    is_finite: Tensor
    """Whether the loss and the proposal are finite, a boolean scalar on the device; if not, no
    weight or moment was changed."""
    state: Params
    """Strategy state for the next step."""
    row_updates: Params
    """Strategy's row-state updates of the batch's labelled rows."""


TrainStep = Callable[[Store, Strategy, IndexedBatch, int], Step]


class Stepper:
    """Runs the steps of one training."""

    def __init__(
        self,
        store: Store,
        strategy: Strategy,
        *,
        hardest_of: int = 1,
        compiled_for: type[nn.Module] | None = None,
    ) -> None:
        """Prepare the step function.

        Args:
            store: The parameter store.
            strategy: The strategy.
            hardest_of: Unlabelled candidates per pair, of which the hardest is kept.
            compiled_for: Compile the step for this backbone class; row store only.
        """
        self._store, self._strategy, self._hardest_of = store, strategy, hardest_of
        self._train_step: TrainStep = train_step
        self._failures: tuple[type[Exception], ...] = ()
        if compiled_for and isinstance(store, RowStore):
            tensors = [*store.tensors()]
            shapes = tuple(tensor.shape for tensor in tensors)
            self._train_step = compiled_train_step(compiled_for, type(strategy), shapes)
            from torch._dynamo.exc import FailOnRecompileLimitHit

            self._failures = RuntimeError, FailOnRecompileLimitHit
            for tensor in tensors:
                torch._dynamo.mark_static(tensor)  # pyright: ignore[reportPrivateUsage]

    def __call__(self, batch: Batch) -> Step:
        """Take the step of a batch and return its result."""
        indexed = self._store.index(batch)
        try:
            step = self._train_step(self._store, self._strategy, indexed, self._hardest_of)
        except self._failures as error:
            reason = " ".join(str(error).split("\n")[:2]).strip()
            warn(
                f"compiling the step failed ({type(error).__name__}: {reason}); continuing "
                "without; pass --compile off to skip it",
                InvlearnWarning,
                stacklevel=2,
            )
            self._train_step, self._failures = train_step, ()
            step = train_step(self._store, self._strategy, indexed, self._hardest_of)
        self._store.keep_state(step.state)
        self._store.write_row_state(indexed.batch.rows, step.row_updates)
        return step

    def init_row_state(self, rows: LabelledRows) -> None:
        """Initialize the strategy's row state on the labelled training rows."""
        self._store.row_state = self._strategy.init_row_state(rows)

    def close_epoch(self) -> None:
        """Let the strategy update its row state at the end of an epoch."""
        if self._store.row_state:
            self._store.row_state = self._strategy.on_epoch_end(self._store.row_state)


def train_step(
    store: Store, strategy: Strategy, indexed: IndexedBatch, hardest_of: int = 1
) -> Step:
    """Gather, propose, and update if the proposal is finite; return the result."""
    context = store.gather_indexed(indexed)
    if hardest_of > 1:
        context = context._replace(
            batch=hardened(context.score, context.params, context.batch, hardest_of)
        )
    proposal = strategy.propose(context.score, context.params, context.batch)
    is_finite = store.all_ranks_finite(proposal_is_finite(proposal))
    if not at_hand(is_finite):
        store.update(context, proposal, is_finite=is_finite)
    elif is_finite:
        store.update(context, proposal)
    return Step(proposal.log, is_finite, proposal.state, proposal.row_updates)


def hardened(score: Score, params: Params, batch: Batch, hardest_of: int) -> Batch:
    """Return the batch with only the highest-scored unlabelled pair of each candidate group.

    Zhang et al., Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling,
    SIGIR 2013 (https://doi.org/10.1145/2484028.2484126), Section 4. The rows of all candidates
    count as touched by the batch.

    Args:
        score: `(params, pairs) -> logits`.
        params: The gathered parameters.
        batch: Its unlabelled pairs are consecutive groups of `hardest_of` candidates.
        hardest_of: Candidates per group, at least 1.
    """
    with torch.no_grad():
        logits = score(params, batch.unlabelled).detach().view(-1, hardest_of)
    best = logits.argmax(dim=1) + hardest_of * torch.arange(len(logits), device=logits.device)

    def kept(pairs: Pairs) -> Pairs:
        return Pairs(pairs.users[best], pairs.items[best])

    origin = None if batch.origin is None else kept(batch.origin)
    return batch._replace(unlabelled=kept(batch.unlabelled), origin=origin)


def proposal_is_finite(proposal: Proposal) -> Tensor:
    """Return whether the loss and the gradients (or new parameters) are finite.

    Sums are tested, which any NaN or infinity makes non-finite; finite values overflow a sum only
    if far beyond 1e30.
    """
    tensors = (proposal.log["loss"], *(proposal.gradients or proposal.params).values())
    return torch.stack([tensor.detach().sum() for tensor in tensors]).sum().isfinite()


@cache
def compiled_train_step(
    backbone: type, strategy: type, shapes: tuple[torch.Size, ...]
) -> TrainStep:
    """Compile `train_step` for a backbone class, a strategy class and parameter shapes.

    Shapes are compiled in, so each dataset has separate variants and a separate limit.
    """
    # The last two options are missing from the declared signature.
    return torch.compile(  # pyright: ignore[reportCallIssue]
        train_step,
        fullgraph=True,
        dynamic=True,
        isolate_recompiles=True,
        recompile_limit=RECOMPILATIONS,
    )


def has_compiler(device: str) -> bool:
    """Return whether `torch.compile` can work: needs a C++ compiler (CPU) or Triton."""
    if device == "cpu":
        return shutil.which(os.environ.get("CXX", "g++")) is not None
    return find_spec("triton") is not None
