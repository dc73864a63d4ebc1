"""One step of training: show the weights in play, let the strategy propose, carry it out.

Compiled (`torch.compile`), all tensor arithmetic of a step becomes one graph: losses, slopes,
trials, choice and the optimizer's update are fused, and only the rows of the batch are touched,
as without. What is compiled serves every later training of the same backbone, strategy and store
in the process, whatever their settings.
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

from invlearn.errors import InvlearnWarning
from invlearn.pairs import Batch, Proposal, Weights
from invlearn.stores import RowStore, Store
from invlearn.stores.store import Located
from invlearn.strategies import Strategy
from invlearn.strategies.slopes import at_hand

PAYING_STEPS = 30_000
"""Steps from which compiling on a CPU is sure to pay: it takes some 5 to 40 seconds, and saves
half a millisecond to several in a step (`benchmarks/step.py`)."""
RECOMPILATIONS = 16
"""Variants of one step that are compiled at most: with and without unlabelled pairs, judges."""


class Step(NamedTuple):
    """What came of a step."""

    log: Mapping[str, Tensor]
    """What the strategy wants recorded."""
    sound: Tensor
    """Whether the loss and all that was proposed is finite, a boolean scalar on the device; where
    it is not, no weight and no moment was changed."""
    memory: Weights
    """What the strategy wants to see again."""


Turn = Callable[[Store, Strategy, Located], Step]


class Stepper:
    """Takes the steps of one training."""

    def __init__(
        self, store: Store, strategy: Strategy, *, compiled_for: type[nn.Module] | None = None
    ) -> None:
        """Get ready.

        Args:
            store: Keeper of the weights.
            strategy: What proposes.
            compiled_for: Compile the arithmetic, for this kind of backbone; a row store only.
        """
        self._store, self._strategy = store, strategy
        self._turn: Turn = turn
        self._failures: tuple[type[Exception], ...] = ()
        if compiled_for and isinstance(store, RowStore):
            self._turn, self._failures = compiled_turn(compiled_for, type(strategy)), failures()
            for tensor in store.tensors():
                torch._dynamo.mark_static(tensor)  # pyright: ignore[reportPrivateUsage]

    def __call__(self, batch: Batch) -> Step:
        """Take the step of a batch."""
        located = self._store.locate(batch)
        try:
            step = self._turn(self._store, self._strategy, located)
        except self._failures as error:
            reason = " ".join(str(error).split("\n")[:2]).strip()
            warn(
                f"compiling the step failed ({type(error).__name__}: {reason}); going on without, "
                "pass --compile off to leave it out",
                InvlearnWarning,
                stacklevel=2,
            )
            self._turn, self._failures = turn, ()
            step = turn(self._store, self._strategy, located)
        self._store.remember(step.memory)
        return step


def turn(store: Store, strategy: Strategy, located: Located) -> Step:
    """Let a strategy propose, and carry it out if it is sound."""
    play = store.show(located)
    move = strategy.propose(play.score, play.point, play.batch)
    sound = is_finite(move)
    if not at_hand(sound):
        store.apply(play, move, sound=sound)
    elif sound:
        store.apply(play, move)
    return Step(move.log, sound, move.memory)


def is_finite(move: Proposal) -> Tensor:
    """Whether the loss and the slope (or the new point) hold no NaN and nothing infinite.

    Sums are looked at, which every such value spoils; finite values whose sum overflows would
    have to be far past 1e30.
    """
    tensors = (move.log["loss"], *(move.slope or move.point).values())
    return torch.stack([tensor.detach().sum() for tensor in tensors]).sum().isfinite()


@cache
def compiled_turn(backbone: type, strategy: type) -> Turn:
    """Make the compiled form of `turn` for a kind of backbone and a kind of strategy."""
    # The last two options are missing from the declared signature.
    return torch.compile(  # pyright: ignore[reportCallIssue]
        turn,
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
