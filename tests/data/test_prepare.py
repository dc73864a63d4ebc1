"""Preparation against a slow reference, by bytes, by error messages, and on real logs."""

import hashlib
import json
import os
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

import narwhals.stable.v2 as nw
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from invlearn.data.dataset import Dataset
from invlearn.data.logs.logs import ROW, Log
from invlearn.data.parts import PARTS
from invlearn.data.prepare.audit import Audit
from invlearn.data.prepare.grammar import parse_rules
from invlearn.data.prepare.prepare import prepare, prepared
from invlearn.data.prepare.settings import PrepareSettings
from invlearn.data.prepare.splits import Split
from invlearn.data.prepare.table import ITEM, LABEL, PART, USER
from invlearn.runtime.errors import ConfigError, DataError, InvlearnError

RULE = "watch >= 2, < 1"


def log_of(rows, name="feed.csv"):
    frame = rows if isinstance(rows, pl.DataFrame | pl.LazyFrame) else pl.DataFrame(rows)
    return Log(nw.from_native(frame.lazy().with_row_index(ROW)), name, "0" * 64)


def feed(n_users=12, n_items=15):
    """A log in which a third of the rows is positive, a third negative, a third unlabelled."""
    pairs = [(user, item) for user in range(n_users) for item in range(n_items)]
    return pl.DataFrame(
        {
            "user": [user for user, _ in pairs],
            "item": [item for _, item in pairs],
            "watch": [(0.5, 3.0, 1.5)[(user + item) % 3] for user, item in pairs],
            "when": [user * 7919 % 101 + item for user, item in pairs],
        }
    )


# Against a slow reference

rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "é", "名前", "🎬", " "]),
        st.sampled_from([-(2**63), -1, 0, 7, 2**63 - 1]),
        st.sampled_from([0.0, 1.5, 3.0]),
        st.integers(0, 3),
    ),
    min_size=4,
    max_size=60,
)


def slow_label(watch):
    return 1 if watch >= 2 else 0 if watch < 1 else None


def slow_pairs(log, policy):
    """Label, and time of the row that stands for the pair, by pair."""
    found = {}
    for user, item, watch, when in log:
        found.setdefault((user, item), []).append((slow_label(watch), when))
    kept = {}
    for pair, seen in found.items():
        ordered = [row for _, row in sorted(enumerate(seen), key=lambda e: (e[1][1], e[0]))]
        clear = [row for row in ordered if row[0] is not None]
        votes = Counter(label for label, _ in clear)
        if clear and policy == "any-positive":
            clear = [row for row in clear if row[0] == max(votes)]
        if clear and policy == "majority":
            clear = [row for row in clear if votes[row[0]] == max(votes.values())]
        kept[pair] = (clear or ordered)[0 if policy == "first" else -1]
    return kept


def slow_core(pairs, n_least):
    while True:
        users, items = Counter(u for u, _ in pairs), Counter(i for _, i in pairs)
        left = {p: v for p, v in pairs.items() if min(users[p[0]], items[p[1]]) >= n_least}
        if len(left) == len(pairs):
            return left
        pairs = left


def fast_pairs(log, *, rename=str, **options):
    """Label and part by original pair, and all that `prepared` returned."""
    frame = pl.DataFrame(log, schema=["user", "item", "watch", "when"], orient="row")
    choice = PrepareSettings(rules=parse_rules(RULE), time="when", **options)
    result = prepared(log_of(frame), choice)
    found = result.rows.collect()
    users, items = (result.ids[kind].to_list() for kind in ("user", "item"))
    coded = list(found.select(USER, ITEM).iter_rows())
    assert len(set(coded)) == len(coded)
    assert {user for user, _ in coded} == set(range(len(users)))
    assert {item for _, item in coded} == set(range(len(items)))
    assert users == sorted(users, key=lambda name: name.encode())
    assert items == sorted(items)
    values = found.select(LABEL, PART).iter_rows()
    return {(users[u], items[i]): v for (u, i), v in zip(coded, values, strict=True)}, result


def both_classes(log):
    labels = {slow_label(watch) for _, _, watch, _ in log}
    return {0, 1} <= labels


