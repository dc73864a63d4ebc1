"""Files and folders that are whole or absent."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from invlearn.runtime import atomic, locks
from invlearn.runtime.errors import InvlearnError


def fill(folder, text, **options):
    with atomic.new_folder(folder, **options) as partial:
        (partial / "file").write_text(text)


def crash_at_renaming(nth, monkeypatch, folder):
    """Replace a folder, and let the `nth` renaming be the last thing that the process does."""
    calls, replace = [], Path.replace

    def renaming(self, target):
        calls.append(self)
        if len(calls) >= nth:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", renaming)
        with pytest.raises(KeyboardInterrupt):
            fill(folder, "new", overwrite=True)


@pytest.mark.parametrize("nth", [1, 2])
def test_a_crash_between_renamings_keeps_the_old_folder(tmp_path, monkeypatch, nth):
    folder = tmp_path / "data"
    fill(folder, "old")
    crash_at_renaming(nth, monkeypatch, folder)
    atomic.recover(folder)
    assert (folder / "file").read_text() == "old"
    fill(folder, "new", overwrite=True)
    assert (folder / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_moved_aside_is_not_written_over(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    fill(folder, "old")
    crash_at_renaming(2, monkeypatch, folder)
    with pytest.raises(InvlearnError, match="already exists"):
        fill(folder, "new")
    assert (folder / "file").read_text() == "old"


def test_a_failed_file_leaves_the_old_one(tmp_path):
    file = tmp_path / "file"
    atomic.write_text(file, "old")
    with suppress(ValueError), atomic.new_file(file) as partial:
        partial.write_text("half")
        raise ValueError
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("path", [Path(), Path("/")])
def test_a_path_without_a_name_is_an_error_that_teaches(path):
    with pytest.raises(InvlearnError, match="needs a name; found"), atomic.new_file(path):
        pass


# Two processes, here two open files: a lock is that of the file that was opened


def test_of_two_that_write_a_folder_the_second_is_refused(tmp_path):
    folder = tmp_path / "data"
    with atomic.new_folder(folder) as partial:
        (partial / "file").write_text("first")
        with pytest.raises(InvlearnError, match=r"another process is writing .*data; wait for it"):
            fill(folder, "second")
        assert (partial / "file").read_text() == "first"
    assert (folder / "file").read_text() == "first"
    fill(folder, "third", overwrite=True)


def test_of_two_that_write_a_file_the_second_is_refused(tmp_path):
    file = tmp_path / "file"
    with atomic.new_file(file) as partial:
        partial.write_text("first")
        with pytest.raises(InvlearnError, match=r"another process is writing .*file; wait for it"):
            atomic.write_text(file, "second")
    assert file.read_text() == "first"
    atomic.write_text(file, "third")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_another_wrote_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    """Both looked whether the name is free before either wrote."""
    folder, file, reserved = tmp_path / "data", tmp_path / "file", locks.reserved

    def after_the_other(*given):
        monkeypatch.setattr(locks, "reserved", reserved)
        fill(folder, "first")
        atomic.write_text(file, "first")
        return reserved(*given)

    for write in (fill, lambda file, text: new_text(file, text)):
        for path in (folder, file):
            atomic._remove(path)
        monkeypatch.setattr(locks, "reserved", after_the_other)
        with pytest.raises(InvlearnError, match="already exists"):
            write(folder if write is fill else file, "second")
    assert (folder / "file").read_text() == file.read_text() == "first"


def new_text(file, text):
    with atomic.new_file(file, overwrite=False) as partial:
        partial.write_text(text)


def test_one_that_looks_while_a_folder_is_replaced_waits(tmp_path, monkeypatch):
    """Else it would take the folder that is moved aside for one that a crash left."""
    folder, replace, looking = tmp_path / "data", Path.replace, []
    fill(folder, "old")

    def renaming(self, target):
        if self.name == ".data.partial":  # the old one is aside, the new one not yet there
            looking.append(Thread(target=atomic.recover, args=(folder,)))
            looking[0].start()
            looking[0].join(0.3)
            assert looking[0].is_alive()
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", renaming)
        fill(folder, "new", overwrite=True)
    looking[0].join()
    assert (folder / "file").read_text() == "new"


def test_leftovers_of_the_other_kind_are_no_hindrance(tmp_path):
    (tmp_path / ".a.partial").mkdir()
    (tmp_path / ".a.partial" / "left").touch()
    (tmp_path / ".b.partial").write_text("left")
    atomic.write_text(tmp_path / "a", "whole")
    fill(tmp_path / "b", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["file"]


def test_a_scratch_folder_is_empty_at_first_and_gone_at_last(tmp_path):
    (tmp_path / ".lists.parts").mkdir()
    (tmp_path / ".lists.parts" / "left").touch()
    with atomic.scratch(tmp_path / "lists") as place:
        assert not [*place.iterdir()]
        (place / "part").touch()
        with (
            pytest.raises(InvlearnError, match="another process is writing"),
            atomic.scratch(tmp_path / "lists"),
        ):
            pass
    assert not [*tmp_path.iterdir()]


def test_a_lock_on_a_folder_that_was_replaced_meanwhile_is_none(tmp_path, monkeypatch):
    folder, got = tmp_path / "run", locks._got
    fill(folder, "old")

    def late(handle, how):
        monkeypatch.setattr(locks, "_got", got)
        fill(folder, "new", overwrite=True)
        return got(handle, how)

    monkeypatch.setattr(locks, "_got", late)
    with pytest.raises(InvlearnError, match="another process is using"), locks.locked(folder):
        pass
    with locks.locked(folder):
        pass


def test_a_disk_without_locks_is_written_to_all_the_same(tmp_path, monkeypatch):
    def none(handle, how):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(locks, "flock", none)
    fill(tmp_path / "data", "whole")
    fill(tmp_path / "data", "new", overwrite=True)
    assert (tmp_path / "data" / "file").read_text() == "new"
    with locks.locked(tmp_path), locks.locked(tmp_path):  # no lock is taken
        pass


# Temporary names can be foreseen: what somebody put there is not written into


@pytest.fixture
def home(tmp_path):
    """A folder with a file that is nobody else's business, and a place to write beside it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "file").write_text("dear")
    (tmp_path / "here").mkdir()
    yield tmp_path / "home"
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["file"]
    assert (tmp_path / "home" / "file").read_text() == "dear"
    assert not (tmp_path / "gone").exists()


