"""Whole trainings by several processes: the same run folder, stopped, gone on with, and opened."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import sleep

import numpy as np
import pytest
import torch

import invlearn
from console import call
from invlearn.runtime.errors import ConfigError, RunError, Stopped
from invlearn.training import checkpoint
from invlearn.training.capacity import memory_check
from toys import checkerboard
from workers import Crew

SIZE = 2
GIVEN = {
    "backbone": "neumf",
    "model": {"dim": 4},
    "strategy": "ig",
    "unlabelled": {"source": "mix"},
    "optimizer": {"lr": 0.02, "l2": 0.001},
    "batch_size": 32,
    "epochs": 2,
    "checkpoint_steps": 3,
    "compile": "off",
}
STORES = pytest.mark.parametrize("store", ["row", "sharded", "dense"])


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    crew = Crew(SIZE, tmp_path_factory.mktemp("crew"))
    yield crew
    crew.close()


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return checkerboard(tmp_path_factory.mktemp("board") / "data").folder


@pytest.fixture(scope="module")
def alone(board, tmp_path_factory):
    return {
        store: invlearn.train(board, tmp_path_factory.mktemp("alone") / store, store=store, **GIVEN)
        for store in ("row", "dense")
    }


def trained(group, board, out, store, stop_after=None):
    """What the run says at its end, or nothing if it was stopped."""
    steps = iter(range(1000))
    stop = (lambda: next(steps) == stop_after) if group.is_first and stop_after else lambda: False
    try:
        run = invlearn.train(board, out, store=store, group=group, should_stop=stop, **GIVEN)
    except Stopped:
        return None
    return run.test, run.score(np.arange(5), np.arange(5))


def resumed(group, out):
    return invlearn.resume(out, group=group).test


def assert_same(folder, other, *, atol=1e-5):
    """The records and the weights of two runs; choices exactly."""
    for which in ("last", "best"):
        ours, theirs = (checkpoint.load(one / "checkpoints", which) for one in (folder, other))
        assert ours.state.epoch == theirs.state.epoch
        for kind in ("weights", "optimizer"):
            tensors, wanted = getattr(ours, kind), getattr(theirs, kind)
            assert tensors.keys() == wanted.keys()
            for name in wanted:
                assert torch.allclose(tensors[name], wanted[name], rtol=0, atol=atol), name
    lines = [
        [json.loads(line) for line in (one / "steps.jsonl").read_text().splitlines()]
        for one in (folder, other)
    ]
    assert [x.get("choice") for x in lines[0]] == [x.get("choice") for x in lines[1]]
    assert any("choice" in line for line in lines[0])
    assert [x["step"] for x in lines[0]] == [x["step"] for x in lines[1]]
    beliefs = [np.load(one / "beliefs-last.npy") for one in (folder, other)]
    assert np.allclose(*beliefs, atol=1e-4)


@STORES
def test_a_run_of_several_is_the_run_of_one(crew, board, alone, tmp_path, store):
    found = crew(trained, board, tmp_path / "run", store)
    one = alone["dense" if store == "dense" else "row"]
    assert_same(tmp_path / "run", one.folder)
    for test, logits in found:
        assert test["auc"] == pytest.approx(one.test["auc"], abs=1e-6)
        assert test["baselines"] == one.test["baselines"]
        assert np.allclose(logits, one.score(np.arange(5), np.arange(5)), atol=1e-5)
    opened = invlearn.Run.open(tmp_path / "run")  # by one process, as any other run
    assert np.allclose(opened.score([3, 4], [5, 6]), one.score([3, 4], [5, 6]), atol=1e-5)
    told = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert told["processes"] == SIZE


@STORES
def test_stopped_by_several_and_gone_on_with_by_one_and_by_several(
    crew, board, alone, tmp_path, store
):
    for name in ("one", "several"):
        assert crew(trained, board, tmp_path / name, store, 7) == [None] * SIZE
    assert checkpoint.load(tmp_path / "one" / "checkpoints", "last").state.step == 8
    invlearn.resume(tmp_path / "one")
    crew(resumed, tmp_path / "several")
    for name in ("one", "several"):
        assert_same(tmp_path / name, alone["dense" if store == "dense" else "row"].folder)


def refused(group, board, out):
    """What is said where the second process' machine has too little memory."""
    kept, memory_check.available = memory_check.available, lambda: 1e3 if group.rank == 1 else 1e12
    try:
        if out.exists():
            invlearn.resume(out, group=group)
        else:
            invlearn.train(board, out, group=group, **GIVEN)
    except ConfigError as error:
        return str(error)
    finally:
        memory_check.available = kept


def test_all_refuse_what_does_not_fit_on_one_machine(crew, board, tmp_path):
    crew(trained, board, tmp_path / "run", "row", 7)
    for out in (tmp_path / "run", tmp_path / "other"):
        first, second = crew(refused, board, out)
        assert "another machine has too little memory" in first
        assert "would take" in second
    assert not (tmp_path / "other").exists()


def test_cut_tables_on_one_process_are_the_rows(board, alone, tmp_path):
    invlearn.train(board, tmp_path / "run", store="sharded", **GIVEN)
    assert_same(tmp_path / "run", alone["row"].folder, atol=0)


