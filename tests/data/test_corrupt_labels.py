"""Weakened datasets: what is hidden or flipped, what stays, and who may know."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import invlearn
from console import call, contents, done
from invlearn.config.schema import OtherLog
from invlearn.data.corrupt_labels import Weakening, weakened
from invlearn.data.parts import PARTS, write_dataset
from invlearn.data.prepare.lookup import find_rows
from invlearn.runtime.errors import ConfigError, DataError, InvlearnError
from invlearn.training.checkpoint import load
from toys import checkerboard, part, write_toy

fractions = st.floats(0, 1)
shares = st.floats(0, 1, exclude_min=True)
seeds = st.integers(0, 2**32)


@st.composite
def rows(draw):
    """Labelled and unlabelled rows without a pair in common, in the order (user, item)."""
    kinds = np.array(draw(st.lists(st.integers(-2, 1), max_size=60)), int)  # -2: never shown
    users, items = np.divmod(np.arange(len(kinds)), 7)
    train, unlabelled = kinds >= 0, kinds == -1
    return part(users[train], items[train], kinds[train]), part(
        users[unlabelled], items[unlabelled]
    )


def pairs(rows):
    return list(zip(rows.users.tolist(), rows.items.tolist(), strict=True))


def labels(rows):
    """Label of each pair; of unlabelled rows, the truth."""
    column = rows.labels if len(rows.labels) == len(rows) else rows.truth
    return dict(zip(pairs(rows), column.tolist(), strict=True))


def flipped(found):
    """Pairs of the training part whose label is not the truth."""
    wrong = found.train.labels != found.train.truth
    return {pair for pair, is_wrong in zip(pairs(found.train), wrong, strict=True) if is_wrong}


def weakened_by(found, **how):
    return weakened(*found, Weakening(**how))


# The choice of rows


@given(rows(), shares, fractions, fractions, seeds)
def test_no_pair_is_lost_or_doubled_and_the_order_stays(found, share, positives, negatives, seed):
    after = weakened_by(
        found, label_share=share, flip_positives=positives, flip_negatives=negatives, seed=seed
    )
    before = pairs(found[0]) + pairs(found[1])
    assert sorted(pairs(after.train) + pairs(after.unlabelled)) == sorted(before)
    for name in ("train", "unlabelled"):
        rows = getattr(after, name)
        assert pairs(rows) == sorted(pairs(rows))
        assert [c.dtype for c in (rows.users, rows.items, rows.labels, rows.truth)] == [
            np.int32,
            np.int32,
            np.int8,
            np.int8,
        ]
    assert set(pairs(found[1])) <= set(pairs(after.unlabelled))


@given(rows(), shares, fractions, fractions, seeds)
def test_the_truth_is_what_the_labels_were(found, share, positives, negatives, seed):
    after = weakened_by(
        found, label_share=share, flip_positives=positives, flip_negatives=negatives, seed=seed
    )
    known = dict.fromkeys(pairs(found[1]), -1) | labels(found[0])
    truth = dict(zip(pairs(after.train), after.train.truth.tolist(), strict=True))
    assert truth | labels(after.unlabelled) == known
    assert not len(after.unlabelled.labels)


@given(rows(), shares, fractions, fractions, seeds)
def test_counts_are_exact(found, share, positives, negatives, seed):
    train, unlabelled = found
    how = {"flip_positives": positives, "flip_negatives": negatives, "seed": seed}
    noisy, both = weakened_by(found, **how), weakened_by(found, label_share=share, **how)
    n_positive = int(train.labels.sum())
    assert noisy.n_flipped_positives == round(positives * n_positive)
    assert noisy.n_flipped_negatives == round(negatives * (len(train) - n_positive))
    assert len(noisy.unlabelled) == len(unlabelled)
    assert len(both.train) == round(share * len(train))
    for after in (noisy, both):
        was = labels(train)
        assert after.n_flipped_positives == sum(was[pair] for pair in flipped(after))
        assert after.n_flipped_negatives == sum(1 - was[pair] for pair in flipped(after))


@given(rows(), st.lists(shares, min_size=2, max_size=2).map(sorted), fractions, seeds)
def test_smaller_shares_are_within_larger_ones_and_flips_do_not_depend_on_them(
    found, two_shares, fraction, seed
):
    few, many = (
        weakened_by(found, label_share=s, flip_positives=fraction, flip_negatives=0.5, seed=seed)
        for s in two_shares
    )
    assert set(pairs(few.train)) <= set(pairs(many.train))
    assert flipped(few) == flipped(many) & set(pairs(few.train))


@given(rows(), st.lists(fractions, min_size=2, max_size=2).map(sorted), seeds)
def test_smaller_fractions_are_within_larger_ones_of_either_class(found, two_fractions, seed):
    for name in ("flip_positives", "flip_negatives"):
        few, many = (weakened_by(found, **{name: f}, seed=seed) for f in two_fractions)
        assert flipped(few) <= flipped(many)
        other = weakened_by(found, flip_positives=1, flip_negatives=1, seed=seed)
        assert flipped(other) == set(pairs(found[0]))


@settings(max_examples=30)
@given(rows(), shares, shares, fractions, seeds, seeds)
def test_a_second_weakening_keeps_the_first_truth(found, share, again, fraction, seed, other_seed):
    once = weakened_by(found, label_share=share, flip_positives=fraction, seed=seed)
    twice = weakened_by(once[:2], label_share=again, flip_negatives=fraction, seed=other_seed)
    known = dict.fromkeys(pairs(found[1]), -1) | labels(found[0])
    truth = dict(zip(pairs(twice.train), twice.train.truth.tolist(), strict=True))
    assert truth | labels(twice.unlabelled) == known


def test_another_seed_chooses_other_rows_and_both_choices_are_free_of_the_row_s_place():
    n_rows = 20_000
    found = part(np.arange(n_rows), np.zeros(n_rows), np.arange(n_rows) % 2), part()
    first, second = (
        weakened_by(found, label_share=0.5, flip_positives=0.5, flip_negatives=0.5, seed=seed)
        for seed in (0, 1)
    )
    common = set(pairs(first.train)) & set(pairs(second.train))
    assert len(common) / n_rows == pytest.approx(0.25, abs=0.02)
    for after in (first, second):
        early = after.train.users < n_rows // 2
        assert early.mean() == pytest.approx(0.5, abs=0.02)
        wrong = after.train.labels != after.train.truth
        for some in (early, ~early):  # flips fall on kept rows as on hidden ones, everywhere
            assert wrong[some].mean() == pytest.approx(0.5, abs=0.03)


# The folder


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return checkerboard(tmp_path_factory.mktemp("board") / "data")


def columns(data, name):
    rows = getattr(data, name)
    return [np.asarray(c) for c in (rows.users, rows.items, rows.labels)]


def test_the_folder_holds_what_the_pure_function_says(board, tmp_path):
    how = {"label_share": 0.3, "flip_positives": 0.2, "flip_negatives": 0.1, "seed": 5}
    made = invlearn.corrupt_labels(board.folder, tmp_path / "out", **how)
    expected = weakened(board.train, board.unlabelled, Weakening(**how))
    again = invlearn.Dataset.open(tmp_path / "out", verify=True)
    for data in (made, again):
        for name in ("train", "unlabelled"):
            rows, wanted = getattr(data, name), getattr(expected, name)
            np.testing.assert_array_equal(rows.truth, wanted.truth)
            for column in ("users", "items", "labels"):
                np.testing.assert_array_equal(getattr(rows, column), getattr(wanted, column))
        for name in ("valid", "test"):
            np.testing.assert_equal(columns(data, name), columns(board, name))
    for name in ("users.parquet", "items.parquet"):
        assert (made.folder / name).read_bytes() == (board.folder / name).read_bytes()


def test_the_card_says_what_was_done(feed, tmp_path):
    source = invlearn.Dataset.open(feed.dataset)
    how = {"label_share": 0.4, "flip_positives": 0.3, "flip_negatives": 0.2, "seed": 7}
    made = invlearn.corrupt_labels(feed.dataset, tmp_path / "out", **how)
    done_to = made.card.weakened
    wrong = made.train.labels != made.train.truth
    assert {key: done_to[key] for key in how} == how
    assert done_to["n_hidden"] == len(source.train) - len(made.train)
    assert done_to["n_hidden"] == (made.unlabelled.truth >= 0).sum()
    assert done_to["n_flipped_positives"] == (wrong & (made.train.truth == 1)).sum() > 0
    assert done_to["n_flipped_negatives"] == (wrong & (made.train.truth == 0)).sum() > 0
    assert done_to["from"]["fingerprint"] == source.fingerprint != made.fingerprint
    assert done_to["from"]["rows"].items() <= source.card.rows.items()
    classes = np.bincount(made.train.labels)
    assert made.card.rows["train"] == {"positive": classes[1], "negative": classes[0]}
    assert made.card.rows["unlabelled"] == len(made.unlabelled)
    changed = {"rows", "weakened", "files", "fingerprint"}
    assert {k: v for k, v in made.card.to_json().items() if k not in changed} == {
        k: v for k, v in source.card.to_json().items() if k not in changed
    }


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_fingerprint(board, tmp_path):
    for name in ("a", "b"):
        invlearn.corrupt_labels(board.folder, tmp_path / name, label_share=0.5, flip_negatives=0.2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    for name in contents(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    how = ({"seed": 1}, {"seed": 0}, {"label_share": 0.6}, {"flip_negatives": 0.3})
    found = [
        invlearn.corrupt_labels(board.folder, tmp_path / str(n), **({"label_share": 0.5} | some))
        for n, some in enumerate(how)
    ]
    assert len({data.fingerprint for data in found} | {board.fingerprint}) == len(how) + 1


def test_nothing_hidden_and_nothing_flipped_is_the_same_dataset(feed, tmp_path):
    made = invlearn.corrupt_labels(feed.dataset, tmp_path / "out", seed=3)
    assert made.fingerprint == invlearn.Dataset.open(feed.dataset).fingerprint
    assert [getattr(made, name).truth for name in PARTS] == [None] * 4


def test_what_was_flipped_and_later_hidden_keeps_its_first_truth(board, tmp_path):
    once = invlearn.corrupt_labels(
        board.folder, tmp_path / "once", flip_positives=0.5, label_share=0.9
    )
    twice = invlearn.corrupt_labels(once.folder, tmp_path / "twice", label_share=0.2)
    truth = {pair: (pair[0] % 2 == pair[1] % 2) for pair in pairs(board.train)}
    known = {pair: label for pair, label in labels(twice.unlabelled).items() if label >= 0}
    assert len(known) == len(board.train) - len(twice.train)
    assert known == {pair: truth[pair] for pair in known}
    assert twice.card.weakened["from"]["weakened"] == once.card.weakened
    assert twice.card.weakened["n_hidden"] == len(once.train) - len(twice.train)


def test_a_run_learns_from_it_and_never_from_the_truth(board, tmp_path):
    made = invlearn.corrupt_labels(
        board.folder, tmp_path / "out", label_share=0.5, flip_positives=0.2
    )
    blind = tmp_path / "blind"
    blind.mkdir()
    for name in ("users.parquet", "items.parquet"):
        (blind / name).write_bytes((made.folder / name).read_bytes())
    parts = {name: replace(getattr(made, name), truth=None) for name in PARTS}
    write_dataset(blind, parts, {"n_users": made.n_users, "n_items": made.n_items})
    options = {"strategy": "ig", "epochs": 2, "batch_size": 64, "unlabelled": {"source": "exposed"}}
    weights = []
    for folder in (made.folder, blind):
        invlearn.train(folder, tmp_path / f"run-{folder.name}", **options)
        weights.append(load(tmp_path / f"run-{folder.name}" / "checkpoints", "last").weights)
    assert weights[0].keys() == weights[1].keys()
    for name, values in weights[0].items():
        assert values.equal(weights[1][name]), name


def test_another_log_is_found_as_before_and_hidden_pairs_are_unseen(feed, tmp_path):
    made = invlearn.corrupt_labels(
        feed.dataset, tmp_path / "out", label_share=0.5, flip_positives=0.2
    )
    source = invlearn.Dataset.open(feed.dataset)
    log = OtherLog(log=str(feed.log), seen="drop")
    found = {name: find_rows(log, data).rows for name, data in (("old", source), ("new", made))}
    hidden = set(pairs(source.train)) - set(pairs(made.train))
    assert set(pairs(found["old"])) == set(pairs(source.test))
    assert set(pairs(found["new"])) == set(pairs(source.test)) | hidden
    assert {pair: labels(found["new"])[pair] for pair in hidden}.items() <= labels(
        made.unlabelled
    ).items()


# What cannot be


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"label_share": 0.0}, "label_share must be above 0 and at most 1; found 0.0"),
        ({"label_share": 1.01}, "label_share must be"),
        ({"label_share": float("nan")}, "label_share must be"),
        ({"flip_positives": -0.1}, "flip_positives must be from 0 to 1; found -0.1"),
        ({"flip_negatives": 2}, "flip_negatives must be from 0 to 1; found 2"),
        ({"seed": -1}, "a seed must be 0 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(how, words, board, tmp_path):
    with pytest.raises(ConfigError, match=words):
        invlearn.corrupt_labels(board.folder, tmp_path / "out", **how)
    assert contents(tmp_path) == []


def test_both_classes_must_stay(tmp_path):
    data = write_toy(
        tmp_path / "data",
        {"train": part([0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0])},
        n_users=2,
        n_items=2,
    )
    for how, words in (
        ({"label_share": 0.25}, "positive and . negative rows, and both classes are needed"),
        ({"label_share": 0.01}, "0 positive and 0 negative"),
        ({"flip_positives": 1.0}, "0 positive and 4 negative"),
        ({"flip_negatives": 1.0}, "4 positive and 0 negative"),
    ):
        with pytest.raises(DataError, match=words):
            invlearn.corrupt_labels(data.folder, tmp_path / "out", **how)
    assert not (tmp_path / "out").exists()


def test_no_folder_is_replaced_unasked_and_never_the_source(board, tmp_path):
    out = tmp_path / "out"
    first = invlearn.corrupt_labels(board.folder, out, label_share=0.5)
    with pytest.raises(InvlearnError, match="already exists"):
        invlearn.corrupt_labels(board.folder, out, label_share=0.4)
    assert invlearn.Dataset.open(out).fingerprint == first.fingerprint
    second = invlearn.corrupt_labels(board.folder, out, label_share=0.4, overwrite=True)
    assert invlearn.Dataset.open(out).fingerprint == second.fingerprint != first.fingerprint
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(ConfigError, match="would replace the dataset it is made from"):
        invlearn.corrupt_labels(tmp_path / "link", out, label_share=0.5, overwrite=True)


def test_damage_is_not_copied(board, tmp_path):
    made = invlearn.corrupt_labels(board.folder, tmp_path / "made", label_share=0.5)
    file = made.folder / "unlabelled.truth.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"unlabelled\.truth\.npy was changed"):
        invlearn.corrupt_labels(made.folder, tmp_path / "out", label_share=0.5)
    file.unlink()
    with pytest.raises(DataError, match=r"unlabelled\.truth\.npy is missing"):
        invlearn.Dataset.open(made.folder)


# The command line


def test_the_command_writes_the_same_and_shows_both_classes(feed, tmp_path):
    options = ("--label-share", 0.2, "--flip-positives", 0.1, "--flip-negatives", 0.3, "--seed", 4)
    said = done("weaken", feed.dataset, "--out", tmp_path / "a", *options)
    made = invlearn.corrupt_labels(
        feed.dataset,
        tmp_path / "b",
        label_share=0.2,
        flip_positives=0.1,
        flip_negatives=0.3,
        seed=4,
    )
    card = json.loads(Path(tmp_path / "a" / "data.json").read_text())
    assert card == made.card.to_json()
    before = invlearn.Dataset.open(feed.dataset).card.rows
    for name, rows in (("before", before), ("after", card["rows"])):
        numbers = [*rows["train"].values(), rows["unlabelled"]]
        assert " ".join([name, *(f"{n:,}" for n in numbers)]) in " ".join(said.split())
    assert f"{card['weakened']['n_hidden']:,} labels hidden" in said
    assert max(len(line.rstrip()) for line in said.splitlines()) <= 80
    assert call("weaken", feed.dataset, "--out", tmp_path / "a").code == 2
