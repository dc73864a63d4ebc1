"""Original ids and dense ones: against a dictionary, and files of ids in every form."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invlearn.data.ids import IdMap, read_ids
from invlearn.runtime.errors import DataError

IDS = st.lists(st.integers(-(2**40), 2**40), unique=True, min_size=1) | st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5), unique=True, min_size=1
)


@given(IDS, st.data())
def test_ids_are_found_as_a_dictionary_finds_them(ids, data):
    known = {str(one): dense for dense, one in enumerate(ids)}
    asked = data.draw(st.lists(st.sampled_from([str(i) for i in ids]) | st.sampled_from("ab0")))
    series = pl.Series(asked, dtype=pl.String)
    found = IdMap.of(pl.Series(ids)).dense(series)
    assert found.tolist() == [known.get(one, -1) for one in asked]


def test_nothing_is_no_id_and_types_do_not_matter():
    ids = IdMap.of(pl.Series([30, 7, 12]))
    assert ids.dense(pl.Series([None, "7", "07"])).tolist() == [-1, 1, -1]
    assert ids.dense(pl.Series([12, 30])).tolist() == [2, 0]
    assert IdMap.of(pl.Series(["", "a"])).dense(pl.Series([None, ""])).tolist() == [-1, 0]
    assert ids.original(np.array([1, 1])).to_list() == [7, 7]


def test_asked_ids_keep_the_type_of_the_run_if_they_can():
    ids = IdMap.of(pl.Series([30, 7]))
    assert ids.in_type(pl.Series(["7", "8"])).to_list() == [7, 8]
    assert ids.in_type(pl.Series(["7", "x"])).to_list() == ["7", "x"]


@pytest.mark.parametrize(
    "name", ["ids.txt", "named.csv", "own.csv", "only.parquet", "of-kind.parquet"]
)
def test_a_file_of_ids_is_read_in_every_form(name, tmp_path):
    (tmp_path / "ids.txt").write_text("7\n\n 30 \n7\n")
    (tmp_path / "named.csv").write_text("age,user\n1,7\n2,30\n3,7\n")
    (tmp_path / "own.csv").write_text("age, who\n1, 7\n2,30 \n3,7\n4, \n")
    pl.DataFrame({"x": [7, 30]}).write_parquet(tmp_path / "only.parquet")
    pl.DataFrame({"user_id": [7, 30, None], "x": 0}).write_parquet(tmp_path / "of-kind.parquet")
    found = read_ids(tmp_path / name, "user", own="who")
    assert found.cast(pl.String).to_list() == ["7", "30"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no.csv", None, "does not exist"),
        ("two.csv", "a,b\n1,2\n", "has the columns a, b, and none of them is named 'user'"),
        ("bare.csv", "7\n30\n", "has the columns 7, and none .* write plain ids, one a line"),
        ("empty.csv", "user\n", "there is no id of users in"),
        ("empty.txt", "", "there is no id of users in"),
        ("torn.parquet", "no parquet", "cannot be read"),
        ("binary.txt", b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_without_ids_is_refused_in_a_sentence(name, content, said, tmp_path):
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=said):
        read_ids(tmp_path / name, "user")


def test_ids_that_are_neither_integers_nor_text_are_refused():
    with pytest.raises(DataError, match="integers or text"):
        read_ids([1.5], "item")
