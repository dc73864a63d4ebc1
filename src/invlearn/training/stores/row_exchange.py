"""Exchange of table rows between the processes that gather them and their owners.

A process requests the rows of its share of the batch from their owners. Each message contains the
rows of all user and item tables.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import NamedTuple, final

import torch
from torch import Tensor

from invlearn.data.types import Params
from invlearn.runtime.distributed import Group


class _Routing(NamedTuple):
    """Routing of the rows of one key, `user` or `item`."""

    n_asked: list[int]
    """Rows requested from each owner; they are ascending, so grouped by owner."""
    n_wanted: list[int]
    """Rows that each process requests from this one."""
    rows: Tensor
    """Distinct rows requested from this process, as indices in its shard."""
    places: Tensor
    """Index in `rows` of each requested row, ordered by process."""


@final
class RowExchange:
    """Exchanges gathered rows with their owners, for one batch."""

    def __init__(
        self, group: Group, asked: Mapping[str, Tensor], n_rows: Mapping[str, int]
    ) -> None:
        """Send the requested row ids to the owners.

        Args:
            group: The processes.
            asked: Distinct dense ids by key, ascending, of the rows that this process gathers.
            n_rows: Rows of the tables of each key, over all processes.
        """
        self._group = group
        self._ways = {key: self._way(ids, n_rows[key]) for key, ids in asked.items()}

    def _way(self, ids: Tensor, n_rows: int) -> _Routing:
        ends = torch.tensor(self._group.ends(n_rows), device=ids.device)
        n_before = torch.searchsorted(ids, ends).tolist()
        n_asked = [end - start for start, end in zip([0, *n_before], n_before, strict=False)]
        pieces = ids.split(n_asked)
        n_wanted = self._group.lengths(pieces)
        wanted = torch.cat(self._group.all_to_all(pieces, n_wanted))
        rows, places = torch.unique(wanted, return_inverse=True)
        return _Routing(n_asked, n_wanted, rows - self._group.share(n_rows).start, places)

    def rows(self, key: str) -> Tensor:
        """Return the distinct rows that any process gathers, as indices in this shard."""
        return self._ways[key].rows

    def fetched(self, owned: Params, keys: Mapping[str, str]) -> Params:
        """Return the values of the gathered rows, fetched from their owners.

        Args:
            owned: Values of `rows(key)` of this shard, by table.
            keys: Key of each table.
        """
        wanted = {name: values[self._ways[keys[name]].places] for name, values in owned.items()}
        return self._carried(wanted, keys, back=False)

    def owned(self, values: Params, keys: Mapping[str, str]) -> Params:
        """Return the owned rows' values, which are equal on all requesting processes."""
        return self._combined(values, keys, Tensor.index_copy_)

    def summed(self, values: Params, keys: Mapping[str, str]) -> Params:
        """Return the values of the gathered rows, summed over the processes that gather them."""
        return self.fetched(self._combined(values, keys, Tensor.index_add_), keys)

    def _combined(
        self, values: Params, keys: Mapping[str, str], put: Callable[..., Tensor]
    ) -> Params:
        """Send values to the owners; `put` combines those of the requesting processes."""
        found: Params = {}
        for name, sent in self._carried(values, keys, back=True).items():
            way = self._ways[keys[name]]
            zeros = sent.new_zeros((len(way.rows), *sent.shape[1:]))
            found[name] = put(zeros, 0, way.places, sent)
        return found

    def _carried(self, values: Params, keys: Mapping[str, str], *, back: bool) -> Params:
        """Send rows from owners to requesting processes, or back; one message per dtype."""
        found: Params = {}
        for kind in sorted({value.dtype for value in values.values()}, key=str):
            alike = {name: value for name, value in values.items() if value.dtype == kind}
            found |= self._carried_alike(alike, keys, back=back)
        return {name: found[name] for name in values}

    def _carried_alike(self, values: Params, keys: Mapping[str, str], *, back: bool) -> Params:
        ways = {name: self._ways[keys[name]] for name in values}
        n_out = {name: way.n_asked if back else way.n_wanted for name, way in ways.items()}
        n_in = {name: way.n_wanted if back else way.n_asked for name, way in ways.items()}
        ranks = range(self._group.size)
        cut = {name: value.split(n_out[name]) for name, value in values.items()}
        pieces = [torch.cat([cut[name][rank].reshape(-1) for name in values]) for rank in ranks]
        width = {name: prod(value.shape[1:]) for name, value in values.items()}
        lengths = [[n_in[name][rank] * width[name] for name in values] for rank in ranks]
        came = self._group.all_to_all(pieces, [*map(sum, lengths)])
        parts = [piece.split(length) for piece, length in zip(came, lengths, strict=True)]
        return {
            name: torch.cat([part[k] for part in parts]).view(sum(n_in[name]), *value.shape[1:])
            for k, (name, value) in enumerate(values.items())
        }
