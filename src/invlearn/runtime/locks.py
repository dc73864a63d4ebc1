"""Locks that keep processes out of each other's way.

They are the operating system's and end with the process that holds them, however that ends. A disk
that knows no locks for what is asked is gone without. A link is never followed to what is locked.
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
    """Keep every other process out of the same block for the same folder.

    Raises:
        InvlearnError: Another process holds it, or the folder cannot be written.
    """
    file = folder / ".lock"
    with _opened(file) as handle:
        # A folder that was replaced between the opening and the lock is not the one that is locked.
        if not (_got(handle, LOCK_EX | LOCK_NB) and _is_at(handle, file)):
            raise InvlearnError(
                f"another process is at work in {folder}; wait for it, or stop it first"
            )
        yield


@contextmanager
def claimed(folder: Path, name: str) -> Generator[bool, None, None]:
    """Yield whether this process is the only one to work on `name` in a folder until the end.

    Unlike `locked`, it is no error if another process does.

    Raises:
        InvlearnError: The folder cannot be written.
    """
    with _opened(folder / f".{name}.lock") as handle:
        yield _got(handle, LOCK_EX | LOCK_NB)


@contextmanager
def in_turn(folder: Path, name: str) -> Generator[None, None, None]:
    """Wait until no other process is in the block of `name` for the same folder.

    Raises:
        InvlearnError: The folder cannot be written.
    """
    with _opened(folder / f".{name}.lock") as handle:
        _got(handle, LOCK_EX)
        yield


@contextmanager
def reserved(place: Path, make: Callable[[Path], None], name: Path) -> Generator[None, None, None]:
    """Be the only one that fills a temporary file or folder; the lock is on itself.

    Args:
        place: The file or folder; made if need be, else as a kill left it.
        make: Makes it; no error if it is there. A link in its place is to be removed.
        name: What it will be called in the end.

    Raises:
        InvlearnError: Another process fills it.
        OSError: It cannot be made.
    """
    while True:
        make(place)
        try:
            handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # whoever filled it has just moved it away
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
    """Wait until no other process is in the block for the same file or folder.

    Raises:
        OSError: It is not there.
    """
    handle = os.open(place, os.O_RDONLY)
    try:
        _got(handle, LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _opened(file: Path) -> Generator[int, None, None]:
    """Open the file that a lock is on, and make it if need be; a link is not followed."""
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise InvlearnError(
            f"cannot write {file}: {reason}; whoever works in {file.parent} needs the right to "
            "write there"
        ) from error
    try:
        yield handle
    finally:
        os.close(handle)


def _got(handle: int, how: int) -> bool:
    """Whether a lock was got; where there are none, it is."""
    try:
        flock(handle, how)
    except OSError as error:
        return error.errno not in _HELD
    return True


def _is_at(handle: int, place: Path) -> bool:
    """Whether what is open still has the name under which it was opened."""
    try:
        return os.path.samestat(os.fstat(handle), place.lstat())
    except OSError:
        return False
