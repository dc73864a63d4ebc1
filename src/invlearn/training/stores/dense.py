"""The dense store: whole tables and torch's optimizers, the paper's exact arithmetic."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from invlearn.backbones.backbone import Key
from invlearn.config.schema import OptimizerConfig
from invlearn.data.types import Batch, Proposal
from invlearn.runtime.distributed import ALONE, Group
from invlearn.strategies.gradients import rows_with_gradient
from invlearn.training.stores.data_parallel import over_replicas
from invlearn.training.stores.store import (
    IndexedBatch,
    StepContext,
    Store,
    distinct,
    penalties_of,
    scorer,
    sent,
    sent_batch,
)
from invlearn.training.stores.strategy_state import StrategyState


@final
class DenseStore(Store):
    """Uses whole tables in every step: for any module with a small catalogue."""

    def __init__(
        self,
        module: nn.Module,
        tables: Mapping[str, Key],
        config: OptimizerConfig,
        *,
        seed: int,
        group: Group = ALONE,
    ) -> None:
        """Store the parameters of `module`, in place.

        Args:
            module: A backbone in training mode.
            tables: Index key of each table by parameter name; used only for `l2`.
            config: Update rule; each batch has its learning rate.
            seed: Seed of dropout masks.
            group: The processes, with replicated parameters, that share each batch.
        """
        self._group = group
        self._tables, self._l2 = dict(tables), config.l2
        self._penalties = penalties_of(module)
        self._score_at = scorer(module, seed)
        self._parameters = {n: w for n, w in module.named_parameters() if w.requires_grad}
        self._optimizer = _torch_optimizer(list(self._parameters.values()), config)
        self._strategy_state = StrategyState(self._parameters)
        self._device = next((w.device for w in module.parameters()), torch.device("cpu"))

    def index(self, batch: Batch) -> IndexedBatch:
        """Move the batch to the device; find its rows if `l2` needs them."""
        rows = distinct(batch)[0] if self._l2 else {}
        rows = {key: sent(ids, self._device) for key, ids in rows.items()}
        return IndexedBatch(sent_batch(self._strategy_state.added_to(batch), self._device), rows)

    def gather_indexed(self, indexed: IndexedBatch) -> StepContext:
        """Return the context with all parameters."""
        params = {name: weight.detach() for name, weight in self._parameters.items()}
        score = over_replicas(self._score_at(indexed.batch.step), self._group)
        return StepContext(score, params, indexed.batch, indexed.rows)

    @torch.no_grad()
    def update(
        self, context: StepContext, proposal: Proposal, *, is_finite: Tensor | None = None
    ) -> None:
        """Copy the proposed parameters, and take torch's optimizer step."""
        if is_finite is not None and not is_finite:
            return
        if proposal.params is not context.params:
            for name, parameter in self._parameters.items():
                parameter.copy_(proposal.params[name])
        if proposal.gradients:
            self._step(context, proposal)

    def _step(self, context: StepContext, proposal: Proposal) -> None:
        """Take torch's optimizer step from the current parameters."""
        for name, parameter in self._parameters.items():
            parameter.grad = proposal.gradients[name]
            if name in self._penalties:
                parameter.grad = proposal.gradients[name].addcmul(parameter, self._penalties[name])
            if self._l2 and name in self._tables:
                rows = context.rows[self._tables[name]]
                shrinking = parameter[rows]
                if proposal.skip_zero_grad_rows:
                    shrinking = shrinking * rows_with_gradient(proposal.gradients[name][rows])
                parameter.grad = parameter.grad.index_add(0, rows, self._l2 * shrinking)
        for group in self._optimizer.param_groups:
            group["lr"] = context.batch.lr
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Return the optimizer state by `parameter:entry`, and the strategy's state."""
        states = self._optimizer.state_dict()["state"]
        return self._strategy_state.state() | {
            f"{name}:{entry}": torch.as_tensor(value)
            for number, name in enumerate(self._parameters)
            for entry, value in states.get(number, {}).items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state of torch's optimizer and of the strategy."""
        self._strategy_state.load_state(state)
        states: dict[int, dict[str, Any]] = {}
        for number, name in enumerate(self._parameters):
            entries = {
                key.rpartition(":")[2]: value
                for key, value in state.items()
                if key.rpartition(":")[0] == name
            }
            if entries:
                states[number] = entries
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": states})


def _torch_optimizer(
    parameters: list[nn.Parameter], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """Return torch's optimizer for a configuration."""
    if config.name == "adam":
        betas = (config.beta1, config.beta2)
        # Fused: one pass over the tables instead of a dozen, equal up to rounding.
        return torch.optim.Adam(parameters, lr=config.lr, betas=betas, eps=config.eps, fused=True)
    if config.name == "adagrad":
        return torch.optim.Adagrad(parameters, lr=config.lr, eps=config.eps)
    return torch.optim.SGD(parameters, lr=config.lr)
