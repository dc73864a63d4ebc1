"""One step of training: show the gathered parameters, let the strategy propose, carry it out.

Compiled (`torch.compile`), all tensor arithmetic of a step becomes one graph: losses, gradients,
trials, choice and the optimizer's update are fused, and only the rows of the batch are touched,
as without. What is compiled serves every later training of the same backbone, strategy and shapes
of weights in the process, whatever their settings.
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
"""Steps from which compiling on a CPU mostly pays, with batches of 1,024: it takes 15 to 70
seconds, and saves half a millisecond to several in a step (`benchmarks/step.py`)."""
RECOMPILATIONS = 16
"""Variants of one step that are compiled at most: with and without unlabelled pairs, judges."""


class Step(NamedTuple):
    """What came of a step."""

    log: Mapping[str, Tensor]
    """What the strategy wants recorded."""
    is_finite: Tensor
    """Whether the loss and all that was proposed is finite, a boolean scalar on the device; where
    it is not, no weight and no moment was changed."""
    state: Params
    """What the strategy wants to see again."""
    row_updates: Params
    """What the strategy notes of the labelled rows of the batch."""


TrainStep = Callable[[Store, Strategy, IndexedBatch, int], Step]


class Stepper:
    """Takes the steps of one training."""

    def __init__(
        self,
        store: Store,
        strategy: Strategy,
        *,
        hardest_of: int = 1,
        compiled_for: type[nn.Module] | None = None,
    ) -> None:
        """Get ready.

        Args:
            store: Keeper of the weights.
            strategy: What proposes.
            hardest_of: Unlabelled pairs in a batch among which one is kept, the hardest.
            compiled_for: Compile the arithmetic, for this kind of backbone; a row store only.
        """
        self._store, self._strategy, self._hardest_of = store, strategy, hardest_of
        self._train_step: TrainStep = train_step
        self._failures: tuple[type[Exception], ...] = ()
        if compiled_for and isinstance(store, RowStore):
            tensors = [*store.tensors()]
            shapes = tuple(tensor.shape for tensor in tensors)
            self._train_step = compiled_train_step(compiled_for, type(strategy), shapes)
            self._failures = failures()
            for tensor in tensors:
                torch._dynamo.mark_static(tensor)  # pyright: ignore[reportPrivateUsage]

    def __call__(self, batch: Batch) -> Step:
        """Take the step of a batch."""
        indexed = self._store.index(batch)
        try:
            step = self._train_step(self._store, self._strategy, indexed, self._hardest_of)
        except self._failures as error:
            reason = " ".join(str(error).split("\n")[:2]).strip()
            warn(
                f"compiling the step failed ({type(error).__name__}: {reason}); going on without, "
                "pass --compile off to leave it out",
                InvlearnWarning,
                stacklevel=2,
            )
            self._train_step, self._failures = train_step, ()
            step = train_step(self._store, self._strategy, indexed, self._hardest_of)
        self._store.keep_state(step.state)
        self._store.write_row_state(indexed.batch.rows, step.row_updates)
        return step

    def init_row_state(self, rows: LabelledRows) -> None:
        """Let the strategy open its row state on the labelled rows of training."""
        self._store.row_state = self._strategy.init_row_state(rows)

    def close_epoch(self) -> None:
        """Let the strategy balance its row state."""
        if self._store.row_state:
            self._store.row_state = self._strategy.on_epoch_end(self._store.row_state)


def train_step(
    store: Store, strategy: Strategy, indexed: IndexedBatch, hardest_of: int = 1
) -> Step:
    """Gather, let the strategy propose, and update if the proposal is finite."""
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
    """The batch with the unlabelled pairs alone that the model likes best among their candidates.

    Zhang et al., Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling,
    SIGIR 2013 (https://doi.org/10.1145/2484028.2484126), Section 4. To the store the rows of all
    candidates count as touched.

    Args:
        score: `(weights, pairs) -> logits`.
        params: The gathered parameters.
        batch: Each `hardest_of` unlabelled pairs in turn are the candidates of one.
        hardest_of: At least 1.
    """
    with torch.no_grad():
        logits = score(params, batch.unlabelled).detach().view(-1, hardest_of)
    best = logits.argmax(dim=1) + hardest_of * torch.arange(len(logits), device=logits.device)

    def kept(pairs: Pairs) -> Pairs:
        return Pairs(pairs.users[best], pairs.items[best])

    origin = None if batch.origin is None else kept(batch.origin)
    return batch._replace(unlabelled=kept(batch.unlabelled), origin=origin)


def proposal_is_finite(proposal: Proposal) -> Tensor:
    """Whether the loss and the gradient (or the new point) hold no NaN and nothing infinite.

    Sums are looked at, which every such value spoils; finite values whose sum overflows would
    have to be far past 1e30.
    """
    tensors = (proposal.log["loss"], *(proposal.gradients or proposal.params).values())
    return torch.stack([tensor.detach().sum() for tensor in tensors]).sum().isfinite()


@cache
def compiled_train_step(
    backbone: type, strategy: type, shapes: tuple[torch.Size, ...]
) -> TrainStep:
    """Make the compiled form of `turn` for a kind of backbone, of strategy, and shapes of weights.

    Shapes are compiled in, so each dataset has variants of its own, and a limit of its own to them.
    """
    # The last two options are missing from the declared signature.
    return torch.compile(  # pyright: ignore[reportCallIssue]
        train_step,
        fullgraph=True,
        dynamic=True,
        isolate_recompiles=True,
        recompile_limit=RECOMPILATIONS,
    )


def failures() -> tuple[type[Exception], ...]:
    """Exceptions by which a compiler says that it failed; loads the compiler."""
    from torch._dynamo.exc import FailOnRecompileLimitHit

    return (RuntimeError, FailOnRecompileLimitHit)


def has_compiler(device: str) -> bool:
    """Whether there is what `torch.compile` needs: for a CPU a C++ compiler, else Triton."""
    if device == "cpu":
        return shutil.which(os.environ.get("CXX", "g++")) is not None
    return find_spec("triton") is not None
