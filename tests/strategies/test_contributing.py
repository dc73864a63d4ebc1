"""The contributor guide's strategy and backbone pass what it promises, and the linters."""

import re
import subprocess
import sys
from types import ModuleType

import pytest
import test_contract
import torch

from conftest import ROOT
from invlearn.backbones import BACKBONES
from invlearn.strategies import STRATEGIES
from toys import checkerboard, every_pair, small_backbone

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = [
    (re.findall(r"`((?:src|tests)/\S+\.py)`", GUIDE[: block.start()])[-1], block[1])
    for block in re.finditer(r"```python\n(.*?)```", GUIDE, re.DOTALL)
]
"""The guide's files: name, the last that the text before it gives, and content."""


@pytest.fixture(scope="module")
def guide():
    """The namespace that the guide's files make, and their names on the shelves for a while."""
    module = ModuleType("guide")
    sys.modules["guide"] = module
    with pytest.MonkeyPatch.context() as patch:
        for name, code in BLOCKS:
            exec(compile(code, name, "exec"), module.__dict__)
        patch.setitem(STRATEGIES, "weak-ns", module.WeakNegatives)
        patch.setitem(BACKBONES, "distance", module.Distance)
        yield module
    del sys.modules["guide"]


def test_the_guide_s_own_tests_pass(guide):
    tests = [test for name, test in vars(guide).items() if name.startswith("test_")]
    assert len(tests) == len(re.findall(r"^def test_", GUIDE, re.MULTILINE)) == 3
    for test in tests:
        test()


PAIRS = [
    ("weak-ns", "gmf"),
    ("weak-ns", "lightgcn"),
    ("none", "distance"),
    ("ig", "distance"),
    ("ig-sample", "distance"),
]


@pytest.mark.parametrize(("strategy", "backbone"), PAIRS)
def test_both_keep_the_contract(strategy, backbone, guide, tmp_path):
    test_contract.test_proposing_changes_nothing(strategy, backbone)
    test_contract.test_order_of_pairs_does_not_matter(strategy, backbone)
    test_contract.test_strategies_are_equal_by_their_options(strategy)


def test_they_solve_the_checkerboard_together(guide, tmp_path):
    board = checkerboard(tmp_path / "data")
    test_contract.test_solves_the_checkerboard("weak-ns", "distance", board, tmp_path)


def test_the_guide_s_factors_are_its_backbone(guide):
    module = small_backbone("distance", 6, 5)
    factors = module.as_factors()
    logits = (factors.users @ factors.items.T).flatten()
    torch.testing.assert_close(logits, module(*every_pair(6, 5)))


@pytest.mark.parametrize(("name", "code"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_the_guide_s_files_are_clean(name, code):
    ignored = ["--ignore", "F821"] if name.startswith("tests/") else []  # its class, from above
    for command in (["check", "--quiet", *ignored], ["format", "--check", "--quiet"]):
        found = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(ROOT / name), "-"],
            input=code,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert found.returncode == 0, found.stdout + found.stderr
