"""A backbone that several processes score together, each a share of the pairs."""

from collections.abc import Callable
from typing import final

from torch import Tensor, nn

from invlearn.runtime.distributed import Group


@final
class DistributedScorer(nn.Module):
    """Logits of pairs on every process, computed by all; every one asks for the same pairs."""

    def __init__(self, module: nn.Module, logits: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Take a backbone and a way to score with it.

        Args:
            module: Follows into evaluation mode and back.
            logits: From users and items to logits, on all processes at once.
        """
        super().__init__()
        self.backbone, self._logits = module, logits

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of shape `(pairs,)`."""
        return self._logits(users, items)


def replicas(module: nn.Module, group: Group) -> nn.Module:
    """The backbone where every process has all of its weights."""

    def logits(users: Tensor, items: Tensor) -> Tensor:
        own = group.share(len(users))
        found = module(users[own], items[own])
        everyone = found.new_zeros(len(users))
        everyone[own] = found
        return group.all_reduce(everyone)

    return module if group.is_alone else DistributedScorer(module, logits)
