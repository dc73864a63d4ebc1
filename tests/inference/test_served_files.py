"""A service answers from what it checked when it started, whatever happens to the files then."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

import invlearn
from invlearn.inference.recommend.recommendation import Recommender
from invlearn.runtime.errors import RunError

PROCESS_MAPS = Path("/proc/self/maps")


@pytest.fixture
def served(request, feed, tmp_path):
    """A run and its dataset, both of which a test may spoil."""
    data = shutil.copytree(feed.dataset, tmp_path / "data")
    options = {"epochs": 2, "batch_size": 256, "backbone": getattr(request, "param", "mf")}
    return invlearn.train(data, tmp_path / "run", **options).folder


def files_of(run):
    """All files that a service of a run could read."""
    folders = run, run.parent / "data"
    return [file for folder in folders for file in folder.rglob("*") if file.is_file()]


@contextmanager
def service(run):
    """A service in a process of its own, since one of the things that may happen is its end."""
    command = Path(sys.executable).with_name("invlearn")
    process = subprocess.Popen(
        [command, "serve", run, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "80"},
    )
    line = process.stdout.readline()
    try:
        yield process, line.partition(" at ")[2].partition(";")[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0


def asked(run):
    """Requests for scores of some pairs, and for lists of some users."""
    users = pl.read_parquet(run / "users.parquet", memory_map=False)["id"].head(20).to_list()
    items = pl.read_parquet(run / "items.parquet", memory_map=False)["id"].head(20).to_list()
    pairs = [[user, item] for user in users for item in items]
    return {"score": {"pairs": pairs}, "recommend": {"users": users, "k": 5}}


def answers(address, requests):
    """What a service says to requests, by path."""
    return {
        path: httpx.post(f"{address}/{path}", json=body, timeout=60).raise_for_status().json()
        for path, body in requests.items()
    }


def overwrite(file):
    """Other content of the same length, written over the file in place."""
    with file.open("r+b") as stream:
        content = bytearray(stream.read())
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        stream.seek(0)
        stream.write(content)


@pytest.mark.parametrize(
    "served",
    [pytest.param("mf", marks=pytest.mark.slow), "exposure-hybrid"],  # which reads more files
    indirect=True,
)
def test_files_that_change_under_a_service_change_none_of_its_answers(served):
    requests = asked(served)
    with service(served) as (process, address):
        before = answers(address, requests)
        for spoil in (overwrite, lambda file: os.truncate(file, 0), Path.unlink):
            for file in files_of(served):
                spoil(file)
            assert answers(address, requests) == before
            assert process.poll() is None
    assert files_of(served) == []


@pytest.mark.parametrize("served", ["mf", "exposure-hybrid", "wide-deep"], indirect=True)
@pytest.mark.skipif(not PROCESS_MAPS.exists(), reason="the system does not list mapped files")
def test_a_run_ready_to_serve_maps_none_of_its_files(served):
    recommender = Recommender.of(invlearn.Run.open(served), leave_out="all")
    mapped = [line for line in PROCESS_MAPS.read_text().splitlines() if str(served.parent) in line]
    assert recommender.run.folder == served
    assert not mapped


@pytest.mark.parametrize("name", ["users.parquet", "items.parquet"])
def test_ids_that_were_changed_are_not_served(name, served):
    ids = pl.read_parquet(served / name, memory_map=False)
    ids.reverse().write_parquet(served / name)
    with pytest.raises(RunError, match=f"{name} was changed since it was written"):
        Recommender.of(invlearn.Run.open(served))


def test_weights_that_change_between_the_check_and_their_use_are_not_used(served, monkeypatch):
    """The copy is what is checked, so a file that changes after the copy does not matter."""
    from invlearn.training import checkpoint

    expected = invlearn.Run.open(served).score([0, 1], [1, 0])
    read = checkpoint.read_tensors

    def spoiled_first(file, *arguments):
        for weights in served.glob("checkpoints/*/weights.safetensors"):
            if file.resolve() != weights.resolve():
                os.truncate(weights, 0)
        return read(file, *arguments)

    monkeypatch.setattr(checkpoint, "read_tensors", spoiled_first)
    assert np.array_equal(invlearn.Run.open(served).score([0, 1], [1, 0]), expected)
