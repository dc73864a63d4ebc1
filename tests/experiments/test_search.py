"""The search for settings: defaults first, no state of its own, equal for all methods."""

import sys

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from invlearn.config.schema import validated
from invlearn.experiments.grid import SEARCH
from invlearn.experiments.search import (
    Choices,
    Range,
    Suggestion,
    Trial,
    Tuning,
    append_trial,
    check_default,
    nested,
    read_trials,
    require,
    value_at,
)
from invlearn.runtime.errors import ConfigError, RunError

DEFAULT = {"optimizer.lr": 1e-3, "optimizer.l2": 0.0}
WIDER = SEARCH | {"method.alpha_ratio": Range(low=0.01, high=100, log=True)}


def suggest(
    done=(), *, search=SEARCH, default=DEFAULT, minimize=True, seed=7, epochs=6, prune=True
):
    tuning = Tuning(trials=99, search=search, seed=seed, prune=prune)
    return Suggestion(tuning, default, done, minimize=minimize, epochs=epochs)


def tried(settings, *scores, state="complete"):
    best = min(scores) if scores else None
    return Trial(number=0, settings=settings, state=state, scores=scores, best=best)


def history(n, score=lambda settings: settings["optimizer.lr"], **options):
    """Settings of `n` trials, each decided by the results of those before."""
    done = []
    for _ in range(n):
        settings = suggest(done, **options).settings
        done.append(tried(settings, score(settings)))
    return [trial.settings for trial in done]


def test_the_first_trial_takes_the_defaults():
    assert suggest().settings == DEFAULT
    assert suggest(
        seed=8, search=WIDER, default=DEFAULT | {"method.alpha_ratio": 0.5}
    ).settings == (DEFAULT | {"method.alpha_ratio": 0.5})


def test_what_is_tried_is_a_function_of_the_seed_and_the_trials_that_are_done():
    first = history(9)
    assert first == history(9)
    done = [tried(settings, settings["optimizer.lr"]) for settings in first[:8]]
    assert suggest(done).settings == first[8]
    others = history(9, seed=8)
    assert others[0] == first[0]
    assert others[1:] != first[1:]
    assert history(9, score=lambda settings: -settings["optimizer.lr"]) == first
    first = history(20)
    assert history(20, score=lambda settings: -settings["optimizer.lr"]) != first


def test_all_methods_start_equal():
    narrow = history(12, score=lambda settings: 0.1)
    wide = history(
        12,
        score=lambda settings: settings["method.alpha_ratio"],
        search=WIDER,
        default=DEFAULT | {"method.alpha_ratio": 0.5},
    )
    assert [{name: s[name] for name in DEFAULT} for s in wide] == narrow
    assert len({s["method.alpha_ratio"] for s in wide}) == 12


def test_a_search_gets_better_and_stays_within():
    tried_ = history(32)
    rates = [settings["optimizer.lr"] for settings in tried_]
    assert all(1e-4 <= rate <= 3e-2 for rate in rates)
    assert {settings["optimizer.l2"] for settings in tried_} <= set(SEARCH["optimizer.l2"].choices)
    assert sorted(rates[16:])[8] < sorted(rates[:16])[5]  # low rates were called better


def test_failed_trials_count_and_keep_away():
    search = {"x": Range(low=0.0, high=1.0)}
    bad = [tried({"x": 0.8 + 0.02 * n}, state="failed") for n in range(10)]
    good = [tried({"x": 0.02 * n}, 0.5) for n in range(10)]
    found = [
        suggest([*good, *bad], search=search, default={"x": 0.5}, seed=seed).settings["x"]
        for seed in range(12)
    ]
    assert sum(x < 0.5 for x in found) >= 10
    one = {"done": [tried(DEFAULT, 0.5)]}
    assert (
        suggest([*one["done"], tried(DEFAULT, state="failed")]).settings != suggest(**one).settings
    )


@pytest.mark.parametrize("minimize", [True, False])
def test_only_what_is_behind_the_median_is_given_up_and_never_early(minimize):
    sign = 1 if minimize else -1
    done = [tried(DEFAULT, *(sign * s for s in (0.5, 0.4, 0.3))) for _ in range(2)]
    behind, ahead = [sign * 0.9] * 3, [sign * 0.2] * 3

    def given_up(scores, earlier=done, **options):
        judge = suggest(earlier, minimize=minimize, **options)
        return [judge.should_prune(epoch, score) for epoch, score in enumerate(scores)]

    assert given_up(behind) == [False, True, True]
    assert given_up(behind, epochs=7) == [False, False, True]
    assert given_up(ahead) == given_up(behind, prune=False) == [False] * 3
    assert given_up(behind, done[:1]) == given_up(behind, []) == [False] * 3
    pruned = tried(DEFAULT, 0.5, 0.4, state="pruned")
    assert given_up(behind, [done[0], pruned, pruned]) == [False] * 3


def test_ranges_and_choices_are_checked():
    for wrong in (
        {"low": 1, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"low": 0.5, "high": 3, "whole": True},
        {"low": 0, "high": float("inf")},
    ):
        with pytest.raises(ValidationError):
            Range(**wrong)
    with pytest.raises(ConfigError, match="whole numbers"):
        validated(Tuning, {"trials": 2, "search": {"dim": {"low": 0.5, "high": 3, "whole": True}}})


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_whole_numbers_stay_whole(seed, n_done):
    search = {"model.dim": Range(low=4, high=64, log=True, whole=True)}
    done = [tried({"model.dim": 8}, 0.5)] * n_done
    found = suggest(done, search=search, default={"model.dim": 8}, seed=seed).settings["model.dim"]
    assert isinstance(found, int)
    assert 4 <= found <= 64


