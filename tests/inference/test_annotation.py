"""Annotations: every column against a slow oracle, every promise against the truth."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import invlearn
from console import IDS, RULE, call, contents, done
from invlearn.data.prepare import queried_pairs
from invlearn.evaluation.thresholds import LEAST_ROWS, find_thresholds
from invlearn.inference.annotation.annotator import LOWER, PRECISIONS, reachable
from invlearn.runtime.errors import InvlearnError
from invlearn.strategies.losses import belief_in_positive, cross_entropy
from invlearn.training import checkpoint
from invlearn.training.run import Run
from toys import checkerboard, part, write_toy


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A feed with some of its labels hidden, and a run of `ig-sample` on it."""
    place = tmp_path_factory.mktemp("annotation")
    done("simulate", place / "log", "--users", 200, "--items", 100, "--rows", 9000)
    shares = ("--valid-fraction", 0.3)
    done("prepare", place / "log", "--rule", RULE, *IDS, *shares, "--out", place / "whole")
    done("weaken", place / "whole", "--label-share", 0.5, "--out", place / "data")
    options = {"backbone": "mf", "epochs": 5, "batch_size": 128, "optimizer": {"lr": 0.02}}
    given = {"strategy": "ig-sample", "select_by": "auc"} | options
    invlearn.train(place / "data", place / "run", **given)
    return place


@pytest.fixture(scope="module")
def run(place):
    return Run.open(place / "run")


@pytest.fixture(scope="module")
def made(place):
    """The annotation of all unlabelled pairs: its table and its summary."""
    said = done("annotate", place / "run", "--precision", 0.7, "--out", place / "all.parquet")
    summary = json.loads((place / "all.json").read_text())
    return pl.read_parquet(place / "all.parquet"), summary, said


def codes(run, table):
    """Dense ids of original ones."""
    for key in ("user", "item"):
        ids = pl.read_parquet(run.folder / f"{key}s.parquet")["id"].to_list()
        yield np.array([ids.index(name) if name in ids else -1 for name in table[key].to_list()])


def test_every_unlabelled_pair_is_there_in_its_order_under_its_own_ids(run, made):
    table, summary, _ = made
    rows = run.dataset().unlabelled
    users, items = codes(run, table)
    np.testing.assert_array_equal(users, rows.users)
    np.testing.assert_array_equal(items, rows.items)
    assert table["user"].dtype == pl.String
    assert table["user"][0].startswith("u00")
    known = np.where(rows.truth < 0, None, rows.truth)
    assert table["truth"].to_list() == known.tolist()
    assert summary["counts"]["pairs"] == len(table)
    names = "user item logit probability belief agreement influence label truth"
    assert table.columns == names.split()


def test_logits_and_beliefs_are_the_run_s(run, made):
    table, _, _ = made
    rows = run.dataset().unlabelled
    np.testing.assert_array_equal(table["logit"], run.score(rows.users, rows.items))
    beliefs = belief_in_positive(table["logit"].to_torch())
    np.testing.assert_array_equal(table["belief"], beliefs)


def test_probabilities_are_those_of_the_map_in_the_json(made):
    table, summary, _ = made
    form = summary["calibration"]["map"]
    z = table["logit"].to_numpy().astype(float)
    if summary["calibration"]["chosen"] == "temperature":
        expected = 1 / (1 + np.exp(-(form["scale"] * z + form["shift"])))
    else:
        expected = np.interp(z, form["logits"], form["probabilities"])
    np.testing.assert_allclose(table["probability"], expected, rtol=1e-6)


def test_labels_are_those_of_the_thresholds_in_the_json(made):
    table, summary, _ = made
    (promise,) = (p for p in summary["promises"] if p["precision"] == summary["precision"])
    above, below = (promise[name]["threshold"] for name in ("positive", "negative"))
    p = table["probability"].to_numpy()
    expected = np.where(p >= (above or 2), "positive", "unclear")
    expected = np.where(p <= (-1 if below is None else below), "negative", expected)
    assert table["label"].to_list() == expected.tolist()
    assert {"negative", "unclear"} <= set(table["label"])
    tally = table["label"].value_counts().rows()
    assert {name: summary["counts"][name] for name, _ in tally} == dict(tally)
    assert {promise[n]["pairs"] for n in ("positive", "negative")} <= {0, *dict(tally).values()}


