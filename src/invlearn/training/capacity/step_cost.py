"""What a strategy asks for in a step, and the messages of that.

How often it asks for logits and slopes is counted on a few pairs, by messages that are never sent.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from invlearn.backbones.auxiliary import attach_auxiliary_models, tables_with_auxiliary
from invlearn.backbones.backbone import FitsExposures, Key, ReadsFeatures
from invlearn.config.schema import RunConfig
from invlearn.data.exposures import Exposures
from invlearn.data.features import FeatureCard, Features, SideCard, SideFeatures
from invlearn.data.types import Batch, LabelledRows, Pairs, Params
from invlearn.runtime.distributed import Group
from invlearn.runtime.live_tensors import LiveTensors
from invlearn.strategies import Strategy
from invlearn.training.build import make_backbone
from invlearn.training.capacity.param_count import FLOAT, LONG, TOY, Numbers
from invlearn.training.stores import DenseStore
from invlearn.training.stores.data_parallel import shared


class QueriedPairs(NamedTuple):
    """What a strategy asks for in one step."""

    by_labelled: float
    """Logits put together for each labelled pair."""
    by_unlabelled: float
    """The same for each unlabelled pair."""
    gradients: int
    """Slopes that are summed over processes."""
    moves: bool
    """Whether the step may start from another point than the strategy was shown."""
    saved: float
    """Bytes that are kept for the way back, at most, for each pair of the batch."""


def traffic(
    asked: QueriedPairs,
    numbers: Numbers,
    n_pairs: tuple[float, float],
    rows: Mapping[Key, float],
    n_processes: int,
    *,
    sharded: bool,
    moved: bool | None = None,
) -> float:
    """Bytes that one process sends in a step.

    A sum of `x` bytes over `N` processes sends `2 x (N - 1) / N` on a ring; of rows that lie on
    their owners, `(N - 1) / N` lie elsewhere.

    * Logits: a sum of each.
    * Replicated: a sum of each slope, of the rows in play and of what is in no table.
    * Sharded: ids to the owners, rows from them; each slope there and back; at the end slopes, and
      the point where the step starts if it moved, to the owners.

    Args:
        asked: What the strategy asks for.
        numbers: Of the backbone.
        n_pairs: Labelled and unlabelled pairs of the batch.
        rows: Distinct rows by key: of the batch, or, sharded, of one process' share of it.
        n_processes: How many.
        sharded: Whether tables are cut.
        moved: Whether the step starts elsewhere; by default if it may.
    """
    away = (n_processes - 1) / n_processes
    logits = asked.by_labelled * n_pairs[0] + asked.by_unlabelled * n_pairs[1]
    in_rows = numbers.of_rows(rows)
    if not sharded:
        return 2 * away * FLOAT * (logits + asked.gradients * (in_rows + numbers.whole))
    frozen = sum(n * numbers.frozen[key] for key, n in rows.items())
    ids = LONG * (sum(rows.values()) + 2 * n_processes)
    moved = asked.moves if moved is None else moved
    carried = FLOAT * (frozen + in_rows * (1 + 2 * asked.gradients + 1 + moved))
    sums = 2 * FLOAT * (logits + asked.gradients * numbers.whole + 1)
    return away * (ids + carried + sums)


def asked_by(
    config: RunConfig, features: FeatureCard, strategy: Strategy, *, is_meta_batch: bool
) -> QueriedPairs:
    """Count what a strategy asks for.

    Args:
        config: Settings, complete; its backbone is made small.
        features: Which features there are.
        strategy: The strategy.
        is_meta_batch: In a step with judges, or without, if there are judges.
    """
    wants = strategy.feed.unlabelled and (is_meta_batch or strategy.feed.judge_fraction == 0)
    once = partial(_tally, config, features, strategy, is_meta_batch=is_meta_batch)
    few = once(TOY, TOY if wants else 0)
    more = once(TOY, 2 * TOY) if wants else few
    by_unlabelled = (more.logits - few.logits) / TOY
    by_labelled = (few.logits - by_unlabelled * TOY) / TOY if wants else few.logits / TOY
    n_pairs = 2 * TOY if wants else TOY
    return QueriedPairs(by_labelled, by_unlabelled, few.gradients, few.moves, few.saved / n_pairs)


def scoring_bytes(config: RunConfig, features: FeatureCard, strategy: Strategy) -> float:
    """Bytes that a backbone works with for each pair that it scores.

    Args:
        config: Settings, complete; its backbone is made small.
        features: Which features there are.
        strategy: The strategy.
    """
    module = _small(config, features, strategy).eval()
    few, more = (_worked_with(module, n) for n in (TOY, 2 * TOY))
    return (more - few) / TOY + 2 * LONG


def _worked_with(module: nn.Module, n_pairs: int) -> int:
    """Bytes of what lies side by side at the worst instant while so many pairs are scored."""
    ids = torch.arange(n_pairs)
    with torch.no_grad(), LiveTensors([ids, *module.parameters(), *module.buffers()]) as live:
        module(ids, ids)
    return live.most


class _Tally(NamedTuple):
    logits: int
    gradients: int
    moves: bool
    saved: int


def _tally(
    config: RunConfig,
    features: FeatureCard,
    strategy: Strategy,
    n_labelled: int,
    n_unlabelled: int,
    *,
    is_meta_batch: bool,
) -> _Tally:
    """Let a strategy propose for a few pairs, and write down what it asks for."""
    module = _small(config, features, strategy)
    tables = tables_with_auxiliary(getattr(module, "tables", {}), strategy.feed.n_auxiliary)
    store = DenseStore(module, tables, config.optimizer, seed=0)
    batch, rows = _batch(strategy, n_labelled, n_unlabelled, is_meta_batch=is_meta_batch)
    store.row_state = dict(strategy.init_row_state(rows))
    context, group, n_slopes, saved = store.gather(batch), _Unsent(1, 2), [0], [0]

    def add(gradients: Params) -> Params:
        n_slopes[0] += 1
        return gradients

    def everyone(pairs: Pairs) -> Tensor:
        return torch.ones_like(pairs.users, dtype=torch.bool)

    own = {weight.untyped_storage().data_ptr() for weight in context.params.values()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            saved[0] += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        proposal = strategy.propose(
            shared(context.score, group, everyone, add), context.params, context.batch
        )
    n_logits = group.n_bytes // FLOAT
    moves = proposal.params is not context.params or "choice" in proposal.log
    return _Tally(n_logits, n_slopes[0], moves, saved[0])


class _Unsent(Group):
    """A group that adds up the bytes that would be summed, and sends nothing."""

    n_bytes = 0

    def all_reduce(self, values: Tensor) -> Tensor:
        self.n_bytes += values.nbytes
        return values


def _small(config: RunConfig, features: FeatureCard, strategy: Strategy) -> nn.Module:
    """The backbone for a few users and items, with what it wants to read."""
    n = 2 * TOY
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make_backbone(config, n, n, features)
        ids = torch.arange(n).numpy()
        if isinstance(module, FitsExposures):
            module.fit_exposures(Exposures(ids, ids, (ids % 3 - 1).astype(np.int8)))
        if isinstance(module, ReadsFeatures):
            sides = (_no_values(card, n) for card in (features.user, features.item))
            module.read_features(Features(*sides))
        attach_auxiliary_models(module, strategy.feed.n_auxiliary)
    return module.train()


def _no_values(card: SideCard, n: int) -> SideFeatures:
    return SideFeatures(
        card,
        np.zeros((n, len(card.categorical)), np.int32),
        np.zeros((n, len(card.numeric)), np.float32),
    )


def _batch(
    strategy: Strategy, n_labelled: int, n_unlabelled: int, *, is_meta_batch: bool
) -> tuple[Batch, LabelledRows]:
    """A few pairs, no two alike, and the labelled rows that there are."""
    labelled = Pairs(torch.arange(n_labelled), torch.arange(n_labelled))
    unlabelled = Pairs(torch.arange(n_unlabelled), torch.arange(n_unlabelled).flip(0))
    labels = (labelled.users % 2).float()
    batch = Batch(labelled, labels, unlabelled, is_meta_batch=is_meta_batch, step=0, lr=1e-3)
    if strategy.feed.row_state:
        batch = batch._replace(rows=torch.arange(n_labelled), origin=unlabelled)
    return batch, LabelledRows(labelled, labels)
