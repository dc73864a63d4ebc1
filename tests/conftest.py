"""Set-up that all tests share."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

from console import IDS, RULE, done

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples every time, and a busy machine is no defect. New examples are searched for by
# pytest --hypothesis-profile=explore.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile("same")


def pytest_addoption(parser):
    """Let a page be written again with what its examples print now."""
    parser.addoption("--renew", action="store_true", help="write what pages show again")


def pytest_collection_modifyitems(items):
    """Mark as slow what a test marked `covering` leaves to the slow tier.

    Such a test is a contract over a grid of parameters. Its combinations that are not slow cover
    every value of every parameter; the slow tier, which CI runs, is the whole grid.
    """
    grids = {}
    for item in items:
        if item.get_closest_marker("covering") and not item.get_closest_marker("slow"):
            grids.setdefault((item.path, item.originalname), []).append(item)
    for grid in grids.values():
        values = {}
        for item in grid:
            for name, value in item.callspec.params.items():
                values.setdefault(name, {}).setdefault(repr(value), len(values[name]))
        longest = max(map(len, values.values()))
        for item in grid:
            places = [(values[n][repr(v)], len(values[n])) for n, v in item.callspec.params.items()]
            if not any(all(at == i % size for at, size in places) for i in range(longest)):
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def unsynced():
    """Write without waiting for the disk, which no test can lose."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data sets, or a skip that says what is missing."""
    folder = Path(os.environ.get("INVLEARN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder}; set INVLEARN_DATA")
    return folder


class FeedRuns(NamedTuple):
    """A simulated log, its dataset, and one run with and one without unclear feedback."""

    log: Path
    dataset: Path
    none: Path
    ig: Path


@pytest.fixture(scope="session")
def feed(tmp_path_factory):
    """The whole story once, through the command line; tests read it and change nothing."""
    place = tmp_path_factory.mktemp("feed")
    made = FeedRuns(*(place / name for name in ("log", "data", "none", "ig")))
    done("simulate", made.log, "--users", 120, "--items", 80, "--rows", 4000)
    done("prepare", made.log, "--rule", RULE, *IDS, "--out", made.dataset)
    options = ("--backbone", "mf", "--epochs", 4, "--batch-size", 128, "--optimizer.lr", "1e-2")
    done("train", made.dataset, *options, "--out", made.none)
    done("train", made.dataset, *options, "--strategy", "ig", "--out", made.ig)
    return made
