"""Build and check models and stores for one or several processes."""

from collections.abc import Mapping

import torch
from torch import nn

from invlearn.backbones import BACKBONES
from invlearn.backbones.backbone import FitsExposures, Key, ReadsFeatures
from invlearn.backbones.layers import Share, shares
from invlearn.config.schema import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.data.features import FeatureCard
from invlearn.runtime.distributed import Group
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.random import torch_seed
from invlearn.training.build import check_backbone, make_backbone
from invlearn.training.registry import backbone_class
from invlearn.training.stores import STORES, ShardedStore, Store
from invlearn.training.stores.distributed_scorer import DistributedScorer, replicas


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


def check(module: nn.Module, config: RunConfig, dataset: Dataset, group: Group) -> None:
    """Check the contract of a backbone (see `check_backbone`).

    Raises:
        ConfigError: It is violated, or there are fewer rows than processes.
    """
    sizes = {"user": dataset.n_users, "item": dataset.n_items}
    if any(isinstance(part, Share) for part in module.modules()):
        if min(sizes.values()) < group.size:
            raise ConfigError(
                f"{dataset.folder} has {sizes['user']:,} users and {sizes['item']:,} items, too "
                f"few for {group.size} processes to share; omit --store sharded"
            )
        sizes = {key: len(range(n)[group.share(n)]) for key, n in sizes.items()}
    check_backbone(module, config.store, n_users=sizes["user"], n_items=sizes["item"])


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
