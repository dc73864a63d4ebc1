"""Checkpoints: what was saved comes back; what was damaged says so; a crash costs nothing."""

import errno
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch

from invlearn.runtime import atomic, tensor_files
from invlearn.runtime.errors import InvlearnError, RunError
from invlearn.training import checkpoint
from invlearn.training.checkpoint import FILES, Checkpoint, TrainState


def made(epoch, step=0):
    """Checkpoint whose content tells when it was made."""
    generator = torch.Generator().manual_seed(100 * epoch + step)
    weights = {"table": torch.randn(50, 8, generator=generator), "bias": torch.ones(1)}
    optimizer = {"table:0": torch.randn(8, 50, generator=generator).T, "step": torch.tensor(3.0)}
    return Checkpoint(weights, optimizer, TrainState(epoch, step, 0.1 + epoch, 0, epoch))


def assert_equal(found, expected):
    assert found.state == expected.state
    for one, other in ((found.weights, expected.weights), (found.optimizer, expected.optimizer)):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def folder(tmp_path):
    """Folder whose best checkpoint is of epoch 1 and whose last one is of epoch 2."""
    checkpoint.save(tmp_path / "checkpoints", made(1), best=True)
    checkpoint.save(tmp_path / "checkpoints", made(2), best=False)
    return tmp_path / "checkpoints"


def place(folder, which):
    return folder / json.loads((folder / "index.json").read_text())[which]["name"]


def test_what_was_saved_comes_back(folder):
    assert_equal(checkpoint.load(folder, "last"), made(2))
    assert_equal(checkpoint.load(folder, "best"), made(1))


def test_without_moments(tmp_path):
    bare = Checkpoint({"bias": torch.ones(2)}, {}, TrainState())
    checkpoint.save(tmp_path, bare, best=False)
    assert_equal(checkpoint.load(tmp_path, "last"), bare)


def test_tensors_that_share_memory_are_written_once_and_come_back(tmp_path):
    table = torch.randn(1000, 8)
    shared = {"a": table, "b": table, "part": table[:3], "turned": table.T}
    checkpoint.save(
        tmp_path, Checkpoint(shared | {"empty": table[:0]}, {}, TrainState()), best=True
    )
    assert_equal(
        checkpoint.load(tmp_path, "last"),
        Checkpoint(shared | {"empty": table[:0]}, {}, TrainState()),
    )
    checkpoint.save(tmp_path, Checkpoint({"a": table, "b": table}, {}, TrainState()), best=True)
    size = (place(tmp_path, "last") / "weights.safetensors").stat().st_size
    assert size < 1.1 * table.nbytes


def test_only_last_and_best_are_kept(folder):
    for epoch in (3, 4):
        checkpoint.save(folder, made(epoch), best=False)
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"index.json", place(folder, "last").name, place(folder, "best").name}
    checkpoint.save(folder, made(5), best=True)
    assert len([*folder.iterdir()]) == 2


def test_the_weights_of_the_last_epochs_stay_and_nothing_else_of_them(tmp_path):
    for epoch, best in ((1, False), (2, True), (3, False), (4, False), (5, False)):
        checkpoint.save(tmp_path, made(epoch), best=best, keep=3)
        checkpoint.save(tmp_path, made(epoch, step=2), best=False, keep=3)
    assert checkpoint.kept_epochs(tmp_path) == [3, 4, 5]
    for epoch in (3, 4, 5):
        kept = checkpoint.load_kept(tmp_path, epoch)
        assert all(torch.equal(kept[name], made(epoch).weights[name]) for name in kept)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    whole = {
        f"epoch-000{name}/{file}" for name in ("2-step-000000", "5-step-000002") for file in FILES
    }
    weights = {f"epoch-000{epoch}-step-000000/weights.safetensors" for epoch in (3, 4, 5)}
    assert files == {"index.json"} | whole | weights
    assert_equal(checkpoint.load(tmp_path, "best"), made(2))
    assert_equal(checkpoint.load(tmp_path, "last"), made(5, step=2))


def test_fewer_kept_epochs_than_before(tmp_path):
    for epoch in (1, 2, 3):
        checkpoint.save(tmp_path, made(epoch), best=epoch == 1, keep=3)
    checkpoint.save(tmp_path, made(4), best=False)
    assert checkpoint.kept_epochs(tmp_path) == []
    assert len([*tmp_path.iterdir()]) == 3


def test_a_damaged_kept_epoch_is_named_and_spoils_nothing_else(tmp_path):
    for epoch in (1, 2, 3):
        checkpoint.save(tmp_path, made(epoch), best=epoch == 1, keep=2)
    truncate(tmp_path / "epoch-0002-step-000000" / "weights.safetensors")
    with pytest.raises(RunError, match=r"epoch-0002.*was changed or truncated"):
        checkpoint.load_kept(tmp_path, 2)
    assert_equal(checkpoint.load(tmp_path, "last"), made(3))


def test_none_yet(tmp_path):
    assert not checkpoint.exists(tmp_path)
    with pytest.raises(RunError, match=r"index\.json cannot be read: No such file"):
        checkpoint.load(tmp_path, "last")
    checkpoint.save(tmp_path, made(0), best=False)
    assert checkpoint.exists(tmp_path)
    with pytest.raises(RunError, match="no best checkpoint yet; resume"):
        checkpoint.load(tmp_path, "best")


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


def empty(file):
    file.write_bytes(b"")


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)


def swap(file):
    other = place(file.parent.parent, "best") / file.name
    mine, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    other.write_bytes(mine)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, swap, Path.unlink])
