"""Memory: parse and format amounts, memory in use, available memory."""

import os
import re
from contextlib import suppress
from pathlib import Path

from invlearn.runtime.errors import ConfigError

_UNITS = {
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip


def bytes_of(amount: str) -> float:
    """Return the number of bytes in a text such as 64GiB.

    Example:
        >>> bytes_of("1.5 GiB") == 1.5 * 2**30, bytes_of("4gb") == 4e9
        (True, True)

    Raises:
        ConfigError: The text is not an amount of memory.
    """
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) *([A-Z]+)", amount.strip().upper())
    if not found or found[2] not in _UNITS:
        raise ConfigError(f"'{amount}' is not an amount of memory; write, for example, 4GiB")
    return float(found[1]) * _UNITS[found[2]]


def gib(n_bytes: float) -> str:
    """Return a number of bytes as text, in GiB or MiB.

    Example:
        >>> gib(3 * 2**29), gib(5e6)
        ('1.5 GiB', '4.8 MiB')
    """
    if n_bytes >= 2**30:
        return f"{n_bytes / 2**30:,.1f} GiB"
    return f"{n_bytes / 2**20:,.1f} MiB"


def resident() -> float:
    """Return the resident memory of this process in bytes."""
    with suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def available() -> float:
    """Return the available memory in bytes, within the limits of the control groups."""
    found = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    with suppress(OSError, ValueError, AttributeError):
        free = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        found.append(int(free[1]) * 1024)  # pyright: ignore[reportOptionalSubscript]
    with suppress(OSError):
        found += group_limits(Path("/proc/self/cgroup").read_text(), Path("/sys/fs/cgroup"))
    return min(found)


def group_limits(groups: str, root: Path) -> list[float]:
    """Return the remaining memory in bytes of each control group of a process and of its parents.

    File pages are reclaimable and do not count as used.

    Args:
        groups: Lines of `hierarchy:controllers:path`, as in `/proc/self/cgroup`; version 1 or 2.
        root: Where control groups are mounted.
    """
    found: list[float] = []
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        file, held = (
            ("memory.limit_in_bytes", "total_rss") if controllers else ("memory.max", "anon")
        )
        inner = Path(path.lstrip("/"))
        for group in (inner, *inner.parents):
            with suppress(OSError, ValueError):  # group not visible, or no limit ("max")
                place = root / controllers / group
                limit = float((place / file).read_text())
                taken = re.search(rf"^{held} (\d+)$", (place / "memory.stat").read_text(), re.M)
                found.append(limit - int(taken[1] if taken else 0))
    return found
