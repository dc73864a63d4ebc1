"""What a run was computed with: versions, threads, machine."""

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from invlearn.runtime.errors import ConfigError


def environment() -> dict[str, Any]:
    """Describe the software and the machine, for the record of a run.

    Example:
        >>> sorted(environment())
        ['cpu_count', 'gpu', 'machine', 'platform', 'python', 'threads', 'versions']
    """
    packages = ("invlearn", "torch", "numpy", "polars", "narwhals")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {name: version(name) for name in packages},
    }


def lacking() -> dict[str, list[str]]:
    """Packages that are not installed, by the extra of the library that brings them.

    Example:
        >>> lacking().keys() >= {"report", "tune"}
        True
    """
    found: dict[str, list[str]] = {
        e: [] for e in metadata("invlearn").get_all("Provides-Extra", [])
    }
    for needed in requires("invlearn") or []:
        name = re.match(r"[\w.-]+", needed)
        extra = re.search(r"extra == .(\w+)", needed)
        if name and extra and not is_installed(name[0]):
            found[extra[1]].append(name[0])
    return found


def is_installed(package: str) -> bool:
    """Whether a package of that name, as package indices have it, is installed.

    Example:
        >>> is_installed("torch"), is_installed("no-such-package")
        (True, False)
    """
    with suppress(PackageNotFoundError):
        return bool(version(package))
    return False


def require_extra(extra: str, packages: Sequence[str], what: str) -> None:
    """Refuse to begin what could not be finished.

    Args:
        extra: Of the library.
        packages: What it installs, as they are imported.
        what: What is wanted, as a message begins.

    Raises:
        ConfigError: A package is not installed.

    Example:
        >>> require_extra("ann", ["torch"], "an index")
        >>> require_extra("ann", ["torch", "faist"], "an index")
        Traceback (most recent call last):
        ...
        invlearn.runtime.errors.ConfigError: an index needs faist, which is not installed; ...
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        is_, it = ("is", "it") if len(missing) == 1 else ("are", "them")
        raise ConfigError(
            f"{what} needs {', '.join(missing)}, which {is_} not installed; the extra '{extra}' "
            f"brings {it}: pip install 'invlearn[{extra}]'"
        )


def machine() -> str:
    """The machine in words.

    Example:
        >>> machine().startswith(f"{os.cpu_count()} x ")
        True
    """
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} x {platform.machine()}{gpu}, torch {version('torch')}"


def memory_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@cache
def commit() -> str:
    """The commit of this code, with `+` if files differ from it; the version outside of git."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return f"version {version('invlearn')}"
    return found.stdout.strip()


def reset_peak() -> None:
    """Let `peak_bytes` start again, where the system can do that (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int | None:
    """Most memory that this process held at once since `reset_peak`, in bytes; none if unknown.

    Example:
        >>> peak = peak_bytes()
        >>> peak is None or peak > 1_000_000
        True
    """
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else None
    return None
