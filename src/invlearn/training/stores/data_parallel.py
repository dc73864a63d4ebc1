"""Data parallelism: each process computes its share of the pairs, and all get all logits.

A strategy is a pure function of logits and parameters. Every process gives it the bit-identical
logits of the whole batch, so its decisions agree on all processes. Each process runs the forward
and backward passes of its own pairs only; gradients are summed in the backward pass, before the
strategy gets them. These are the conjugate operators of Shoeybi et al.,
Megatron-LM, 2019 (https://arxiv.org/abs/1909.08053), Section 3.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from invlearn.data.types import Pairs, Params, Score
from invlearn.runtime.distributed import Group

Add = Callable[[Params], Params]
"""From gradients of each process to their sum, for the parameters gathered here."""


def shared(score: Score, group: Group, mine: Callable[[Pairs], Tensor], add: Add) -> Score:
    """Return the score function of a batch that several processes share.

    Args:
        score: Computes logits of pairs on this process.
        group: The processes.
        mine: Mask of the pairs computed by this process; each pair belongs to one process.
        add: Sums the gradients.
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
    """Return a function that masks this process's share of pairs by position."""

    def mine(pairs: Pairs) -> Tensor:
        own = torch.zeros(len(pairs.users), dtype=torch.bool, device=pairs.users.device)
        own[group.share(len(own))] = True
        return own

    return mine


def summed(group: Group, gradients: Params) -> Params:
    """Return the sum over all processes, by one all-reduce."""
    flat = group.all_reduce(torch.cat([gradients.reshape(-1) for gradients in gradients.values()]))
    pieces = flat.split([gradients.numel() for gradients in gradients.values()])
    return {
        name: piece.view_as(gradients)
        for (name, gradients), piece in zip(gradients.items(), pieces, strict=True)
    }


def over_replicas(score: Score, group: Group) -> Score:
    """Return the score function if every process has all gathered parameters."""
    if group.is_alone:
        return score
    return shared(score, group, share_of(group), lambda gradients: summed(group, gradients))


class _Summed(torch.autograd.Function):
    """Identity of parameters; the backward pass sums gradients over processes."""

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
    """Logits of all pairs from those of each process; gradients go back to the owner."""

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
