"""Files and folders that are whole or absent."""

from contextlib import suppress
from pathlib import Path

import pytest

from invlearn import atomic
from invlearn.errors import InvlearnError


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
    with pytest.raises(InvlearnError, match="exists already"):
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
    with (
        pytest.raises(InvlearnError, match="needs a name of its own; found"),
        atomic.new_file(path),
    ):
        pass