def test_a_default_outside_of_the_search_is_an_error():
    check_default(SEARCH, DEFAULT)
    with pytest.raises(ConfigError, match=r"optimizer.lr has no room for its own default 0.5"):
        check_default(SEARCH, DEFAULT | {"optimizer.lr": 0.5})
    with pytest.raises(ConfigError, match=r"no room for its own default 'b'"):
        check_default({"x": Choices(choices=["a"])}, {"x": "b"})


def test_names_lead_into_a_tree_and_back():
    tree = nested({"optimizer.lr": 0.1, "optimizer.l2": 0.0, "epochs": 3})
    assert value_at(tree, "optimizer.lr") == 0.1
    with pytest.raises(ConfigError, match="there is no 'rl'; known: lr, l2"):
        value_at(tree, "optimizer.rl")
    with pytest.raises(ConfigError, match="there is no 'x'; known: none"):
        value_at(tree, "epochs.x")


def test_without_optuna_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'invlearn\[tune\]'"):
        require()


def test_nothing_is_printed(capsys):
    history(7)
    assert capsys.readouterr() == ("", "")


def test_numbers_that_yaml_takes_for_texts_are_numbers():
    assert Choices(choices=["1e-6", 0.0, "-.5E2", 3]).choices == [1e-6, 0.0, -50.0, 3]
    assert Choices(choices=["e6", "sgd", "1-2", True, None]).choices == [
        "e6",
        "sgd",
        "1-2",
        True,
        None,
    ]


TUNING = Tuning(
    trials=4,
    search={
        "x": Range(low=1e-5, high=1.0, log=True),
        "n": Range(low=1, high=9, whole=True),
        "c": Choices(choices=[None, True, "a", 1e-6]),
    },
)
TRIALS = [
    Trial(
        number=0,
        settings={"x": 0.1 + 0.2, "n": 3, "c": None},
        state="complete",
        scores=(0.3, 0.1 + 0.2),
        best=0.3,
        cost={"seconds": 1.5, "epochs": 2, "peak_bytes": None},
        commit="abc",
    ),
    Trial(number=1, settings={"x": 1e-5, "n": 1, "c": True}, state="failed", reason="diverged"),
    Trial(
        number=2, settings={"x": 1.0, "n": 9, "c": 1e-6}, state="pruned", scores=(0.9,), best=0.9
    ),
]


@pytest.fixture
def journal(tmp_path):
    """A search of three trials on disk."""
    file = tmp_path / "cell" / "trials.log"
    file.parent.mkdir()
    for trial in TRIALS:
        append_trial(file, trial, TUNING, minimize=True)
    return file


def test_trials_are_read_as_they_were_written(journal):
    assert read_trials(journal) == TRIALS
    assert read_trials(journal.with_name("other.log")) == []


def test_the_trials_are_a_study_of_optuna(journal):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(journal))
    )
    (study,) = optuna.get_all_study_summaries(storage)
    assert (study.study_name, study.n_trials, study.best_trial.number) == ("cell", 3, 0)
    assert study.direction.name == "MINIMIZE"


def test_a_line_that_a_kill_cut_off_is_a_trial_that_is_missing(journal):
    whole = journal.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in (last, last + 1, len(whole) - 1):
        journal.write_bytes(whole[:end])
        assert read_trials(journal) == TRIALS[:2]
        append_trial(journal, TRIALS[2], TUNING, minimize=True)
        assert read_trials(journal) == TRIALS
    journal.write_bytes(whole[:10])  # before there is a study
    assert read_trials(journal) == []
    append_trial(journal, TRIALS[0], TUNING, minimize=True)
    assert read_trials(journal) == TRIALS[:1]


def test_a_lock_that_a_killed_process_left_is_removed(journal):
    lock = journal.with_name("trials.log.lock")
    lock.symlink_to(journal)
    append_trial(journal, TRIALS[0], TUNING, minimize=True)
    assert len(read_trials(journal)) == 4
    assert not lock.is_symlink()


@pytest.mark.parametrize(
    "line",
    [
        *(b"{}\n", b"[1]\n", b"no\n", b'{"op_code": 4, "worker_id": 1}\n'),
        *(b'{"op_code": 99, "worker_id": "1"}\n', b"[" * 100_000 + b"\n"),
    ],
)
def test_a_damaged_journal_is_an_error_that_says_what_to_do(journal, line):
    whole = journal.read_bytes()
    journal.write_bytes(line + whole)
    with pytest.raises(RunError, match=r"trials.log is damaged \(.*\); remove it, and the search"):
        read_trials(journal)
    other = whole.replace(b'"state":"complete"', b'"state":"odd"').replace(
        b'\\"state\\"', b'\\"sta\\"'
    )
    assert other != whole
    journal.write_bytes(other)
    with pytest.raises(RunError, match=r"trials.log is damaged \(.*\); remove it, and the search"):
        read_trials(journal)
