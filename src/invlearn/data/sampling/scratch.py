"""Arrays in unlinked temporary files, for data larger than memory; freed at exit."""

import os
from math import prod
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.runtime import atomic


class Scratch(NamedTuple):
    """Storage of large arrays: memory or a folder on disk."""

    folder: Path | None = None
    """Folder on a disk with enough space; it need not exist if a parent does. None for memory."""

    def array(self, shape: int | tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        """Allocate an uninitialised array.

        Disk space is reserved at once, so a full disk is an error here and not a fault of the
        memory map later. The file is unlinked, so no file is left behind, even after a crash.

        Raises:
            InvlearnError: The disk is full or not writable.
        """
        n_bytes = np.dtype(kind).itemsize * prod(np.atleast_1d(shape).tolist())
        if self.folder is None or n_bytes == 0:
            return np.empty(shape, kind)
        place = next(
            place for place in (self.folder, *self.folder.absolute().parents) if place.is_dir()
        )
        try:
            with TemporaryFile(dir=place) as file:
                os.posix_fallocate(file.fileno(), 0, n_bytes)
                return np.memmap(file, dtype=kind, mode="r+", shape=shape)
        except OSError as error:
            raise atomic.cannot_write(place / "scratch", error) from error


MEMORY = Scratch()
