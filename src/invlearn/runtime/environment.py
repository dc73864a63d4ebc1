"""Software and hardware environment of a run: versions, threads, machine."""

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
from invlearn.runtime.memory import kernel_bytes


def environment() -> dict[str, Any]:
    """Return a description of the software and the machine, for the record of a run.

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
    """Return the optional packages that are not installed, by extra.

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
    """Return whether a package, by its name on package indices, is installed.

    Example:
        >>> is_installed("torch"), is_installed("no-such-package")
        (True, False)
    """
    with suppress(PackageNotFoundError):
        return bool(version(package))
    return False


def require_extra(extra: str, packages: Sequence[str], what: str) -> None:
    """Check that the packages of an extra are installed.

    Args:
        extra: Extra of this library.
        packages: Import names of its packages.
        what: What requires them; starts the error message.

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
    """Return a one-line description of the machine.

    Example:
        >>> machine().startswith(f"{os.cpu_count()} x ")
        True
    """
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} x {platform.machine()}{gpu}, torch {version('torch')}"


@cache
def commit() -> str:
    """Return the git commit of this code, with `+` if files differ; the version outside of git."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return f"version {version('invlearn')}"
    return found.stdout.strip()


def reset_peak() -> None:
    """Reset the peak for `peak_bytes`, if the system supports it (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int | None:
    """Return the peak memory of this process since `reset_peak`, in bytes; None if unknown.

    Example:
        >>> peak = peak_bytes()
        >>> peak is None or peak > 1_000_000
        True
    """
    return kernel_bytes("self/status", "VmHWM")
