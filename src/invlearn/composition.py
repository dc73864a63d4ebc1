"""Where names become objects: settings completed, backbones and strategies made."""

from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn

from invlearn.backbones import BACKBONES
from invlearn.config import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.errors import ConfigError
from invlearn.evaluation import evaluate
from invlearn.registry import backbone_class, complete_options, strategy_class
from invlearn.strategies import STRATEGIES, Strategy


def complete(config: RunConfig, dataset: Dataset, given: type[nn.Module] | None) -> RunConfig:
    """Write every default out, and decide what is `auto`."""
    backbone = given or backbone_class(config.backbone)
    known = evaluate([0, 0], [0, 1], [0.0, 1.0], draws=0).values
    if config.select_by not in known:
        raise ConfigError(f"select_by '{config.select_by}'; known: {', '.join(sorted(known))}")
    source = config.unlabelled.source
    if source == "auto":
        source = "exposed" if len(dataset.unlabelled) else "sampled"
    store = config.store
    if store == "auto":
        store = "row" if hasattr(backbone, "tables") else "dense"
    if store == "row" and not hasattr(backbone, "tables"):
        raise ConfigError(
            f"backbone {config.backbone} does not declare its `tables`, so the row store does not "
            "know which rows a batch touches; pass --store dense, or declare them"
        )
    method = complete_options(strategy_class(config.strategy), config.method, "method")
    return config.model_copy(
        update={
            "model": complete_options(backbone, config.model, "model") if given is None else {},
            "method": method,
            "store": store,
            "unlabelled": config.unlabelled.model_copy(update={"source": source}),
            "device": _device(config.device),
        }
    )


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device '{name}' is not there ({reason}); try --device cpu") from error
    return name


def exposed_fraction(config: RunConfig) -> float:
    """Part of the unlabelled pairs that is exposed, as the completed settings say."""
    fractions = {"exposed": 1.0, "sampled": 0.0, "mix": config.unlabelled.exposed_fraction}
    return fractions[config.unlabelled.source]


def make_backbone(config: RunConfig, n_users: int, n_items: int) -> nn.Module:
    """Make the backbone that completed settings name."""
    return backbone_class(config.backbone)(n_users, n_items, **config.model)


def _path_of(cls: type, known: dict[str, Any]) -> str:
    """Short name of a built-in class, `module:Class` of any other."""
    names = [name for name, other in known.items() if other is cls]
    return names[0] if names else f"{cls.__module__}:{cls.__qualname__}"


def class_of(backbone: object) -> type[nn.Module] | None:
    """Class of a module that was given ready-made, whose options are its maker's business."""
    return type(backbone) if isinstance(backbone, nn.Module) else None


def named_backbone(backbone: str | type[nn.Module] | nn.Module | None) -> dict[str, Any]:
    """Settings that name a backbone given from Python in any form."""
    if backbone is None or isinstance(backbone, str):
        return {"backbone": backbone} if backbone else {}
    cls = backbone if isinstance(backbone, type) else type(backbone)
    return {"backbone": _path_of(cls, BACKBONES)}


def named_strategy(strategy: str | Strategy | type[Strategy] | None) -> dict[str, Any]:
    """Settings that name a strategy given from Python in any form."""
    if strategy is None or isinstance(strategy, str):
        return {"strategy": strategy} if strategy else {}
    if isinstance(strategy, type):
        return {"strategy": _path_of(strategy, STRATEGIES)}
    options = (
        {f.name: getattr(strategy, f.name) for f in fields(strategy)}
        if is_dataclass(strategy)
        else {}
    )
    return {"strategy": _path_of(type(strategy), STRATEGIES), "method": options}
