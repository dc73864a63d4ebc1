"""Bytes of the tensors that live side by side while something is computed."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@final
class LiveTensors(TorchFunctionMode):
    """Watches what torch's functions return, and when it is let go.

    What a function of torch makes and drops within is not seen, nor are sparse tensors.

    Args:
        known: Tensors whose memory does not count.

    Example:
        >>> import torch
        >>> given = torch.zeros(1000)
        >>> with LiveTensors([given]) as live:
        ...     doubled = 2 * given  # 4,000 bytes
        ...     total = doubled.exp().sum()  # 4,000 more for a while
        >>> live.most
        8004
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.most = 0
        """Bytes at the worst instant."""
        self._now = 0
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known if _is_dense(tensor)}
        self._holders: dict[int, int] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func`, and note what it returns."""
        del types
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else (found,):
            if isinstance(one, Tensor) and _is_dense(one):
                self._note(one)
        return found

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place, n_bytes = storage.data_ptr(), storage.nbytes()
        if place in self._known:
            return
        if place not in self._holders:
            self._holders[place] = 0
            self._now += n_bytes
            self.most = max(self.most, self._now)
        self._holders[place] += 1
        weakref.finalize(tensor, self._let_go, place, n_bytes)

    def _let_go(self, place: int, n_bytes: int) -> None:
        self._holders[place] -= 1
        if not self._holders[place]:
            del self._holders[place]
            self._now -= n_bytes


def _is_dense(tensor: Tensor) -> bool:
    """Whether a tensor has one piece of memory to look at."""
    return tensor.layout == torch.strided
