"""A dataset and a training without a folder are those with one."""

import numpy as np
import polars as pl
import pytest
import torch

import invlearn
from console import RULE
from invlearn.data.dataset import Dataset
from invlearn.data.parts import PARTS
from invlearn.data.prepare.splits import Split
from invlearn.runtime.errors import ConfigError, DataError
from invlearn.training.trainer import Trainer

COLUMNS = {"user": "user_id", "item": "video_id"}
OPTIONS = {"epochs": 3, "batch_size": 128, "model": {"dim": 4}, "optimizer": {"lr": 0.05}}


@pytest.fixture(scope="module")
def frame(feed):
    return pl.read_parquet(feed.log / "*.parquet")


def assert_same_rows(one, other):
    for name in PARTS:
        for column in ("users", "items", "labels"):
            mine, theirs = (getattr(getattr(d, name), column) for d in (one, other))
            assert np.array_equal(mine, theirs), (name, column)


@pytest.mark.parametrize("form", ["polars", "pandas", "arrow"])
def test_a_frame_gives_the_rows_that_prepare_writes(form, frame, feed):
    table = {
        "polars": lambda f: f,
        "pandas": pl.DataFrame.to_pandas,
        "arrow": pl.DataFrame.to_arrow,
    }
    dataset = Dataset.from_frame(table[form](frame), rule=RULE, **COLUMNS)
    written = Dataset.open(feed.dataset)
    assert_same_rows(dataset, written)
    for kind in ("user", "item"):
        assert dataset.ids(kind).to_list() == written.ids(kind).to_list()
    assert dataset.card.audit == written.card.audit


def test_arrays_with_nan_for_unlabelled_rows():
    users, items = np.divmod(np.arange(600), 20)
    labels = np.where(items % 5 == 0, np.nan, (users + items) % 2)
    dataset = Dataset.from_arrays(users, items, labels, split=Split("random", 0.2, 0.2, seed=3))
    assert len(dataset.unlabelled) == np.isnan(labels).sum()
    assert dataset.card.rows["unlabelled"] == len(dataset.unlabelled)
    names = dataset.ids("user"), dataset.ids("item")
    for part in (dataset.train, dataset.valid, dataset.test):
        original = [
            ids.to_numpy()[dense]
            for ids, dense in zip(names, (part.users, part.items), strict=True)
        ]
        assert np.array_equal((original[0] + original[1]) % 2, part.labels)


def test_features_in_memory(frame):
    users = pl.DataFrame({"user_id": frame["user_id"].unique().sort()})
    users = users.with_row_index("number").select(
        "user_id", number=pl.col("number").cast(pl.Float64)
    )
    dataset = Dataset.from_frame(frame, rule=RULE, user_features=users, **COLUMNS)
    assert list(dataset.feature_card.user.numeric) == ["number"]
    assert dataset.features.users.values.shape == (dataset.n_users, 1)
    assert dataset.features.items.values.shape == (dataset.n_items, 0)


def test_fingerprints_tell_datasets_in_memory_apart(frame):
    one, same, other = (
        Dataset.from_frame(frame, rule=RULE, split=Split(seed=seed), **COLUMNS).fingerprint
        for seed in (0, 0, 1)
    )
    assert one == same != other


@pytest.mark.parametrize("strategy", ["none", "ig", "co-teaching"])
def test_a_trainer_without_a_folder_trains_the_weights_of_a_run(strategy, feed, tmp_path):
    run = invlearn.train(
        feed.dataset, tmp_path / "run", backbone="mf", strategy=strategy, **OPTIONS
    )
    trainer = Trainer("mf", strategy, Dataset.open(feed.dataset), **OPTIONS).fit()
    known = dict(run.module.named_parameters())
    assert {name for name, _ in trainer.module.named_parameters()} == set(known)
    for name, weight in trainer.module.named_parameters():
        assert torch.equal(weight, known[name]), name
    assert [e["valid"] for e in trainer.history] == [e["valid"] for e in run.epochs]
    found = trainer.evaluate().backbone.values
    assert found == {name: run.test[name] for name in found}


def test_the_best_epoch_is_kept_and_nothing_is_written(feed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = Dataset.open(feed.dataset)
    trainer = Trainer("mf", "none", dataset, epochs=6, optimizer={"lr": 0.3}).fit()
    losses = [epoch["valid"]["log_loss"] for epoch in trainer.history]
    assert losses.index(min(losses)) < len(losses) - 1
    assert trainer.validate()["log_loss"] == min(losses)
    assert not list(tmp_path.iterdir())


def test_wrong_settings_are_refused(feed):
    dataset = Dataset.open(feed.dataset)
    with pytest.raises(ConfigError, match="unknown backbone 'gone'"):
        Trainer("gone", "none", dataset)
    with pytest.raises(ConfigError, match="epoch"):
        Trainer("mf", "none", dataset, epoch=3)
    with pytest.raises(DataError, match="item"):
        Dataset.from_frame(pl.DataFrame({"user": [1]}), rule="score >= 1")
    with pytest.raises(DataError, match="negative"):
        Dataset.from_arrays([1, 2, 3], [1, 2, 3], [1, 1, 1])
