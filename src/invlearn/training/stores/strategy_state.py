"""Strategy state in a store: from step to step, and per labelled row."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from invlearn.data.types import NO_TENSORS, Batch, Params

STEP_STATE, ROW_STATE = ":state:", ":row_state:"
"""Prefixes of the names in a store's state. No parameter has an empty name, so `parameter:number`
never begins with either."""


@final
class StrategyState:
    """State that a strategy passes from step to step, and state of labelled rows.

    Both are saved in checkpoints with the moments.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Start without state; `weights` are updated in place by the store."""
        self._weights, self._tensors = weights, NO_TENSORS
        self.row_state: Params = NO_TENSORS

    def set_row_state(self, row_state: Mapping[str, Tensor]) -> None:
        """Replace the row state, and move it to the device of the weights."""
        self.row_state = {name: tensor.to(self._device()) for name, tensor in row_state.items()}

    def added_to(self, batch: Batch) -> Batch:
        """Return the batch with the state."""
        if not self._tensors and not self.row_state:
            return batch
        return batch._replace(state=self._tensors, row_state=self.row_state)

    def write_row_state(self, rows: Tensor | None, row_updates: Params) -> None:
        """Write values into rows of the row state."""
        for name, values in row_updates.items():
            assert rows is not None, (
                "a strategy with row updates must ask for row state in its feed"
            )
            self.row_state[name].index_copy_(0, rows, values.to(self.row_state[name]))

    def keep(self, state: Params) -> None:
        """Replace the state that is passed to the next step.

        Tensors that share storage with a weight are copied, since weights are updated in place.
        """
        if not state:
            self._tensors = NO_TENSORS
            return
        places = {weight.untyped_storage().data_ptr() for weight in self._weights.values()}
        self._tensors = {
            name: tensor.clone() if tensor.untyped_storage().data_ptr() in places else tensor
            for name, tensor in state.items()
        }

    def state(self) -> dict[str, Tensor]:
        """Return step state by `:state:name`, row state by `:row_state:name`; not copied."""
        step_state = {STEP_STATE + name: tensor for name, tensor in self._tensors.items()}
        return step_state | {ROW_STATE + name: tensor for name, tensor in self.row_state.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state on the device of the weights."""
        device = self._device()
        self._tensors, self.row_state = (
            {
                name.removeprefix(mark): tensor.to(device, copy=True)
                for name, tensor in state.items()
                if name.startswith(mark)
            }
            for mark in (STEP_STATE, ROW_STATE)
        )

    def _device(self) -> torch.device:
        return next((weight.device for weight in self._weights.values()), torch.device("cpu"))