ENDS = ("home", "home/file", "gone")


@pytest.mark.parametrize("end", ENDS)
def test_a_link_under_a_temporary_name_is_removed_and_not_followed(home, end):
    here = home.parent / "here"
    for name in (".file.partial", ".folder.partial", ".folder.old", ".lists.parts"):
        (here / name).symlink_to(home.parent / end)
    atomic.write_text(here / "file", "whole")
    fill(here / "folder", "whole")
    with atomic.scratch(here / "lists") as place:
        (place / "part").touch()
    assert sorted(path.name for path in here.iterdir()) == ["file", "folder"]
    (here / ".folder.old").symlink_to(home.parent / end)
    fill(here / "folder", "new", overwrite=True)
    assert (here / "folder" / "file").read_text() == "new"
    (here / ".folder.old").symlink_to(home.parent / end)
    atomic.forget(here / "folder")
    assert sorted(path.name for path in here.iterdir()) == ["file", "folder"]


def test_a_link_is_no_folder_that_a_crash_moved_aside(home):
    (home.parent / "here" / ".run.old").symlink_to(home)
    atomic.recover(home.parent / "here" / "run")
    assert not (home.parent / "here" / "run").exists()


def test_a_second_name_of_a_file_is_removed_too(home):
    (home.parent / "here" / ".file.partial").hardlink_to(home / "file")
    atomic.write_text(home.parent / "here" / "file", "whole")


def test_a_pipe_under_a_temporary_name_holds_nobody_up(tmp_path):
    for name in (".file.partial", ".folder.partial"):
        os.mkfifo(tmp_path / name)
    atomic.write_text(tmp_path / "file", "whole")
    fill(tmp_path / "folder", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("make", [atomic._make_file, atomic._make_folder])
def test_a_link_put_there_at_the_last_instant_is_refused(home, make):
    place = home.parent / "here" / ".name.partial"

    def late(place):
        make(place)
        atomic._remove(place)
        place.symlink_to(home / "file" if make is atomic._make_file else home)

    with pytest.raises(OSError, match="symbolic links"), locks.reserved(place, late, place):
        pass


@pytest.mark.parametrize("end", ENDS)
def test_locks_are_not_taken_through_links(home, end):
    here = home.parent / "here"
    (here / ".lock").symlink_to(home.parent / end)
    words = r"cannot write .*\.lock: it is a link"
    with pytest.raises(InvlearnError, match=words), locks.locked(here):
        pass


def test_a_link_as_the_name_itself_is_replaced_and_not_followed(home):
    """Whoever asks for a place by a link gets it there, if that may be replaced."""
    here = home.parent / "here"
    for name, end in (("folder", home), ("file", home / "file"), ("none", home.parent / "gone")):
        (here / name).symlink_to(end)
    for name, write in (("folder", fill), ("file", new_text), ("none", new_text), ("none", fill)):
        with pytest.raises(InvlearnError, match="already exists"):
            write(here / name, "new")
    with pytest.raises(InvlearnError, match="not overwritten"):
        fill(here / "none", "new", overwrite=True, marker="run.json")
    fill(here / "folder", "new", overwrite=True, marker="file")
    atomic.write_text(here / "file", "new")
    assert sorted(path.name for path in here.iterdir()) == ["file", "folder", "none"]
    assert not (here / "folder").is_symlink()
    assert not (here / "file").is_symlink()
    assert (here / "folder" / "file").read_text() == (here / "file").read_text() == "new"
