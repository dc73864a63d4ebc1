"""Files in the working folder are data: none is imported unless somebody asks for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from invlearn.training.class_lookup import strategy_class

OPTIONAL = (
    *("apex", "cuda", "cudf", "cupy", "dask", "dill", "ibis", "jax", "mlx", "modin", "numba"),
    *("onnx", "pynvml", "pyarrow", "pyspark", "scipy", "sitecustomize", "sqlframe", "tensorflow"),
    *("triton", "usercustomize", "xarray"),
)
"""What libraries try to import, installed or not."""
PLANT = "open({marker!r}, 'a').write({name!r} + ' ')\nraise ImportError('planted')\n"
COMMAND = str(Path(sys.executable).with_name("invlearn"))
SLOW = pytest.mark.slow
"""Starts a process as others of this file do, by another way to the same few lines."""
MODULE = [sys.executable, "-P", "-m", "invlearn"]


@pytest.fixture
def planted(tmp_path):
    """A working folder with a file for each name that might be imported, and where they report."""
    folder = tmp_path / "planted"
    folder.mkdir()
    for name in {*sys.stdlib_module_names, *OPTIONAL}:
        text = PLANT.format(marker=str(tmp_path / "executed"), name=name)
        (folder / f"{name}.py").write_text(text)
    return folder, tmp_path / "executed"


def run(command, folder, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    "start", [pytest.param([COMMAND], id="command"), pytest.param(MODULE, id="module", marks=SLOW)]
)
def test_evaluating_a_run_executes_no_file_beside_it(start, feed, planted):
    folder, executed = planted
    shutil.copytree(feed.none, folder / "run")
    done = run([*start, "evaluate", "run", "--dataset", feed.dataset, "--draws", 10], folder)
    assert done.returncode == 0, done.stderr
    assert not executed.exists(), executed.read_text()


def test_under_m_the_working_folder_is_left_at_once(feed, tmp_path):
    """What Python itself imports before `invlearn` cannot be helped; what comes later can."""
    (tmp_path / "dill.py").write_text(PLANT.format(marker=str(tmp_path / "executed"), name="dill"))
    done = run([sys.executable, "-m", "invlearn", "evaluate", feed.none, "--draws", 10], tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed").exists()


@pytest.mark.slow
def test_workers_of_an_experiment_execute_no_file_of_the_working_folder(feed, planted):
    folder, executed = planted
    grid = {
        "datasets": {"feed": str(feed.dataset)},
        "strategies": ["none", "own:Mine"],
        "backbones": ["mf"],
        "seeds": 2,
        "settings": {"epochs": 1},
    }
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid))
    (folder / "own.py").write_text(
        "import helper\nfrom invlearn.strategies.plain import LabelledOnly as Mine\n"
    )
    (folder / "helper.py").write_text("")
    done = run([COMMAND, "compare", "grid.yaml", "--out", "out", "--workers", 2], folder)
    assert done.returncode == 0, done.stderr
    assert "own:Mine" in done.stdout
    assert not executed.exists(), executed.read_text()


@pytest.mark.slow
def test_workers_of_a_call_from_python_do_not_inherit_the_working_folder(feed, tmp_path):
    """In a notebook and under `python -c`, `sys.path` has an empty entry: the working folder."""
    (tmp_path / "dill.py").write_text(PLANT.format(marker=str(tmp_path / "executed"), name="dill"))
    grid = {"datasets": {"feed": str(feed.dataset)}, "strategies": ["none"], "backbones": ["mf"]}
    grid |= {"seeds": 2, "settings": {"epochs": 1}}
    code = (
        "import sys, torch, invlearn; from invlearn.experiments.compare import compare\n"
        f"sys.path.insert(0, ''); compare({grid!r}, 'out', workers=2)"
    )
    done = run([sys.executable, "-P", "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed").exists()


def test_the_working_folder_is_on_the_path_only_while_a_class_is_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "own", None)  # as it was, in the end
    del sys.modules["own"]
    (tmp_path / "own.py").write_text(
        "import os, sys\nassert os.getcwd() == sys.path[-1]\n"
        "from invlearn.strategies.plain import LabelledOnly as Mine\n"
    )
    before = list(sys.path)
    assert str(tmp_path) not in before
    assert strategy_class("own:Mine").__name__ == "LabelledOnly"
    assert sys.path == before


@pytest.mark.parametrize(
    "words",
    [["--version"], *(pytest.param(w, marks=SLOW) for w in (["--help"], ["train", "-h"], []))],
)
def test_a_deleted_working_folder_is_no_traceback(words, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    script = f'cd "{folder}" && rmdir "{folder}" && exec "{COMMAND}" {" ".join(words)}'
    done = run(["sh", "-c", script], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_work_in_a_deleted_working_folder_is_refused_in_a_sentence(feed, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    script = f'cd "{folder}" && rmdir "{folder}" && exec "{COMMAND}" evaluate "{feed.none}"'
    done = run(["sh", "-c", script], tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: the working folder was deleted; go to one that exists\n"


@pytest.mark.slow
def test_torchrun_executes_no_file_of_the_working_folder(feed, tmp_path):
    for name in ("dill", "pynvml", "cuda"):
        text = PLANT.format(marker=str(tmp_path / "executed"), name=name)
        (tmp_path / f"{name}.py").write_text(text)
    launcher = [sys.executable, "-P", "-m", "torch.distributed.run", "--nproc-per-node", 2]
    train = ["-m", "invlearn", "train", feed.dataset, "--epochs", 1, "--out", "run"]
    done = run([*launcher, *train], tmp_path, PYTHONSAFEPATH="1")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed").exists()
