"""Build and check models and stores for one or several processes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from invlearn.backbones import BACKBONES
from invlearn.backbones.backbone import FitsExposures, Key, ReadsFeatures
from invlearn.backbones.layers import Share, shares
from invlearn.config.schema import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.data.features import NO_FEATURES, FeatureCard
from invlearn.runtime.distributed import Group
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.memory import memory_bytes
from invlearn.runtime.memory_guard import MemoryGuard
from invlearn.runtime.meta import ShapesOnly
from invlearn.runtime.random import torch_seed
from invlearn.training.class_lookup import backbone_class
from invlearn.training.settings import BY_ROWS
from invlearn.training.stores import STORES, ShardedStore, Store
from invlearn.training.stores.distributed_scorer import DistributedScorer, replicas


def make_backbone(
    config: RunConfig,
    n_users: int,
    n_items: int,
    features: FeatureCard = NO_FEATURES,
    *,
    max_bytes: int | None = None,
) -> nn.Module:
    """Build the backbone of completed settings.

    Args:
        config: The settings.
        n_users: Number of users.
        n_items: Number of items.
        features: Their features, for a backbone that reads features.
        max_bytes: Memory limit; by default the machine's memory.

    Raises:
        ConfigError: The class cannot be found, rejects its arguments, or needs too much memory.
    """
    kind = backbone_class(config.backbone)
    known: dict[str, Any] = {"features": features} if issubclass(kind, ReadsFeatures) else {}
    try:
        with MemoryGuard(memory_bytes() if max_bytes is None else max_bytes):
            return kind(n_users, n_items, **known, **config.model)
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        raise ConfigError(
            f"backbone {config.backbone} cannot be built from n_users, n_items and its options "
            f"({error}); fix its class, or pass a module from Python"
        ) from error


def meta_model(
    config: RunConfig, n_users: int, n_items: int, features: FeatureCard = NO_FEATURES
) -> nn.Module | None:
    """Build the backbone of completed settings with tensors on the device `meta`.

    Existing parameters can then be assigned without a second copy in memory, or mapped from a file.

    Returns:
        The backbone; none if it cannot be built without values, or has a parameter under two
        names.

    Raises:
        ConfigError: The class cannot be found.
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


def build_model(
    config: RunConfig, n_users: int, n_items: int, features: FeatureCard, group: Group
) -> nn.Module:
    """Build the model; when sharded, allocate only this process's rows if supported.

    Supported are backbones whose tables are all declared `embedding` layers. One that reads
    exposures or features must also select its own rows of them, as the built-in ones do.
    """
    given = config, n_users, n_items, features
    reads = issubclass(backbone_class(config.backbone), FitsExposures | ReadsFeatures)
    knows = config.backbone in BACKBONES or not reads
    if config.store == "sharded" and not group.is_alone and knows:
        with shares(group):
            module = make_backbone(*given)
        cut = {f"{n}.weight" for n, part in module.named_modules() if isinstance(part, Share)}
        if cut <= set(getattr(module, "tables", {})):
            return module
        torch.manual_seed(config.seed)
    return make_backbone(*given)


@torch.no_grad()
def check(module: nn.Module, config: RunConfig, dataset: Dataset, group: Group) -> None:
    """Check the parts of the backbone contract that training depends on.

    Args:
        module: The backbone, in training mode.
        config: Settings, complete; the row stores need every table indexed by users or items.
        dataset: The dataset.
        group: The processes.

    Raises:
        ConfigError: The logits do not have one element per pair or depend on the batch, `tables`
            names a wrong parameter or omits a table, or there are fewer rows than processes.
    """
    n_rows = {"user": dataset.n_users, "item": dataset.n_items}
    if any(isinstance(part, Share) for part in module.modules()):
        if min(n_rows.values()) < group.size:
            raise ConfigError(
                f"{dataset.folder} has {n_rows['user']:,} users and {n_rows['item']:,} items, too "
                f"few for {group.size} processes to share; omit --store sharded"
            )
        n_rows = {key: len(range(n)[group.share(n)]) for key, n in n_rows.items()}
    ids = torch.zeros(3, dtype=torch.int64, device=config.device)
    try:
        shape = tuple(module.eval()(ids, ids).shape)
        learning = _batch_statistics(module.train(), ids)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise ConfigError(
            f"backbone {type(module).__name__} cannot be called with users and items ({error}); "
            "its forward must take dense ids, two int64 tensors of shape (pairs,)"
        ) from error
    if learning:
        raise ConfigError(
            f"backbone {type(module).__name__} keeps statistics of batches in "
            f"{', '.join(learning)}, so the score of a pair would depend on the rest of its batch; "
            "remove batch norm, or use layer norm"
        )
    if shape != (3,):
        raise ConfigError(
            f"backbone {type(module).__name__} gives 3 pairs logits of shape {shape}; it must "
            "return one logit per pair, of shape (pairs,)"
        )
    if config.store in BY_ROWS:
        _check_tables(module, n_rows)


def _batch_statistics(module: nn.Module, ids: Tensor) -> list[str]:
    """Return names of batch norms, or of buffers changed by a training forward pass."""
    norms = [name for name, part in module.named_modules() if isinstance(part, _BatchNorm)]
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    devices = [ids.device] if ids.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        functional_call(module, buffers, (ids, ids))
    return norms or [
        name
        for name, before in module.named_buffers()
        if before.layout == torch.strided  # a sparse one is assumed to be unchanged
        and not (
            before.shape == buffers[name].shape
            and torch.allclose(before, buffers[name], rtol=0, atol=0, equal_nan=True)
        )
    ]


def _check_tables(module: nn.Module, n_rows: dict[str, int]) -> None:
    """Compare the declared `tables` of a backbone with its parameters."""
    declared: dict[str, str] = getattr(module, "tables", {})
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


def build_store(
    module: nn.Module, tables: Mapping[str, Key], config: RunConfig, dataset: Dataset, group: Group
) -> tuple[Store, nn.Module]:
    """Build the parameter store, and the module that scores pairs on all processes."""
    # dropout masks are independent between processes
    seed = config.seed if group.is_alone else torch_seed(config.seed, "process", group.rank)
    if config.store != "sharded":
        store = STORES[config.store](module, tables, config.optimizer, seed=seed, group=group)
        return store, replicas(module, group)
    n_rows = {"user": dataset.n_users, "item": dataset.n_items}
    store = ShardedStore(module, tables, config.optimizer, seed=seed, group=group, n_rows=n_rows)
    return store, DistributedScorer(module, store.logits)
