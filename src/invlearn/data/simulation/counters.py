"""Counter-based random numbers and permutations: entry `n` depends only on a key and `n`.

So any part of an endless sequence can be computed, in any order, without the preceding entries.
"""

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def uniform(key: int, positions: Positions) -> Reals:
    """Return uniform numbers in (0, 1), one for each position.

    Args:
        key: Below 2^64; different keys give independent numbers.
        positions: Entries of the sequence, of any shape.

    Example:
        >>> uniform(7, np.array([0, 1, 1_000_000])).round(3)
        array([0.524, 0.302, 0.746])
    """
    return ((_bits(key, positions) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normal(key: int, positions: Positions) -> Reals:
    """Return standard normal numbers, one for each position (Box and Muller 1958).

    Args:
        key: Below 2^63; different keys give independent numbers.
        positions: Entries of the sequence, of any shape, below 2^62.
    """
    radius = np.sqrt(-2.0 * np.log(uniform(key, positions * 2)))
    return radius * np.cos(2.0 * np.pi * uniform(key, positions * 2 + 1))


def permuted(key: int, positions: Positions, size: int) -> Positions:
    """Apply a random permutation of `0 .. size - 1` to each position.

    A Feistel network permutes the next even power of two; values outside `size` are permuted again
    until they fall inside (Black and Rogaway 2002), about four times on average at most.

    Args:
        key: Determines the permutation.
        positions: Below `size`, of shape `(positions,)`.
        size: At least 1, below 2^62.

    Example:
        >>> [int(place) for place in permuted(7, np.arange(5), 5)]
        [4, 1, 2, 3, 0]
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    places = _feistel(key, positions, half)
    while (outside := np.flatnonzero(places >= size)).size:
        places[outside] = _feistel(key, places[outside], half)
    return places


def _feistel(key: int, positions: Positions, half: int) -> Positions:
    """Permute numbers of `2 * half` bits in four rounds."""
    mask = np.int64((1 << half) - 1)
    left, right = positions >> half, positions & mask
    for number in range(4):
        noise = _bits(key + number, right).astype(np.int64) & mask
        left, right = right, left ^ noise
    return (left << half) | right


def _bits(key: int, positions: Positions) -> npt.NDArray[np.uint64]:
    """Hash positions to 64 bits: SplitMix64 (Steele, Lea and Flood 2014), seeded by the key."""
    start = _mixed(np.array([key % 2**64], np.uint64))
    return _mixed(start + (positions.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def _mixed(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * _MIX_1
    bits = (bits ^ (bits >> np.uint64(27))) * _MIX_2
    return bits ^ (bits >> np.uint64(31))
