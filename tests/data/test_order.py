"""Random orders and samples of many rows: uniform, the same in memory and on disk, no file left."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from invlearn.data.sampling import order, sampler, unseen
from invlearn.data.sampling.order import Sample, grouped, shuffled
from invlearn.data.sampling.sampler import Sampler, UnlabelledSource
from invlearn.data.sampling.scratch import MEMORY, Scratch
from invlearn.data.sampling.unseen import UnseenItems
from invlearn.data.types import Feed
from invlearn.runtime.errors import InvlearnError
from invlearn.runtime.random import stream
from toys import part, write_toy


@pytest.fixture
def many(monkeypatch):
    """Let a few rows count as many: buckets of eight, read in chunks of five."""
    for module in (order, sampler, unseen):
        for name, value in (("BUCKET_ROWS", 8), ("CHUNK_ROWS", 5)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)


def in_blocks(n, size=7):
    return lambda: (np.arange(n)[at : at + size] for at in range(0, n, size))


def test_every_row_comes_once_whatever_the_number_of_buckets(many, tmp_path):
    for n in (0, 1, 8, 9, 31, 64):
        for scratch in (MEMORY, Scratch(tmp_path)):
            found = shuffled(in_blocks(n), n, stream(0, "order"), scratch)
            assert sorted(found.tolist()) == list(range(n))


def test_the_order_of_many_rows_is_uniform(many):
    """All six orders of three rows that lie in different chunks, and where a row ends up."""
    n, draws = 12, 6000
    orders, places = Counter(), np.zeros(n)
    for seed in range(draws):
        found = shuffled(in_blocks(n), n, stream(seed, "order"), MEMORY)
        orders[tuple(np.argsort(found)[[0, 5, 11]].argsort())] += 1
        places[np.flatnonzero(found == 3)] += 1
    assert chisquare([*orders.values()]).pvalue > 1e-4
    assert len(orders) == 6
    assert chisquare(places).pvalue > 1e-4


def test_memory_and_disk_give_the_same_order(many, tmp_path):
    one, other = (
        shuffled(in_blocks(50), 50, stream(1, "order"), scratch)
        for scratch in (MEMORY, Scratch(tmp_path))
    )
    assert np.array_equal(one, other)
    assert isinstance(other, np.memmap)
    assert [*tmp_path.iterdir()] == []


def test_rows_by_turn(many, tmp_path):
    rows = shuffled(in_blocks(60), 60, stream(0, "order"), MEMORY)
    turn = stream(0, "turn").permutation(10)
    found = grouped(rows, lambda some: turn[some % 10], 10, Scratch(tmp_path))
    assert sorted(found.tolist()) == list(range(60))
    assert np.all(np.diff(turn[found % 10]) >= 0)


@given(n=st.integers(1, 60), share=st.floats(0, 1), seed=st.integers(0, 100))
def test_a_sample_and_what_is_left_are_all(n, share, seed):
    sample = Sample(n, round(share * n), seed, "some")
    with pytest.MonkeyPatch.context() as patch:
        for bucket in (8, 1 << 24):
            patch.setattr(order, "BUCKET_ROWS", bucket)
            patch.setattr(order, "CHUNK_ROWS", 5)
            drawn, left = (
                [*map(int, np.concatenate([*sample.positions(drawn=which)]))]
                for which in (True, False)
            )
            assert len(drawn) == sample.n_drawn
            assert drawn == sorted(drawn)
            assert sorted(drawn + left) == list(range(n))


def test_a_sample_of_many_is_uniform(many):
    counts = np.zeros(23)
    for seed in range(3000):
        for rows in Sample(23, 7, seed, "some").positions(drawn=True):
            counts[rows] += 1
    assert chisquare(counts).pvalue > 1e-4


def rows(*columns):
    return [*zip(*(column.tolist() for column in columns), strict=True)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rng = stream(0, "toy")
    cells = rng.permutation(20 * 30)

    def some(a, b, labels=()):
        own = np.sort(cells[a:b])
        return part(own // 30, own % 30, labels)

    parts = {
        "train": some(0, 90, rng.integers(2, size=90)),
        "unlabelled": some(90, 130),
        "valid": some(130, 150, np.arange(20) % 2),
        "test": some(150, 170, np.arange(20) % 2),
    }
    return write_toy(tmp_path_factory.mktemp("many") / "data", parts, n_users=20, n_items=30)


@pytest.mark.parametrize("by_user", [False, True])
@pytest.mark.parametrize("row_state", [False, True])
@pytest.mark.parametrize("judges", [0.0, 0.2])
@pytest.mark.parametrize("exposed", [0.0, 0.5, 1.0])
def test_batches_of_many_rows(many, tmp_path, dataset, exposed, judges, row_state, by_user):
    feed = Feed(unlabelled=True, judge_fraction=judges, row_state=row_state)
    given = {"batch_size": 10, "seed": 1, "by_user": by_user}
    cut = Sampler(
        dataset, feed, UnlabelledSource(exposed), scratch=Scratch(tmp_path / "run"), **given
    )
    shown = {*rows(dataset.unlabelled.users, dataset.unlabelled.items)}
    labelled = rows(dataset.train.users, dataset.train.items, dataset.train.labels)
    held_out = set()
    for epoch in range(2):
        batches = [cut.batch(epoch, step, lr=0.1) for step in range(cut.steps_per_epoch)]
        seen = [
            (row, batch.is_meta_batch)
            for batch in batches
            for row in rows(*batch.labelled, batch.labels.to(torch.int64))
        ]
        assert sorted(row for row, _ in seen) == sorted(labelled)
        held_out.add(frozenset(row for row, judge in seen if judge))
        drawn = [pair for batch in batches for pair in rows(*batch.unlabelled)]
        n_shown = sum(pair in shown for pair in drawn)
        assert n_shown == round(exposed * 10) * len(drawn) / 10
        assert not {*drawn} & {(user, item) for user, item, _ in labelled}
        if exposed == 1.0 and judges == 0.2:  # an epoch takes each but once
            assert len({*drawn}) == len(drawn)
    assert len(held_out) == 1


def test_an_index_of_many_rows_finds_what_one_of_few_finds(dataset, monkeypatch, tmp_path):
    parts = [dataset.train, dataset.unlabelled]
    users = np.repeat(np.arange(20), 50)
    few = UnseenItems(parts, 30).draw(users, stream(0, "draw"))
    for module in (order, unseen):
        monkeypatch.setattr(module, "BUCKET_ROWS", 8)
        monkeypatch.setattr(module, "CHUNK_ROWS", 5)
    many = UnseenItems(parts, 30, scratch=Scratch(tmp_path)).draw(users, stream(0, "draw"))
    assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=True))


def test_a_full_disk_is_a_sentence(tmp_path):
    with pytest.raises(InvlearnError, match=r"cannot write.*free some space"):
        Scratch(tmp_path).array(1 << 50, np.int64)
    assert [*tmp_path.iterdir()] == []


def test_the_index_on_disk_takes_memory_for_some_users_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(unseen, "CHUNK_ROWS", 1000)
    shown = part(np.arange(400_000) // 4, np.arange(400_000) % 4)
    counts = np.full(100_000, 4)
    tracemalloc.start()
    try:
        keys = unseen._keys([shown], counts, 5, Scratch(tmp_path))
        assert tracemalloc.get_traced_memory()[1] < 2 * counts.nbytes  # and none by rows
    finally:
        tracemalloc.stop()
    assert np.array_equal(keys, shown.users.astype(np.int64) * 5 + shown.items)
