"""Lists of items for users: against a full sort, in every form, and every way to be wrong."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from console import call, contents, done
from invlearn import recommend
from invlearn.backbones.backbone import Factors
from invlearn.data.seen import SeenItems
from invlearn.evaluation.baselines import baseline_scores
from invlearn.evaluation.ranking import catalogue_top_k
from invlearn.evaluation.scoring import CatalogueScorer, score_pairs
from invlearn.inference.recommend.ann import ItemIndex, blocks
from invlearn.inference.recommend.recommendation import MODEL, Recommender
from invlearn.runtime.errors import ConfigError, DataError, InvlearnError, RunError
from shops import KNOWN, N_ITEMS, N_USERS, original, shop
from toys import part, small_backbone

EVERYBODY = np.arange(N_USERS)
PARTS = {
    "labelled": ("train",),
    "shown": ("train", "unlabelled"),
    "all": ("train", "unlabelled", "valid", "test"),
    "nothing": (),
}


def expected(run, data, user, *, k, leave_out, known, fallback="item-rate", excluded=()):
    """A user's list by a full sort: dense items, and their scores."""
    users, items = np.full(N_ITEMS, user), np.arange(N_ITEMS)
    if known:
        scores = score_pairs(run.module, users, items)
    else:
        scores = baseline_scores(fallback, data.train, users, items, shape=(N_USERS, N_ITEMS))
    parts = [getattr(data, name) for name in PARTS[leave_out]]
    seen = {i for p in parts for i in p.items[p.users == user].tolist()} | set(excluded)
    order = [i for i in np.argsort(-scores, kind="stable").tolist() if i not in seen][:k]
    return order, scores[order]


def by_user(table):
    return {int(name): rows for (name,), rows in table.group_by("user", maintain_order=True)}


@pytest.mark.parametrize("leave_out", PARTS)
@pytest.mark.parametrize("backbone", ["mf", "neumf"])
def test_lists_are_those_of_a_full_sort(backbone, leave_out, tmp_path):
    run, data = shop(tmp_path, backbone)
    made = recommend(run, tmp_path / "l.parquet", k=8, leave_out=leave_out)
    table = pl.read_parquet(tmp_path / "l.parquet")
    assert table.columns == ["user", "rank", "item", "score", "source"]
    lists = by_user(table)
    assert set(lists) == set(original("user", EVERYBODY))
    for user in range(N_USERS):
        items, scores = expected(run, data, user, k=8, leave_out=leave_out, known=user < KNOWN)
        rows = lists[original("user", [user])[0]]
        assert rows["item"].to_list() == original("item", items)
        assert rows["rank"].to_list() == list(range(1, len(items) + 1))
        assert set(rows["source"]) == {MODEL if user < KNOWN else "item-rate"}
        np.testing.assert_allclose(rows["score"], scores, rtol=1e-5, atol=1e-6)
    assert made.n_users == {MODEL: KNOWN, "item-rate": N_USERS - KNOWN}
    assert (made.n_rows, made.n_items) == (len(table), table["item"].n_unique())


def test_users_whom_training_did_not_know_get_the_fallback(tmp_path):
    run, data = shop(tmp_path)
    strange, late, known = "nobody", original("user", [KNOWN])[0], original("user", [2])[0]
    out = tmp_path / "l.jsonl"
    made = recommend(run, out, k=3, users=[strange, late, known], fallback="popularity")
    lists = {
        name: rows for (name,), rows in pl.read_ndjson(out).group_by("user", maintain_order=True)
    }
    assert list(lists) == [str(known), strange, str(late)]
    items, scores = expected(
        run, data, 0, k=3, leave_out="nothing", known=False, fallback="popularity"
    )
    assert lists[strange]["item"].to_list() == original("item", items)
    assert lists[strange]["score"].to_list() == scores.tolist()
    assert (made.n_unknown, made.n_unanswered) == (1, 0)
    made = recommend(run, out, users=[strange, known], fallback="none", overwrite=True)
    assert (made.n_users, made.n_unanswered) == ({MODEL: 1}, 1)
    made = recommend(run, out, users=[strange], fallback="none", overwrite=True)
    assert (made.n_users, made.n_rows) == ({}, 0)


def test_a_backbone_that_reads_exposures_or_features_knows_more_users(tmp_path):
    for name, n_new in (("gmf", 3), ("svdpp", 1), ("two-tower", 0)):
        run, _ = shop(tmp_path / name, name, features=True)
        assert Recommender.of(run).is_new.sum() == n_new, name