def test_agreement_counts_the_other_epochs_on_the_same_side(run, made):
    table, summary, _ = made
    folder = run.folder / "checkpoints"
    best = checkpoint.load(folder, "best").state.epoch
    others = [epoch for epoch in (3, 4, 5) if epoch != best]
    assert summary["agreement"]["epochs"] == others
    rows, module = run.dataset().unlabelled, Run.open(run.folder).module
    sides = []
    for epoch in others:
        module.load_state_dict(checkpoint.load_kept(folder, epoch))
        with torch.no_grad():
            pairs = (torch.from_numpy(ids.astype(np.int64)) for ids in (rows.users, rows.items))
            sides.append((module(*pairs).numpy() > 0) == (table["logit"].to_numpy() > 0))
    np.testing.assert_allclose(table["agreement"], np.mean(sides, axis=0), rtol=1e-6)
    assert 0 < table["agreement"].mean() < 1
    levels = {row["agreement"]: row for row in summary["agreement"]["truth"]}
    some = table.filter(pl.col("truth").is_not_null() & (pl.col("agreement") == 1))
    right = (some["probability"] >= 0.5) == (some["truth"] == 1)
    assert levels[1.0]["rows"] == len(some)
    assert levels[1.0]["accuracy"] == pytest.approx(right.mean())


def test_influence_is_what_a_small_step_changes_in_the_loss(run, made):
    """A step along a pair's own gradient changes the labelled rows' loss in proportion to it."""
    table, _, _ = made
    data = run.dataset()
    module = Run.open(run.folder).module.double()

    def ids(rows, at):
        return [
            torch.from_numpy(column[at].astype(np.int64)) for column in (rows.users, rows.items)
        ]

    def loss():
        labels = torch.from_numpy(data.train.labels.astype(np.float64))
        return cross_entropy(module(*ids(data.train, slice(None))), labels).mean()

    step = 1e-4
    for row in (0, 7, 100, len(table) - 1):
        gradients = torch.autograd.grad(
            module(*ids(data.unlabelled, [row])).sum(), list(module.parameters())
        )
        losses = []
        for sign in (1, -2, 1):  # ahead, back, and where it was
            with torch.no_grad():
                for weight, gradient in zip(module.parameters(), gradients, strict=True):
                    weight += sign * step * gradient
            losses.append(loss().item())
        found = (losses[0] - losses[1]) / (2 * step)
        assert table["influence"][row] == pytest.approx(found, rel=1e-3, abs=1e-7)


def test_the_summary_measures_the_truth_that_was_hidden(made):
    table, summary, _ = made
    known = table.filter(pl.col("truth").is_not_null())
    y, p = known["truth"].to_numpy(), known["probability"].to_numpy().astype(float)
    found = invlearn.evaluate(np.zeros(len(y)).astype(int), y, known["logit"], draws=0).values
    truth = summary["truth"]
    assert truth["rows"] == len(known) > 500
    assert truth["auc"] == pytest.approx(found["auc"])
    assert truth["auc"] > 0.6
    assert truth["brier"] == pytest.approx(np.mean((p - y) ** 2))
    assert truth["accuracy"] == pytest.approx(np.mean((p >= 0.5) == y))
    for promise in summary["promises"]:
        for name, label in (("positive", 1), ("negative", 0)):
            threshold = promise[name]["threshold"]
            if threshold is not None:
                given = y[p >= threshold] if label else y[p <= threshold]
                assert promise[name]["truth"]["rows"] == len(given)
                assert promise[name]["truth"]["precision"] == pytest.approx((given == label).mean())
    assert [p["precision"] for p in summary["promises"]] == [0.7, 0.8, 0.9, 0.95]


def test_the_promise_rests_on_enough_validation_rows(made):
    _, summary, _ = made
    reached = [
        (promise["precision"], promise[name]["validation"])
        for promise in summary["promises"]
        for name in ("positive", "negative")
        if promise[name]["threshold"] is not None
    ]
    assert reached
    for precision, facts in reached:
        assert facts["rows"] >= LEAST_ROWS
        assert facts["precision"] >= precision


