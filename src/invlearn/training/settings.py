"""Complete settings: defaults, `auto` values, and names of classes given from Python."""

from dataclasses import fields, is_dataclass
from math import isnan
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from invlearn.backbones import BACKBONES
from invlearn.config.schema import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.evaluation.evaluation import evaluate
from invlearn.runtime.errors import ConfigError, unknown
from invlearn.strategies import STRATEGIES, Strategy
from invlearn.training.class_lookup import backbone_class, complete_options, path_of, strategy_class
from invlearn.training.stores.store import draws_random_numbers
from invlearn.training.train_step import PAYING_STEPS, has_compiler

BY_ROWS = ("row", "sharded")
"""Stores that gather only the rows of a batch."""


def complete(config: RunConfig, dataset: Dataset, given: nn.Module | None) -> RunConfig:
    """Return the settings with all defaults and `auto` values filled in (`complete_settings`)."""
    return complete_settings(
        config, n_train=len(dataset.train), n_unlabelled=len(dataset.unlabelled), given=given
    )


def complete_settings(
    config: RunConfig, *, n_train: int, n_unlabelled: int, given: nn.Module | None = None
) -> RunConfig:
    """Return the settings with all defaults and `auto` values filled in.

    Args:
        config: Settings as given; complete settings do not change.
        n_train: Labelled training rows.
        n_unlabelled: Unlabelled rows.
        given: An existing backbone; its options are not checked.

    Raises:
        ConfigError: Settings contradict each other or the machine.
    """
    if given is None:
        backbone = backbone_class(config.backbone)
        model = complete_options(backbone, config.model, "model")
    else:
        backbone, model = given, {}
    source = config.unlabelled.source
    if source == "auto":
        source = "exposed" if n_unlabelled else "sampled"
    if config.unlabelled.hardest_of > 1 and source != "sampled":
        raise ConfigError(
            f"unlabelled.hardest_of {config.unlabelled.hardest_of} needs candidates drawn for one "
            f"user, and the source of unlabelled pairs is {source}; pass --unlabelled.source "
            "sampled, or leave it out"
        )
    strategy = strategy_class(config.strategy)
    method = complete_options(strategy, config.method, "method")
    whole_tables = strategy(**method).feed.whole_tables
    store = _usable_store(config, hasattr(backbone, "tables"), whole_tables)
    return config.model_copy(
        update={
            "model": model,
            "method": method,
            "store": store,
            "unlabelled": config.unlabelled.model_copy(update={"source": source}),
            "device": usable_device(config.device),
            "batch_size": batch_size(config, n_train),
        }
    )


def batch_size(config: RunConfig, n_rows: int) -> int:
    """Return the labelled pairs per batch for `n_rows` labelled training rows.

    Example:
        >>> batch_size(RunConfig(steps_per_epoch=128), 600_000)
        4688
    """
    if config.steps_per_epoch is None:
        return config.batch_size
    return min(max(-(-n_rows // config.steps_per_epoch), 32), 65_536)


def _usable_store(
    config: RunConfig, has_tables: bool, whole_tables: bool
) -> Literal["row", "dense", "sharded"]:
    """Return the store's name; resolve `auto` by the backbone and the strategy."""
    if config.store == "auto":
        return "row" if has_tables and not whole_tables else "dense"
    if config.store in BY_ROWS and not has_tables:
        raise ConfigError(
            f"backbone {config.backbone} does not declare its `tables`, so the {config.store} "
            "store does not know which rows a batch touches; leave --store out, or declare them"
        )
    if config.store in BY_ROWS and whole_tables:
        raise ConfigError(
            f"strategy {config.strategy} works on whole tables, and the {config.store} store "
            "shows it only the rows of a batch; pass --store dense, or leave it out"
        )
    return config.store


def usable_device(name: str) -> str:
    """Return the device's name; resolve `auto` on this machine.

    Raises:
        ConfigError: The device does not exist or cannot compute.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ConfigError(
            f"device '{name}' is not available ({reason}); pass --device cpu"
        ) from error
    return name


def decide_compile(
    config: RunConfig, module: nn.Module, *, n_steps: int, n_processes: int = 1
) -> RunConfig:
    """Return the settings with `compile` resolved if it is `auto`.

    Args:
        config: Settings, otherwise complete.
        module: The backbone, in training mode.
        n_steps: Steps that would use the compiled step.
        n_processes: Processes that share a batch.

    Raises:
        ConfigError: `compile` is `on` but not possible.
    """
    device = torch.device(config.device).type
    obstacles = {
        f"the {config.store} store does more than arithmetic": config.store != "row",
        "processes communicate within a step": n_processes > 1,
        f"backbone {config.backbone} draws random numbers": draws_random_numbers(module),
        "no C++ compiler is found (set CXX to one)"
        if device == "cpu"
        else "Triton is not installed": not has_compiler(device),
    }
    reasons = [reason for reason, stands in obstacles.items() if stands]
    if config.compile == "on" and reasons:
        raise ConfigError(f"the step cannot be compiled: {reasons[0]}; pass --compile off or auto")
    if config.compile != "auto":
        return config
    pays = not reasons and n_steps >= PAYING_STEPS
    return config.model_copy(update={"compile": "on" if pays else "off"})


def exposed_fraction(config: RunConfig) -> float:
    """Return the fraction of unlabelled pairs that are exposed, from completed settings."""
    fractions = {"exposed": 1.0, "sampled": 0.0, "mix": config.unlabelled.exposed_fraction}
    return fractions[config.unlabelled.source]


def check_metric(name: str, dataset: Dataset) -> None:
    """Check that a metric exists and is defined on the validation part.

    Raises:
        ConfigError: It is not.
    """
    rows = dataset.valid
    known = evaluate(
        rows.users, rows.labels, np.zeros(len(rows)), draws=0, name="the validation part"
    ).values
    if name not in known:
        raise unknown("metric", name, known)
    if isnan(known[name]):
        raise ConfigError(
            f"select_by {name} needs a user with both classes in the validation part of "
            f"{dataset.folder}, and there is none; select by auc or log_loss"
        )


def named_backbone(backbone: str | type[nn.Module] | nn.Module | None) -> dict[str, Any]:
    """Return the settings for a backbone given from Python in any form."""
    if backbone is None or isinstance(backbone, str):
        return {"backbone": backbone} if backbone else {}
    if isinstance(backbone, type):
        return {"backbone": path_of(backbone, BACKBONES)}
    return {"backbone": path_of(type(backbone), BACKBONES, remember=False)}


def named_strategy(strategy: str | Strategy | type[Strategy] | None) -> dict[str, Any]:
    """Return the settings for a strategy given from Python in any form."""
    if strategy is None or isinstance(strategy, str):
        return {"strategy": strategy} if strategy else {}
    if isinstance(strategy, type):
        return {"strategy": path_of(strategy, STRATEGIES)}
    if not is_dataclass(strategy):
        raise ConfigError(
            f"strategy {type(strategy).__name__} is not a dataclass, so its options cannot be "
            "recorded; make it one, or pass the class and its options as method={...}"
        )
    options = {f.name: getattr(strategy, f.name) for f in fields(strategy)}
    return {"strategy": path_of(type(strategy), STRATEGIES), "method": options}