def test_without_what_asks_for_labels_no_dataset_is_needed(tmp_path):
    run, data = shop(tmp_path)
    data.folder.rename(tmp_path / "moved")
    alone = {"leave_out": "nothing", "fallback": "none"}
    made = recommend(run, tmp_path / "l.csv", **alone)
    assert made.n_users == {MODEL: N_USERS}
    with pytest.raises(RunError, match="pass its path with --dataset"):
        recommend(run, tmp_path / "other.csv")
    recommend(run, tmp_path / "other.csv", dataset=tmp_path / "moved")


def test_every_format_says_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("invlearn.inference.recommend.lists.BUFFERED_ROWS", 1)
    monkeypatch.setattr("invlearn.evaluation.ranking.BLOCK_USERS", 2)
    run, _ = shop(tmp_path)
    read = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}
    tables = []
    for ending, reader in read.items():
        recommend(run, tmp_path / f"lists{ending}", k=4)
        tables.append(reader(tmp_path / f"lists{ending}"))
    assert tables[0].equals(tables[1].cast(tables[0].schema))
    assert tables[0].equals(tables[2].cast(tables[0].schema))
    assert not [name for name in contents(tmp_path) if ".lists" in name]


def test_items_can_be_filtered_and_lists_run_out(tmp_path):
    run, data = shop(tmp_path)
    only, never = original("item", [3, 7, 9, 11]), original("item", [7])
    made = recommend(run, tmp_path / "l.parquet", k=5, items=only, exclude_items=never)
    excluded = set(range(N_ITEMS)) - {3, 9, 11}
    for user, rows in by_user(pl.read_parquet(tmp_path / "l.parquet")).items():
        dense = original("user", EVERYBODY).index(user)
        items, _ = expected(
            run, data, dense, k=5, leave_out="labelled", known=dense < KNOWN, excluded=excluded
        )
        assert rows["item"].to_list() == original("item", items)
    assert (made.n_short, made.n_catalogue, made.n_unknown_items) == (N_USERS, 3, 0)
    with pytest.raises(ConfigError, match="no item of the run is left"):
        recommend(run, tmp_path / "other.csv", items=["no such item"])


def test_item_ids_that_the_run_does_not_have_are_counted(tmp_path):
    run, _ = shop(tmp_path)
    (tmp_path / "only.csv").write_text("item_id\n 5000 \n4997\nno such item\n")
    (tmp_path / "never.txt").write_text("another\n")
    files = {"items": tmp_path / "only.csv", "exclude_items": tmp_path / "never.txt"}
    made = recommend(run, tmp_path / "l.csv", **files)
    assert (made.n_unknown_items, made.n_catalogue) == (2, 2)


def test_a_file_without_a_single_id_of_the_run_is_refused_unless_a_fallback_is_asked_for(tmp_path):
    run, _ = shop(tmp_path)
    prose = tmp_path / "letter.txt"
    prose.write_text("Dear all,\n\n\0\x01 as you know\n" + "very " * 99 + "long\nYours\n")
    with pytest.raises(DataError) as refused:
        recommend(run, tmp_path / "l.csv", users=prose)
    for words in ("read 4 ids, 'Dear all,', '\\x00\\x01 as you know', 'very very",
                  "like '2000', '1997', '1994', ...", "--fallback item-rate"):  # fmt: skip
        assert words in str(refused.value)
    assert len(str(refused.value)) < 400
    assert not (tmp_path / "l.csv").exists()
    assert recommend(run, tmp_path / "l.csv", users=prose, fallback="item-rate").n_unknown == 4
    made = recommend(run, tmp_path / "some.csv", users=["who", *original("user", [1])])
    assert (made.n_users, made.n_unknown) == ({MODEL: 1, "item-rate": 1}, 1)


# The index


@pytest.mark.parametrize("excluded", [(), (0, 5, 7)])
def test_an_index_of_which_all_is_looked_at_is_exact(excluded):
    module = small_backbone("mf", 40, 300)
    rng = np.random.default_rng(0)
    seen = SeenItems.of([part(*np.nonzero(rng.random((40, 300)) < 0.2))])
    with torch.no_grad():
        index = ItemIndex(module.as_factors(), probed=1.0, excluded=np.array(excluded, np.int64))
    users = np.array([3, 39, 3, 0])
    (found,) = index.top_k(users, k=9, seen=seen)
    bars = np.array(excluded, np.int64)
    (exact,) = catalogue_top_k(CatalogueScorer(module, 300), users, k=9, seen=seen, excluded=bars)
    assert found.items.tolist() == exact.items.tolist()
    np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-5, atol=1e-6)