def test_where_nothing_can_be_labelled_the_highest_precision_that_can_is_told(
    place, made, tmp_path
):
    words = ("annotate", place / "run", "--precision", 0.97, "--out", tmp_path / "a.parquet")
    said = " ".join(done(*words).split())
    summary = json.loads((tmp_path / "a.json").read_text())
    told = {p["precision"]: p for p in summary["promises"]}
    assert summary["counts"]["positive"] + summary["counts"]["negative"] == 0
    best = max(p for p in told if p < 0.97 and told[p]["share"])
    n_pairs = sum(told[best][name]["pairs"] for name in ("positive", "negative"))
    assert f"nothing is labelled at 97%; {100 * best:g}% would label {n_pairs:,} pairs" in said
    assert f"(--precision {best:g})" in said
    again = ("--precision", best, "--overwrite")
    done(*words[:2], *again, *words[4:])
    counts = json.loads((tmp_path / "a.json").read_text())["counts"]
    assert counts["positive"] + counts["negative"] == n_pairs
    assert "nothing is labelled" not in made[2]


@given(seed=st.integers(0, 50), precision=st.floats(0.55, 0.99, exclude_min=True))
@settings(max_examples=25)
def test_no_higher_precision_than_the_one_told_of_would_label(seed, precision):
    rng = np.random.default_rng(seed)
    claimed = rng.random(600)
    labels = (rng.random(600) < 0.3 + 0.4 * claimed).astype(np.int8)
    told = reachable(labels, claimed, precision)
    assert [p.precision for p in told] == sorted(
        {*PRECISIONS, precision, *[p.precision for p in told]}
    )

    def can(p):
        return any(reach.threshold is not None for reach in find_thresholds(labels, claimed, p))

    extra = {p.precision for p in told} - {*PRECISIONS, precision}
    if can(precision):
        assert not extra
    else:
        higher = [p for p in LOWER if p < precision and can(p)]
        assert max(higher, default=None) in {*extra, *PRECISIONS, None}


def test_calibration_is_told_from_rows_that_were_not_fitted(run, made):
    _, summary, _ = made
    told = summary["calibration"]
    assert told["calibrated"]["rows"] == told["raw"]["rows"] == len(run.dataset().valid)
    assert told["calibrated"]["log_loss"] == pytest.approx(told["log_losses"][told["chosen"]])
    assert told["raw"]["log_loss"] == pytest.approx(told["log_losses"]["raw"], rel=1e-5)
    assert told["chosen"] == min(("temperature", "isotonic"), key=told["log_losses"].get)
    assert sum(part["rows"] for part in told["calibrated"]["table"]) == told["raw"]["rows"]


def test_the_size_of_blocks_changes_nothing(place, made, tmp_path, monkeypatch):
    table, summary, _ = made
    monkeypatch.setattr(queried_pairs, "BLOCK_PAIRS", 1000)
    calls = []
    found = invlearn.annotate(
        place / "run",
        tmp_path / "a.parquet",
        precision=0.7,
        progress=lambda *told, **_: calls.append(told),
    )
    again = pl.read_parquet(tmp_path / "a.parquet")
    assert_frame_equal(again, table, rel_tol=1e-5)  # short blocks round differently
    assert found.summary["counts"] == summary["counts"]
    assert found.summary["truth"]["auc"] == pytest.approx(summary["truth"]["auc"], abs=1e-5)
    assert calls[-1][0] == "annotate"
    assert calls[-1][1] == calls[-1][2]
    assert [told[1] for told in calls] == sorted(told[1] for told in calls)
    assert contents(tmp_path) == ["a.json", "a.parquet"]


def test_a_screen_of_eighty_columns_says_it_all(made):
    _, summary, said = made
    lines = said.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert len(lines) < 45
    assert "…" not in said
    for word in ("Reliability", "90 % positive", "truth", "without a model", "influence"):
        assert word in said
    assert f"{summary['counts']['pairs']:,} pairs" in said
    right = summary["truth"]["accuracy"]
    assert f"likelier label of every pair: right for {right:.1%} of truth" in said


def test_a_precision_is_shown_as_exactly_as_it_was_asked_for(place, tmp_path):
    command = ("annotate", place / "run", "--precision", 0.725, "--out", tmp_path / "a.parquet")
    said = done(*command)
    assert "at a precision of 72.5%" in said
    assert "72.5 % negative" in said


