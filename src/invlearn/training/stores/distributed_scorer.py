"""Distributed scoring: each process scores a share of the pairs."""

from collections.abc import Callable
from typing import final

from torch import Tensor, nn

from invlearn.runtime.distributed import Group


@final
class DistributedScorer(nn.Module):
    """Scores pairs on all processes together; all must pass the same pairs."""

    def __init__(self, module: nn.Module, logits: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Wrap a backbone and its score function.

        Args:
            module: The backbone, a submodule for `train` and `eval`.
            logits: From users and items to logits, on all processes together.
        """
        super().__init__()
        self.backbone, self._logits = module, logits

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits of shape `(pairs,)`."""
        return self._logits(users, items)


def replicas(module: nn.Module, group: Group) -> nn.Module:
    """Return the scorer of a backbone with replicated parameters."""

    def logits(users: Tensor, items: Tensor) -> Tensor:
        own = group.share(len(users))
        found = module(users[own], items[own])
        everyone = found.new_zeros(len(users))
        everyone[own] = found
        return group.all_reduce(everyone)

    return module if group.is_alone else DistributedScorer(module, logits)
