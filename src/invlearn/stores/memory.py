"""A strategy's memory: the tensors that a proposal wants to be seen again at the next step."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from invlearn.pairs import NOTHING, Batch, Weights

MARK = ":"
"""Before the names of memories in a store's state; no name of a parameter is empty, so that
`parameter:entry` never begins with it."""


@final
class Memory:
    """What a strategy remembers between two steps; its store keeps it beside the moments."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Remember nothing yet, beside the weights that the store keeps."""
        self._weights, self._tensors = weights, NOTHING

    def shown_in(self, batch: Batch) -> Batch:
        """The batch with what is remembered."""
        return batch._replace(memory=self._tensors) if self._tensors else batch

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
        """What is remembered by `:name`."""
        return {MARK + name: tensor for name, tensor in self._tensors.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Remember what stands in a store's state, on the device of the weights."""
        device = next((w.device for w in self._weights.values()), torch.device("cpu"))
        self._tensors = {
            name.removeprefix(MARK): tensor.to(device, copy=True)
            for name, tensor in state.items()
            if name.startswith(MARK)
        }
