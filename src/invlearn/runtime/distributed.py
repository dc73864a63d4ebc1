"""Processes that train one backbone together, and all that they say to each other.

`torchrun` (https://docs.pytorch.org/docs/stable/elastic/run.html) starts them and tells each who it
is; the messages are those of `torch.distributed`: gloo between CPUs, NCCL between GPUs. Every
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
"""What a launcher sets."""
PATIENCE = timedelta(hours=2)
"""How long processes wait for one that checks a checkpoint, say; the dead are seen at once."""


class Group:
    """The processes of one training, as one of them sees it; alone unless it is told otherwise."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        """Be process `rank`, from 0, of `size`; `torch.distributed` is ready if there are more."""
        self.rank, self.size = rank, size
        self.payload: Counter[str] = Counter()
        """Bytes that this process handed over, by kind of message; what travels is more for a
        sum, `2 (size - 1) / size` times as much on a ring."""

    @property
    def n_here(self) -> int:
        """Processes on this machine."""
        return 1 if self.is_alone else int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    def share(self, n: int) -> slice:
        """Which of `n` things in a row are this process' own; those of all cover every one once.

        Example:
            >>> [Group(rank, 3).share(8) for rank in range(3)]
            [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def ends(self, n: int) -> list[int]:
        """Where the share of each process ends, in the order of their ranks."""
        return [(rank + 1) * n // self.size for rank in range(self.size)]

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same bits on each; in place of the values."""
        if not self.is_alone:
            self.payload["sum"] += values.nbytes
            with _talking():
                dist.all_reduce(values)
        return values

    def all_to_all(self, pieces: Sequence[Tensor], lengths: Sequence[int]) -> list[Tensor]:
        """Send a piece to each process, and get one from each.

        Args:
            pieces: One for each rank, of one dimension, all of one type.
            lengths: Of what each rank sends here.

        Returns:
            What came, in the order of the ranks.
        """
        if self.is_alone:
            return list(pieces)
        out = pieces[0].new_empty(sum(lengths))
        sent = torch.cat(list(pieces))
        self.payload["exchange"] += sent.nbytes - pieces[self.rank].nbytes
        with _talking():
            dist.all_to_all_single(out, sent, list(lengths), [len(piece) for piece in pieces])
        return list(out.split(list(lengths)))

    def lengths(self, pieces: Sequence[Tensor]) -> list[int]:
        """How long what each rank is about to send here is."""
        numbers = torch.tensor([len(piece) for piece in pieces], device=pieces[0].device)
        return [int(one) for one in self.all_to_all(list(numbers.split(1)), [1] * self.size)]

    def any_rank(self, flag: bool) -> bool:
        """Whether it is so on any process."""
        if self.is_alone:
            return flag
        return bool(self.all_reduce(torch.tensor([int(flag)], device=_device())).item())

    def broadcast_object(self, value: Any) -> Any:
        """What the first process says, a value of JSON; the others' own is not looked at."""
        if self.is_alone:
            return value
        content = json.dumps(value).encode() if self.is_first else b""
        length = self.all_reduce(torch.tensor([len(content)], device=_device()))
        buffer = torch.zeros(int(length), dtype=torch.uint8, device=_device())
        if self.is_first:
            buffer.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        with _talking():
            dist.broadcast(buffer, 0)
        return json.loads(bytes(buffer.cpu().numpy()))

    def barrier(self) -> None:
        """Go on only when every process has come here."""
        if not self.is_alone:
            with _talking():
                dist.barrier()


@contextmanager
def _talking() -> Generator[None, None, None]:
    """Turn what is said of a lost connection into one sentence."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[[^]]*\] ", "", str(error).strip().partition("\n")[0])
        reason = reason.partition(". ")[0].rstrip(".")  # what follows is advice for programmers
        raise InvlearnError(
            f"another process of this training is gone ({reason}); see what it said before or "
            "after this, or in its own log, and fix that; the last checkpoint stands"
        ) from error


ALONE = Group()
"""A process that nobody works with."""


@contextmanager
def joined() -> Generator[Group, None, None]:
    """Be one of the processes that a launcher such as `torchrun` started, else be alone.

    Raises:
        ConfigError: The launcher said only half of what is needed, or the others are not found.
    """
    said = [name for name in VARIABLES if name in os.environ]
    if not said or os.environ.get("WORLD_SIZE") == "1":
        yield ALONE
        return
    if len(said) < len(VARIABLES):
        lacking = ", ".join(name for name in VARIABLES if name not in said)
        raise ConfigError(
            f"{', '.join(said)} is set, as a launcher of several processes does it, but not "
            f"{lacking}; start them with torchrun, or unset what is set"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        store, rank, size = next(rendezvous("env://"))
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            # torchrun keeps its meeting place when it starts all again, and old addresses in it
            store = PrefixStore(f"attempt {_attempt()}", store)
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE, store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"the other processes are not found ({reason}); see that every one is started with "
            "the same --nnodes, --nproc-per-node and --rdzv-endpoint"
        ) from error
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def started_again() -> bool:
    """Whether `torchrun` has started the processes again after one of them failed."""
    return _attempt() != "0"


def _attempt() -> str:
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def _device() -> torch.device:
    """Where messages must lie."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
