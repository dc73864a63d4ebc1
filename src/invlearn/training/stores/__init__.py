"""Stores hold parameters and optimizer state, gather rows for a batch, and apply updates."""

from invlearn.training.stores.dense import DenseStore
from invlearn.training.stores.row import RowStore
from invlearn.training.stores.sharded import ShardedStore
from invlearn.training.stores.store import StepContext, Store

__all__ = ["STORES", "DenseStore", "RowStore", "ShardedStore", "StepContext", "Store"]

STORES: dict[str, type[DenseStore] | type[RowStore]] = {"dense": DenseStore, "row": RowStore}
"""Store classes by their names in configurations."""
