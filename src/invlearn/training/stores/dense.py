"""The dense store: whole tables and torch's optimizers, the paper's exact arithmetic."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn

from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Batch, Params, Proposal
from invlearn.strategies.gradients import rows_with_gradient
from invlearn.training.stores.data_parallel import over_replicas
from invlearn.training.stores.store import IndexedBatch, StepContext, Store, distinct


@final
class DenseStore(Store):
    """Uses whole tables in every step: for any module with a small catalogue."""

    _optimizer: "TorchOptimizer"

    def _new_optimizer(self, module: nn.Module, config: OptimizerConfig) -> "TorchOptimizer":
        return TorchOptimizer(module, config)

    def index(self, batch: Batch) -> IndexedBatch:
        """Move the batch to the device; find its rows if `l2` needs them."""
        return self._on_device(batch, distinct(batch)[0] if self._l2 else {})

    def gather_indexed(self, indexed: IndexedBatch) -> StepContext:
        """Return the context with all parameters."""
        score = over_replicas(self._score_at(indexed.batch.step), self._group)
        return StepContext(score, {**self._weights}, indexed.batch, indexed.rows)

    @torch.no_grad()
    def update(
        self, context: StepContext, proposal: Proposal, *, is_finite: Tensor | None = None
    ) -> None:
        """Copy the proposed parameters, and take torch's optimizer step."""
        if is_finite is not None and not is_finite:
            return
        if proposal.params is not context.params:
            for name, weight in self._weights.items():
                weight.copy_(proposal.params[name])
        if proposal.gradients:
            gradients = {name: self._penalized(name, context, proposal) for name in self._weights}
            self._optimizer.step(gradients, context.batch.lr)

    def _penalized(self, name: str, context: StepContext, proposal: Proposal) -> Tensor:
        """Return the gradient of a parameter with those of its penalties."""
        weight, gradient = self._weights[name], proposal.gradients[name]
        total = gradient
        if name in self._penalties:
            total = gradient.addcmul(weight, self._penalties[name])
        if self._l2 and name in self._tables:
            rows = context.rows[self._tables[name]]
            decay = weight[rows]
            if proposal.skip_zero_grad_rows:
                decay = decay * rows_with_gradient(gradient[rows])
            total = total.index_add(0, rows, self._l2 * decay)
        return total


@final
class TorchOptimizer:
    """An optimizer of torch over all parameters of a module."""

    def __init__(self, module: nn.Module, config: OptimizerConfig) -> None:
        self._parameters = {n: w for n, w in module.named_parameters() if w.requires_grad}
        self._optimizer = _optimizer(list(self._parameters.values()), config)

    def step(self, gradients: Params, lr: float) -> None:
        """Take a step along gradients by name."""
        for name, parameter in self._parameters.items():
            parameter.grad = gradients[name]
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Return the state by `parameter:entry`."""
        states = self._optimizer.state_dict()["state"]
        return {
            f"{name}:{entry}": torch.as_tensor(value)
            for number, name in enumerate(self._parameters)
            for entry, value in states.get(number, {}).items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state."""
        numbers = {name: number for number, name in enumerate(self._parameters)}
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            name, _, entry = key.rpartition(":")
            if name in numbers:
                states.setdefault(numbers[name], {})[entry] = value
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": states})


def _optimizer(parameters: list[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return torch's optimizer for a configuration."""
    if config.name == "adam":
        betas = (config.beta1, config.beta2)
        # Fused: one pass over the tables instead of a dozen, equal up to rounding.
        return torch.optim.Adam(parameters, lr=config.lr, betas=betas, eps=config.eps, fused=True)
    if config.name == "adagrad":
        return torch.optim.Adagrad(parameters, lr=config.lr, eps=config.eps)
    return torch.optim.SGD(parameters, lr=config.lr)