def test_one_user_who_saw_much_does_not_make_the_search_wide_for_all(monkeypatch):
    module = small_backbone("mf", 40, 300)
    seen = SeenItems.of([part([7] * 290, range(290))])
    with torch.no_grad():
        index = ItemIndex(module.as_factors(), probed=1.0)
    users = np.arange(40)
    (whole,) = index.top_k(users, k=5, seen=seen)
    monkeypatch.setattr(
        "invlearn.inference.recommend.ann.BLOCK_CELLS", 320 * module.as_factors().items.shape[1]
    )
    cut = list(index.top_k(users, k=5, seen=seen))
    assert [block.users.tolist() for block in cut] == [[*range(7)], [7], [*range(8, 40)]]
    for column in range(3):
        together = np.concatenate([block[column] for block in cut])
        np.testing.assert_allclose(together, whole[column], rtol=1e-6)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 200))
def test_blocks_hold_every_user_once_and_no_more_than_they_may(wanted, most):
    cut = list(blocks(np.array(wanted, np.int64), most))
    assert [at for block in cut for at in range(block.start, block.stop)] == [*range(len(wanted))]
    for block in cut:
        own = wanted[block]
        assert len(own) == 1 or len(own) * max(own) <= most


def test_an_index_says_where_nothing_is_left():
    users, items = torch.eye(2, 3), torch.rand(4, 3)
    index = ItemIndex(Factors(users, items), probed=1.0)
    seen = SeenItems.of([part([0, 0, 0], [1, 2, 3])])
    (found,) = index.top_k(np.array([0, 1]), k=6, seen=seen)
    assert [int(i) for i in found.items[0]] == [0, -1, -1, -1]
    assert sorted(found.items[1].tolist()) == [0, 1, 2, 3]


def test_an_approximate_search_says_how_much_it_found(tmp_path):
    run, _ = shop(tmp_path, "mf")
    sparse = recommend(run, tmp_path / "few.parquet", k=5, approximate=0.2)
    full = recommend(run, tmp_path / "all.parquet", k=5, approximate=1)
    assert full.recall == 1
    assert 0 < sparse.recall < 1
    exact = recommend(run, tmp_path / "exact.parquet", k=5)
    assert exact.recall is None
    columns = ["user", "rank", "item", "source"]
    both = (pl.read_parquet(tmp_path / f"{n}.parquet")[columns] for n in ("all", "exact"))
    assert next(both).equals(next(both))


def test_who_cannot_have_an_index_is_told(tmp_path, monkeypatch):
    run, _ = shop(tmp_path, "neumf")
    with pytest.raises(ConfigError, match="neumf is none"):
        recommend(run, tmp_path / "l.csv", approximate=0.1)
    run, _ = shop(tmp_path / "other", "mf")
    with pytest.raises(ConfigError, match="above 0 and at most 1; found 3"):
        recommend(run, tmp_path / "l.csv", approximate=3)
    monkeypatch.setattr("invlearn.runtime.environment.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'invlearn\[ann\]'"):
        recommend(run, tmp_path / "l.csv", approximate=0.1)
    assert not (tmp_path / "l.csv").exists()


# Ways to be wrong


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("l.xlsx", {}, "one of .parquet"),
        ("l.csv", {"k": 0}, "k of at least 1"),
        ("none/l.csv", {}, "there is no folder .*none to write l.csv to; make it first"),
        ("l.csv", {"leave_out": "sen"}, "unknown choice of what to leave out 'sen'"),
        ("l.csv", {"fallback": "luck"}, "unknown fallback 'luck'"),
        ("l.csv", {"users": "missing.csv"}, "missing.csv does not exist"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_written(name, options, said, tmp_path):
    run, _ = shop(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InvlearnError, match=said):
        recommend(run, tmp_path / name, **options)
    assert contents(tmp_path) == before


# The command


def test_the_command_writes_lists_and_says_what_is_in_them(feed, tmp_path):
    ids = pl.read_parquet(feed.none / "users.parquet")["id"]
    (tmp_path / "users.txt").write_text(f"{ids[4]}\n{ids[2]}\n999999\n{ids[4]}\n")
    out = tmp_path / "lists.csv"
    (tmp_path / "never.txt").write_text("no such item\n")
    files = ("--users", tmp_path / "users.txt", "--exclude-items", tmp_path / "never.txt")
    said = done("recommend", feed.none, "--out", out, *files)
    assert "warning: 1 item id is not in the run at all" in said
    assert "warning: 1 of 3 users is not in the run at all" in said
    assert f"Wrote{out}:30rows." in "".join(said.split())  # a long path is cut anywhere
    assert max(map(len, said.splitlines()[:-1])) <= 80
    table = pl.read_csv(out)
    assert set(table["user"]) == {ids[4], ids[2], "999999"}
    again = call("recommend", feed.none, "--out", out)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "already exists" in again.err
    done("recommend", feed.none, "--out", out, "--overwrite", "--approximate", "0.5", "--k", 3)
    assert len(pl.read_csv(out)) == 3 * len(ids)