@pytest.mark.parametrize("policy", ["last", "first", "any-positive", "majority"])
@given(log=rows, how=st.sampled_from(["random", "per-user"]))
@settings(max_examples=25, deadline=None)
def test_every_pair_is_kept_once_with_the_label_of_a_slow_loop(policy, log, how):
    assume(both_classes(log))
    found, result = fast_pairs(log, repeats=policy, split=Split(how))
    if policy == "majority":  # an event that was logged twice has one vote
        log = [*dict.fromkeys(log)]
    expected = slow_pairs(log, policy)
    assert {pair: label for pair, (label, _) in found.items()} == {
        pair: label for pair, (label, _) in expected.items()
    }
    for label, part in found.values():
        assert (label is None) == (PARTS[part] == "unlabelled")
    seen = {}
    for user, item, watch, _ in log:
        seen.setdefault((user, item), []).append(slow_label(watch))
    assert result.repeats.repeated == sum(len(labels) > 1 for labels in seen.values())
    assert result.repeats.conflicts == sum({0, 1} <= set(labels) for labels in seen.values())


@given(log=rows, n_least=st.integers(2, 3))
@settings(max_examples=25, deadline=None)
def test_the_core_is_that_of_a_slow_loop(log, n_least):
    assume(both_classes(log))
    expected = slow_core(slow_pairs(log, "last"), n_least)
    if not expected:
        with pytest.raises(DataError, match="leaves no row"):
            fast_pairs(log, core=n_least)
        return
    found, _ = fast_pairs(log, core=n_least)
    assert {p: label for p, (label, _) in found.items()} == {
        p: label for p, (label, _) in expected.items()
    }


@given(rows)
@settings(max_examples=25, deadline=None)
def test_a_temporal_split_shows_training_no_later_row(log):
    assume(both_classes(log))
    found, _ = fast_pairs(log, split=Split("temporal", 0.3, 0.3))
    expected = slow_pairs(log, "last")
    first = min((expected[p][1] for p, (_, part) in found.items() if part == 1), default=None)
    assume(first is not None)
    for pair, (label, when) in expected.items():
        assert (pair in found) == (label is not None or when <= first)
    assert all(expected[p][1] <= first for p, (_, part) in found.items() if PARTS[part] == "train")


# The folder


def bytes_of(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_the_folder_opens_and_holds_the_log(tmp_path):
    audit = prepare(log_of(feed()), tmp_path / "ds", rule=RULE, time="when")
    dataset = Dataset.open(tmp_path / "ds", verify=True)
    users = pl.read_parquet(tmp_path / "ds" / "users.parquet")["id"].to_list()
    items = pl.read_parquet(tmp_path / "ds" / "items.parquet")["id"].to_list()
    watch = {(user, item): watch for user, item, watch, _ in feed().iter_rows()}
    seen = []
    for name in PARTS:
        part = getattr(dataset, name)
        pairs = list(zip(part.users.tolist(), part.items.tolist(), strict=True))
        assert pairs == sorted(pairs)
        labels = part.labels.tolist() if name != "unlabelled" else [None] * len(pairs)
        for (user, item), label in zip(pairs, labels, strict=True):
            seen.append((users[user], items[item]))
            assert slow_label(watch[seen[-1]]) == label
    assert sorted(seen) == sorted(watch)
    card = json.loads((tmp_path / "ds" / "data.json").read_text())
    assert (card["n_users"], card["n_items"], card["rows"]["unlabelled"]) == (12, 15, 60)
    assert sum(card["rows"][name]["positive"] for name in PARTS[:3]) == 60
    assert card["rule"] == [RULE]
    assert card["source"] == {"name": "feed.csv", "sha256": "0" * 64}
    assert Audit.from_json(card["audit"]) == audit


@pytest.mark.parametrize("dtype", [pl.String, pl.Int16, pl.UInt64, pl.Categorical])
def test_ids_come_back_in_their_own_type(tmp_path, dtype):
    rows = feed().with_columns(pl.col("user").cast(pl.String).cast(dtype))
    prepare(log_of(rows), tmp_path / "ds", rule=RULE)
    ids = pl.read_parquet(tmp_path / "ds" / "users.parquet")["id"]
    assert ids.dtype == (pl.String if dtype == pl.Categorical else dtype)
    assert ids.to_list() == sorted(rows["user"].cast(ids.dtype).unique().to_list())


@pytest.mark.parametrize("split", ["random", "per-user", "temporal"])
@pytest.mark.parametrize("repeats", ["last", "majority"])
def test_the_same_log_gives_the_same_bytes_in_any_order_if_times_differ(tmp_path, split, repeats):
    again = feed().head(90).with_columns(watch=3.5 - pl.col("watch"), when=pl.col("when") + 5)
    rows = pl.concat([feed(), again])
    rows = rows.with_columns(when=pl.col("when") * 1000 + pl.int_range(pl.len()))
    options = {"rule": RULE, "time": "when", "split": split, "repeats": repeats, "core": 3}
    prepare(log_of(rows), tmp_path / "a", **options)
    prepare(log_of(rows.sample(fraction=1, shuffle=True, seed=1)), tmp_path / "b", **options)
    prepare(log_of(rows), tmp_path / "c", **options, seed=1)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    same = Dataset.open(tmp_path / "a").fingerprint == Dataset.open(tmp_path / "c").fingerprint
    assert same == (split == "temporal")


@pytest.mark.covering
@pytest.mark.parametrize("split", ["random", "per-user", "temporal", "column"])
@pytest.mark.parametrize("repeats", ["last", "first", "any-positive", "majority"])
def test_the_same_log_gives_the_same_bytes_whatever_fits_into_memory(
    tmp_path, split, repeats, monkeypatch
):
    rows = feed(24, 20).filter(pl.col("item") <= 6 + pl.col("user"))
    again = rows.sample(fraction=1, seed=1, shuffle=True).with_columns(rows["watch"]).head(120)
    rows = pl.concat([rows, again]).with_columns(
        part=pl.Series(["train", "valid", "test", "train", "train"]).sample(
            len(rows) + 120, with_replacement=True, seed=2
        )
    )
    options = {"rule": RULE, "time": "when", "split": split, "repeats": repeats, "core": 12}
    options["split_column"] = "part" if split == "column" else None
    audit = prepare(log_of(rows), tmp_path / "whole", **options)
    core = next(stage for stage in audit.stages if stage.name == "core")
    assert 0 < core.after.users < 24
    monkeypatch.setattr("invlearn.data.prepare.table.PIECE_ROWS", 37)
    monkeypatch.setattr("invlearn.data.prepare.table.STRETCH_ROWS", 50)
    monkeypatch.setattr("invlearn.data.cold.CHUNK", 5)
    prepare(log_of(rows), tmp_path / "cut", **options)
    assert bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "cut")


