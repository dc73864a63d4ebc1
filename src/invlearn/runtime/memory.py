"""Memory: parse and format amounts, memory in use, available memory."""

import os
import re
from contextlib import suppress
from pathlib import Path

from invlearn.runtime.errors import ConfigError

_DECIMAL = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS = _DECIMAL | {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


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


def memory_bytes() -> int:
    """Return the total memory of the machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def kernel_bytes(file: str, key: str) -> int | None:
    """Return a number of bytes that a file in `/proc` gives in kB; None without it (not Linux)."""
    with suppress(OSError):
        line = re.search(rf"{key}:\s+(\d+) kB", Path("/proc", file).read_text())
        return int(line[1]) * 1024 if line else None
    return None


def resident() -> float:
    """Return the resident memory of this process in bytes."""
    return kernel_bytes("self/status", "VmRSS") or 0


def available() -> float:
    """Return the available memory in bytes, within the limits of the control groups."""
    known = (memory_bytes(), kernel_bytes("meminfo", "MemAvailable"))
    limits = [float(n) for n in known if n is not None]
    with suppress(OSError):
        limits += group_limits(Path("/proc/self/cgroup").read_text(), Path("/sys/fs/cgroup"))
    return min(limits)


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
