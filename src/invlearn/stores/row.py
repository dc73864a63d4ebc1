"""The row store: a step costs what its batch costs, never what the catalogue costs."""

from collections.abc import Iterator, Mapping
from typing import final

import torch
from torch import Tensor, nn

from invlearn.backbones.backbone import Key
from invlearn.config import OptimizerConfig
from invlearn.pairs import Batch, Pairs, Proposal, Weights
from invlearn.stores.huge_pages import on_huge_pages
from invlearn.stores.memory import Memory
from invlearn.stores.optimizers import Moments, Update, update_rule
from invlearn.stores.store import (
    Located,
    Play,
    Store,
    distinct,
    penalties_of,
    scorer,
    sent,
    sent_batch,
    where_sound,
)
from invlearn.strategies.slopes import rows_with_slope


@final
class RowStore(Store):
    """Gathers the rows of a batch into compact tables and writes them back after the step.

    The optimizer is row-wise: rows that a batch does not touch, and their moments, stay as they
    are. Weights that belong to no table are in play as a whole. Frozen weights (without
    `requires_grad`) stay as they are. Big tables move to huge pages, under the same parameters.
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
        self._penalties = penalties_of(module)
        self._score_at = scorer(module, seed)
        for name, weight in module.named_parameters():
            if name in self._tables:
                weight.data = on_huge_pages(weight.data)
        self._weights = {n: w.detach() for n, w in module.named_parameters() if w.requires_grad}
        everything = dict(module.named_parameters()) | dict(module.named_buffers())
        self._frozen = {n: everything[n].detach() for n in tables if n not in self._weights}
        self._device = next((w.device for w in everything.values()), torch.device("cpu"))
        n_moments, self._rule = update_rule(config)
        self._moments: dict[str, Moments] = {
            name: tuple(on_huge_pages(torch.zeros_like(weight)) for _ in range(n_moments))
            for name, weight in self._weights.items()
        }
        self._memory = Memory(self._weights)

    def locate(self, batch: Batch) -> Located:
        """Find the rows that `batch` touches."""
        rows, batch = distinct(batch)
        rows = {key: sent(ids, self._device) for key, ids in rows.items()}
        return Located(sent_batch(self._memory.shown_in(batch), self._device), rows)

    def show(self, located: Located) -> Play:
        """Gather the rows that were located."""
        batch, rows = located

        def gathered(name: str, weight: Tensor) -> Tensor:
            key = self._tables.get(name)
            return weight if key is None else weight.index_select(0, rows[key])

        point = {name: gathered(name, weight) for name, weight in self._weights.items()}
        frozen = {name: gathered(name, weight) for name, weight in self._frozen.items()}
        score = self._score_at(batch.step)

        def score_rows(weights: Weights, pairs: Pairs) -> Tensor:
            return score({**frozen, **weights}, pairs)

        return Play(score_rows if frozen else score, point, batch, rows)

    def apply(self, play: Play, move: Proposal, *, sound: Tensor | None = None) -> None:
        """Update the gathered rows and scatter them back."""
        step, rate = play.batch.step + 1, play.batch.rate
        for name, weight in self._weights.items():
            rows = play.rows[self._tables[name]] if name in self._tables else None
            old, point = play.point[name], move.point[name]
            if not move.slope:
                _write(weight, rows, where_sound(sound, point, old))
                continue
            moments = tuple(_read(moment, rows) for moment in self._moments[name])
            slope = move.slope[name] if rows is None else move.slope[name] + self._l2 * point
            if name in self._penalties:
                slope = slope + self._penalties[name] * point
            update = self._rule(point, slope, moments, step, rate)
            if move.rests and rows is not None:
                update = _rested(update, Update(point, moments), rows_with_slope(move.slope[name]))
            _write(weight, rows, where_sound(sound, update.weight, old))
            for kept, new, before in zip(self._moments[name], update.moments, moments, strict=True):
                _write(kept, rows, where_sound(sound, new, before))

    def tensors(self) -> Iterator[Tensor]:
        """Every weight and moment that steps read or write, not copied; their shapes are fixed."""
        yield from self._weights.values()
        yield from self._frozen.values()
        for moments in self._moments.values():
            yield from moments

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


def _rested(update: Update, before: Update, moving: Tensor) -> Update:
    """An update of the moving rows alone."""
    pairs = zip(update.moments, before.moments, strict=True)
    moments = tuple(torch.where(moving, new, old) for new, old in pairs)
    return Update(torch.where(moving, update.weight, before.weight), moments)


def _read(tensor: Tensor, rows: Tensor | None) -> Tensor:
    """Some rows of a table, or all of a tensor that is none."""
    return tensor if rows is None else tensor.index_select(0, rows)


def _write(tensor: Tensor, rows: Tensor | None, new: Tensor) -> None:
    """Put new values into some rows of a table, or into all of a tensor that is none."""
    if rows is None:
        tensor.copy_(new)
    else:
        tensor.index_copy_(0, rows, new)
