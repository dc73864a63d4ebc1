"""How often a strategy calls the backbone in a step, and the bytes that this sends."""

from collections.abc import Mapping
from typing import NamedTuple

from invlearn.backbones.backbone import Key
from invlearn.strategies import Strategy
from invlearn.strategies.agreement import CrossModelAgreement
from invlearn.strategies.double_correction import DoubleCorrection
from invlearn.strategies.influence import InverseGradientPerPair
from invlearn.strategies.inverse import InverseGradient
from invlearn.training.capacity.param_count import FLOAT, LONG, ParamCount


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


def traffic(
    calls: Calls,
    params: ParamCount,
    n_pairs: tuple[float, float],
    rows: Mapping[Key, float],
    n_processes: int,
    *,
    is_sharded: bool,
) -> float:
    """Bytes that one process sends in a step.

    An all-reduce of `x` bytes over `N` processes sends `2 x (N - 1) / N` on a ring; of the rows of
    a sharded table, `(N - 1) / N` have another owner.

    * Logits: an all-reduce of each.
    * Replicated: an all-reduce of each gradient, of the gathered rows and of what is in no table.
    * Sharded: ids to the owners, rows from them; each gradient there and back; at the end the
      gradient, and the parameters to step from if they moved, to the owners.

    Args:
        calls: Of the strategy; with `moves`, every step counts as a moved one.
        params: Of the backbone.
        n_pairs: Labelled and unlabelled pairs of the batch.
        rows: Distinct rows by key: of the batch, or, sharded, of one process' share of it.
        n_processes: How many.
        is_sharded: Whether tables are sharded.
    """
    away = (n_processes - 1) / n_processes
    logits = calls.labelled * n_pairs[0] + calls.unlabelled * n_pairs[1]
    in_rows = params.of_rows(rows)
    if not is_sharded:
        return 2 * away * FLOAT * (logits + calls.gradients * (in_rows + params.whole))
    frozen = params.of_rows(rows, frozen=True)
    ids = LONG * (sum(rows.values()) + 2 * n_processes)
    exchanged = FLOAT * (frozen + in_rows * (2 + 2 * calls.gradients + calls.moves))
    sums = 2 * FLOAT * (logits + calls.gradients * params.whole + 1)
    return away * (ids + exchanged + sums)