@pytest.mark.parametrize(
    ("split", "digest"),
    [
        ("random", "5d3aae9f3c555ee1"),
        ("per-user", "e5547f67122afd8f"),
        ("temporal", "7066df60abf1ab6b"),
    ],
)
def test_columns_are_those_of_earlier_versions(tmp_path, split, digest):
    prepare(log_of(feed()), tmp_path / "ds", rule=RULE, time="when", split=split)
    columns = sorted((tmp_path / "ds").glob("*.npy"))
    found = hashlib.sha256(b"".join(file.read_bytes() for file in columns))
    assert found.hexdigest()[:16] == digest


def test_a_core_without_labels_is_refused(tmp_path):
    crowd = [(user, item, 1.5) for user in range(5) for item in range(5)]
    rows = [*crowd, (9, 0, 3.0), (9, 1, 0.0)]
    log = log_of(pl.DataFrame(rows, schema=["user", "item", "watch"], orient="row"))
    for split in ("random", "per-user"):
        with pytest.raises(DataError, match=r"train part .* 0 positive and 0 negative"):
            prepare(log, tmp_path / "ds", rule=RULE, core=4, split=split)
    marked = Log(log.rows.with_columns(part=nw.lit("test")), log.name, log.sha256)
    by_column = {"split": "column", "split_column": "part"}
    with pytest.raises(DataError, match=r"train part .* 0 positive and 0 negative"):
        prepare(marked, tmp_path / "ds", rule=RULE, core=4, **by_column)


def test_times_may_be_dates_or_strings(tmp_path):
    rows = feed().with_columns(
        date=pl.lit(datetime(2024, 1, 1)) + pl.duration(minutes=pl.col("when"))
    )
    rows = rows.with_columns(
        text=pl.col("date").dt.to_string("iso"),
        real=pl.col("when") / 7 - 3,
        huge=pl.col("when").cast(pl.UInt64) + (2**64 - 10**6),
        nanosecond=(pl.col("when") + 1_700_000_000_000_000_000).cast(
            pl.Datetime("ns", "Asia/Tokyo")
        ),
    )
    kinds = ("when", "date", "text", "real", "huge", "nanosecond")
    for name in kinds:
        prepare(log_of(rows), tmp_path / name, rule=RULE, time=name, split="temporal")
    found = {Dataset.open(tmp_path / name).fingerprint for name in kinds}
    assert len(found) == 1


