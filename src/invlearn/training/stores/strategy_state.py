"""What a store keeps for a strategy: its memory of the last step, and its ledger of rows."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from invlearn.data.types import NOTHING, Batch, Weights

MARK, LEDGER = ":memory:", ":ledger:"
"""Before the names of memories and of a ledger in a store's state; no name of a parameter is empty,
so that `parameter:entry` never begins with either."""


@final
class Memory:
    """What a strategy remembers between two steps, and its ledger, which stays until it is changed.

    A store keeps both beside the moments.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Remember nothing yet, beside the weights that the store keeps."""
        self._weights, self._tensors = weights, NOTHING
        self.ledger: Weights = NOTHING

    def open(self, ledger: Mapping[str, Tensor]) -> None:
        """Keep a ledger, in the place of any before, on the device of the weights."""
        self.ledger = {name: tensor.to(self._device()) for name, tensor in ledger.items()}

    def shown_in(self, batch: Batch) -> Batch:
        """The batch with what is remembered."""
        if not self._tensors and not self.ledger:
            return batch
        return batch._replace(memory=self._tensors, ledger=self.ledger)

    def note(self, rows: Tensor | None, notes: Weights) -> None:
        """Write values into rows of the ledger."""
        for name, values in notes.items():
            assert rows is not None, "a strategy that notes must say that it keeps a ledger"
            self.ledger[name].index_copy_(0, rows, values.to(self.ledger[name]))

    def keep(self, memory: Weights) -> None:
        """Remember `memory` and nothing else.

        What shares storage with a weight is copied: the store changes weights in place, and must
        not change what is remembered of them.
        """
        if not memory:
            self._tensors = NOTHING
            return
        places = {weight.untyped_storage().data_ptr() for weight in self._weights.values()}
        self._tensors = {
            name: tensor.clone() if tensor.untyped_storage().data_ptr() in places else tensor
            for name, tensor in memory.items()
        }

    def state(self) -> dict[str, Tensor]:
        """What is remembered by `:memory:name`, and the ledger by `:ledger:name`."""
        remembered = {MARK + name: tensor for name, tensor in self._tensors.items()}
        return remembered | {LEDGER + name: tensor for name, tensor in self.ledger.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Remember what stands in a store's state, on the device of the weights."""
        device = self._device()
        self._tensors, self.ledger = (
            {
                name.removeprefix(mark): tensor.to(device, copy=True)
                for name, tensor in state.items()
                if name.startswith(mark)
            }
            for mark in (MARK, LEDGER)
        )

    def _device(self) -> torch.device:
        return next((weight.device for weight in self._weights.values()), torch.device("cpu"))
