"""One batch on several processes: each works on its share of the pairs, and all see all logits.

A strategy is a pure function of logits and weights, so it need not know: every process hands it the
logits of the whole batch, in the same bits, and it decides the same everywhere. Each process
computes the logits of its own pairs alone, forwards and backwards; gradients are summed on the way
back, before the strategy sees them. These are the conjugate operators of Shoeybi et al.,
Megatron-LM, 2019 (https://arxiv.org/abs/1909.08053), Section 3.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from invlearn.data.types import Pairs, Params, Score
from invlearn.runtime.distributed import Group

Add = Callable[[Params], Params]
"""From the gradients that each process found to their sum, for the gathered parameters here."""


def shared(score: Score, group: Group, mine: Callable[[Pairs], Tensor], add: Add) -> Score:
    """The score of a batch that several processes work on.

    Args:
        score: Logits of pairs, on this process.
        group: The processes.
        mine: Marks the pairs whose logits this process computes; every pair is one process' own.
        add: How gradients are summed.
    """

    def score_all(weights: Params, pairs: Pairs) -> Tensor:
        own = mine(pairs)

        def add_values(gradients: Sequence[Tensor]) -> list[Tensor]:
            return list(add(dict(zip(weights, gradients, strict=True))).values())

        def assemble(logits: Tensor) -> Tensor:
            return group.all_reduce(logits.new_zeros(len(own)).masked_scatter_(own, logits))

        here = dict(zip(weights, _Summed.apply(add_values, *weights.values()), strict=True))
        logits = score(here, Pairs(pairs.users[own], pairs.items[own]))
        return _Assembled.apply(assemble, own, logits)

    return score_all


def share_of(group: Group) -> Callable[[Pairs], Tensor]:
    """Marks a process' share of any pairs by their place."""

    def mine(pairs: Pairs) -> Tensor:
        own = torch.zeros(len(pairs.users), dtype=torch.bool, device=pairs.users.device)
        own[group.share(len(own))] = True
        return own

    return mine


def summed(group: Group, gradients: Params) -> Params:
    """The sum over all processes, in one message."""
    flat = group.all_reduce(torch.cat([gradients.reshape(-1) for gradients in gradients.values()]))
    pieces = flat.split([gradients.numel() for gradients in gradients.values()])
    return {
        name: piece.view_as(gradients)
        for (name, gradients), piece in zip(gradients.items(), pieces, strict=True)
    }


def over_replicas(score: Score, group: Group) -> Score:
    """The score where every process has all gathered parameters."""
    if group.is_alone:
        return score
    return shared(score, group, share_of(group), lambda gradients: summed(group, gradients))


class _Summed(torch.autograd.Function):
    """Weights as they are; their gradients are summed over the processes."""

    @staticmethod
    def forward(add: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        return tuple(weight.view_as(weight) for weight in weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.add = inputs[0]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.add(grad_outputs)

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> tuple[Tensor, ...]:
        return tuple(tangent.view_as(tangent) for tangent in grad_inputs[1:])


class _Assembled(torch.autograd.Function):
    """Logits of all pairs from those of each process; the gradients of its own go back to it."""

    @staticmethod
    def forward(assemble: Any, own: Tensor, logits: Tensor) -> Tensor:
        return assemble(logits)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, Tensor, Tensor], output: Tensor) -> None:
        ctx.assemble, own, _ = inputs
        ctx.save_for_backward(own)
        ctx.save_for_forward(own)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, None, Tensor]:
        (own,) = ctx.saved_tensors
        return None, None, grad_outputs[0][own]

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Tensor:
        return ctx.assemble(grad_inputs[2])
