"""Peers: copies of a backbone that train beside it, for strategies that compare models.

While it trains, a backbone carries its peers as submodules `peer_1`, `peer_2`, ...; its own
`forward` does not know of them. A peer is asked for logits by handing the backbone the peer's
weights under the backbone's own names.
"""

import re
from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import nn

from invlearn.backbones.backbone import Key
from invlearn.data.types import Weights
from invlearn.runtime.errors import ConfigError

PREFIX = "peer_"
_NAME = re.compile(rf"{PREFIX}\d+")


def add_peers(module: nn.Module, n_peers: int) -> None:
    """Give a backbone peers whose weights are its own in another order.

    So they are spread as its maker meant them to be, whatever the module, and differ; the order
    is drawn from torch's generator.

    Args:
        module: The backbone; changed in place.
        n_peers: How many; peers that it has already are replaced.

    Raises:
        ConfigError: Every order of its weights is the same, so that peers could not differ.
    """
    remove_peers(module)
    peers = [deepcopy(module) for _ in range(n_peers)]
    for number, peer in enumerate(peers, 1):
        for weight in (w for w in peer.parameters() if w.requires_grad):
            order = torch.randperm(weight.numel(), device=weight.device)
            weight.data = weight.data.flatten()[order].view_as(weight)
        own = dict(module.named_parameters())
        if all(torch.equal(weight, own[name]) for name, weight in peer.named_parameters()):
            raise ConfigError(
                f"backbone {type(module).__name__} starts with constant weights, so copies of it "
                "that train beside it would stay the same; start them at random, or choose "
                "another strategy"
            )
        module.add_module(f"{PREFIX}{number}", peer)


def remove_peers(module: nn.Module) -> None:
    """Take a backbone's peers away."""
    for name in [name for name, _ in module.named_children() if _NAME.fullmatch(name)]:
        delattr(module, name)


def tables_with_peers(tables: Mapping[str, Key], n_peers: int) -> dict[str, Key]:
    """The tables of a backbone and those of its peers, by parameter name.

    Example:
        >>> tables_with_peers({"user.weight": "user"}, 1)
        {'user.weight': 'user', 'peer_1.user.weight': 'user'}
    """
    peers = (f"{PREFIX}{number}." for number in range(1, n_peers + 1))
    return {prefix + name: key for prefix in ("", *peers) for name, key in tables.items()}


def of_peer(name: str) -> bool:
    """Whether a weight belongs to a peer."""
    return _NAME.fullmatch(name.partition(".")[0]) is not None


def as_peer(point: Weights, number: int) -> Weights:
    """A peer's weights under the backbone's own names.

    Args:
        point: The weights in play.
        number: From 1.

    Example:
        >>> as_peer({"w": 0, "peer_1.w": 1, "peer_2.w": 2}, 2)
        {'w': 2}
    """
    prefix = f"{PREFIX}{number}."
    return {n.removeprefix(prefix): w for n, w in point.items() if n.startswith(prefix)}


def name_in_backbone(name: str) -> str:
    """Name that a weight of a peer has in the backbone itself; any other name is its own.

    Example:
        >>> name_in_backbone("peer_2.users")
        'users'
    """
    first, _, rest = name.partition(".")
    return rest if _NAME.fullmatch(first) else name