def test_a_promise_that_the_truth_breaks_is_called_broken(place, made, tmp_path):
    """The opposite of what is so is told as the truth."""
    table, summary, said = made
    assert "broken by truth" not in said
    mean = table["probability"].mean()
    assert summary["mean_probability"] == pytest.approx(mean, rel=1e-5)
    assert f"mean probability of the pairs {mean:.1%}" in said
    opposite = pl.col("probability") < 0.5
    file = tmp_path / "pairs.parquet"
    table.select("user", "item", opposite.cast(pl.Int8).alias("no")).write_parquet(file)
    names = ("--user", "user", "--item", "item", "--truth", "no")
    said = done(
        *("annotate", place / "run", "--precision", 0.7, "--pairs", file, *names),
        *("--out", tmp_path / "a.parquet"),
    )
    assert "broken by truth: " in said
    assert "not like the validation rows" in " ".join(said.split())


# Pairs of a file


def test_pairs_of_a_file_are_what_they_are_in_the_dataset(place, made, tmp_path):
    table, _, _ = made
    some = table.sample(300, seed=0, shuffle=True)
    file = tmp_path / "pairs.csv"
    some.select(pl.col("user").alias("user_id"), pl.col("item").alias("video_id")).write_csv(file)
    found = invlearn.annotate(place / "run", tmp_path / "a.parquet", pairs=file, precision=0.7)
    annotated = pl.read_parquet(tmp_path / "a.parquet")
    assert_frame_equal(annotated, some.drop("truth"), rel_tol=1e-5)
    assert found.summary["truth"] is None
    assert found.summary["agreement"]["truth"] is None


def test_strangers_are_unclear_and_counted(place, tmp_path):
    ids = {"user_id": ["u0000001", "nobody", "u0000001"], "video_id": [3, 3, 999]}
    found = invlearn.annotate(place / "run", tmp_path / "a.parquet", pairs=pl.DataFrame(ids))
    table = pl.read_parquet(tmp_path / "a.parquet")
    assert table["user"].to_list() == ids["user_id"]
    assert table["logit"].is_null().to_list() == [False, True, True]
    assert table["agreement"].is_null().to_list() == [False, True, True]
    assert table["label"].to_list()[1:] == ["unclear", "unclear"]
    assert found.summary["counts"]["unknown"] == 2


def test_the_log_of_the_simulator_tells_the_truth_of_what_nobody_labelled(place, run, tmp_path):
    said = done(
        *("annotate", place / "run", "--pairs", place / "log", "--truth", "true_label"),
        *("--out", tmp_path / "a.parquet"),
    )
    summary = json.loads((tmp_path / "a.json").read_text())
    log = pl.read_parquet(place / "log" / "*.parquet")
    table = pl.read_parquet(tmp_path / "a.parquet")
    assert table["item"].to_list() == log["video_id"].to_list()
    assert table["truth"].to_list() == log["true_label"].cast(pl.Int8).to_list()
    data = run.dataset()
    parts = (data.train, data.valid, data.test)
    labelled = {
        p for one in parts for p in zip(one.users.tolist(), one.items.tolist(), strict=True)
    }
    pairs = [*zip(*(column.tolist() for column in codes(run, table)), strict=True)]
    n_labelled = sum(pair in labelled for pair in pairs)
    assert summary["counts"]["labelled_already"] == n_labelled > 1000
    assert summary["truth"]["rows"] == len(log) - n_labelled
    assert f"{n_labelled:,} pairs are labelled in the dataset" in said


