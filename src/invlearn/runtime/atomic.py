"""Atomic writing of files and folders: they are either complete or absent.

Everything is written under a temporary name next to the target, flushed to disk, and renamed.
A crash leaves the old content, at worst a folder that was moved aside, which `recover` moves back;
the next write removes the files left under the temporary name. If two processes write the same
target, the second one gets an error.

Temporary names are predictable, so files of others at that path are removed and never written to:
a link is removed, and its target is not changed.
"""

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from invlearn.runtime import locks
from invlearn.runtime.errors import InvlearnError


@contextmanager
def new_file(path: Path, *, overwrite: bool = True) -> Generator[Path, None, None]:
    """Yield a temporary path to write; rename it to `path` if the block succeeds.

    Args:
        path: The file's final name.
        overwrite: Replace an existing file; otherwise raise.

    Raises:
        InvlearnError: The disk is full, the folder is not writable, another process writes the
            same file, or it exists; `path` is unchanged.
    """
    partial = _beside(path, "partial")
    try:
        with _filled(partial, path, _make_file):
            need_absent(path, overwrite=overwrite)
            yield partial
            _sync(partial)
            partial.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def need_folder(file: Path) -> None:
    """Check that the folder of an output file exists.

    Raises:
        InvlearnError: It does not exist.
    """
    if not file.parent.is_dir():
        raise InvlearnError(
            f"there is no folder {file.parent} to write {file.name} to; make it first"
        )


def need_absent(path: Path, *, overwrite: bool) -> None:
    """Check that a path does not exist, or may be overwritten.

    Raises:
        InvlearnError: The path exists, and `overwrite` is false.
    """
    if os.path.lexists(path) and not overwrite:
        raise InvlearnError(f"{path} already exists; choose another name or pass --overwrite")


@contextmanager
def new_folder(
    path: Path, *, overwrite: bool = False, marker: str = ""
) -> Generator[Path, None, None]:
    """Yield a temporary folder to fill; rename it to `path` if the block succeeds.

    If `path` is a link, the link is replaced, and its target is not changed.

    Args:
        path: The folder's final name; its parents are created.
        overwrite: Replace an existing folder; otherwise raise.
        marker: File that a folder must contain to be replaced, to protect other folders.

    Raises:
        InvlearnError: `path` exists, the disk is full or not writable, or another process writes
            the same folder.
    """
    partial = _beside(path, "partial")
    recover(path)
    _check_place(path, marker, overwrite=overwrite)
    try:
        with _filled(partial, path, _make_folder):
            _check_place(path, marker, overwrite=overwrite)  # another process may have written it
            yield partial
            for file in (*sorted(partial.rglob("*")), partial):
                _sync(file)
            _swap(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def scratch(path: Path) -> Generator[Path, None, None]:
    """Yield a hidden folder for temporary files of `path`; delete it on exit.

    Raises:
        InvlearnError: The disk is not writable, or another process writes `path`.
    """
    parts = _beside(path, "parts")
    with ExitStack() as stack:
        try:
            stack.enter_context(_filled(parts, path, _make_folder))
        except OSError as error:
            raise cannot_write(path, error) from error
        yield parts
        _remove(parts)


@contextmanager
def _filled(partial: Path, path: Path, make: Callable[[Path], None]) -> Generator[None, None, None]:
    """Lock and empty a temporary file or folder; remove it if the block fails."""
    with locks.reserved(partial, make, path):
        if partial.is_dir():
            for left in partial.iterdir():
                _remove(left)
        else:
            os.close(os.open(partial, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW))
        try:
            yield
        except BaseException:
            _remove(partial)
            raise


def _make_file(place: Path) -> None:
    with suppress(FileNotFoundError):
        found = place.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:  # more than one hard link
            _remove(place)
    os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666))


def _make_folder(place: Path) -> None:
    if place.is_symlink() or not place.is_dir():
        _remove(place)
    place.mkdir(parents=True, exist_ok=True)


def _remove(place: Path) -> None:
    """Remove a file, a link or a folder, ignoring errors; the target of a link is kept."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        with suppress(OSError):
            place.unlink()


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def sync(file: Path) -> None:
    """Flush a file to disk.

    Raises:
        InvlearnError: The disk reports an error.
    """
    try:
        _sync(file)
    except OSError as error:
        raise cannot_write(file, error) from error


def cannot_write(path: Path, error: OSError) -> InvlearnError:
    """Return an error that names the file, the cause and the remedy of a failed write."""
    reason = error.strerror or str(error)
    scratch = next((up for up in (path, *path.parents) if up.name.endswith(".parts")), path)
    final = Path(*map(_final, scratch.parts))
    is_full = error.errno in (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    cure = "free some space or choose another place" if is_full else "choose another place"
    return InvlearnError(f"cannot write {final}: {reason}; {cure}")


def _final(name: str) -> str:
    """Return the final name of a file or folder."""
    is_temporary = name.startswith(".") and name.endswith((".partial", ".parts"))
    return name[1 : name.rindex(".")] if is_temporary else name


def _check_place(path: Path, marker: str, *, overwrite: bool) -> None:
    """Check that a folder does not exist, or may be replaced."""
    need_absent(path, overwrite=overwrite)
    if not os.path.lexists(path) or (path / marker).exists():
        return
    if not path.is_dir() or any(path.iterdir()):
        raise InvlearnError(
            f"{path} is not overwritten, since it contains no {marker}; choose another name"
        )


def recover(path: Path) -> None:
    """Move back a folder that a crash during its replacement left moved aside.

    If another process is replacing it right now, wait for that process.
    """
    old = _beside(path if path.name not in ("", "..") else path.resolve(), "old")
    if os.path.lexists(path) or old.is_symlink() or not old.is_dir():
        return
    with suppress(OSError), locks.waited_for(old):
        _put_back(old, path)


def forget(path: Path) -> None:
    """Remove the remains of the old folder after a crash at the end of a replacement.

    The folder must exist, and the caller must hold its lock.
    """
    _remove(_beside(path, "old"))


def _put_back(old: Path, path: Path) -> None:
    if os.path.lexists(old) and not os.path.lexists(path):
        with suppress(OSError):
            old.replace(path)


def _beside(path: Path, suffix: str) -> Path:
    """Return a hidden path in the same folder.

    Raises:
        InvlearnError: The path has no name.
    """
    if not path.name:
        raise InvlearnError(
            f"an output needs a name; found '{path}', so add the name of a file or folder"
        )
    return path.with_name(f".{path.name}.{suffix}")


def _swap(partial: Path, path: Path) -> None:
    """Move `partial` to `path`; an existing folder is moved aside first and removed last."""
    old = _beside(path, "old")
    _remove(old)
    with locks.waited_for(path) if path.exists() else nullcontext():
        if path.exists():
            path.replace(old)
        try:
            partial.replace(path)
        finally:
            _put_back(old, path)
    _sync(path.parent)
    _remove(old)


def _sync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
