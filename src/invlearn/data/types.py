"""The small value types that pass between packages.

Shapes: `pairs` is the number of (user, item) pairs in a batch. Ids are dense integers from 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

IntegerIds = npt.NDArray[np.integer[Any]]
"""Dense ids of users or items, of any integer type."""

Params = dict[str, Tensor]
"""Tensors by parameter name: a point, or a slope at that point."""

NO_TENSORS: Params = {}
"""No tensors; never written to."""


class Pairs(NamedTuple):
    """Users and items side by side."""

    users: Tensor
    """Dense user ids, int64 of shape `(pairs,)`."""
    items: Tensor
    """Dense item ids, int64 of shape `(pairs,)`."""


class LabelledRows(NamedTuple):
    """The labelled rows of training, in the order of their numbers."""

    pairs: Pairs
    """Users and items, each pair once."""
    labels: Tensor
    """1.0 or 0.0, shape `(rows,)`."""


Score = Callable[[Params, Pairs], Tensor]
"""Logits of shape `(pairs,)` that the backbone gives pairs under some weights; no side effects."""


class Batch(NamedTuple):
    """What a strategy sees at one step."""

    labelled: Pairs
    """Pairs with clear feedback."""
    labels: Tensor
    """1.0 or 0.0 for each labelled pair, shape `(pairs,)`."""
    unlabelled: Pairs
    """Pairs without clear feedback; none unless the strategy's feed asks for them."""
    is_meta_batch: bool
    """Whether the labelled pairs are judges: held out of training-train."""
    step: int
    """Steps taken before this one, over all epochs."""
    lr: float
    """Learning rate in force at this step."""
    state: Params = NO_TENSORS
    """What the strategy's last proposal wanted to be seen again; nothing before the first."""
    rows: Tensor | None = None
    """Numbers of the labelled pairs among the labelled rows of training, int64 of shape
    `(pairs,)`; none unless the strategy keeps a ledger."""
    origin: Pairs | None = None
    """The unlabelled pairs under the ids of the dataset, whatever a store numbers them by; none
    unless the strategy keeps a ledger."""
    row_state: Params = NO_TENSORS
    """The strategy's ledger: what it keeps of each labelled row, and of the rows as a whole."""


class Proposal(NamedTuple):
    """What a strategy wants done with one batch."""

    params: Params
    """Where the optimizer steps from; the weights it was shown, unless the strategy moved them."""
    gradients: Params
    """Gradient at `point`; empty where the strategy took its step itself, and `point` is to be
    kept as it is."""
    log: dict[str, Tensor]
    """Scalars and short vectors to record, detached; `loss` among them."""
    state: Params = NO_TENSORS
    """Tensors by any name, detached, to be handed back as `Batch.memory` at the next step; the
    store keeps them, in its checkpoints too. What is not proposed again is forgotten."""
    skip_zero_grad_rows: bool = False
    """Whether rows of tables whose slope is zero rest. Otherwise the optimizer's momentum and its
    penalty move every row in play."""
    row_updates: Params = NO_TENSORS
    """Values of shape `(pairs,)`, detached, to be noted in the ledger under these names, at the
    rows of the labelled pairs."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The pairs that a strategy's batches must hold."""

    unlabelled: bool = False
    """Whether unlabelled pairs stand beside the labelled ones."""
    judge_fraction: float = 0.0
    """Part of the labelled training rows held out as judges; they come last in an epoch, and
    unlabelled pairs then stand beside them only."""
    whole_tables: bool = False
    """Whether the strategy works on whole tables, so that the dense store alone serves it."""
    n_auxiliary: int = 0
    """Copies of the backbone with weights of their own that train beside it; `peers.as_auxiliary`
    finds them among the weights in play."""
    row_state: bool = False
    """Whether the strategy keeps a ledger of the labelled rows; batches then say which they
    hold."""