def test_the_audit_tells_what_was_dropped_and_why(tmp_path):
    bad = pl.DataFrame(
        {
            "user": [1, None, 3, 4],
            "item": [1, 2, 3, 4],
            "watch": [-1.0, 1.0, float("nan"), None],
            "when": [0, 0, 0, 0],
        }
    )
    rows = pl.concat([feed(), bad, feed().head(10)])
    audit = prepare(log_of(rows), tmp_path / "ds", rule=RULE, bad_rows="drop")
    stages = {stage.name: stage for stage in audit.stages}
    assert list(stages) == ["read", "bad rows", "label", "one row a pair", "split"]
    assert stages["read"].after.rows == 194
    assert (stages["read"].after.users, stages["read"].after.items) == (12, 15)
    assert stages["bad rows"].dropped == {
        "user is not an integer or string id": 1,
        "watch is not a number >= 0": 3,
    }
    assert stages["label"].after.rows == 190
    assert stages["one row a pair"].dropped == {"repeats of a pair": 10}
    assert audit.final.rows == 180
    assert audit.final.labelled_fraction == pytest.approx(2 / 3)
    assert (audit.repeated_pairs, audit.conflicts) == (10, 0)
    assert sum(part.rows for part in audit.parts.values()) == 120
    dataset = Dataset.open(tmp_path / "ds")
    for name, facts in audit.parts.items():
        part = getattr(dataset, name)
        classes = {}
        for user, label in zip(part.users.tolist(), part.labels.tolist(), strict=True):
            classes.setdefault(user, set()).add(label)
        assert facts.users == len(classes)
        assert facts.users_all_positive == sum(seen == {1} for seen in classes.values())
        assert facts.users_all_negative == sum(seen == {0} for seen in classes.values())
        assert facts.users_scored == sum(seen == {0, 1} for seen in classes.values())
        assert facts.items == len(set(part.items.tolist()))


def test_progress_is_told_of_every_step(tmp_path):
    told = []
    prepare(
        log_of(feed()),
        tmp_path / "ds",
        rule=RULE,
        core=2,
        progress=lambda stage, done, total, **figures: told.append((done, total, figures["step"])),
    )
    assert [done for done, _, _ in told] == list(range(1, 8))
    assert {total for _, total, _ in told} == {7}
    assert told[-1][2] == "written"


# What bad input gets

BY_PART = {"split": "column", "split_column": "part"}
SUCH = "(data rows counted from 1), column"


