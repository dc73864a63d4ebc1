"""Files and folders that are either whole or absent, whatever happens while they are written.

Everything is written under a temporary name beside the target, flushed to disk, and renamed.
A crash leaves the old content, at worst a folder moved aside, which the next look at it puts back;
the next write removes what the crash left under the temporary name. Of two processes that write
the same thing, the second is refused.

A temporary name can be foreseen, so what somebody else put there is removed and never written
into: a link goes, and what it leads to stays as it is.
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
    """Yield a temporary path to write; give it the name `path` when the block ends well.

    Args:
        path: The file's final name.
        overwrite: Replace a file that is there, else refuse.

    Raises:
        InvlearnError: The disk is full, the folder cannot be written, another process writes the
            same file, or it exists; `path` is as it was.
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
    """Refuse to begin what could not be written: the folder of a file must be there.

    Raises:
        InvlearnError: It is not.
    """
    if not file.parent.is_dir():
        raise InvlearnError(
            f"there is no folder {file.parent} to write {file.name} to; make it first"
        )


def need_absent(path: Path, *, overwrite: bool) -> None:
    """Refuse to begin what would replace something that is there.

    Raises:
        InvlearnError: It is there, and nobody said that it may be replaced.
    """
    if os.path.lexists(path) and not overwrite:
        raise InvlearnError(f"{path} exists already; choose another name or pass --overwrite")


@contextmanager
def new_folder(
    path: Path, *, overwrite: bool = False, marker: str = ""
) -> Generator[Path, None, None]:
    """Yield a temporary folder to fill; give it the name `path` when the block ends well.

    A link called `path` is replaced itself: the folder that it leads to stays as it is.

    Args:
        path: The folder's final name; its parents are made.
        overwrite: Replace a folder that is there already, else refuse.
        marker: File that a folder must hold to be replaced, so that nothing else is ever lost.

    Raises:
        InvlearnError: `path` exists, the disk is full, the place cannot be written, or another
            process writes the same folder.
    """
    partial = _beside(path, "partial")
    recover(path)
    _check_place(path, marker, overwrite=overwrite)
    try:
        with _filled(partial, path, _make_folder):
            _check_place(path, marker, overwrite=overwrite)  # another may just have written it
            yield partial
            for file in (*sorted(partial.rglob("*")), partial):
                _sync(file)
            _swap(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def scratch(path: Path) -> Generator[Path, None, None]:
    """Yield a hidden folder for what is needed while `path` is written; then it goes.

    Raises:
        InvlearnError: The place cannot be written, or another process writes `path`.
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
    """Be the only one that fills a temporary file or folder, empty at first; undo it on errors."""
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
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:  # a file of two names is a link
            _remove(place)
    os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666))


def _make_folder(place: Path) -> None:
    if place.is_symlink() or not place.is_dir():
        _remove(place)
    place.mkdir(parents=True, exist_ok=True)


def _remove(place: Path) -> None:
    """Remove a file, a link or a folder, if it can be; what a link leads to stays."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        with suppress(OSError):
            place.unlink()


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8, whole or not at all."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file and give it the name `path`, whole or not at all."""
    with new_file(path) as partial:
        write(partial)


def sync(file: Path) -> None:
    """Force what was added to a file to disk.

    Raises:
        InvlearnError: The disk says no.
    """
    try:
        _sync(file)
    except OSError as error:
        raise cannot_write(file, error) from error


def cannot_write(path: Path, error: OSError) -> InvlearnError:
    """Error that names the file, the cause and the cure of a failed write."""
    reason = error.strerror or str(error)
    scratch = next((up for up in (path, *path.parents) if up.name.endswith(".parts")), path)
    final = Path(*map(_final, scratch.parts))
    is_full = error.errno in (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    cure = "free some space or choose another place" if is_full else "choose another place"
    return InvlearnError(f"cannot write {final}: {reason}; {cure}")


def _final(name: str) -> str:
    """Name that a file or folder will have in the end."""
    is_temporary = name.startswith(".") and name.endswith((".partial", ".parts"))
    return name[1 : name.rindex(".")] if is_temporary else name


def _check_place(path: Path, marker: str, *, overwrite: bool) -> None:
    """Make sure that a folder is free, or may be replaced."""
    need_absent(path, overwrite=overwrite)
    if os.path.lexists(path) and not _replaceable(path, marker):
        raise InvlearnError(
            f"{path} is not overwritten, since there is no {marker} in it; choose another name"
        )


def _replaceable(path: Path, marker: str) -> bool:
    """Whether a folder is of the kind that `marker` tells, or empty."""
    return (path / marker).exists() or (path.is_dir() and not any(path.iterdir()))


def recover(path: Path) -> None:
    """Put a folder back that a crash in the middle of its replacement left moved aside.

    If it was no crash, and another process is just replacing it, that one is waited for.
    """
    old = _aside(path if path.name not in ("", "..") else path.resolve())
    if os.path.lexists(path) or old.is_symlink() or not old.is_dir():
        return
    with suppress(OSError), locks.waited_for(old):
        _put_back(old, path)


def forget(path: Path) -> None:
    """Remove what a crash at the very end of a replacement left of a folder's predecessor.

    Whoever calls holds the lock of the folder, which is there.
    """
    _remove(_aside(path))


def _put_back(old: Path, path: Path) -> None:
    if os.path.lexists(old) and not os.path.lexists(path):
        with suppress(OSError):
            old.replace(path)


def _aside(path: Path) -> Path:
    return _beside(path, "old")


def _beside(path: Path, suffix: str) -> Path:
    """A hidden name beside a path.

    Raises:
        InvlearnError: The path has no name of its own.
    """
    if not path.name:
        raise InvlearnError(
            f"what is written needs a name of its own; found '{path}', so name a new file or folder"
        )
    return path.with_name(f".{path.name}.{suffix}")


def _swap(partial: Path, path: Path) -> None:
    """Move `partial` to `path`; what stood there is moved aside first and removed last."""
    old = _aside(path)
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
    """Force a file or a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
