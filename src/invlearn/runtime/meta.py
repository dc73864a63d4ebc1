"""Create tensors on the meta device without loading torch's compiler."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

import torch
from torch.overrides import TorchFunctionMode

FILLS = ("normal_", "uniform_", "trunc_normal_")
"""Functions that fill a tensor."""
DRAWS = ("rand", "randn")
"""Functions that create one."""
SCALES = ("mul", "__mul__", "__rmul__")
"""Functions that multiply one by a number."""


@final
class ShapesOnly(TorchFunctionMode):
    """Context that skips the initialization of new tensors, for modules used for their shapes only.

    Initializing values on the meta device would load torch's compiler, which takes 1 to 2 s.

    Example:
        >>> with ShapesOnly(), torch.device("meta"):
        ...     layer = torch.nn.Linear(2, 3)
        >>> layer.weight.shape
        torch.Size([3, 2])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func`, unless it only changes values."""
        del types
        given, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name in FILLS:
            return given["tensor"] if "tensor" in given else args[0]
        if name in SCALES and len(args) == 2 and isinstance(args[1], float):
            return args[0].new_empty(args[0].shape)
        if name == "eye" and args:
            return torch.empty(args[0], args[-1], **given)
        if name == "arange" and not given.keys() - {"device"}:
            return torch.empty(len(range(*args)), dtype=torch.int64, **given)
        return torch.empty(*args, **given) if name in DRAWS else func(*args, **given)
