"""The simulated feed has the sizes, shapes and truth that it promises, and the same bytes twice."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from invlearn.data.logs.logs import open_log
from invlearn.data.simulation import exposure
from invlearn.data.simulation.counters import normal, permuted, uniform
from invlearn.data.simulation.simulate import simulate
from invlearn.runtime.errors import ConfigError, InvlearnError

SIZES = {"users": 1_500, "items": 1_200, "rows": 120_000}


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> pl.DataFrame:
    folder = tmp_path_factory.mktemp("feed") / "log"
    simulate(folder, **SIZES, seed=3, chunk_rows=50_000)
    frame = pl.read_parquet(folder / "*.parquet")
    return frame.with_columns(ratio=pl.col("play_time_ms") / pl.col("duration_ms"))


# Numbers by position


def test_uniform_and_normal_have_their_moments_and_no_memory():
    positions = np.arange(200_000)
    draws = uniform(11, positions)
    assert draws.min() > 0
    assert draws.max() < 1
    counts = np.histogram(draws, bins=100, range=(0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 180  # chi-square, 99 degrees: p < 1e-6
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 0.01
    assert abs(np.corrcoef(draws, uniform(12, positions))[0, 1]) < 0.01
    bells = normal(11, positions)
    assert abs(bells.mean()) < 0.01
    assert abs(bells.std() - 1) < 0.01
    assert abs((bells > 1.96).mean() - 0.025) < 0.002


def test_uniform_does_not_depend_on_what_is_asked_beside_it():
    assert uniform(5, np.array([77]))[0] == uniform(5, np.arange(100))[77]


@settings(deadline=None)
@given(key=st.integers(0, 2**62), size=st.integers(1, 3000))
def test_permutation_takes_every_place_once(key, size):
    places = permuted(key, np.arange(size), size)
    assert np.array_equal(np.sort(places), np.arange(size))


def test_permutation_leaves_nothing_in_place():
    places = permuted(1, np.arange(100_000), 100_000)
    assert (places == np.arange(100_000)).sum() < 12
    assert abs(np.corrcoef(places, np.arange(100_000))[0, 1]) < 0.02


# Who is shown what


@settings(deadline=None, max_examples=60)
@given(
    n_users=st.integers(1, 40),
    n_items=st.integers(1, 60),
    density=st.floats(0, 1),
    seed=st.integers(0, 5),
)
def test_every_user_is_shown_and_no_pair_occurs_twice_but_for_replays(
    n_users, n_items, density, seed
):
    n_rows = n_users + int(density * (n_users * n_items - n_users))
    shown = exposure.gather(n_users, n_items, n_rows, seed=seed).exposures(np.arange(n_rows))
    assert np.array_equal(np.unique(shown.users), np.arange(n_users))
    assert shown.items.min() >= 0
    assert shown.items.max() < n_items
    pairs = np.unique(shown.users * n_items + shown.items)
    replays = n_rows - len(pairs)
    assert replays <= 5 + 3 * exposure.REPLAY_FRACTION * n_rows


def test_without_replays_pairs_are_all_different(monkeypatch):
    monkeypatch.setattr(exposure, "REPLAY_FRACTION", 0.0)
    shown = exposure.gather(200, 150, 15_000, seed=1).exposures(np.arange(15_000))
    assert len(np.unique(shown.users * 150 + shown.items)) == 15_000


def test_popularity_and_activity_have_long_tails(log):
    for column in ("video_id", "user_id"):
        counts = log[column].value_counts()["count"].sort(descending=True)
        tenth = counts.head(len(counts) // 10).sum() / log.height
        assert 0.22 < tenth < 0.6, column
        assert counts[0] > 5 * counts.median(), column


def test_exposure_prefers_what_users_like():
    audience = exposure.gather(500, 2_000, 20_000, seed=0)
    shown = audience.exposures(np.arange(20_000))
    other = np.random.default_rng(0).permutation(shown.items)
    taste = (audience.user_factors[shown.users] * audience.item_factors[shown.items]).sum(1)
    chance = (audience.user_factors[shown.users] * audience.item_factors[other]).sum(1)
    assert taste.mean() > chance.mean() + 0.3


# The log


def test_columns_and_sizes(log):
    assert log.drop("ratio").schema == {
        "user_id": pl.String,
        "video_id": pl.Int64,
        "timestamp": pl.Int64,
        "duration_ms": pl.Int64,
        "play_time_ms": pl.Int64,
        "is_like": pl.Int8,
        "is_hate": pl.Int8,
        "true_preference": pl.Float32,
        "true_label": pl.Int8,
    }
    assert log.height == SIZES["rows"]
    assert log["user_id"].n_unique() == SIZES["users"]
    assert log["video_id"].n_unique() == SIZES["items"]
    assert log["video_id"].is_between(0, SIZES["items"] - 1).all()
    assert log["timestamp"].is_sorted()
    assert log["duration_ms"].is_between(7_000, 300_000).all()
    assert log.null_count().sum_horizontal().item() == 0


def test_watch_ratios_are_shaped_as_in_kuairec(log):
    ratio = log["ratio"]
    assert ratio.median() == pytest.approx(0.8, abs=0.05)
    assert (ratio >= 2).mean() == pytest.approx(0.05, abs=0.01)
    assert (ratio >= 1).mean() == pytest.approx(1 / 3, abs=0.03)
    assert (ratio < 0.3).mean() == pytest.approx(1 / 6, abs=0.03)


def test_likes_and_hates_are_rare_and_follow_preference(log):
    liked, hated = log.filter(is_like=1), log.filter(is_hate=1)
    assert liked.height / log.height == pytest.approx(0.02, rel=0.2)
    assert hated.height / log.height == pytest.approx(0.002, rel=0.4)
    means = [frame["true_preference"].mean() for frame in (hated, log, liked)]
    assert means[0] < means[1] - 0.1 < means[2] - 0.2


def test_truth_is_calibrated_and_one_for_each_pair(log):
    bins = log.group_by((pl.col("true_preference") * 10).floor().alias("bin")).agg(
        pl.col("true_preference", "true_label").mean(), pl.len()
    )
    gap = (bins["true_preference"] - bins["true_label"]).abs()
    assert gap.max() < 0.03
    pairs = log.group_by("user_id", "video_id").agg(pl.col("true_label").n_unique(), pl.len())
    assert (pairs["true_label"] == 1).all()
    assert 0.003 < (pairs["len"] > 1).mean() < 0.02


def test_watching_tells_liking_noisily(log):
    clear = log.filter((pl.col("ratio") >= 1.5) | (pl.col("ratio") < 0.3))
    assert 0.8 < ((clear["ratio"] >= 1.5) == (clear["true_label"] == 1)).mean() < 0.95
    assert 0.85 < roc_auc_score(clear["ratio"] >= 1.5, clear["true_preference"]) < 0.95


def test_items_and_users_alone_explain_part_of_it(log):
    clear = log.filter((pl.col("ratio") >= 1.5) | (pl.col("ratio") < 0.3)).with_columns(
        label=(pl.col("ratio") >= 1.5).cast(pl.Float64)
    )
    rates = [  # leave-one-out, so that no row knows its own label
        ((pl.col("label").sum() - pl.col("label") + 2) / (pl.len() + 3)).over(column)
        for column in ("user_id", "video_id")
    ]
    auc = roc_auc_score(clear["label"], clear.select(rates[0] + rates[1]).to_series())
    assert 0.66 < auc < 0.78


# Files


def contents(folder):
    return [file.read_bytes() for file in sorted(folder.iterdir())]


def test_same_seed_same_bytes(tmp_path):
    sizes = {"users": 50, "items": 80, "rows": 1_000, "chunk_rows": 300}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        simulate(tmp_path / name, **sizes, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(contents(tmp_path / "a")) == 4
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


@settings(deadline=None, max_examples=10)
@given(chunk_rows=st.integers(1, 1_500))
def test_rows_do_not_depend_on_the_chunks(tmp_path_factory, chunk_rows):
    folder = tmp_path_factory.mktemp("feed")
    sizes = {"users": 40, "items": 60, "rows": 700}
    simulate(folder / "whole", **sizes)
    simulate(folder / "parts", **sizes, chunk_rows=max(chunk_rows, 30))
    whole, parts = (pl.read_parquet(folder / name / "*.parquet") for name in ("whole", "parts"))
    assert whole.equals(parts)


def test_summary_progress_and_reading_back(tmp_path):
    heard = []
    summary = simulate(
        tmp_path / "log",
        users=20,
        items=30,
        rows=250,
        chunk_rows=100,
        progress=lambda *told: heard.append(told),
    )
    assert heard == [("simulate", 1, 3), ("simulate", 2, 3), ("simulate", 3, 3)]
    rows = open_log(tmp_path / "log").rows.collect("polars").to_polars()
    assert (summary.n_rows, summary.n_files) == (rows.height, 3)
    assert summary.true_positive_fraction == rows["true_label"].mean()


def test_a_folder_is_kept_unless_told_otherwise(tmp_path):
    simulate(tmp_path / "log", users=5, items=9, rows=10)
    with pytest.raises(InvlearnError, match="already exists"):
        simulate(tmp_path / "log", users=5, items=9, rows=10)
    simulate(tmp_path / "log", users=5, items=9, rows=20, overwrite=True)
    assert pl.read_parquet(tmp_path / "log" / "*.parquet").height == 20


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"users": 0}, "users must be at least 1"),
        ({"items": 0}, "items must be at least 1"),
        ({"chunk_rows": 0}, "chunk_rows must be at least 1"),
        ({"seed": -1}, "seed must not be negative"),
        ({"rows": 9}, "9 rows are too few for 10 users"),
        ({"rows": 51}, "more than half of the 100 pairs"),
    ],
)
def test_bad_sizes(tmp_path, sizes, message):
    with pytest.raises(ConfigError, match=message):
        simulate(tmp_path / "log", **({"users": 10, "items": 10, "rows": 20} | sizes))
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("sizes", [(1, 2), (1, 40), (7, 2), (7, 40)])
def test_tiny_feeds(tmp_path, sizes):
    users, items = sizes
    rows = users * items // 2
    simulate(tmp_path / "log", users=users, items=items, rows=rows)
    assert pl.read_parquet(tmp_path / "log" / "*.parquet").height == rows
