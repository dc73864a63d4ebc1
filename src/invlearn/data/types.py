"""The small value types that pass between packages: pairs, batch, proposal, feed.

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
"""Tensors by parameter name: parameters, or gradients."""

NO_TENSORS: Params = {}
"""No tensors; never written to."""


class Pairs(NamedTuple):
    """Pairs (user, item) as two columns."""

    users: Tensor
    """Dense user ids, int64 of shape `(pairs,)`."""
    items: Tensor
    """Dense item ids, int64 of shape `(pairs,)`."""


class LabelledRows(NamedTuple):
    """The labelled training rows, in the order of their row numbers."""

    pairs: Pairs
    """Users and items; each pair occurs once."""
    labels: Tensor
    """1.0 or 0.0, shape `(rows,)`."""


Score = Callable[[Params, Pairs], Tensor]
"""Logits of shape `(pairs,)` of the backbone with the given parameters; no side effects."""


class Batch(NamedTuple):
    """What a strategy gets in one step."""

    labelled: Pairs
    """Pairs with a label."""
    labels: Tensor
    """1.0 or 0.0 for each labelled pair, shape `(pairs,)`."""
    unlabelled: Pairs
    """Pairs without a label; empty unless the strategy's feed asks for them."""
    is_meta_batch: bool
    """Whether the labelled pairs are judges, which are held out of the other batches."""
    step: int
    """Steps taken before this one, over all epochs."""
    lr: float
    """Learning rate of this step."""
    state: Params = NO_TENSORS
    """`state` of the strategy's last proposal; empty in the first step."""
    rows: Tensor | None = None
    """Row numbers of the labelled pairs among the labelled training rows, int64 of shape
    `(pairs,)`; none unless the feed asks for row state."""
    origin: Pairs | None = None
    """The unlabelled pairs with the dataset's ids, before a store renumbers them; none unless the
    feed asks for row state."""
    row_state: Params = NO_TENSORS
    """State of the strategy: one value per labelled training row, or one for all rows."""


class Proposal(NamedTuple):
    """What a strategy proposes for one batch."""

    params: Params
    """Parameters that the optimizer steps from: those that the strategy was given, or others."""
    gradients: Params
    """Gradients at `params`. Empty if the strategy took the step itself; `params` are then
    stored as they are."""
    log: dict[str, Tensor]
    """Scalars and short vectors to record, detached; `loss` is one of them."""
    state: Params = NO_TENSORS
    """Tensors by any name, detached, that the next step gets as `Batch.state`. The store saves
    them in checkpoints. What the next proposal does not repeat is dropped."""
    skip_zero_grad_rows: bool = False
    """Skip rows with zero gradient: no momentum, no decay. Otherwise the optimizer's momentum and
    penalty move every gathered row."""
    row_updates: Params = NO_TENSORS
    """Values of shape `(pairs,)`, detached, to write into the row state of these names, at the
    rows of the labelled pairs."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The pairs that a strategy needs in its batches."""

    unlabelled: bool = False
    """Whether batches have unlabelled pairs."""
    judge_fraction: float = 0.0
    """Fraction of the labelled training rows that are held out as judges. Their batches come last
    in an epoch, and only they have unlabelled pairs."""
    whole_tables: bool = False
    """Whether the strategy needs whole tables, so that only the dense store can be used."""
    n_auxiliary: int = 0
    """Number of auxiliary models: copies of the backbone with parameters of their own that train
    with it (see `invlearn.backbones.auxiliary`)."""
    row_state: bool = False
    """Whether the strategy keeps state of labelled rows; batches then have `rows`."""
