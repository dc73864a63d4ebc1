"""Tables on disk and in pieces are the tables that they were."""

import resource

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invlearn.data.engines.engine import IN_MEMORY
from invlearn.data.engines.engines import EngineSettings, starting
from invlearn.data.parts import PARTS, Part, open_part, write_parts
from invlearn.data.prepare import table
from invlearn.data.prepare.table import PAIR, pieces
from invlearn.runtime.errors import InvlearnError


def users_of(piece):
    return IN_MEMORY.collect(piece)[table.USER].to_list()


def test_a_settled_table_is_read_from_disk_until_the_block_ends(tmp_path):
    frame = pl.DataFrame({"a": [3, 1, None], "b": ["x", None, "é"]})
    source = frame.lazy().map_batches(lambda rows: [told.append(1), rows][1])
    told = []
    with starting(EngineSettings(), tmp_path) as engine:
        first = engine.materialize(nw.from_native(source))
        second = engine.materialize(first.with_columns(nw.col("a") + 1))
        assert IN_MEMORY.collect(first).to_native().equals(frame)
        assert IN_MEMORY.collect(second)["a"].to_list() == [4, 2, None]
        assert len(told) == 1
        assert len(list(tmp_path.rglob("*.parquet"))) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_read_is_no_full_disk(tmp_path):
    file = tmp_path / "log.parquet"
    pl.DataFrame({"a": range(1000)}).write_parquet(file)
    content = bytearray(file.read_bytes())
    content[4:60] = b"\xff" * 56
    file.write_bytes(content)
    with starting(EngineSettings(), tmp_path) as engine, pytest.raises(pl.exceptions.ComputeError):
        engine.materialize(nw.from_native(pl.scan_parquet(file)))


def test_a_full_disk_is_said_to_be_full(tmp_path):
    rows = pl.LazyFrame({"a": range(100_000)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with starting(EngineSettings(), tmp_path) as engine:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            with pytest.raises(InvlearnError, match=r"cannot write .*File too large.*free some"):
                engine.materialize(nw.from_native(rows))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 12))
def test_pieces_hold_every_row_once_and_each_user_in_one_of_them(users, size):
    rows = nw.from_native(pl.LazyFrame({table.USER: users}, {table.USER: pl.Int32}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "PIECE_ROWS", size)
        found = [users_of(piece) for piece in pieces(rows)]
    assert sorted(user for piece in found for user in piece) == sorted(users)
    assert len(found) >= 1
    groups = [set(piece) for piece in found]
    assert sum(map(len, groups)) == len(set(users))
    most = max(map(users.count, users), default=0)
    assert all(len(piece) < size + most for piece in found)
    assert len(found) <= len(users) // size + 1


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)), max_size=20))
def test_pairs_are_ordered_as_user_and_item(pairs):
    kinds = dict.fromkeys((table.USER, table.ITEM), pl.Int32)
    rows = nw.from_native(pl.LazyFrame(pairs, kinds, orient="row"))
    keys = IN_MEMORY.collect(rows.select(PAIR.alias("pair")))["pair"].to_list()
    assert sorted(range(len(pairs)), key=keys.__getitem__) == sorted(
        range(len(pairs)), key=pairs.__getitem__
    )


@pytest.mark.parametrize("cuts", [[], [0], [3], [2, 2, 7], [10]])
def test_parts_in_pieces_are_the_bytes_of_numpy(tmp_path, cuts):
    users = np.arange(10, dtype=np.int32) // 3
    whole = Part(users, users[::-1], (users % 2).astype(np.int8), truth=-np.ones(10, np.int8))
    bounds = [0, *cuts, 10]

    def cut(first, end):
        columns = (whole.users, whole.items, whole.labels, whole.truth)
        return dict.fromkeys(PARTS, Part(*(column[first:end] for column in columns)))

    write_parts(tmp_path, dict.fromkeys(PARTS, 10), map(cut, bounds[:-1], bounds[1:]))
    for name in PARTS:
        np.save(tmp_path / "items.npy", whole.items)
        assert (tmp_path / f"{name}.item.npy").read_bytes() == (tmp_path / "items.npy").read_bytes()
        found = open_part(tmp_path, name, {f"{name}.truth.npy"})
        assert found.users.tolist() == users.tolist()
        assert found.truth is not None
        assert found.truth.tolist() == [-1] * 10
        assert found.labels.tolist() == ([] if name == "unlabelled" else whole.labels.tolist())
