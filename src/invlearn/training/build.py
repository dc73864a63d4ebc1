"""Where names become objects: settings completed, backbones and strategies made."""

from dataclasses import fields, is_dataclass
from math import isnan
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from invlearn.backbones import BACKBONES
from invlearn.backbones.backbone import ReadsFeatures
from invlearn.config.schema import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.data.features import NO_FEATURES, FeatureCard
from invlearn.evaluation.evaluation import evaluate
from invlearn.runtime.environment import memory_bytes
from invlearn.runtime.errors import ConfigError, unknown
from invlearn.runtime.memory_guard import MemoryGuard
from invlearn.runtime.meta import ShapesOnly
from invlearn.strategies import STRATEGIES, Strategy
from invlearn.training.registry import backbone_class, complete_options, path_of, strategy_class
from invlearn.training.stores.store import draws_random_numbers
from invlearn.training.train_step import PAYING_STEPS, has_compiler

BY_ROWS = ("row", "sharded")
"""Stores that show the rows of a batch alone."""


def complete(config: RunConfig, dataset: Dataset, given: nn.Module | None) -> RunConfig:
    """Write every default out, and decide what is `auto`.

    Args:
        config: Settings as they were given.
        dataset: What is to be trained on.
        given: A backbone that was made already; its options are its maker's business.

    Raises:
        ConfigError: Settings do not fit each other, the dataset or the machine.
    """
    _check_metric(config.select_by, dataset)
    return complete_settings(
        config, n_train=len(dataset.train), n_unlabelled=len(dataset.unlabelled), given=given
    )