def test_a_damaged_file_is_named(folder, name, damage):
    damage(place(folder, "last") / name)
    found = "is missing" if damage is Path.unlink else "was changed or truncated"
    with pytest.raises(RunError, match=f"{name} {found}.*the best checkpoint, epoch-0001"):
        checkpoint.load(folder, "last")
    if damage is not swap:
        assert_equal(checkpoint.load(folder, "best"), made(1))


def test_no_other_checkpoint_is_promised_where_there_is_none(tmp_path):
    checkpoint.save(tmp_path, made(1), best=True)
    truncate(place(tmp_path, "last") / "weights.safetensors")
    with pytest.raises(RunError) as caught:
        checkpoint.load(tmp_path, "last")
    assert "may be intact" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "index.json is damaged"),
        ("{", "index.json is damaged"),
        ("[1, 2]", "index.json is damaged"),
        ('{"last": "epoch-0001"}', "index.json is damaged"),
        ('{"last": {"name": "epoch-0001"}}', "index.json is damaged"),
        ('{"last": {"name": "epoch-0001", "sha256": 3}}', "index.json is damaged"),
        ('{"last": {"name": "epoch-0001", "sha256": {}}}', "optimizer.safetensors is missing"),
        ('{"last": {"name": "../other", "sha256": {}}}', "names a folder outside"),
        ('{"last": {"name": "/etc", "sha256": {}}}', "names a folder outside"),
    ],
)
def test_a_foreign_index(folder, text, message):
    (folder / "index.json").write_text(text)
    with pytest.raises(RunError, match=message):
        checkpoint.load(folder, "last")


def test_content_that_is_no_checkpoint_although_its_checksum_fits(folder):
    index = json.loads((folder / "index.json").read_text())
    file = place(folder, "last") / "weights.safetensors"
    file.write_bytes(b"not tensors")
    index["last"]["sha256"][file.name] = checkpoint.sha256(file)
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(RunError, match="cannot be read"):
        checkpoint.load(folder, "last")


class Crash(BaseException):
    """Stands for a kill: nothing catches it."""


def calls_of(monkeypatch, owner, name, act):
    """Let `act(number)` run before each call of a function; returns the calls so far."""
    calls, real = [], getattr(owner, name)

    def counted(*args, **kwargs):
        calls.append(args)
        act(len(calls))
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


STEPS_OF_A_WRITE = [
    (atomic, "_sync"),
    (atomic, "_swap"),
    (Path, "replace"),
    (Path, "mkdir"),
    (Path, "write_text"),
    (tensor_files, "_bytes_of"),
    (checkpoint, "_remove_unnamed"),
    (shutil, "rmtree"),
]


def failing_saves(folder, monkeypatch, owner, name, error, *, new):
    """Save `new` over copies of `folder`, with `error` at the first call that the save makes of a
    function, at the second, and so on; yield each copy and what was raised."""
    for instant in range(1, 30):
        copy = shutil.copytree(folder, folder.parent / f"copy{instant}")

        def act(number, instant=instant):
            if number == instant:
                raise error

        raised = None
        with monkeypatch.context() as patch:
            calls = calls_of(patch, owner, name, act)
            try:
                checkpoint.save(copy, new, best=True)
            except (Crash, InvlearnError) as caught:
                raised = caught
        if len(calls) < instant:
            break
        yield copy, raised
    assert instant > 1


@pytest.mark.parametrize(("owner", "name"), STEPS_OF_A_WRITE)
@pytest.mark.parametrize("new", [made(2, step=5), made(3)])
def test_a_kill_at_any_instant_leaves_whole_checkpoints(folder, monkeypatch, owner, name, new):
    """Killed before any call that a save is made of, the old or the new ones are there, and a
    later save succeeds."""
    for copy, raised in failing_saves(folder, monkeypatch, owner, name, Crash(), new=new):
        assert isinstance(raised, Crash)
        last, best = checkpoint.load(copy, "last"), checkpoint.load(copy, "best")
        assert_equal(last, new if last.state == new.state else made(2))
        assert_equal(best, new if best.state == new.state else made(1))
        checkpoint.save(copy, made(4), best=True)
        assert_equal(checkpoint.load(copy, "last"), made(4))
        assert len([*copy.iterdir()]) == 2


def test_what_a_kill_left_half_written_is_cleared_away(folder):
    (folder / ".epoch-0003-step-000000.partial").mkdir()
    (folder / ".index.json.partial").write_text("{")
    (folder / "epoch-0003-step-000000").mkdir()
    checkpoint.save(folder, made(3), best=True)
    assert_equal(checkpoint.load(folder, "last"), made(3))
    assert len([*folder.iterdir()]) == 2


@pytest.mark.parametrize(
    ("owner", "name"), [(Path, "mkdir"), (Path, "write_text"), (Path, "replace"), (os, "fsync")]
)
def test_a_disk_that_fills_up(folder, monkeypatch, owner, name):
    """Whether the old or the new ones count then is open only once the new index has its name."""
    full, new = OSError(errno.ENOSPC, "No space left on device"), made(3)
    for copy, raised in failing_saves(folder, monkeypatch, owner, name, full, new=new):
        assert str(raised).startswith("cannot write ")
        assert str(raised).endswith(
            "No space left on device; free some space or choose another place"
        )
        last, best = checkpoint.load(copy, "last"), checkpoint.load(copy, "best")
        assert_equal(last, new if last.state == new.state else made(2))
        assert_equal(best, new if last.state == new.state else made(1))
        assert not [path for path in copy.iterdir() if path.name.endswith(".partial")]


@pytest.mark.parametrize("limit", [100, 1000])
def test_tensors_that_do_not_fit(folder, limit):
    """A real failure of the real write: files may not grow past `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(InvlearnError, match=r"cannot write .*File too large.*free some space"):
            checkpoint.save(folder, made(3), best=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert_equal(checkpoint.load(folder, "last"), made(2))
    assert len([*folder.iterdir()]) == 3
