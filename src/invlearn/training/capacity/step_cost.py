"""What one training step costs: activations, gathered rows, and bytes that are sent."""

from collections.abc import Mapping
from typing import NamedTuple

from invlearn.backbones.backbone import Key
from invlearn.config.schema import RunConfig
from invlearn.strategies import Strategy
from invlearn.strategies.agreement import CrossModelAgreement
from invlearn.strategies.double_correction import DoubleCorrection
from invlearn.strategies.influence import InverseGradientPerPair
from invlearn.strategies.inverse import InverseGradient
from invlearn.strategies.released import InverseGradientAsReleased
from invlearn.training.capacity.param_count import FLOAT, LONG, Counts, ParamCount, distinct_rows

PER_PAIR = 12
"""Numbers that a pair takes besides the rows it uses: its ids, its logit, its loss and their
derivatives."""
IDS_PER_PAIR = 12
"""Ids of eight bytes that a pair takes from the sampler to the scatter of its gradients."""
COPIES, COPIES_OF_MOVES = 8, 3
"""Tensors as large as the gathered parameters in a step: these, gradients, moments, the update; and
more of them if the strategy tries other parameters."""


class Calls(NamedTuple):
    """How often a strategy calls the backbone in a step."""

    labelled: int
    """Forward passes over the labelled pairs."""
    unlabelled: int
    """The same over the unlabelled pairs."""
    gradients: int
    """Backward passes; the gradients of each are summed over the processes."""
    moves: bool = False
    """Whether the step may start from other parameters than those that were gathered."""


CALLS: dict[type[Strategy], Calls] = {
    InverseGradient: Calls(3, 1, 2, moves=True),
    InverseGradientAsReleased: Calls(4, 1, 2, moves=True),
    InverseGradientPerPair: Calls(1, 3, 2),
    CrossModelAgreement: Calls(3, 3, 3),
    DoubleCorrection: Calls(2, 2, 1),
}
"""Of strategies that call every model more than once, or not every model; in their steps with
unlabelled pairs."""


def calls_of(strategy: Strategy, *, is_meta_batch: bool) -> Calls:
    """Calls of the backbone in a step of a strategy.

    One that is not built in is taken to call every model once, or, with judges, as `ig` does.

    Args:
        strategy: The strategy.
        is_meta_batch: Whether it is a step with judges.
    """
    feed = strategy.feed
    n_models = 1 + feed.n_auxiliary
    if not feed.unlabelled or (feed.judge_fraction and not is_meta_batch):
        return Calls(n_models, 0, n_models)
    usual = Calls(n_models, n_models, n_models)
    return CALLS.get(type(strategy), CALLS[InverseGradient] if feed.judge_fraction else usual)


def step_bytes(
    config: RunConfig, counts: Counts, params: ParamCount, calls: Calls, n_processes: int
) -> float:
    """Bytes of memory that a step takes on one process, at most.

    Args:
        config: Settings, complete.
        counts: Sizes of the dataset.
        params: Of the backbone.
        calls: Of the strategy.
        n_processes: How many share the batch.
    """
    pairs = pairs_of(config, calls)
    rows = step_rows(config, counts, calls, n_processes)
    gathered = FLOAT * (params.of_rows(rows) + params.whole)
    passes = (calls.labelled * pairs[0] + calls.unlabelled * pairs[1]) / n_processes
    return (
        (COPIES + COPIES_OF_MOVES * calls.moves) * gathered
        + passes * pair_bytes(config, params)
        + max(calls.labelled, calls.unlabelled) * _graph_bytes(config, counts, rows)
        + IDS_PER_PAIR * LONG * sum(pairs)
    )


def pairs_of(config: RunConfig, calls: Calls) -> tuple[int, int]:
    """Labelled and unlabelled pairs of a batch."""
    return config.batch_size, config.batch_size * n_beside(config) * bool(calls.unlabelled)


def n_beside(config: RunConfig) -> int:
    """Unlabelled pairs that are drawn for each labelled one."""
    return config.unlabelled.per_labelled * config.unlabelled.hardest_of


def step_rows(
    config: RunConfig, counts: Counts, calls: Calls, n_processes: int
) -> dict[Key, float]:
    """Distinct users and items that a process gathers for a batch, or for its share of one."""
    is_sharded = config.store == "sharded"
    n_pairs = sum(pairs_of(config, calls)) / (n_processes if is_sharded else 1)
    return distinct_rows(config.store, counts, n_pairs)


def pair_bytes(config: RunConfig, params: ParamCount) -> float:
    """Bytes that a forward pass takes for each pair, at most: the rows that it uses."""
    numbers = params.per_pair + PER_PAIR
    if config.backbone == "svdpp":  # the factors of each item of a history
        numbers += config.model["history"] * (config.model["dim"] + 4)
    return FLOAT * numbers


def _graph_bytes(config: RunConfig, counts: Counts, rows: Mapping[Key, float]) -> float:
    """Bytes that a forward pass takes whatever the number of pairs."""
    if config.backbone == "lightgcn":  # messages of two kinds in each layer, for every node
        n_nodes = counts.users + counts.items
        return FLOAT * n_nodes * config.model["dim"] * (1 + 3 * config.model["layers"])
    if config.backbone == "exposure-hybrid":  # the factors of all that a batch's users were shown
        per_user = counts.exposed / counts.users
        n_users = min(rows["user"], config.batch_size * (1 + n_beside(config)))
        return FLOAT * n_users * per_user * (config.model["dim"] + 16)
    return 0


def traffic(
    calls: Calls,
    params: ParamCount,
    n_pairs: tuple[float, float],
    rows: Mapping[Key, float],
    n_processes: int,
    *,
    is_sharded: bool,
    moved: bool | None = None,
) -> float:
    """Bytes that one process sends in a step.

    An all-reduce of `x` bytes over `N` processes sends `2 x (N - 1) / N` on a ring; of the rows of
    a sharded table, `(N - 1) / N` have another owner.

    * Logits: an all-reduce of each.
    * Replicated: an all-reduce of each gradient, of the gathered rows and of what is in no table.
    * Sharded: ids to the owners, rows from them; each gradient there and back; at the end the
      gradient, and the parameters to step from if they moved, to the owners.

    Args:
        calls: Of the strategy.
        params: Of the backbone.
        n_pairs: Labelled and unlabelled pairs of the batch.
        rows: Distinct rows by key: of the batch, or, sharded, of one process' share of it.
        n_processes: How many.
        is_sharded: Whether tables are sharded.
        moved: Whether the step starts elsewhere; by default if it may.
    """
    away = (n_processes - 1) / n_processes
    logits = calls.labelled * n_pairs[0] + calls.unlabelled * n_pairs[1]
    in_rows = params.of_rows(rows)
    if not is_sharded:
        return 2 * away * FLOAT * (logits + calls.gradients * (in_rows + params.whole))
    frozen = sum(n * params.frozen[key] for key, n in rows.items())
    ids = LONG * (sum(rows.values()) + 2 * n_processes)
    moved = calls.moves if moved is None else moved
    exchanged = FLOAT * (frozen + in_rows * (2 + 2 * calls.gradients + moved))
    sums = 2 * FLOAT * (logits + calls.gradients * params.whole + 1)
    return away * (ids + exchanged + sums)
