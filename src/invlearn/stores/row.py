"""The row store: a step costs what its batch costs, never what the catalogue costs."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn

from invlearn.backbones.backbone import Key
from invlearn.config import OptimizerConfig
from invlearn.pairs import Batch, Pairs, Proposal, Weights
from invlearn.stores.memory import Memory
from invlearn.stores.optimizers import Moments, update_rule
from invlearn.stores.store import Play, Store, distinct, scorer


@final
class RowStore(Store):
    """Gathers the rows of a batch into compact tables and writes them back after the step.

    The optimizer is row-wise: rows that a batch does not touch, and their moments, stay as they
    are. Weights that belong to no table are in play as a whole. Frozen weights (without
    `requires_grad`) stay as they are.
    """

    def __init__(
        self, module: nn.Module, tables: Mapping[str, Key], config: OptimizerConfig, *, seed: int
    ) -> None:
        """Keep the weights of `module`, in place.

        Args:
            module: A backbone in training mode.
            tables: Key by which each table is looked up, by parameter name.
            config: Update rule; its rate comes with each batch.
            seed: Of dropout masks.
        """
        self._tables, self._l2 = dict(tables), config.l2
        self._score_at = scorer(module, seed)
        self._weights = {n: w.detach() for n, w in module.named_parameters() if w.requires_grad}
        everything = dict(module.named_parameters()) | dict(module.named_buffers())
        self._frozen = {n: everything[n].detach() for n in tables if n not in self._weights}
        n_moments, self._rule = update_rule(config)
        self._moments: dict[str, Moments] = {
            name: tuple(torch.zeros_like(weight) for _ in range(n_moments))
            for name, weight in self._weights.items()
        }
        self._memory = Memory(self._weights)

    def play(self, batch: Batch) -> Play:
        """Gather the rows that `batch` touches."""
        rows, batch = distinct(batch)

        def gathered(name: str, weight: Tensor) -> Tensor:
            key = self._tables.get(name)
            return weight if key is None else weight.index_select(0, rows[key])

        point = {name: gathered(name, weight) for name, weight in self._weights.items()}
        frozen = {name: gathered(name, weight) for name, weight in self._frozen.items()}
        score, batch = self._score_at(batch.step), self._memory.shown_in(batch)

        def score_rows(weights: Weights, pairs: Pairs) -> Tensor:
            return score({**frozen, **weights}, pairs)

        return Play(score_rows if frozen else score, point, batch, rows)

    def commit(self, play: Play, move: Proposal) -> None:
        """Update the gathered rows and scatter them back."""
        self._memory.keep(move.memory)
        if not move.slope:
            self._write(play, move.point)
            return
        step, rate = play.batch.step + 1, play.batch.rate
        for name, weight in self._weights.items():
            point, slope = move.point[name], move.slope[name]
            if name in self._tables:
                rows = play.rows[self._tables[name]]
                moments = tuple(m.index_select(0, rows) for m in self._moments[name])
                update = self._rule(point, slope + self._l2 * point, moments, step, rate)
                weight.index_copy_(0, rows, update.weight)
                for kept, new in zip(self._moments[name], update.moments, strict=True):
                    kept.index_copy_(0, rows, new)
            else:
                update = self._rule(point, slope, self._moments[name], step, rate)
                weight.copy_(update.weight)
                for kept, new in zip(self._moments[name], update.moments, strict=True):
                    kept.copy_(new)

    def _write(self, play: Play, point: Weights) -> None:
        """Scatter the rows of a point back as they are."""
        for name, weight in self._weights.items():
            if name in self._tables:
                weight.index_copy_(0, play.rows[self._tables[name]], point[name])
            else:
                weight.copy_(point[name])

    def state(self) -> dict[str, Tensor]:
        """Moments by `parameter:number`, and the strategy's memory."""
        return self._memory.state() | self._named_moments()

    def _named_moments(self) -> dict[str, Tensor]:
        return {
            f"{name}:{number}": moment
            for name, moments in self._moments.items()
            for number, moment in enumerate(moments)
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy moments back, and keep the memory."""
        for name, moment in self._named_moments().items():
            moment.copy_(state[name])
        self._memory.load_state(state)
