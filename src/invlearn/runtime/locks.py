"""File locks between processes.

They use `flock`, so the operating system releases them when the process ends for any reason. On a
file system without locks, no lock is taken. Symbolic links are never followed to the locked file.
"""

import errno
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from invlearn.runtime.errors import InvlearnError

_HELD = (errno.EWOULDBLOCK, errno.EACCES)


@contextmanager
def locked(folder: Path) -> Generator[None, None, None]:
    """Hold an exclusive lock on a folder during the block.

    Raises:
        InvlearnError: Another process holds the lock, or the folder is not writable.
    """
    file = folder / ".lock"
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise InvlearnError(
            f"cannot write {file}: {reason}; work in {folder} needs write permission there"
        ) from error
    try:
        # If the folder was replaced between open and lock, the wrong folder is locked.
        if not (_got(handle, LOCK_EX | LOCK_NB) and _is_at(handle, file)):
            raise InvlearnError(f"another process is using {folder}; wait for it, or stop it first")
        yield
    finally:
        os.close(handle)


@contextmanager
def reserved(place: Path, make: Callable[[Path], None], name: Path) -> Generator[None, None, None]:
    """Hold an exclusive lock on a temporary file or folder while it is filled.

    Args:
        place: The file or folder; created if missing, otherwise as a killed process left it.
        make: Creates it, without error if it exists; must remove a link at its path.
        name: Final name, for messages.

    Raises:
        InvlearnError: Another process holds the lock.
        OSError: The file or folder cannot be created.
    """
    while True:
        make(place)
        try:
            handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # the process that filled it has just renamed it
        try:
            if not _got(handle, LOCK_EX | LOCK_NB):
                raise InvlearnError(f"another process is writing {name}; wait for it to end")
            if _is_at(handle, place):
                yield
                return
        finally:
            os.close(handle)


@contextmanager
def waited_for(place: Path) -> Generator[None, None, None]:
    """Wait for the lock on a file or folder, and hold it during the block.

    Raises:
        OSError: The file or folder does not exist.
    """
    handle = os.open(place, os.O_RDONLY)
    try:
        _got(handle, LOCK_EX)
        yield
    finally:
        os.close(handle)


def _got(handle: int, how: int) -> bool:
    """Return whether the lock was acquired; true on file systems without locks."""
    try:
        flock(handle, how)
    except OSError as error:
        return error.errno not in _HELD
    return True


def _is_at(handle: int, place: Path) -> bool:
    """Return whether an open file is still at its path."""
    try:
        return os.path.samestat(os.fstat(handle), place.lstat())
    except OSError:
        return False
