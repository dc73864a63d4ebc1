"""Files and folders that are either whole or absent, whatever happens while they are written.

Everything is written under a temporary name beside the target, flushed to disk, and renamed.
A crash leaves the old content, at worst a folder moved aside, which the next look at it puts back;
the next write removes what the crash left under the temporary name.
"""

import json
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from invlearn.errors import InvlearnError


@contextmanager
def new_file(path: Path) -> Generator[Path, None, None]:
    """Yield a temporary path to write; give it the name `path` when the block ends well.

    Raises:
        InvlearnError: The disk is full or the folder cannot be written; `path` is as it was.
    """
    partial = _beside(path, "partial")
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink()


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
    if path.exists() and not overwrite:
        raise InvlearnError(f"{path} exists already; choose another name or pass --overwrite")


@contextmanager
def new_folder(
    path: Path, *, overwrite: bool = False, marker: str = ""
) -> Generator[Path, None, None]:
    """Yield a temporary folder to fill; give it the name `path` when the block ends well.

    Args:
        path: The folder's final name; its parents are made.
        overwrite: Replace a folder that is there already, else refuse.
        marker: File that a folder must hold to be replaced, so that nothing else is ever lost.

    Raises:
        InvlearnError: `path` exists, the disk is full, or the place cannot be written.
    """
    partial = _beside(path, "partial")
    recover(path)
    need_absent(path, overwrite=overwrite)
    if path.exists() and not _replaceable(path, marker):
        raise InvlearnError(
            f"{path} is not overwritten, since there is no {marker} in it; choose another name"
        )
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for file in (*sorted(partial.rglob("*")), partial):
            _sync(file)
        _swap(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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


def cannot_write(path: Path, error: OSError) -> InvlearnError:
    """Error that names the file, the cause and the cure of a failed write."""
    reason = error.strerror or str(error)
    final = Path(*map(_final, path.parts))
    return InvlearnError(f"cannot write {final}: {reason}; free some space or choose another place")


def _final(name: str) -> str:
    """Name that a file or folder will have in the end."""
    is_partial = name.startswith(".") and name.endswith(".partial")
    return name[1 : -len(".partial")] if is_partial else name


def _replaceable(path: Path, marker: str) -> bool:
    """Whether a folder is of the kind that `marker` tells, or empty."""
    return (path / marker).exists() or (path.is_dir() and not any(path.iterdir()))


@contextmanager
def locked(folder: Path) -> Generator[None, None, None]:
    """Keep every other process out of the same block for the same folder.

    The lock is the operating system's and ends with the process, however that ends.

    Raises:
        InvlearnError: Another process holds it.
    """
    with (folder / ".lock").open("a") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except OSError as error:
            raise InvlearnError(
                f"another process is at work in {folder}; wait for it, or stop it first"
            ) from error
        yield


@contextmanager
def claimed(folder: Path, name: str) -> Generator[bool, None, None]:
    """Yield whether this process is the only one to work on `name` in a folder until the end.

    Unlike `locked`, it is no error if another process does.
    """
    with (folder / f".{name}.lock").open("a") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except OSError:
            yield False
            return
        yield True


@contextmanager
def in_turn(folder: Path, name: str) -> Generator[None, None, None]:
    """Wait until no other process is in the block of `name` for the same folder."""
    with (folder / f".{name}.lock").open("a") as file:
        flock(file, LOCK_EX)
        yield


def recover(path: Path) -> None:
    """Put a folder back that a crash in the middle of its replacement left moved aside."""
    old = _aside(path if path.name not in ("", "..") else path.resolve())
    if old.exists() and not path.exists():
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
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.replace(old)
    try:
        partial.replace(path)
    finally:
        recover(path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Force a file or a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