def test_the_truth_may_be_a_rule(place, tmp_path):
    log = pl.read_parquet(place / "log" / "*.parquet")
    rule = "play_time_ms / duration_ms >= 1.5, < 0.4"
    invlearn.annotate(place / "run", tmp_path / "a.parquet", pairs=log, truth=rule)
    ratio = log["play_time_ms"] / log["duration_ms"]
    expected = [1 if r >= 1.5 else 0 if r < 0.4 else None for r in ratio]
    assert pl.read_parquet(tmp_path / "a.parquet")["truth"].to_list() == expected


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pairs": {"user_id": ["a"], "item": [1]}}, "no column 'video_id'"),
        ({"pairs": {"user_id": ["a"], "video_id": [1.5]}}, "wanted an integer or string id"),
        ({"pairs": {"user_id": ["a"], "video_id": [1]}, "truth": "liked"}, "no column 'liked'"),
        (
            {"pairs": {"user_id": ["a"], "video_id": [1], "liked": [5]}, "truth": "liked"},
            "in 1 row of table in memory liked is not 1, 0 or null",
        ),
        (
            {"pairs": {"user_id": ["a"], "video_id": [1]}, "truth": "percentile(a by b) > 0.5"},
            "percentiles are among all rows",
        ),
        ({"truth": "liked"}, "name the file with --pairs"),
        ({"user": "who"}, "user 'who' says how a file of pairs is read; name the file with"),
        ({"item": "what"}, "or leave --item out to annotate the dataset's own"),
        ({"format": "csv"}, "format 'csv' says how a file of pairs is read"),
        ({"precision": 0.3}, "precision must be above 0.5"),
        ({"pairs": "nowhere.parquet"}, "nowhere.parquet"),
    ],
)
def test_what_cannot_be_annotated_is_said_and_nothing_is_written(place, tmp_path, options, says):
    if isinstance(options.get("pairs"), dict):
        options = options | {"pairs": pl.DataFrame(options["pairs"])}
    with pytest.raises(InvlearnError, match=says.replace("(", r"\(")):
        invlearn.annotate(place / "run", tmp_path / "a.parquet", **options)
    assert contents(tmp_path) == []


def test_wrong_places_leave_with_exit_code_2(place, tmp_path):
    command = ("annotate", place / "run", "--out")
    (tmp_path / "b.json").write_text("mine")
    for name, says in {
        "a.csv": "an annotation is a Parquet file; give --out a name such as",
        "b.csv": "b.parquet\n",
        "nowhere/a.parquet": "there is no folder",
        "b.parquet": "b.json already exists; choose another name or pass --overwrite",
    }.items():
        answer = call(*command, tmp_path / name)
        assert (answer.code, answer.out) == (2, "")
        assert says in answer.err
    assert (tmp_path / "b.json").read_text() == "mine"
    assert call("annotate", place / "data", "--out", tmp_path / "c.parquet").code == 2
    done(*command, tmp_path / "b.parquet", "--overwrite")
    assert contents(tmp_path) == ["b.json", "b.parquet"]


# Runs of other kinds


def test_a_run_that_kept_no_epochs_has_no_agreement(place, tmp_path):
    given = {"backbone": "mf", "epochs": 2, "keep_epochs": 0}
    invlearn.train(place / "data", tmp_path / "run", **given)
    said = done("annotate", tmp_path / "run", "--out", tmp_path / "a.parquet")
    table = pl.read_parquet(tmp_path / "a.parquet")
    assert table["agreement"].is_null().all()
    assert "influence" not in table.columns
    assert "no agreement: the run kept no weights of other epochs (--keep-epochs)" in said


def test_a_backbone_that_rests_on_tables_has_no_influence(place, tmp_path):
    given = {"backbone": "exposure-hybrid", "strategy": "ig-sample", "epochs": 2}
    invlearn.train(place / "data", tmp_path / "run", **given, model={"dim": 4, "factors": 3})
    found = invlearn.annotate(tmp_path / "run", tmp_path / "a.parquet")
    assert found.summary["influence"] is None
    assert "influence" not in pl.read_parquet_schema(tmp_path / "a.parquet")
    assert len(found.summary["agreement"]["epochs"]) == 1


def test_a_dataset_without_unlabelled_pairs_asks_for_some(tmp_path):
    board = checkerboard(tmp_path / "board", n_users=12, n_items=12)
    parts = {name: getattr(board, name) for name in ("train", "valid", "test")}
    write_toy(tmp_path / "data", parts | {"unlabelled": part()}, n_users=12, n_items=12)
    run = invlearn.train(tmp_path / "data", tmp_path / "run", backbone="mf", epochs=1)
    with pytest.raises(InvlearnError, match="no unlabelled pairs; name a file of pairs"):
        invlearn.annotate(run, tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()
