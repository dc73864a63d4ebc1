"""What a run was computed with: versions, threads, machine."""

import os
import platform
from importlib.metadata import version
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
