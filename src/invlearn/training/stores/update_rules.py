"""Update rules as pure functions of rows, for the row store.

Each rule is the torch optimizer of the same name applied to the rows of a step; other rows keep
their weights and moments (as in `torch.optim.SparseAdam`). `step` counts from 1 over the whole run.
"""

from collections.abc import Callable

from torch import Tensor

from invlearn.config.schema import OptimizerConfig

Tensors = tuple[Tensor, ...]
Rule = Callable[[Tensor, Tensor, Tensors, int, float], Tensors]
"""`(weight, gradients, moments, step, lr) -> (weight, *moments)`, all tensors of one shape."""


def update_rule(config: OptimizerConfig) -> tuple[int, Rule]:
    """Return the number of moments per weight, and the rule."""

    def adam(weight: Tensor, gradients: Tensor, moments: Tensors, step: int, lr: float) -> Tensors:
        """Kingma and Ba, ICLR 2015, Algorithm 1."""
        first = config.beta1 * moments[0] + (1 - config.beta1) * gradients
        second = config.beta2 * moments[1] + (1 - config.beta2) * gradients.square()
        root = (second / (1 - config.beta2**step)).sqrt() + config.eps
        return weight - lr / (1 - config.beta1**step) * first / root, first, second

    def adagrad(
        weight: Tensor, gradients: Tensor, moments: Tensors, step: int, lr: float
    ) -> Tensors:
        """Duchi et al., JMLR 2011, in its diagonal form."""
        squares = moments[0] + gradients.square()
        return weight - lr * gradients / (squares.sqrt() + config.eps), squares

    def sgd(weight: Tensor, gradients: Tensor, moments: Tensors, step: int, lr: float) -> Tensors:
        return (weight - lr * gradients,)

    return {"adam": (2, adam), "adagrad": (1, adagrad), "sgd": (0, sgd)}[config.name]
