"""Known data sets are found in every form, prepared by their own rule, and missed helpfully."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from invlearn.data.catalogue import DATASETS, FOLDER_VARIABLE, find, list_datasets, prepare_known
from invlearn.data.dataset import Dataset
from invlearn.data.logs.formats import FORMATS
from invlearn.data.prepare.grammar import parse_rule
from invlearn.runtime.errors import ConfigError, DataError

DATA = Path(os.environ.get("INVLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))
RNG = np.random.default_rng(0)
HEADS = {
    "kuairec": "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio",
    "kuairand": "user_id,video_id,date,hourmin,time_ms,is_click,is_like,play_time_ms,duration_ms",
}


def pairs(n_rows: int = 400) -> list[tuple[int, int]]:
    cells = RNG.permutation(30 * 40)[:n_rows]
    return [(int(cell) // 40 + 1, int(cell) % 40 + 1) for cell in cells]


def write(file: Path, lines: list[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def make_ml_100k(folder: Path) -> None:
    lines = [f"{u}\t{i}\t{(u * i) % 5 + 1}\t{8 * 10**8 + u}" for u, i in pairs()]
    write(folder / "u.data", lines)


def make_ml_1m(folder: Path) -> None:
    lines = [f"{u}::{i}::{(u * i) % 5 + 1}::{9 * 10**8 + u}" for u, i in pairs()]
    write(folder / "ratings.dat", lines)


def make_kuairec(folder: Path) -> None:
    lines = [f"{u},{i},9,9,t,20200705,{15e8 + u},{(u * i) % 21 / 10}" for u, i in pairs()]
    write(folder / "KuaiRec 2.0" / "data" / "big_matrix.csv", [HEADS["kuairec"], *lines])
    write(folder / "KuaiRec 2.0" / "data" / "user_features.csv", ["user_id", "1"])


def make_kuairand(folder: Path) -> None:
    for part in ("standard_1", "standard_2", "random"):
        lines = [f"{u},{i},20220408,1,{16e11 + u:.0f},{u * i % 2},0,5,9" for u, i in pairs()]
        write(folder / "KuaiRand-Pure" / "data" / f"log_{part}.csv", [HEADS["kuairand"], *lines])


def make_coat(folder: Path) -> None:
    folder.mkdir(parents=True)
    ratings, tested = RNG.integers(0, 6, (29, 30)), RNG.random((29, 30)) < 0.4
    np.savetxt(folder / "train.ascii", ratings * ~tested, fmt="%d")
    np.savetxt(folder / "test.ascii", ratings * tested, fmt="%d")


MAKERS = {
    "ml-100k": make_ml_100k,
    "ml-1m": make_ml_1m,
    "kuairec": make_kuairec,
    "kuairand": make_kuairand,
    "coat": make_coat,
}


def test_every_entry_is_usable():
    assert set(list_datasets()) == set(MAKERS)
    for known in DATASETS.values():
        assert known.licence
        assert known.homepage.startswith("https://")
        assert min(known.n_rows, known.n_users, known.n_items) > 0
        for form in known.forms:
            assert form.format in FORMATS
            assert str(parse_rule(form.rule)) == form.rule
            split = form.options.get("split")
            assert (split == "column") == ("split_column" in form.options)
            assert split != "temporal" or form.options["time"]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("below", [True, False])
def test_original_files_are_found_and_prepared(tmp_path, name, below):
    folder = tmp_path / "data"
    MAKERS[name](folder / name if below else folder)
    audit = prepare_known(name, tmp_path / "out", folder=folder)
    dataset = Dataset.open(tmp_path / "out", verify=True)
    assert dataset.card.rule == [DATASETS[name].forms[0].rule]
    assert min(len(dataset.train), len(dataset.valid), len(dataset.test)) > 0
    assert audit.final.positive * audit.final.negative > 0


def test_labels_follow_the_rule(tmp_path):
    make_ml_100k(tmp_path / "ml-100k")
    audit = prepare_known("ml-100k", tmp_path / "out", folder=tmp_path)
    ratings = np.loadtxt(tmp_path / "ml-100k" / "u.data", dtype=int)[:, 2]
    assert audit.final.positive == (ratings > 2).sum()
    assert audit.final.negative == (ratings <= 2).sum()


def test_coat_keeps_the_files_as_its_split(tmp_path):
    make_coat(tmp_path / "coat")
    audit = prepare_known("coat", tmp_path / "out", folder=tmp_path)
    clear = [1, 2, 4, 5]
    n_test = np.isin(np.loadtxt(tmp_path / "coat" / "test.ascii"), clear).sum()
    n_train = np.isin(np.loadtxt(tmp_path / "coat" / "train.ascii"), clear).sum()
    assert audit.parts["test"].rows == n_test
    assert audit.parts["train"].rows + audit.parts["valid"].rows == n_train


def test_random_exposures_of_kuairand_stay_out(tmp_path):
    make_kuairand(tmp_path)
    assert [file.name for file in find("kuairand", tmp_path).files] == [
        "log_standard_1.csv",
        "log_standard_2.csv",
    ]


def test_original_files_go_before_parquet(tmp_path):
    frame = pl.DataFrame({"user": [1], "item": [1], "rating": [3], "timestamp": [0]})
    frame.write_parquet(tmp_path / "ratings.parquet")
    assert find("ml-100k", tmp_path).form.format == "parquet"
    make_ml_100k(tmp_path)
    assert find("ml-100k", tmp_path).form.format == "ml-100k"


def test_options_go_before_the_data_sets_own(tmp_path):
    make_coat(tmp_path / "coat")
    prepare_known("coat", tmp_path / "out", folder=tmp_path, split="random", rule="rating > 3")
    card = Dataset.open(tmp_path / "out").card
    assert card.rule == ["rating > 3"]


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(DataError, match=f"pass --from FOLDER, or set {FOLDER_VARIABLE}"):
        find("ml-100k")
    make_ml_100k(tmp_path / "ml-100k")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert find("ml-100k").files == (tmp_path / "ml-100k" / "u.data",)


@pytest.mark.parametrize("name", MAKERS)
def test_missing_data_says_what_where_and_on_which_terms(tmp_path, name):
    with pytest.raises(DataError) as caught:
        find(name, tmp_path)
    known, message = DATASETS[name], str(caught.value)
    for said in (known.forms[0].files[0], str(tmp_path), known.homepage, known.licence, known.size):
        assert said in message
    assert "\n" not in message


def test_unknown_name():
    with pytest.raises(ConfigError, match="did you mean 'kuairec'"):
        find("kuairek", DATA)


@pytest.mark.parametrize(
    ("name", "positive", "negative", "unlabelled"),
    [
        ("ml-1m", 836_478, 163_731, 0),
        ("ml-100k", 82_520, 17_480, 0),
        ("kuairec", 13_830, 12_865, 90_418),
    ],
)
def test_real_data(tmp_path, name, positive, negative, unlabelled):
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not there; {DATASETS[name].homepage} has it")
    audit = prepare_known(name, tmp_path / "out", folder=DATA / name)
    found = audit.final
    assert (found.positive, found.negative, found.unlabelled) == (positive, negative, unlabelled)


def test_real_ml_1m_keeps_the_published_split(tmp_path):
    if not (DATA / "ml-1m").is_dir():
        pytest.skip(f"{DATA / 'ml-1m'} is not there; {DATASETS['ml-1m'].homepage} has it")
    audit = prepare_known("ml-1m", tmp_path / "out", folder=DATA)
    assert [audit.parts[part].rows for part in ("train", "valid", "test")] == [
        600_125,
        200_042,
        200_042,
    ]


def test_real_kuairand_in_both_forms(tmp_path):
    folder = DATA / "kuairand"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; {DATASETS['kuairand'].homepage} has it")
    audit = prepare_known("kuairand", tmp_path / "clicks", folder=DATA)
    assert audit.final.rows == 254_798
    assert (audit.repeated_pairs, audit.conflicts) == (8_123, 448)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "raw_rows.parquet").symlink_to((folder / "raw_rows.parquet").resolve())
    audit = prepare_known("kuairand", tmp_path / "out", folder=tmp_path / "raw")
    assert audit.final.rows == 41_395