def bent(row, column, value):
    """The feed with one value changed, in data row `row` (counted from 1)."""
    rows = feed().with_row_index("n")
    changed = pl.when(pl.col("n") == row - 1).then(pl.lit(value)).otherwise(pl.col(column))
    return rows.with_columns(changed.alias(column)).drop("n")


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (bent(7, "watch", -3.0), {}, f"row 7 {SUCH} 'watch': found -3.0"),
        (bent(7, "watch", -3.0), {}, "write signed(watch)"),
        (bent(7, "watch", float("nan")), {}, "found nan, wanted a number >= 0; fix"),
        (bent(7, "watch", float("inf")), {}, "found inf"),
        (bent(2, "user", None), {}, f"row 2 {SUCH} 'user': found nothing"),
        (bent(3, "when", None), {"time": "when"}, "column 'when': found nothing (null), wanted a"),
        (bent(5, "when", 0), {"rule": "watch / when > 1"}, "found 0, wanted a number > 0"),
        (
            feed().with_columns(when=0),
            {"rule": "watch / when > 1"},
            "; 180 bad rows in all; fix the log or drop such rows with --bad-rows drop",
        ),
        (bent(9, "when", 2), {"rule": "label(when)"}, "wanted 1, 0 or null"),
        (
            feed().with_columns(part=pl.Series(["train"] * 4 + ["trial"] * 176)),
            BY_PART,
            f"row 5 {SUCH} 'part': found 'trial', wanted one of 0, train",
        ),
        (feed(), {"user": "usr"}, "no column 'usr'; did you mean 'user'? Its columns: user, item"),
        (feed(), {"rule": "wotch > 1"}, "did you mean 'watch'?"),
        (feed(), {"user": "watch"}, "column 'watch' of feed.csv is of type Float64, wanted an int"),
        (
            feed().with_columns(watch=pl.col("watch").cast(pl.String)),
            {},
            "column 'watch' of feed.csv is of type String, wanted a number",
        ),
        (feed().with_columns(when=pl.lit(True)), {"time": "when"}, "Boolean, wanted a time"),
        (feed().head(0), {}, "has no rows"),
        (bent(1, "watch", None).head(1), {"bad_rows": "drop"}, "every row of feed.csv is bad"),
        (feed(), {"rule": "watch > 100"}, "0 positive and 180 negative labels in 180 rows"),
        (feed(), {"rule": "watch > 100, < 0.1"}, "0 positive and 0 negative labels"),
        (feed(), {"rule": "events(when=1)"}, "both classes are needed; compare its bounds"),
        (feed(), {"core": 100}, "core 100 leaves no row of feed.csv"),
        (feed(2, 2), {}, "part of feed.csv would have"),
        (
            feed().with_columns(part=pl.lit(0)),
            BY_PART,
            "the test part of feed.csv would have 0 positive and 0 negative rows",
        ),
    ],
)
def test_bad_logs_are_refused_in_one_sentence_and_leave_nothing(tmp_path, rows, options, said):
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        prepare(log_of(rows), tmp_path / "ds", **({"rule": RULE} | options))
    assert "\n" not in str(caught.value)
    assert "feed.csv" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"repeats": "lst"}, "unknown policy for repeated pairs 'lst'; did you mean 'last'?"),
        ({"bad_rows": "ignore"}, "unknown way with bad rows 'ignore'"),
        ({"split": "temporal"}, "needs a time column; name it with --time"),
        ({"split": "column"}, "go together; found split 'column' and split column none"),
        ({"split_column": "part"}, "found split 'random' and split column part"),
        ({"item": "user"}, "user and item are both column 'user'"),
        ({"core": -1}, "core must be 0"),
        ({"valid_fraction": 0}, "valid_fraction and test_fraction must be above 0"),
        ({"rule": []}, "no label rule"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, options, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        prepare(log_of(feed()), tmp_path / "ds", **({"rule": RULE} | options))


def test_an_existing_folder_stays_unless_told(tmp_path):
    prepare(log_of(feed()), tmp_path / "ds", rule=RULE)
    before = bytes_of(tmp_path / "ds")
    with pytest.raises(InvlearnError, match="--overwrite"):
        prepare(log_of(feed()), tmp_path / "ds", rule=RULE)
    with pytest.raises(DataError):
        prepare(log_of(feed().head(0)), tmp_path / "ds", rule=RULE, overwrite=True)
    assert bytes_of(tmp_path / "ds") == before
    prepare(log_of(feed()), tmp_path / "ds", rule=RULE, overwrite=True, seed=1)
    assert bytes_of(tmp_path / "ds") != before


def test_a_log_damaged_inside_is_named(tmp_path):
    file = tmp_path / "feed.parquet"
    feed().write_parquet(file)
    content = bytearray(file.read_bytes())
    content[4:60] = b"\xff" * 56
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"feed\.parquet"):
        prepare(log_of(pl.scan_parquet(file), "feed.parquet"), tmp_path / "ds", rule=RULE)


def test_signed_scales_are_no_bad_rows(tmp_path):
    rows = feed().with_columns(watch=pl.col("watch") - 1.4)
    audit = prepare(log_of(rows), tmp_path / "ds", rule="signed(watch) > 1, < -0.5")
    assert (audit.final.positive, audit.final.negative, audit.final.unlabelled) == (60, 60, 60)


def test_null_events_did_not_occur(tmp_path):
    rows = feed().with_columns(
        like=pl.when(pl.col("watch") > 2).then(True), hate=pl.when(pl.col("watch") < 1).then(1)
    )
    audit = prepare(log_of(rows), tmp_path / "ds", rule="events(hate=0, like=1)")
    assert (audit.final.positive, audit.final.negative, audit.final.unlabelled) == (60, 60, 60)


# Real logs


