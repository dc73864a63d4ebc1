"""Exported runs against PyTorch, their page's example, and what is refused."""

import json
import re
from hashlib import sha256

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from console import call, contents, done
from invlearn import Run, export
from invlearn.backbones import BACKBONES
from invlearn.backbones.backbone import InnerProduct
from invlearn.evaluation.scoring import score_pairs
from invlearn.inference.export.onnx_file import OnnxScorer
from invlearn.runtime.errors import ConfigError, InvlearnError, RunError
from shops import N_ITEMS, N_USERS, shop


def examples(folder, monkeypatch):
    """Run the Python blocks of the page in its folder; what they left."""
    monkeypatch.chdir(folder)
    left = {}
    for block in re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL):
        exec(compile(block, "README.md", "exec"), left)
    return left


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_says_the_same_in_onnx(name, tmp_path, monkeypatch):
    run, _ = shop(tmp_path, name, features=True)
    made = export(run, tmp_path / "out")
    rng = np.random.default_rng(7)
    users, items = rng.integers(N_USERS, size=100_000), rng.integers(N_ITEMS, size=100_000)
    wanted = score_pairs(run.module, users, items)
    found = OnnxScorer(tmp_path / "out" / "model.onnx")(users, items)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert wanted.std() > 0.01
    card = json.loads((tmp_path / "out" / "export.json").read_text())
    assert card["compared"]["largest_difference"] == made.difference <= 1e-5
    assert card["fingerprint"] == run.card.fingerprint

    left = examples(tmp_path / "out", monkeypatch)
    ends = np.array([0, 0]), np.array([0, N_ITEMS - 1])
    np.testing.assert_allclose(left["logit"], score_pairs(run.module, *ends), atol=1e-4)
    tables = load_file(tmp_path / "out" / "embeddings.safetensors")
    assert len({file.stat().st_mode for file in (tmp_path / "out").iterdir()}) == 1
    for key, table in tables.items():
        assert table.dtype == np.float32
        assert len(table) == (N_USERS if key.startswith("user") else N_ITEMS)
    if not isinstance(run.module, InnerProduct):
        learnt = {n for n, _ in run.module.named_parameters()} & set(run.module.tables)
        assert set(tables) == {f"{run.module.tables[n]}.{n}" for n in learnt}
    assert left["users"] == pl.read_parquet(run.folder / "users.parquet")["id"].to_list()


class Looping(nn.Module):
    """A backbone with a loop over values, which no graph of operators can say."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(N_USERS))

    def forward(self, users, items):
        return torch.stack([self.weight[u] * float(i) for u, i in zip(users, items, strict=True)])


def given(run, module):
    return Run(run.folder, run.config, module.eval(), run.card)


def test_a_backbone_that_onnx_cannot_say_is_refused(tmp_path):
    run, _ = shop(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="gmf cannot be exported") as refused:
        export(given(run, Looping()), tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert contents(tmp_path) == before


class Straying(nn.Module):
    """A backbone whose factors are not its logits."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, users, items):
        return self.module(users, items) + 2e-5

    def as_factors(self):
        return self.module.as_factors()


def test_a_file_that_does_not_agree_is_not_kept(tmp_path):
    run, _ = shop(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(RunError, match=r"differs from PyTorch by [23]\..e-05"):
        export(given(run, Straying(run.module)), tmp_path / "out")
    run.module.output.bias.data.fill_(torch.nan)
    with pytest.raises(RunError, match="differs from PyTorch by nan"):
        export(run, tmp_path / "out")
    assert contents(tmp_path) == before


def test_big_tables_go_into_a_file_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("invlearn.inference.export.onnx_file.ONE_FILE_BYTES", 100)
    run, _ = shop(tmp_path)
    made = export(run, tmp_path / "out")
    assert made.files["model.onnx.data"] > 0
    (tmp_path / "out").rename(tmp_path / "moved")
    assert len(OnnxScorer(tmp_path / "moved" / "model.onnx")(np.arange(3), np.arange(3))) == 3


def test_without_its_packages_or_a_name_of_its_own_nothing_begins(tmp_path, monkeypatch):
    run, _ = shop(tmp_path)
    with pytest.raises(InvlearnError, match="already exists"):
        export(run, tmp_path / "run")
    with pytest.raises(InvlearnError, match=r"contains no export\.json"):
        export(run, tmp_path / "run", overwrite=True)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "model.onnx").write_bytes(b"of somebody else")
    with pytest.raises(InvlearnError, match=r"contains no export\.json"):
        export(run, tmp_path / "theirs", overwrite=True)
    assert contents(tmp_path / "theirs") == ["model.onnx"]
    monkeypatch.setattr("invlearn.runtime.environment.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'invlearn\[onnx\]'"):
        export(run, tmp_path / "out")


def test_the_command_exports_and_says_how_well_it_agrees(feed, tmp_path):
    said = done("export", feed.ig, "--out", tmp_path / "out")
    assert "on 100,000 random pairs ONNX Runtime" in said
    assert max(len(line) for line in said.splitlines()[:-1]) <= 80
    assert call("export", feed.ig, "--out", tmp_path / "out").code == 2
    done("export", feed.ig, "--out", tmp_path / "out", "--overwrite")
    readme = (tmp_path / "out" / "README.md").read_text()
    assert readme.startswith("# mf, trained with ig\n")


def test_two_runs_on_one_dataset_are_told_apart_and_their_files_can_be_checked(feed, tmp_path):
    cards = {}
    for folder in (feed.none, feed.ig):
        out = tmp_path / folder.name
        export(folder, out)
        card = cards[folder.name] = json.loads((out / "export.json").read_text())
        test = json.loads((folder / "test.json").read_text())
        assert (card["run"], card["seed"], card["epoch"]) == (folder.name, 0, test["epoch"])
        assert (card["strategy"], card["backbone"]) == (folder.name, "mf")
        others = {"export.json", "README.md"}
        assert set(card["sha256"]) == {file.name for file in out.iterdir()} - others
        for name, digest in card["sha256"].items():
            assert sha256((out / name).read_bytes()).hexdigest() == digest
        readme = (out / "README.md").read_text()
        for words in (f"Run `{folder.name}`, seed 0", f"best epoch {test['epoch']}",
                      card["sha256"]["model.onnx"]):  # fmt: skip
            assert words in readme
    first, second = cards.values()
    assert first["fingerprint"] == second["fingerprint"]
    assert first["sha256"]["model.onnx"] != second["sha256"]["model.onnx"]
    export(feed.ig, tmp_path / "again")
    again = json.loads((tmp_path / "again" / "export.json").read_text())
    assert again["sha256"] == second["sha256"]
