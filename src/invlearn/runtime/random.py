"""Stateless random numbers: every draw is a function of a seed and a key.

Each generator is created from (seed, purpose, position), so that a position in training is two
integers and no generator state is ever stored.
"""

from zlib import crc32

import numpy as np

from invlearn.runtime.errors import ConfigError


def stream(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """Return the generator for one purpose at one position.

    Args:
        seed: The run's seed.
        purpose: Purpose of the numbers; different purposes are independent.
        position: Position, for example epoch and step.

    Raises:
        ConfigError: The seed is negative.

    Example:
        >>> first = stream(0, "order", 3).integers(100, size=3)
        >>> again = stream(0, "order", 3).integers(100, size=3)
        >>> bool((first == again).all())
        True
    """
    if seed < 0:
        raise ConfigError(f"a seed must be 0 or more; found {seed}")
    key = (crc32(purpose.encode()), *position)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))


def torch_seed(seed: int, purpose: str, *position: int) -> int:
    """Return a seed for torch's global generator, for layers that require it (dropout)."""
    return int(stream(seed, purpose, *position).integers(2**63))