@pytest.mark.parametrize("strategy", ["co-teaching", "deca"])
def test_a_run_whose_peers_were_cut_is_measured_without_them(board, tmp_path, strategy):
    given = GIVEN | {"strategy": strategy, "epochs": 1}
    cut = invlearn.train(board, tmp_path / "cut", store="sharded", **given)
    one = invlearn.train(board, tmp_path / "one", store="row", **given)
    assert cut.test["auc"] == pytest.approx(one.test["auc"], abs=1e-6)


def test_a_run_is_gone_on_with_only_if_it_is_the_same(board, tmp_path):
    stop = {"should_stop": lambda: True}
    with pytest.raises(Stopped):
        invlearn.train(board, tmp_path / "run", **stop, **GIVEN)
    other = checkerboard(tmp_path / "other", seed=1).folder
    with pytest.raises(RunError, match=r"settings differ.*epochs 2, now 3"):
        invlearn.train(board, tmp_path / "run", resume_if_exists=True, **GIVEN | {"epochs": 3})
    with pytest.raises(RunError, match="another dataset"):
        invlearn.train(other, tmp_path / "run", resume_if_exists=True, **GIVEN)
    run = invlearn.train(board, tmp_path / "run", resume_if_exists=True, **GIVEN)
    assert run.is_finished
    fresh = invlearn.train(board, tmp_path / "fresh", resume_if_exists=True, **GIVEN)
    assert_same(run.folder, fresh.folder, atol=0)


TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}
LONG = GIVEN | {"epochs": 8}
"""Settings of a run that is not over before one of its processes is killed."""


def launched(*arguments):
    return subprocess.run(
        [*TORCHRUN, "--nproc-per-node", "2", "-m", "invlearn", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | ENVIRONMENT,
        check=False,
    )


def killed_once(launcher, out):
    """Kill a process of a launcher when there is a checkpoint."""
    while not (out / "checkpoints" / "index.json").exists():
        assert launcher.poll() is None
        sleep(0.02)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
    os.kill(int(children.split()[-1]), signal.SIGKILL)


@pytest.fixture(scope="module")
def long_alone(board, tmp_path_factory):
    return invlearn.train(board, tmp_path_factory.mktemp("alone") / "long", **LONG).folder


def long_command(board, folder):
    """Settings for many processes, and the words that train with them."""
    (folder / "settings.yaml").write_text(json.dumps(LONG | {"store": "sharded"}))
    given = ["train", board, "--config", folder / "settings.yaml", "--out", folder / "run"]
    return ["--max-restarts", "3", "-m", "invlearn", *map(str, given)]


@pytest.mark.slow  # stopped by several and resumed by one and by several: fast, above
def test_torchrun_starts_anew_what_is_killed(board, long_alone, tmp_path):
    command = [*TORCHRUN, "--nproc-per-node", "2", *long_command(board, tmp_path)]
    with subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE) as process:
        killed_once(process, tmp_path / "run")
        out, _ = process.communicate()
    assert process.returncode == 0
    assert out.count(b"Wrote") == 1
    assert_same(tmp_path / "run", long_alone)


@pytest.mark.slow  # without a launcher: test_all_refuse_what_does_not_fit_on_one_machine
def test_errors_under_torchrun(board, tmp_path):
    failed = launched("train", tmp_path / "nothing", "--out", tmp_path / "other")
    assert failed.returncode != 0
    assert "error: " in failed.stderr
    assert "invlearn/cli.py" not in failed.stderr  # torchrun has a traceback of its own


def test_other_commands_are_of_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    answer = call("evaluate", "run")
    assert answer.code == 2
    assert "evaluate runs in one process" in answer.err


@pytest.fixture
def two_hosts():
    """Words before a command that run it on one of two hosts, and the hosts' addresses."""
    names, hosts = [f"invlearn-{os.getpid()}-{n}" for n in (0, 1)], []
    first, second = names
    commands = [["netns", "add", name] for name in names]
    commands.append(
        [
            "link",
            "add",
            "wire",
            "netns",
            first,
            "type",
            "veth",
            "auxiliary model",
            "wire",
            "netns",
            second,
        ]
    )
    for number, name in enumerate(names, start=1):
        hosts.append((["ip", "netns", "exec", name], f"10.255.255.{number}"))
        commands.append(["-n", name, "addr", "add", f"{hosts[-1][1]}/24", "dev", "wire"])
        commands += [["-n", name, "link", "set", device, "up"] for device in ("wire", "lo")]
    try:
        for command in commands:
            subprocess.run(["ip", *command], check=True, capture_output=True)
        yield hosts
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"networks of their own cannot be made here ({error}); it takes root")
    finally:
        for name in names:
            with suppress(OSError):
                subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.mark.slow  # on one host: test_torchrun_starts_anew_what_is_killed
def test_two_hosts_of_which_one_loses_its_process(board, long_alone, tmp_path, two_hosts):
    settings = {"GLOO_SOCKET_IFNAME": "wire", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    launchers = []
    for number, (on_host, address) in enumerate(two_hosts):
        command = [*on_host, *TORCHRUN, "--nnodes", "2"]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{two_hosts[0][1]}:29500"]
        command += ["--rdzv-conf", f"is_host={number == 0}", "--local-addr", address]
        command += long_command(board, tmp_path)
        launchers.append(subprocess.Popen(command, env=os.environ | ENVIRONMENT | settings))
    killed_once(launchers[1], tmp_path / "run")  # ip becomes the launcher
    assert [launcher.wait() for launcher in launchers] == [0, 0]
    assert_same(tmp_path / "run", long_alone)
