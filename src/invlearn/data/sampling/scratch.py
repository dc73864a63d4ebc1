"""Big arrays that need not fit into memory: files without a name, gone with who asked."""

import os
from math import prod
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from invlearn.runtime import atomic


class Scratch(NamedTuple):
    """Where big arrays go."""

    folder: Path | None = None
    """A folder on a disk with room, which need not be there yet if one above it is; none for
    memory."""

    def array(self, shape: int | tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        """Room for an array, of no particular content.

        On disk all of it is claimed at once, so that a full disk is an error here, and no fault
        of the memory map later. The file has no name: whatever happens, nothing is left of it.

        Raises:
            InvlearnError: The disk is full or cannot be written.
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
