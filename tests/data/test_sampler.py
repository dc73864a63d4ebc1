"""Batches: every row once, judges apart, unlabelled pairs from the right place and uniform."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chisquare

from invlearn.data.sampling import sampler
from invlearn.data.sampling.sampler import Sampler, UnlabelledSource
from invlearn.data.sampling.unseen import UnseenItems
from invlearn.data.types import Feed
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.random import stream
from toys import part, write_toy

N_USERS, N_ITEMS, N_TRAIN, N_EXPOSED = 12, 30, 103, 40
LABELLED_ONLY, WITH_UNLABELLED = Feed(), Feed(unlabelled=True)
WITH_JUDGES = Feed(unlabelled=True, judge_fraction=0.2)
FEEDS = [LABELLED_ONLY, WITH_UNLABELLED, WITH_JUDGES]


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Let even small epochs take several blocks: three batches of ten pairs and ten unlabelled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "_BLOCK_PAIRS", 64)
        yield


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rng = stream(0, "toy")
    pairs = rng.permutation(N_USERS * N_ITEMS)[: N_TRAIN + N_EXPOSED + 40]
    users, items = np.divmod(pairs, N_ITEMS)
    ends = {"train": (0, N_TRAIN), "unlabelled": (N_TRAIN, N_TRAIN + N_EXPOSED)}
    parts = {name: part(users[a:b], items[a:b]) for name, (a, b) in ends.items()}
    labels = rng.integers(2, size=N_TRAIN)
    parts["train"] = part(parts["train"].users, parts["train"].items, labels)
    return write_toy(
        tmp_path_factory.mktemp("toy") / "data", parts, n_users=N_USERS, n_items=N_ITEMS
    )


def make_sampler(dataset, feed=WITH_JUDGES, *, exposed=0.0, per_labelled=1, batch_size=10, seed=0):
    source = UnlabelledSource(exposed, per_labelled)
    return Sampler(dataset, feed, source, batch_size=batch_size, seed=seed)


def epoch_of(sampler, epoch=0):
    return [sampler.batch(epoch, step, lr=0.1) for step in range(sampler.steps_per_epoch)]


def rows(pairs):
    return list(zip(pairs.users.tolist(), pairs.items.tolist(), strict=True))


def rows_of(batches):
    return [row for batch in batches for row in rows(batch.labelled)]


def part_rows(dataset, name):
    columns = getattr(dataset, name)
    return list(zip(columns.users.tolist(), columns.items.tolist(), strict=True))


def flat(batch):
    return [tensor.tolist() for tensor in (*batch.labelled, batch.labels, *batch.unlabelled)]


@pytest.mark.parametrize("batch_size", [1, 10, 103, 5000])
@pytest.mark.parametrize("feed", FEEDS)
def test_every_training_row_once_an_epoch_with_its_own_label(dataset, feed, batch_size):
    batches = epoch_of(make_sampler(dataset, feed, batch_size=batch_size), epoch=3)
    assert Counter(rows_of(batches)) == Counter(part_rows(dataset, "train"))
    assert all(0 < len(batch.labels) <= batch_size for batch in batches)
    label_of = dict(zip(part_rows(dataset, "train"), dataset.train.labels.tolist(), strict=True))
    for batch in batches:
        assert batch.labels.tolist() == [label_of[row] for row in rows(batch.labelled)]


def test_only_the_last_batch_of_each_kind_is_short(dataset):
    batches = epoch_of(make_sampler(dataset))
    sizes = [(batch.is_meta_batch, len(batch.labels)) for batch in batches]
    assert sizes == [(False, 10)] * 8 + [(False, 2)] + [(True, 10)] * 2 + [(True, 1)]


def test_steps_are_counted_over_all_epochs_and_rates_handed_on(dataset):
    sampler = make_sampler(dataset)
    assert [sampler.batch(2, k, lr=0.5).step for k in (0, 5)] == [24, 29]
    assert sampler.batch(2, 5, lr=0.25).lr == 0.25


def test_judges_are_held_out_for_good_and_come_last(dataset):
    sampler = make_sampler(dataset)
    epochs = [epoch_of(sampler, epoch) for epoch in range(3)]
    held_out = [{*rows_of(batch for batch in batches if batch.is_meta_batch)} for batches in epochs]
    trained = [
        {*rows_of(batch for batch in batches if not batch.is_meta_batch)} for batches in epochs
    ]
    assert held_out[0] == held_out[1] == held_out[2]
    assert not held_out[0] & (trained[0] | trained[1] | trained[2])
    assert len(held_out[0]) == round(0.2 * N_TRAIN)
    flags = [batch.is_meta_batch for batch in epochs[0]]
    assert flags == sorted(flags)
    other = epoch_of(make_sampler(dataset, seed=1))
    assert {*rows_of(batch for batch in other if batch.is_meta_batch)} != held_out[0]


@pytest.mark.parametrize("judges", [False, True])
def test_order_differs_between_epochs_and_seeds(dataset, judges):
    def order(seed, epoch):
        batches = epoch_of(make_sampler(dataset, seed=seed), epoch)
        return rows_of(batch for batch in batches if batch.is_meta_batch is judges)

    assert order(0, 0) != order(0, 1)
    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(1, 0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11)), min_size=1, max_size=8))
def test_a_batch_does_not_depend_on_what_was_asked_before(dataset, calls):
    sampler = make_sampler(dataset, exposed=0.5)
    for epoch, step in calls:
        fresh = make_sampler(dataset, exposed=0.5).batch(epoch, step, lr=0.1)
        assert flat(sampler.batch(epoch, step, lr=0.1)) == flat(fresh)


def test_unlabelled_draws_differ_between_steps_epochs_and_seeds(dataset):
    draws = [
        make_sampler(dataset, WITH_UNLABELLED, exposed=1.0, seed=seed).batch(epoch, step, lr=0.1)
        for seed, epoch, step in [(0, 0, 0), (0, 0, 1), (0, 0, 3), (0, 1, 0), (1, 0, 0)]
    ]
    assert len({str(rows(batch.unlabelled)) for batch in draws}) == 5


def test_the_largest_ids_keep_to_themselves(tmp_path):
    """Rows are packed into an integer each: neither column may spill into the other."""
    ids = [2**31 - 1, 0, 2**31 - 2, 2**30]
    train = part(ids, ids[::-1], [0, 1, 1, 0])
    data = write_toy(tmp_path / "data", {"train": train}, n_users=1, n_items=1)
    batches = epoch_of(make_sampler(data, LABELLED_ONLY))
    found = {
        (*row, label)
        for b in batches
        for row, label in zip(rows(b.labelled), b.labels.tolist(), strict=True)
    }
    assert found == {*zip(ids, ids[::-1], [0, 1, 1, 0], strict=True)}


@pytest.mark.parametrize("per_labelled", [1, 3])
@pytest.mark.parametrize("exposed", [0.0, 0.3, 1.0])
def test_unlabelled_pairs_stand_where_the_feed_wants_them(dataset, exposed, per_labelled):
    def counts(feed):
        sampler = make_sampler(dataset, feed, exposed=exposed, per_labelled=per_labelled)
        batches = epoch_of(sampler)
        return [(len(b.unlabelled.users), b.is_meta_batch, len(b.labels)) for b in batches]

    assert all(n == 0 for n, _, _ in counts(LABELLED_ONLY))
    assert all(n == per_labelled * size for n, _, size in counts(WITH_UNLABELLED))
    assert all(
        n == (per_labelled * size if judges else 0) for n, judges, size in counts(WITH_JUDGES)
    )


@pytest.mark.parametrize("per_labelled", [1, 4])
@pytest.mark.parametrize("exposed", [0.0, 0.3, 1.0])
def test_a_mix_holds_the_right_part_of_each_source(dataset, exposed, per_labelled):
    sampler = make_sampler(dataset, WITH_UNLABELLED, exposed=exposed, per_labelled=per_labelled)
    shown, trained = {*part_rows(dataset, "unlabelled")}, {*part_rows(dataset, "train")}
    for batch in epoch_of(sampler):
        pairs = rows(batch.unlabelled)
        n_exposed = round(exposed * per_labelled * len(batch.labels))
        assert [pair in shown for pair in pairs] == [k < n_exposed for k in range(len(pairs))]
        assert not trained & {*pairs}
        users = np.repeat(batch.labelled.users.numpy(), per_labelled)
        assert batch.unlabelled.users[n_exposed:].tolist() == users[n_exposed:].tolist()


def test_exposed_rows_are_drawn_uniformly(dataset):
    sampler = make_sampler(dataset, exposed=1.0, per_labelled=200)
    pairs = sampler.unlabelled(dataset.train.users, stream(0, "many"))
    counts = Counter(rows(pairs))
    assert {*counts} == {*part_rows(dataset, "unlabelled")}
    assert chisquare([*counts.values()]).pvalue > 1e-3


def test_sampled_pairs_are_new_and_uniform_for_every_user(dataset):
    sampler = make_sampler(dataset, per_labelled=2000)
    seen = {*part_rows(dataset, "train"), *part_rows(dataset, "unlabelled")}
    users = np.unique(dataset.train.users)
    counts = Counter(rows(sampler.unlabelled(users, stream(0, "many"))))
    for user in users.tolist():
        unseen = [item for item in range(N_ITEMS) if (user, item) not in seen]
        drawn = {item for u, item in counts if u == user}
        assert drawn == {*unseen}
        assert chisquare([counts[user, item] for item in unseen]).pvalue > 1e-4


@given(
    st.sets(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1),
    st.integers(0, 2**32),
    st.integers(1, 3),
)
def test_unseen_items_against_a_list_of_them(seen, seed, n_parts):
    """Every draw is one of the items that a slow look finds, and every one of them is drawn."""
    lists = {u: [i for i in range(6) if (u, i) not in seen] for u, _ in sorted(seen)}
    assume(any(lists.values()))
    parts = [
        part(*zip(*rows, strict=True)) for k in range(n_parts) if (rows := [*seen][k::n_parts])
    ]
    users = np.repeat([*lists], 150)
    drawn_users, items = UnseenItems(parts, 6).draw(users, stream(seed, "draw"))
    pairs = Counter(zip(drawn_users.tolist(), items.tolist(), strict=True))
    assert {*pairs} == {(u, i) for u, unseen in lists.items() for i in unseen}
    keep = [bool(lists[u]) for u in users.tolist()]
    assert (drawn_users[keep] == users[keep]).all()


@pytest.fixture(scope="module")
def crowd():
    """Seen pairs of users who saw ever more of 40 items: one, a half, all but one, all."""
    rng, n_seen = stream(0, "crowd"), [1, 5, 19, 20, 21, 30, 38, 39, 40, 39, 2]
    seen = [(user, i) for user, n in enumerate(n_seen) for i in rng.permutation(40)[:n].tolist()]
    rows = [seen[k] for k in rng.permutation(len(seen))]
    return [part(*zip(*rows[k::2], strict=True)) for k in (0, 1)], {*seen}


def test_sparse_and_dense_users_alike_get_uniform_unseen_items(crowd):
    parts, seen = crowd
    users = np.repeat(np.setdiff1d(np.arange(11), 8), 4000)
    drawn = UnseenItems(parts, 40).draw(users, stream(1, "draw"))
    assert drawn[0].tolist() == users.tolist()
    for user in np.unique(users).tolist():
        counts = Counter(drawn[1][users == user].tolist())
        assert {*counts} == {item for item in range(40) if (user, item) not in seen}
        assert chisquare([*counts.values()]).pvalue > 1e-4 or len(counts) == 1


@pytest.mark.parametrize("n_seen", [1, 5_000, 5_001, 9_999])
def test_no_user_takes_many_draws(n_seen):
    """Least of all one with a single unseen item, who would be rejected 10,000 times."""

    class Counted:
        rng, n = stream(0, "draw"), 0

        def integers(self, *args, **options):
            numbers = self.rng.integers(*args, **options)
            self.n += len(numbers)
            return numbers

    rng = Counted()
    UnseenItems([part(np.zeros(n_seen), np.arange(n_seen))], 10_000).draw(np.zeros(500, int), rng)
    assert rng.n < 3 * 500


def bytes_of(index):
    return sum(column.nbytes for column in vars(index).values() if isinstance(column, np.ndarray))


@pytest.mark.parametrize("n_rows", [2_000, 20_000])
def test_memory_is_linear_in_the_rows(n_rows):
    """Of 400 users who share the rows evenly, then of some who saw 600 of 1,000 items."""
    rng, n_items = stream(4, "rows"), 1_000_000
    sparse = part(np.arange(n_rows) % 400, rng.permutation(n_items)[:n_rows])
    assert bytes_of(UnseenItems([sparse], n_items)) <= 8 * n_rows + 25 * 400
    n_dense = n_rows // 600
    dense = part(np.repeat(np.arange(n_dense), 600), np.tile(np.arange(600), n_dense))
    assert bytes_of(UnseenItems([dense], 1000)) <= (8 + 4) * len(dense) + 25 * n_dense


def test_a_user_who_saw_everything_gives_the_place_to_others():
    full, others = [(0, i) for i in range(5)], [(1, 0), (2, 3)]
    unseen = UnseenItems([part(*zip(*full, *others, strict=True))], 5)
    users, items = unseen.draw(np.zeros(400, int), stream(0, "draw"))
    counts = Counter(zip(users.tolist(), items.tolist(), strict=True))
    assert {*counts} == {(1, i) for i in (1, 2, 3, 4)} | {(2, i) for i in (0, 1, 2, 4)}
    assert chisquare([*counts.values()]).pvalue > 1e-3


def test_nobody_left_to_sample_for(tmp_path):
    pairs = [(u, i) for u in range(3) for i in range(4)]
    train, rest = (
        part(*zip(*pairs[:8], strict=True), [0, 1] * 4),
        part(*zip(*pairs[8:], strict=True)),
    )
    data = write_toy(tmp_path / "data", {"train": train, "unlabelled": rest}, n_users=3, n_items=4)
    with pytest.raises(ConfigError, match=r"every user was shown every item.*exposed"):
        make_sampler(data, WITH_UNLABELLED)
    assert make_sampler(data, WITH_UNLABELLED, exposed=1.0).steps_per_epoch == 1
    assert make_sampler(data, LABELLED_ONLY).steps_per_epoch == 1


@pytest.mark.parametrize("exposed", [0.5, 1.0])
def test_exposed_pairs_where_there_are_none(tmp_path, exposed):
    train = part([0, 0, 1], [0, 1, 1], [1, 0, 1])
    data = write_toy(tmp_path / "data", {"train": train}, n_users=2, n_items=3)
    with pytest.raises(ConfigError, match=r"data has no exposed-unlabelled rows.*sampled"):
        make_sampler(data, WITH_UNLABELLED, exposed=exposed)
    assert make_sampler(data, LABELLED_ONLY, exposed=exposed).steps_per_epoch == 1


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_too_few_rows_for_judges(dataset, fraction):
    with pytest.raises(ConfigError, match=f"103 labelled .* judge_fraction {fraction}"):
        make_sampler(dataset, Feed(judge_fraction=fraction))


def test_rows_of_a_ledger_are_the_rows_of_the_batch(dataset):
    """Row numbers name the labelled pairs, each once an epoch, and the draws are as without."""
    source = UnlabelledSource(0.5, 2)
    plain = Sampler(dataset, Feed(unlabelled=True), source, batch_size=16, seed=3)
    cut = Sampler(dataset, Feed(unlabelled=True, row_state=True), source, batch_size=16, seed=3)
    known, seen = cut.labelled_rows, []
    for step in range(cut.steps_per_epoch):
        batch, same = (each.batch(1, step, lr=0.1) for each in (cut, plain))
        assert torch.equal(known.pairs.users[batch.rows], batch.labelled.users)
        assert torch.equal(known.pairs.items[batch.rows], batch.labelled.items)
        assert torch.equal(known.labels[batch.rows], batch.labels)
        assert all(map(torch.equal, batch.origin, batch.unlabelled))
        assert same.rows is None
        for one, other in ((batch.labelled, same.labelled), (batch.unlabelled, same.unlabelled)):
            assert all(map(torch.equal, one, other))
        seen += batch.rows.tolist()
    assert sorted(seen) == [*range(len(dataset.train))]


@pytest.mark.parametrize("row_state", [False, True])
def test_rows_of_a_user_can_follow_each_other(dataset, row_state):
    feed, source = Feed(row_state=row_state), UnlabelledSource(1.0)
    cut = Sampler(dataset, feed, source, batch_size=16, seed=3, by_user=True)
    orders = []
    for epoch in (0, 1):
        batches = [cut.batch(epoch, step, lr=0.1) for step in range(cut.steps_per_epoch)]
        users = torch.cat([batch.labelled.users for batch in batches])
        items = torch.cat([batch.labelled.items for batch in batches])
        turns = torch.unique_consecutive(users)
        assert len(turns) == len(torch.unique(users))
        pairs = Counter(zip(users.tolist(), items.tolist(), strict=True))
        train = dataset.train
        assert pairs == Counter(zip(train.users.tolist(), train.items.tolist(), strict=True))
        orders.append(turns.tolist())
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])