def complete_settings(
    config: RunConfig, *, n_train: int, n_unlabelled: int, given: nn.Module | None = None
) -> RunConfig:
    """Write every default out for so many labelled and unlabelled training rows.

    Raises:
        ConfigError: Settings do not fit each other or the machine.
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
    """Labelled pairs in a batch, for so many labelled training rows.

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
    """Name of the store to train in, whatever `auto` is for a backbone and a strategy."""
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
    """Name of the device to compute on, whatever `auto` is here.

    Raises:
        ConfigError: There is no such device, or nothing can be computed on it.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ConfigError(f"device '{name}' is not there ({reason}); try --device cpu") from error
    return name


def decide_compile(
    config: RunConfig, module: nn.Module, *, n_steps: int, n_processes: int = 1
) -> RunConfig:
    """Decide whether steps are compiled, if that is `auto`.

    Args:
        config: Settings, else complete.
        module: The backbone, in training mode.
        n_steps: Steps that a compiled one would serve.
        n_processes: How many share a batch.

    Raises:
        ConfigError: It is `on` where it cannot be.
    """
    device = torch.device(config.device).type
    obstacles = {
        f"the {config.store} store does more than arithmetic": config.store != "row",
        "several processes talk within a step": n_processes > 1,
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
    """Part of the unlabelled pairs that is exposed, as the completed settings say."""
    fractions = {"exposed": 1.0, "sampled": 0.0, "mix": config.unlabelled.exposed_fraction}
    return fractions[config.unlabelled.source]


def make_backbone(
    config: RunConfig,
    n_users: int,
    n_items: int,
    features: FeatureCard = NO_FEATURES,
    *,
    max_bytes: int | None = None,
) -> nn.Module:
    """Make the backbone that completed settings name.

    Args:
        config: The settings.
        n_users: Number of users.
        n_items: Number of items.
        features: Which features there are of them, for a backbone that reads these.
        max_bytes: What it may take; by default what the machine has.

    Raises:
        ConfigError: Its class cannot be found, does not take what it is given, or is too big.
    """
    kind = backbone_class(config.backbone)
    known: dict[str, Any] = {"features": features} if issubclass(kind, ReadsFeatures) else {}
    try:
        with MemoryGuard(memory_bytes() if max_bytes is None else max_bytes):
            return kind(n_users, n_items, **known, **config.model)
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        raise ConfigError(
            f"backbone {config.backbone} cannot be made from n_users, n_items and its options "
            f"({error}); fix its class, or give the module itself from Python"
        ) from error


def meta_model(
    config: RunConfig, n_users: int, n_items: int, features: FeatureCard = NO_FEATURES
) -> nn.Module | None:
    """Make the backbone that completed settings name, of tensors that have a shape and no memory.

    It is for weights that are there already: they need not fit into memory twice, and mapped from a
    file not even once.

    Returns:
        The backbone, on the device `meta`; none if it cannot be made without its values, or has one
        weight under two names.

    Raises:
        ConfigError: Its class cannot be found.
    """
    backbone_class(config.backbone)
    try:
        with ShapesOnly(), torch.device("meta"):
            module = make_backbone(config, n_users, n_items, features)
    except (ConfigError, NotImplementedError):
        return None
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    is_whole = tensors.keys() == module.state_dict().keys()
    return module if is_whole and all(tensor.is_meta for tensor in tensors.values()) else None


@torch.no_grad()
def check_backbone(module: nn.Module, store: str, *, n_users: int, n_items: int) -> None:
    """Make sure that a backbone keeps its promises, where breaking them would train nonsense.

    Args:
        module: The backbone; its mode is restored.
        store: The row store needs to know every table that is looked up by a user or an item.
        n_users: Number of users.
        n_items: Number of items.

    Raises:
        ConfigError: Its logits have another shape than its pairs or depend on the batch, or its
            `tables` name what is no table or leave one out.
    """
    was_training = module.training
    module.eval()
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    ids = torch.tensor([0, 0, 0], device=device)
    try:
        shape = tuple(module(ids, ids).shape)
        learning = _batch_statistics(module.train(), ids)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise ConfigError(
            f"backbone {type(module).__name__} cannot be called with users and items ({error}); "
            "its forward must take dense ids, two int64 tensors of shape (pairs,)"
        ) from error
    module.train(was_training)
    if learning:
        raise ConfigError(
            f"backbone {type(module).__name__} keeps statistics of batches in "
            f"{', '.join(learning)}, so the score of a pair would depend on the pairs beside it; "
            "leave batch norm out, or take layer norm"
        )
    if shape != (3,):
        raise ConfigError(
            f"backbone {type(module).__name__} gives 3 pairs logits of shape {shape}; it must "
            "return one logit per pair, of shape (pairs,)"
        )
    if store in BY_ROWS:
        _check_tables(module, {"user": n_users, "item": n_items})


def _batch_statistics(module: nn.Module, ids: Tensor) -> list[str]:
    """Batch norms, and buffers that a forward pass in training mode changes."""
    norms = [name for name, part in module.named_modules() if isinstance(part, _BatchNorm)]
    before = dict(module.named_buffers())
    buffers = {name: buffer.clone() for name, buffer in before.items()}
    devices = [ids.device] if ids.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        functional_call(module, buffers, (ids, ids))
    changed = [name for name in before if not _same(before[name], buffers[name])]
    return norms or changed


def _same(before: Tensor, after: Tensor) -> bool:
    """Whether a buffer is as it was; sparse ones, such as graphs, are taken to be."""
    if before.layout != torch.strided:
        return True
    return before.shape == after.shape and torch.allclose(
        before, after, rtol=0, atol=0, equal_nan=True
    )


def _check_tables(module: nn.Module, n_rows: dict[str, int]) -> None:
    """Compare what a backbone declares as its tables with what it holds."""
    declared: dict[str, str] = dict(getattr(module, "tables", {}))
    weights = dict(module.named_parameters()) | dict(module.named_buffers())
    wrong = [
        f"{name}: {key}"
        for name, key in declared.items()
        if name not in weights or len(weights[name]) != n_rows.get(key)
    ]
    named = dict(module.named_parameters(remove_duplicate=False))
    known = {id(named[name]) for name in declared if name in named}
    missed = [
        f"{name}.weight"
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Embedding)
        and layer.num_embeddings in n_rows.values()
        and id(layer.weight) not in known
    ]
    if wrong or missed:
        raise ConfigError(
            f"the `tables` of backbone {type(module).__name__} must name each weight with a row "
            f"per user or item; wrong: {', '.join(wrong) or 'none'}; left out: "
            f"{', '.join(missed) or 'none'}; fix them or pass --store dense"
        )


def _check_metric(name: str, dataset: Dataset) -> None:
    """Make sure that a metric exists and that the validation part defines it."""
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
    """Settings that name a backbone given from Python in any form."""
    if backbone is None or isinstance(backbone, str):
        return {"backbone": backbone} if backbone else {}
    if isinstance(backbone, type):
        return {"backbone": path_of(backbone, BACKBONES)}
    return {"backbone": path_of(type(backbone), BACKBONES, remember=False)}


def named_strategy(strategy: str | Strategy | type[Strategy] | None) -> dict[str, Any]:
    """Settings that name a strategy given from Python in any form."""
    if strategy is None or isinstance(strategy, str):
        return {"strategy": strategy} if strategy else {}
    if isinstance(strategy, type):
        return {"strategy": path_of(strategy, STRATEGIES)}
    if not is_dataclass(strategy):
        raise ConfigError(
            f"strategy {type(strategy).__name__} is no dataclass, so its options cannot be "
            "recorded; make it one, or give the class and its options as method={...}"
        )
    options = {f.name: getattr(strategy, f.name) for f in fields(strategy)}
    return {"strategy": path_of(type(strategy), STRATEGIES), "method": options}