def real(file):
    folder = Path(os.environ.get("INVLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (folder / file).is_file():
        pytest.skip(f"{folder / file} is not there; INVLEARN_DATA names the folder with real data")
    return log_of(pl.scan_parquet(folder / file), file), pl.read_parquet(folder / file)


def test_kuairec_watch_ratios(tmp_path):
    log, rows = real("kuairec/watch_ratio.parquet")
    audit = prepare(log, tmp_path / "ds", rule="watch_ratio >= 1.5, < 0.2", split="per-user")
    assert audit.final.positive == (rows["watch_ratio"] >= 1.5).sum() == 13830
    assert audit.final.negative == (rows["watch_ratio"] < 0.2).sum() == 12865
    assert (audit.final.rows, audit.final.users, audit.final.items) == (117113, 1411, 2519)


def test_kuairand_rows_with_events_before_watch_time(tmp_path):
    log, rows = real("kuairand/raw_rows.parquet")
    options = {
        "rule": ["events(is_follow=1, is_forward=1)", "play_time_ms / duration_ms >= 1.5, < 0.2"],
        "user": "user_id",
        "item": "video_id",
        "time": "time_ms",
        "split": "temporal",
    }
    with pytest.raises(DataError, match=r"row 2 .*'duration_ms': found 0.*; 7,738 bad rows in all"):
        prepare(log, tmp_path / "ds", **options)
    audit = prepare(log, tmp_path / "ds", bad_rows="drop", **options)
    good = rows.filter(pl.col("duration_ms") > 0)
    event = (good["is_follow"] != 0) | (good["is_forward"] != 0)
    ratio = good["play_time_ms"] / good["duration_ms"]
    stages = {stage.name: stage for stage in audit.stages}
    assert stages["bad rows"].dropped == {"duration_ms is not a number > 0": 7738}
    assert stages["label"].after.positive == (event | (ratio >= 1.5)).sum()
    assert stages["label"].after.negative == (~event & (ratio < 0.2)).sum()
    assert audit.repeated_pairs == (good.group_by("user_id", "video_id").len()["len"] > 1).sum()
    assert list(stages["split"].dropped) == ["unlabelled, later than the first validation row"]


def test_kuairand_clicks_with_conflicts_and_a_split_column(tmp_path):
    log, rows = real("kuairand/clicks.parquet")
    options = {"rule": "label(label)", "split": "column", "split_column": "split"}
    audit = prepare(log, tmp_path / "ds", **options)
    assert (audit.repeated_pairs, audit.conflicts) == (8123, 448)
    last = rows.unique(["user", "item"], keep="last", maintain_order=True)
    assert audit.final.positive == (last["label"] == 1).sum()
    for name, facts in audit.parts.items():
        assert facts.rows == (last["split"] == name).sum()
    generous = prepare(log, tmp_path / "any", repeats="any-positive", **options)
    by_pair = rows.group_by("user", "item").agg(pl.col("label").max())
    assert generous.final.positive == (by_pair["label"] == 1).sum()


def test_ml_1m_with_the_split_of_its_column(tmp_path):
    log, rows = real("ml-1m/ratings.parquet")
    options = {"rule": "rating > 2", "split": "column", "split_column": "split"}
    audit = prepare(log, tmp_path / "ds", **options)
    assert [audit.parts[name].rows for name in PARTS[:3]] == [600_125, 200_042, 200_042]
    assert audit.final.positive == (rows["rating"] > 2).sum()
    assert (audit.parts["test"].users, audit.parts["test"].users_scored) == (6034, 4544)
    assert (audit.final.users, audit.final.items) == (6040, 3706)


def test_text_that_is_no_date_does_not_order_rows(tmp_path):
    table = {"user": [1, 1, 2, 2], "item": [1, 2, 1, 2], "rating": [5, 1, 5, 1]}
    for times in (["999", "1000", "1001", "2"], ["2024-01-01", "2024-01-02", "soon", "2024-01-03"]):
        with pytest.raises(DataError, match=r"column 'when'.*found '(999|soon)'"):
            prepare(
                pl.DataFrame(table | {"when": times}),
                tmp_path / "data",
                rule="rating > 2",
                time="when",
                split="temporal",
            )


def test_one_cell_of_text_among_numbers_is_named(tmp_path):
    ratings = ["5", "1"] * 50
    ratings[70] = "?"
    table = {"user": range(100), "item": range(100), "rating": ratings}
    with pytest.raises(DataError, match=r"rating.*1 of its 100 rows.*row 71 .*'\?'"):
        prepare(pl.DataFrame(table), tmp_path / "data", rule="rating > 2")
