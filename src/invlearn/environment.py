"""What a run was computed with: versions, threads, machine."""

import os
import platform
import re
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


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


def machine() -> str:
    """The machine in words.

    Example:
        >>> machine().startswith(f"{os.cpu_count()} x ")
        True
    """
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} x {platform.machine()}{gpu}, torch {version('torch')}"


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
    """Let `peak_bytes` start anew, where the system can do that (Linux)."""
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
