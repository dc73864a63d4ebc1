"""Stores: who keeps the weights, shows the ones in play, and commits what strategies propose."""

from invlearn.stores.dense import DenseStore
from invlearn.stores.row import RowStore
from invlearn.stores.sharded import ShardedStore
from invlearn.stores.store import Play, Store

__all__ = ["STORES", "DenseStore", "Play", "RowStore", "ShardedStore", "Store"]

STORES: dict[str, type[DenseStore] | type[RowStore]] = {"dense": DenseStore, "row": RowStore}
"""Every store by the name that configurations use."""
