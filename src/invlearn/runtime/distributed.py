"""Process group for distributed training, and its collective operations.

`torchrun` (https://docs.pytorch.org/docs/stable/elastic/run.html) starts the processes and sets
their ranks; communication uses `torch.distributed`: gloo between CPUs, NCCL between GPUs. Every
process runs the same program and calls the same methods in the same order.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from invlearn.runtime.errors import ConfigError, InvlearnError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables set by a launcher."""
PATIENCE = timedelta(hours=2)
"""Timeout, for example while one process checks a checkpoint; dead ones are detected at once."""


class Group:
    """The processes of one training; by default, a single process."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        """Create the group of process `rank` of `size`; needs `torch.distributed` if `size > 1`."""
        self.rank, self.size = rank, size
        self.payload: Counter[str] = Counter()
        """Bytes that this process passed to collectives, by operation; a sum transfers
        `2 (size - 1) / size` times as much on a ring."""

    @property
    def n_here(self) -> int:
        """Number of processes on this machine."""
        return 1 if self.is_alone else int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether the group has a single process."""
        return self.size == 1

    def share(self, n: int) -> slice:
        """Return this rank's share of `n` consecutive elements; the shares partition them.

        Example:
            >>> [Group(rank, 3).share(8) for rank in range(3)]
            [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def ends(self, n: int) -> list[int]:
        """Return the end of each rank's share, in rank order."""
        return [(rank + 1) * n // self.size for rank in range(self.size)]

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the sum over all ranks, bitwise equal on each; in place."""
        if not self.is_alone:
            self.payload["sum"] += values.nbytes
            with _connection_errors():
                dist.all_reduce(values)
        return values

    def all_to_all(self, pieces: Sequence[Tensor], lengths: Sequence[int]) -> list[Tensor]:
        """Send one tensor to each rank, and return those received.

        Args:
            pieces: One tensor per rank, one-dimensional, all of one type.
            lengths: Length of the tensor received from each rank.

        Returns:
            The received tensors, in rank order.
        """
        if self.is_alone:
            return list(pieces)
        out = pieces[0].new_empty(sum(lengths))
        sent = torch.cat(list(pieces))
        self.payload["exchange"] += sent.nbytes - pieces[self.rank].nbytes
        with _connection_errors():
            dist.all_to_all_single(out, sent, list(lengths), [len(piece) for piece in pieces])
        return list(out.split(list(lengths)))

    def lengths(self, pieces: Sequence[Tensor]) -> list[int]:
        """Return the length of the tensor that each rank will send to this one."""
        numbers = torch.tensor([len(piece) for piece in pieces], device=pieces[0].device)
        return [int(one) for one in self.all_to_all(list(numbers.split(1)), [1] * self.size)]

    def any_rank(self, flag: bool) -> bool:
        """Return whether the flag is true on any rank."""
        if self.is_alone:
            return flag
        return bool(self.all_reduce(torch.tensor([int(flag)], device=_device())).item())

    def broadcast_object(self, value: Any) -> Any:
        """Return the JSON value of rank 0 on all ranks; the values of others are ignored."""
        if self.is_alone:
            return value
        content = json.dumps(value).encode() if self.is_first else b""
        length = self.all_reduce(torch.tensor([len(content)], device=_device()))
        buffer = torch.zeros(int(length), dtype=torch.uint8, device=_device())
        if self.is_first:
            buffer.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        with _connection_errors():
            dist.broadcast(buffer, 0)
        return json.loads(bytes(buffer.cpu().numpy()))

    def barrier(self) -> None:
        """Wait until every process has reached this call."""
        if not self.is_alone:
            with _connection_errors():
                dist.barrier()


@contextmanager
def _connection_errors() -> Generator[None, None, None]:
    """Convert errors of a lost connection to an `InvlearnError` of one sentence."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[[^]]*\] ", "", str(error).strip().partition("\n")[0])
        reason = reason.partition(". ")[0].rstrip(".")  # drop the advice for programmers
        raise InvlearnError(
            f"another process of this training has ended ({reason}); see its message here or in "
            "its log; the last checkpoint is kept"
        ) from error


ALONE = Group()
"""The group of a single process."""


@contextmanager
def joined() -> Generator[Group, None, None]:
    """Join the process group of a launcher such as `torchrun`; without one, yield `ALONE`.

    Raises:
        ConfigError: Launcher variables are missing, or the other processes cannot be reached.
    """
    given = [name for name in VARIABLES if name in os.environ]
    if not given or os.environ.get("WORLD_SIZE") == "1":
        yield ALONE
        return
    if len(given) < len(VARIABLES):
        lacking = ", ".join(name for name in VARIABLES if name not in given)
        raise ConfigError(
            f"{', '.join(given)} is set, as a launcher sets it, but {lacking} is not; start the "
            "processes with torchrun, or unset it"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        store, rank, size = next(rendezvous("env://"))
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            # torchrun reuses its store after a restart, with the old addresses still in it
            store = PrefixStore(f"attempt {_attempt()}", store)
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE, store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"the other processes cannot be reached ({reason}); check that each was started with "
            "the same --nnodes, --nproc-per-node and --rdzv-endpoint"
        ) from error
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def started_again() -> bool:
    """Return whether `torchrun` has restarted the processes after a failure."""
    return _attempt() != "0"


def _attempt() -> str:
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def _device() -> torch.device:
    """Return the device for the tensors of collectives."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
