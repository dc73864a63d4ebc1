"""The paper measured again, on a few made-up ratings in the form of MovieLens-1M."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from console import call
from invlearn.config.schema import load_config
from invlearn.data.dataset import Dataset
from invlearn.experiments import work
from invlearn.experiments.cell import CellFolder, SeedRecord
from invlearn.experiments.grid import load_experiment
from invlearn.experiments.trial_run import attempt
from invlearn.runtime.errors import ConfigError, DataError, RunError
from invlearn.runtime.random import stream
from reproduction import plans
from reproduction.collect import table_of
from reproduction.figures import draw_figure
from reproduction.page import STAND_IN
from reproduction.plans import Request, Source, figure_cells, figures, published_rows, table_cells
from reproduction.reproduce import reproduce, stand_in

TWO = {"rows": ("GMF None", "GMF IG"), "seeds": 1, "trials": 2}


def run(what, data, out, page=None, **options):
    return reproduce(Request(what, data, out, **options), page)


def two(out):
    return Request("table2", out, out, **TWO)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Trainings of two epochs."""
    with pytest.MonkeyPatch.context() as patch:

        def short(values):
            settings = values["settings"] | {"epochs": 2}
            return load_experiment({**values, "settings": settings})

        def config(row, variant, dataset, whole=plans.Row.config):
            return load_config({"epochs": 2}, whole(row, variant, dataset))

        patch.setattr(plans, "load_experiment", short)
        patch.setattr(plans.Row, "config", config)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder like that of MovieLens-1M."""
    folder = tmp_path_factory.mktemp("ml-1m")
    rng = stream(0, "ratings")
    users, items = np.divmod(rng.permutation(40 * 30)[:900], 30)
    ratings = 1 + (users % 2 == items % 2) * 2 + rng.integers(0, 3, 900)
    split = rng.choice(3, 900, p=[0.6, 0.2, 0.2])
    pl.DataFrame({"user": users, "item": items, "rating": ratings, "split": split}).write_parquet(
        folder / "ratings.parquet"
    )
    return folder


@pytest.fixture(scope="module")
def tabled(tmp_path_factory, data):
    """The page with two rows of the table; tests read it, and one draws a figure beside it."""
    out = tmp_path_factory.mktemp("paper") / "out"
    return run("table2", data, out, **TWO, stand_in=False)


def results_of(page):
    return json.loads((page.with_suffix("") / "results.json").read_text())


def test_the_table_is_measured_in_every_way(tabled):
    found = results_of(tabled)
    (table,) = found["tables"]
    assert (table["dataset"], table["stand_in"]) == ("ml-1m", None)
    ways = {row["method"]: list(row["ways"]) for row in table["rows"]}
    assert ways == {"None": ["printed", "tuned"], "IG": ["printed", "released", "ablated", "tuned"]}
    for row in table["rows"]:
        for measured in row["ways"].values():
            assert measured["n_seeds"] == 1
            assert measured["n_planned"] == 1
            assert len(measured["best_epochs"]) == 1
            assert measured["best_epochs"][0] <= measured["epoch_cap"] == 2
            assert 0 < measured["metrics"]["auc"]["mean"] < 1
    assert table["rows"][1]["published"]["auc"] > 0.8
    assert len(table["baselines"]) == 5
    sides = [" ".join((*d["of"].values(), *d["less"].values())) for d in found["differences"]]
    assert set(sides) == {
        "IG printed None printed",
        "IG tuned None tuned",
        "IG released IG ablated",
        "IG released None printed",
        "None tuned IG released",
    }
    text = tabled.read_text()
    assert "### Main comparisons, ML-1M" in text
    assert "nan" not in text.lower().replace("finan", "")
    assert (tabled.with_suffix("") / "table2-ml-1m.svg").read_text().startswith("<svg")


def test_where_numbers_come_from_is_read_off_their_records(tabled, data):
    (table,) = results_of(tabled)["tables"]
    found = table["rows"][0]["ways"]["tuned"]
    source = Source("ml-1m", tabled.parent / "data" / "ml-1m")
    folder = CellFolder(tabled.parent, table_cells(two(tabled.parent), source)["GMF None"]["tuned"])
    assert found["provenance"]["commits"] == [folder.record(0).commit]
    assert found["provenance"]["commands"] == [
        f"invlearn reproduce table2 --data {data.name} --out out --row 'GMF None' --row 'GMF IG' "
        "--seeds 1 --trials 2 --no-stand-in"
    ]
    assert sum(found["trials"].values()) == 2
    rates = [trial.settings["optimizer.lr"] for trial in folder.trials()]
    assert found["at_end"].count("optimizer.lr") == (len(set(rates)) == 2)
    assert table["failures"] == {
        f"GMF {row['method']} {way}": [] for row in table["rows"] for way in row["ways"]
    }


def test_what_failed_is_kept_with_its_reason(tabled, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(tabled.parent, out)
    source = Source("ml-1m", out / "data" / "ml-1m")
    cells = table_cells(two(out), source)
    whole = table_of(out, source, cells, "command").rows[1].ways
    assert whole["tuned"].provenance.commits == whole["printed"].provenance.commits != ()

    folder = CellFolder(out, cells["GMF IG"]["printed"])
    folder.write_record(SeedRecord(seed=0, state="failed", settings={}, reason="went wrong"))
    folder = CellFolder(out, cells["GMF IG"]["tuned"])
    record, first = folder.record(0), folder.trials()[0]
    folder.write_record(record.model_copy(update={"commit": ""}))
    (folder.path / "trials.log").unlink()
    folder.write_trial(first.model_copy(update={"commit": ""}))
    changes = {"number": 1, "state": "failed", "reason": "no memory", "commit": "aaa"}
    folder.write_trial(first.model_copy(update=changes))
    found = table_of(out, source, cells, "command")
    assert found.failures["GMF IG printed"] == ("seed 0: went wrong",)
    assert found.failures["GMF IG tuned"] == ("trial 1: no memory",)
    assert found.rows[1].ways["tuned"].at_end == ()  # both trials took the same settings
    assert found.rows[1].ways.keys() == {"released", "ablated", "tuned"}
    assert found.rows[1].ways["tuned"].provenance.commits == ("aaa",)


def test_a_row_measured_alone_keeps_the_others(tabled, data, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(tabled.parent, out)
    before = results_of(tabled)
    asked = {"rows": ("GMF None",), "ways": ("printed",), "seeds": 1}
    found = results_of(run("table2", data, out, **asked, stand_in=False))
    assert found["differences"] == before["differences"]
    assert [row["ways"].keys() for row in found["tables"][0]["rows"]] == [
        row["ways"].keys() for row in before["tables"][0]["rows"]
    ]
    (table,) = found["tables"]
    commands = [row["ways"]["printed"]["provenance"]["commands"] for row in table["rows"]]
    assert ["--way" in command for (command,) in commands] == [True, False]
    (plot,) = (plot for plot in found["plots"] if plot["title"].startswith("Table"))
    assert len(plot["provenance"]["commands"]) == 2
    text = (out / "paper" / "table2-ml-1m.svg").read_text()
    assert ">IG</text>" in text


def test_other_data_than_those_of_the_folder_are_refused(tabled, data, tmp_path):
    ratings = pl.read_parquet(data / "ratings.parquet")
    ratings.with_columns(6 - pl.col("rating")).write_parquet(tmp_path / "ratings.parquet")
    with pytest.raises(
        RunError, match=r"prepared from another ratings\.parquet .*--out, or remove"
    ):
        run("table2", tmp_path, tabled.parent, **TWO, stand_in=False)


def test_results_of_another_version_are_found_before_any_work(tmp_path, data):
    page = tmp_path / "page.md"
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "results.json").write_text('{"provenance": {}}')
    with pytest.raises(RunError, match="remove it"):
        run("table2", data, tmp_path / "out", page=page, **TWO, stand_in=False)
    assert not (tmp_path / "out").exists()


def test_a_figure_is_put_beside_the_table_and_nothing_is_trained_twice(tabled, data, monkeypatch):
    out, before = tabled.parent, results_of(tabled)
    trained = []

    def noted(folder, *arguments, **options):
        trained.append(folder)
        return attempt(folder, *arguments, **options)

    monkeypatch.setattr(work, "attempt", noted)
    run("table2", data, out, **TWO, stand_in=False)
    assert trained == []
    run("figure3", data, out, stand_in=False)
    assert len(trained) == 1  # GMF's is in the table
    found = results_of(tabled)
    assert found["tables"] == before["tables"]
    assert found["differences"] == before["differences"]
    assert [plot["title"][:8] for plot in found["plots"]] == ["Table 2,", "Figure 3"]
    assert "Left out" not in found["plots"][1]["caption"]
    assert (tabled.with_suffix("") / "figure3.svg").exists()
    run("figure3", data, out, stand_in=False)
    run("table2", data, out, **TWO, stand_in=False)
    assert len(trained) == 1
    assert results_of(tabled)["plots"] == found["plots"]


def test_a_figure_without_the_stand_in_says_what_is_left_out(tabled, data, tmp_path, monkeypatch):
    monkeypatch.setattr("reproduction.figures.save", lambda chart, file: None)
    source = Source("ml-1m", tabled.parent / "data" / "ml-1m")
    figure = next(figure for figure in figures() if figure.name == "figure5")
    figure = figure.model_copy(update={"panels": figure.panels[:1]})
    cells = figure_cells(figure, [source])
    plot = draw_figure(figure, tabled.parent, cells, tmp_path, "command")
    left = "; ".join(("NeuMF, ML-1M", f"GMF, {STAND_IN}", f"NeuMF, {STAND_IN}"))
    assert plot.caption.endswith(f" Left out, by --no-stand-in: {left}.")
    assert not plot.stand_in


def test_ways_are_the_printed_settings_and_the_budget_is_the_same(tabled, data):
    source = Source("ml-1m", tabled.parent / "data" / "ml-1m")
    cells = table_cells(Request("table2", data, tabled.parent, trials=5), source)
    assert list(cells) == [row.name for row in published_rows()]
    tuned = [ways["tuned"] for ways in cells.values()]
    assert {cell.tuning.trials for cell in tuned} == {5}
    assert {cell.tuning.seed in cell.seeds for cell in tuned} == {False}
    assert {len(cell.seeds) for cell in tuned} == {5}
    assert {len(ways["printed"].seeds) for ways in cells.values()} == {3}
    assert {cell.config.model["dim"] for ways in cells.values() for cell in ways.values()} == {32}
    assert len({(c.config.epochs, c.config.patience, c.config.select_by) for c in tuned}) == 1


def test_fixed_rates_are_multiplied_where_the_data_are_smaller(tabled):
    source = Source("ml-1m", tabled.parent / "data" / "ml-1m")
    small = replace(source, rate_factor=50)
    one, other = (table_cells(two(tabled.parent), s)["GMF IG"] for s in (source, small))
    for way in ("printed", "released", "ablated"):
        assert other[way].config.optimizer.lr == 50 * one[way].config.optimizer.lr
    assert one["tuned"] == other["tuned"]
    figure = next(figure for figure in figures() if figure.name == "figure3")
    rates = [
        [cell.config.optimizer.lr for cell in figure_cells(figure, [s])] for s in (source, small)
    ]
    assert rates[1] == [50 * rate for rate in rates[0]]


def test_the_stand_in_keeps_the_class_balance_and_says_what_it_is(tmp_path):
    made = stand_in(tmp_path, 100)
    assert made.folder.name == "micro-video-stand-in-1-100"
    dataset = Dataset.open(made.folder)
    labels = np.concatenate([part.labels for part in (dataset.train, dataset.valid, dataset.test)])
    assert labels.mean() == pytest.approx(0.52, abs=0.03)
    assert len(labels) / (len(labels) + len(dataset.unlabelled)) == pytest.approx(0.64, abs=0.04)
    changed = (made.folder / "data.json").stat().st_mtime_ns
    assert stand_in(tmp_path, 100) == made
    assert (made.folder / "data.json").stat().st_mtime_ns == changed
    assert made.rate_factor == 100
    assert "was never released" in made.stand_in
    assert "multiplied by 100" in made.stand_in


@pytest.mark.parametrize(
    ("what", "options", "kind", "words"),
    [
        ("table2", {"stand_in": False}, DataError, "no ratings.dat or ml-1m.inter or ratings.parq"),
        ("figure4", {"stand_in": False}, ConfigError, "figure4 shows Micro Video, which was never"),
        (
            "table2",
            {"rows": ("GMF NS",), "ways": ("released",)},
            ConfigError,
            "no such code was released; take --way printed or tuned",
        ),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(tmp_path, what, options, kind, words):
    with pytest.raises(kind, match=words):
        run(what, tmp_path / "nowhere", tmp_path / "out", **options)
    assert not (tmp_path / "out" / "data" / "micro-video-stand-in-1-50").exists()


def test_another_split_than_the_authors_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{u}::{i}::{rng.integers(1, 6)}::{u * 9 + i}" for u in range(20) for i in range(9)]
    (tmp_path / "ratings.dat").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="has no split of its own"):
        run("table2", tmp_path, tmp_path / "out", **TWO, stand_in=False)


@pytest.mark.parametrize(
    ("name", "words"), [("notes.md", "is no page of this command"), ("page", "end in .md")]
)
def test_the_page_replaces_nothing_but_itself(tmp_path, data, name, words):
    (tmp_path / name).write_text("# Mine")
    with pytest.raises(ConfigError, match=words):
        run("table2", data, tmp_path / "out", page=tmp_path / name, **TWO)
    assert (tmp_path / name).read_text() == "# Mine"
    assert not (tmp_path / "out").exists()


def test_a_full_size_that_is_not_wanted_is_refused(tmp_path, data):
    with pytest.raises(ConfigError, match="--full-size is of the stand-in"):
        run("table2", data, tmp_path / "out", full_size=True, stand_in=False)


@pytest.mark.parametrize("package", ["jinja2", "vl_convert", "optuna"])
def test_a_missing_extra_is_said_before_any_work(tmp_path, data, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install 'invlearn\["):
        run("table2", data, tmp_path / "out", **TWO)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--row", "GMF IGG"), "unknown row 'GMF IGG'; did you mean 'GMF IG'?"),
        (("--seeds", "0"), "seeds must be 1 or more; found 0"),
        (("--trials", "-2"), "trials must be 1 or more; found -2"),
        (("--way", "best"), "unknown --way 'best'"),
        (("--workers", "0", "--no-stand-in", "--way", "printed"), "workers must be 1 or more"),
    ],
)
def test_a_wrong_command_ends_with_2_and_one_sentence(tmp_path, data, options, words):
    answer = call("reproduce", "table2", "--data", data, "--out", tmp_path / "out", *options)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ")
    assert len(answer.err.splitlines()) == 1
    assert words in answer.err


def test_the_command_shows_the_main_comparisons(tabled, data):
    options = ("--row", "GMF None", "GMF IG", "--seeds", 1, "--trials", 2, "--no-stand-in")
    answer = call("reproduce", "table2", "--data", data, "--out", tabled.parent, *options)
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= 80
    assert "GMF, ML-1M, AUC:\n  IG as released - None as printed: " in answer.out
    assert f"Wrote {tabled}" in " ".join(answer.out.split())


def test_without_a_checkout_the_command_says_that_it_needs_one(tmp_path, data, monkeypatch):
    from invlearn.cli import experiments

    installed = tmp_path / "site-packages" / "invlearn" / "cli" / "experiments.py"
    monkeypatch.setattr(experiments, "__file__", str(installed))
    answer = call("reproduce", "all", "--data", data, "--out", tmp_path / "out")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: reproduce needs a checkout of the repository")
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
