"""Auxiliary models: copies of a backbone that train with it, for strategies that compare models.

During training they are submodules `auxiliary_1`, `auxiliary_2`, ... of the backbone, whose own
`forward` does not use them. To get the logits of an auxiliary model, call the backbone with the
auxiliary model's parameters under the backbone's names.
"""

import re
from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import nn

from invlearn.backbones.backbone import Key
from invlearn.data.types import Params
from invlearn.runtime.errors import ConfigError

PREFIX = "auxiliary_"
_NAME = re.compile(rf"{PREFIX}\d+")


def attach_auxiliary_models(module: nn.Module, n_auxiliary: int) -> None:
    """Attach auxiliary models whose parameters are a permutation of the model's.

    So their parameters have the distribution of the backbone's initialization, but other values.
    The permutation comes from torch's generator.

    Args:
        module: The backbone; changed in place.
        n_auxiliary: Number of models; existing ones are replaced.

    Raises:
        ConfigError: All permutations of the parameters are equal, so the models cannot differ.
    """
    detach_auxiliary_models(module)
    copies = [deepcopy(module) for _ in range(n_auxiliary)]
    for number, copy in enumerate(copies, 1):
        for weight in (w for w in copy.parameters() if w.requires_grad):
            order = torch.randperm(weight.numel(), device=weight.device)
            weight.data = weight.data.flatten()[order].view_as(weight)
        own = dict(module.named_parameters())
        if all(torch.equal(weight, own[name]) for name, weight in copy.named_parameters()):
            raise ConfigError(
                f"backbone {type(module).__name__} starts with constant weights, so its copies "
                "that train with it would stay equal; initialize it at random, or choose another "
                "strategy"
            )
        module.add_module(f"{PREFIX}{number}", copy)


def detach_auxiliary_models(module: nn.Module) -> None:
    """Remove the auxiliary models of a backbone."""
    for name in [name for name, _ in module.named_children() if _NAME.fullmatch(name)]:
        delattr(module, name)


def tables_with_auxiliary(tables: Mapping[str, Key], n_auxiliary: int) -> dict[str, Key]:
    """Return the tables of a backbone and its auxiliary models, by parameter name.

    Example:
        >>> tables_with_auxiliary({"user.weight": "user"}, 1)
        {'user.weight': 'user', 'auxiliary_1.user.weight': 'user'}
    """
    prefixes = (f"{PREFIX}{number}." for number in range(1, n_auxiliary + 1))
    return {prefix + name: key for prefix in ("", *prefixes) for name, key in tables.items()}


def is_auxiliary(name: str) -> bool:
    """Return whether a parameter belongs to an auxiliary model."""
    return _NAME.fullmatch(name.partition(".")[0]) is not None


def as_auxiliary(params: Params, number: int) -> Params:
    """Return the parameters of an auxiliary model under the backbone's names.

    Args:
        params: The gathered parameters.
        number: Number of the auxiliary model, from 1.

    Example:
        >>> as_auxiliary({"w": 0, "auxiliary_1.w": 1, "auxiliary_2.w": 2}, 2)
        {'w': 2}
    """
    prefix = f"{PREFIX}{number}."
    return {n.removeprefix(prefix): w for n, w in params.items() if n.startswith(prefix)}


def name_in_backbone(name: str) -> str:
    """Return a parameter's name without the prefix of an auxiliary model.

    Example:
        >>> name_in_backbone("auxiliary_2.users")
        'users'
    """
    first, _, rest = name.partition(".")
    return rest if _NAME.fullmatch(first) else name
