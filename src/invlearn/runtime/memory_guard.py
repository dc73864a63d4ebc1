"""Limit on the size of new tensors, to raise an error before memory runs out."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

MAKERS = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full)


class MemoryGuard(TorchFunctionMode):
    """Context in which all new tensors together may take at most `n_bytes`.

    Args:
        n_bytes: The limit.

    Example:
        >>> with MemoryGuard(1_000):
        ...     torch.zeros(10**9)
        Traceback (most recent call last):
        ValueError: it would take 4,000,000,000 bytes, and the limit is 1,000
    """

    def __init__(self, n_bytes: int) -> None:
        super().__init__()
        self._most, self._taken = n_bytes, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Count the bytes of new tensors, and call `func`.

        Raises:
            ValueError: The limit is exceeded.
        """
        given = kwargs or {}
        if func in MAKERS and torch.get_default_device().type != "meta":
            kind: torch.dtype = given.get("dtype") or torch.get_default_dtype()
            self._taken += prod(_size(args, given)) * kind.itemsize
            if self._taken > self._most:
                raise ValueError(
                    f"it would take {self._taken:,} bytes, and the limit is {self._most:,}"
                )
        return func(*args, **given)


def _size(args: Sequence[Any], given: dict[str, Any]) -> Sequence[int]:
    """Return the requested shape, given as integers or as a sequence."""
    first: Any = args[0] if args else given.get("size", ())
    return [int(n) for n in args] if isinstance(first, int) else first
