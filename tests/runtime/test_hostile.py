"""Input that was made to do harm, or that nobody could have meant: a sentence, and nothing else."""

import asyncio
import gzip
import json
import os
import re
import shutil
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import invlearn
from console import call
from invlearn.config.schema import OtherLog, RunConfig, load_config, read_yaml
from invlearn.data.dataset import Dataset
from invlearn.data.ids import read_ids
from invlearn.data.logs.formats import MAX_COLUMNS
from invlearn.data.logs.logs import open_log
from invlearn.data.prepare.grammar import parse_rule
from invlearn.data.prepare.labels import quoted
from invlearn.data.prepare.lookup import find_rows
from invlearn.experiments.compare import check_folder
from invlearn.experiments.grid import load_experiment
from invlearn.inference.recommend.lists import _harmless  # pyright: ignore[reportPrivateUsage]
from invlearn.inference.serving.middleware import BodyLimit
from invlearn.reporting.page import as_json
from invlearn.reporting.records import read_records
from invlearn.runtime.errors import ConfigError, DataError, InvlearnError, RunError
from invlearn.runtime.safe_load import MAX_DEPTH, MAX_YAML_BYTES, column_of, from_json, from_yaml
from invlearn.training.build import make_backbone
from invlearn.training.metrics_log import read_lines
from invlearn.training.run import Run, resume
from invlearn.training.run_folder import TRUST_VARIABLE
from toys import part, write_toy

SOURCE = Path(invlearn.__file__).parent
MANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A dataset and a run of it, both whole; tests damage copies."""
    place = tmp_path_factory.mktemp("whole")
    draw = np.random.default_rng(0)
    pairs = draw.permutation(20 * 15)[:200]
    users, items, labels = pairs // 15, pairs % 15, draw.integers(0, 2, 200)
    cut = {"train": slice(120), "valid": slice(120, 160), "test": slice(160, 200)}
    parts = {name: part(users[c], items[c], labels[c]) for name, c in cut.items()}
    left = np.setdiff1d(np.arange(300), pairs)
    parts["unlabelled"] = part(left // 15, left % 15)
    data = write_toy(place / "data", parts, n_users=20, n_items=15)
    config = {"backbone": "mf", "strategy": "ig", "batch_size": 32, "epochs": 1}
    invlearn.train(data.folder, place / "run", model={"dim": 2}, **config)
    return place


@pytest.fixture
def data(whole, tmp_path):
    return shutil.copytree(whole / "data", tmp_path / "data")


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole / "run", tmp_path / "run")


def sealed(folder):
    """Make the checksums of a dataset those of its files, as whoever forges one would."""
    card = json.loads((folder / "data.json").read_text())
    for name, entry in card["files"].items():
        content = (folder / name).read_bytes()
        entry |= {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    (folder / "data.json").write_text(json.dumps(card))


# Texts


@MANY
@given(st.binary(max_size=300))
@example(b"a: &a [*a]")
@example(b"seed: 2024-13-99")
@example(b"model: !!int ''")
@example(b"model: !!timestamp x")
@example(b"[" * 3_000)
@example(b"x: !!python/object/apply:os.system ['true']")
def test_any_bytes_are_settings_or_refused_in_a_sentence(tmp_path, content):
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    try:
        load_config({}, file)
    except ConfigError:
        return


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
FIELDS = st.sampled_from(list(RunConfig.model_fields))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | st.text(), inner),
    max_leaves=9,
)


@MANY
@given(st.dictionaries(FIELDS, TREES, max_size=3))
def test_any_tree_of_values_is_settings_or_refused(tree):
    try:
        found = load_config(tree)
    except ConfigError:
        return
    assert load_config(read_back(found.to_yaml())) == found


def read_back(text):
    return from_yaml(text)


def test_aliases_are_counted_as_if_they_were_written_out():
    names = "abcdefgh"
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in pairwise(names)
    )
    with pytest.raises(ValueError, match="more than 100,000 values"):
        from_yaml(bomb)
    assert from_yaml("a: &a [1, 2]\nb: *a\n") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "x: {1: 2, 1: 3}", "a: {}\n? a\n: 1"])
def test_a_key_that_stands_twice_is_refused(text):
    with pytest.raises(ValueError, match=r"is repeated, line \d"):
        from_yaml(text)


def test_of_settings_no_more_is_read_than_may_be():
    with pytest.raises(ConfigError, match="longer than 100,000"):
        read_yaml(Path("/dev/zero"))


def test_depth_and_length_of_settings_are_bounded(tmp_path):
    nested = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert from_yaml(nested) == from_json(nested)
    for text in (f"[{nested}]", "[" * 50_000):
        for read in (from_yaml, from_json):
            with pytest.raises(ValueError):  # noqa: PT011  the two say it in their own words
                read(text)
    file = tmp_path / "long.yaml"
    file.write_text("# " + "x" * MAX_YAML_BYTES)
    with pytest.raises(ConfigError, match="longer than 100,000"):
        read_yaml(file)


@MANY
@given(
    st.text(max_size=40) | st.text(alphabet="rating ><=,()/`'\"0123.e-_evntslabepcigd", max_size=40)
)
@example("percentile(a by b, bins=99999999999999999999999) > 0.5")
@example("a > " + "9" * 400)
@example("²>²")
def test_any_text_is_a_label_rule_or_refused(text):
    try:
        rule = parse_rule(text)
    except ConfigError:
        return
    assert parse_rule(str(rule)) == rule


@MANY
@given(st.text(min_size=1, max_size=20))
def test_any_name_of_a_column_can_be_written_in_a_rule(name):
    assert parse_rule(f"{quoted(name)} > 1").quantity.name == name


# Logs


@settings(MANY, max_examples=100)
@given(
    st.sampled_from(["csv", "tsv", "inter", "dat", "data", "parquet", "csv.gz"]),
    st.binary(max_size=200) | st.text(alphabet='user,item:token\t\r\n"0123=', max_size=200),
    st.booleans(),
)
@example("inter", "user:token\tuser:float\n1\t2\n", False)
@example("csv", 'a,b\n1,"', False)
def test_any_bytes_are_a_log_or_refused(tmp_path, kind, content, packed):
    content = content.encode() if isinstance(content, str) else content
    file = tmp_path / f"log.{kind}"
    file.write_bytes(gzip.compress(content) if packed else content)
    try:
        open_log(file).rows.collect()
    except DataError:
        return


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.inter", "user:token\titem:token\tuser:float\na\tb\t1\n"),
        ("log.csv", "user,item,user\na,b,1\n"),
        ("log.csv", "user,user,item,user\na,a,b,1\n"),
    ],
)
def test_a_column_that_two_heads_name_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="more than one column user"):
        open_log(tmp_path / name)


def test_a_field_of_any_length_beside_a_broken_line_is_a_sentence(tmp_path):
    (tmp_path / "log.csv").write_text(f'user,item\n"{"x" * 200_000}",1\na,b,c\n')
    with pytest.raises(DataError, match="line 3 has 3 fields where the first line has 2"):
        open_log(tmp_path / "log.csv")


def test_thousands_of_columns_are_read_and_too_many_are_refused(tmp_path):
    for n_columns in (2_000, MAX_COLUMNS + 1):
        head = ",".join(f"c{n}" for n in range(n_columns))
        (tmp_path / "log.csv").write_text(f"{head}\n{','.join(['true'] * n_columns)}\n")
        if n_columns > MAX_COLUMNS:
            with pytest.raises(DataError, match="10,001 columns, and 10,000 are read"):
                open_log(tmp_path / "log.csv")
        else:
            schema = open_log(tmp_path / "log.csv").rows.collect_schema()
            assert str(schema["c1999"]) == "Boolean"


@settings(MANY, max_examples=80)
@given(st.sampled_from(["txt", "csv", "parquet"]), st.binary(max_size=80))
def test_any_bytes_are_ids_or_refused(tmp_path, kind, content):
    file = tmp_path / f"users.{kind}"
    file.write_bytes(content)
    try:
        assert len(read_ids(file, "user"))
    except DataError:
        return


# Folders


@MANY
@given(st.binary(max_size=100), st.sampled_from([b"", b"\x93NUMPY\x01\x00v\x00"]))
@example(b"(" * 60 + b"\n", b"\x93NUMPY\x01\x00\x3d\x00")
def test_any_bytes_are_a_column_or_refused(tmp_path, content, head):
    file = tmp_path / "x.npy"
    file.write_bytes(head + content)
    try:
        column_of(file)
    except (ValueError, OSError):
        return


def test_a_column_of_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        column_of(tmp_path / "x.npy")


FORGED = {
    "an id that is too high": ("train.user.npy", lambda c: np.full_like(c, 20)),
    "an id below 0": ("unlabelled.item.npy", lambda c: np.full_like(c, -1)),
    "a label of 2": ("test.label.npy", lambda c: np.full_like(c, 2)),
    "another type": ("valid.user.npy", lambda c: c.astype(np.float64)),
    "another length": ("train.item.npy", lambda c: c[:-1]),
    "two dimensions": ("train.user.npy", lambda c: np.stack([c, c], 1)),
    "none": ("valid.label.npy", lambda c: c[:0]),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_column_is_refused_although_its_checksum_is_right(data, what):
    name, forge = FORGED[what]
    np.save(data / name, forge(np.load(data / name)))
    sealed(data)
    with pytest.raises(DataError, match=r"do not fit one another or data\.json"):
        Dataset.open(data, verify=True)


def test_forged_ids_are_refused(data, run):
    for table in (
        pl.DataFrame({"id": np.arange(19)}),
        pl.DataFrame({"id": np.arange(20) / 2}),
        pl.DataFrame({"other": np.arange(20)}),
    ):
        table.write_parquet(data / "users.parquet")
        table.write_parquet(run / "users.parquet")
        sealed(data)
        for opening in (Dataset.open, Run.open):
            with pytest.raises(DataError, match=r"holds .* ids of type"):
                opening(data if opening == Dataset.open else run)


def test_a_card_names_files_of_its_own_folder_only(data):
    card = json.loads((data / "data.json").read_text())
    card["files"]["../secret"] = card["files"]["users.parquet"]
    (data / "data.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match=r"data\.json is damaged"):
        Dataset.open(data)


def test_links_out_of_a_folder_are_not_followed(data, run, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("{}")
    for folder, name, opening in (
        (data, "train.user.npy", Dataset.open),
        (run, "test.json", Run.open),
        (run, "checkpoints/more", resume),
    ):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(secret)
        with pytest.raises(InvlearnError, match="a link that leads out of"):
            opening(folder)


def test_pipes_in_a_folder_are_not_waited_for(data, run):
    for folder, name, opening in (
        (data, "train.user.npy", Dataset.open),
        (run, "users.parquet", Run.open),
        (run, "config.yaml", resume),
    ):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(InvlearnError, match="is a pipe, a socket or a device"):
            opening(folder)


def test_a_link_under_a_name_that_can_be_foreseen_is_not_written_through(data, run, tmp_path):
    """`.NAME.partial` and the like are used while NAME is written: anybody can foresee them."""
    home = shutil.copytree(data, tmp_path / "home")
    dear = {file.name: file.read_bytes() for file in home.iterdir()}
    out = tmp_path / "out"
    out.mkdir()
    for name in (".new.partial", ".lists.parquet.parts"):
        (out / name).symlink_to(home)
    (out / ".lists.csv.partial").symlink_to(home / "data.json")
    for words in (
        ("train", data, "--out", out / "new", "--epochs", 1, "--model.dim", 2),
        ("recommend", run, "--out", out / "lists.parquet"),
        ("recommend", run, "--out", out / "lists.csv"),
    ):
        assert call(*words).code == 0
    assert sorted(file.name for file in out.iterdir()) == ["lists.csv", "lists.parquet", "new"]
    assert not any(file.is_symlink() for file in out.iterdir())
    assert {file.name: file.read_bytes() for file in home.iterdir()} == dear


def test_an_experiment_clears_up_nothing_through_a_link(run, tmp_path):
    cell = tmp_path / "experiment" / "cells" / "one"
    cell.mkdir(parents=True)
    (cell / "seed-0").symlink_to(run)
    with pytest.raises(ConfigError, match="seed-0 is a link that leads out of"):
        check_folder(tmp_path / "experiment")


def test_folders_that_cannot_be_are_a_sentence(run, tmp_path):
    with pytest.raises(DataError, match="is not a dataset folder"):
        Dataset.open("a\0b")
    (run / "round").symlink_to("round")
    with pytest.raises(RunError, match="a link that leads out of"):
        Run.open(run)


def test_links_to_a_folder_and_within_it_are_followed(run, tmp_path):
    (tmp_path / "latest").symlink_to(run)
    (run / "same.json").symlink_to("run.json")
    assert Run.open(tmp_path / "latest").card.n_users == 20


def test_a_run_folder_imports_nothing_that_nobody_asked_for(run, tmp_path, monkeypatch):
    module = tmp_path / "evil_module.py"
    module.write_text(
        "from pathlib import Path\n"
        "from invlearn.backbones.factorization import BiasedMF as MF\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    text = (run / "config.yaml").read_text().replace("backbone: mf", "backbone: evil_module:MF")
    (run / "config.yaml").write_text(text)
    for opening in (Run.open, resume):
        with pytest.raises(RunError, match=r"code that is not part of invlearn.*INVLEARN_TRUST="):
            opening(run)
    assert not (tmp_path / "ran").exists()
    monkeypatch.setenv(TRUST_VARIABLE, "other, evil_module")
    Run.open(run)
    assert (tmp_path / "ran").exists()


def test_the_room_for_weights_is_looked_at_before_it_is_taken(run):
    with pytest.raises(ConfigError, match=r"it would take .* bytes, and the limit"):
        make_backbone(RunConfig(backbone="mf", model={"dim": 10**9}), 10**6, 10**6)
    with pytest.raises(ConfigError, match="and the limit is 1,000"):
        make_backbone(RunConfig(backbone="mf", model={"dim": 10}), 100, 100, max_bytes=1_000)
    text = (run / "config.yaml").read_text().replace("dim: 2", "dim: 2000000")
    (run / "config.yaml").write_text(text)
    with pytest.raises(RunError, match="weights do not fit the backbone"):  # shapes take no memory
        Run.open(run)


def test_a_number_of_seeds_is_not_counted_out_without_end():
    with pytest.raises(ConfigError, match="at most 10,000 seeds"):
        load_experiment({"datasets": ["x"], "strategies": ["none"], "seeds": 10**12})


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("epochs.jsonl", '"train_loss": ', '"train_loss": [], "was": '),
        ("epochs.jsonl", '"valid": {', '"valid": {"auc": Infinity, "x": "'),
        ("epochs.jsonl", '"epoch": 0', '"epoch": "x"'),
        ("epochs.jsonl", '"pairs_per_second": ', '"pairs_per_second": "x", "was": '),
        ("test.json", '"users_scored": ', '"users_scored": -'),
        ("test.json", '"intervals": {', '"intervals": {"auc": [1], "more": '),
        ("test.json", '"baselines": {', '"baselines": {"x": 3, "y": {'),
    ],
)
def test_a_report_of_forged_records_is_refused(run, name, old, new):
    text = (run / name).read_text()
    assert old in text
    (run / name).write_text(text.replace(old, new, 1))
    with pytest.raises(RunError, match="damaged"):
        read_records([run])


def test_lines_that_are_no_records_are_refused(run, tmp_path):
    for line in ("[]", "1", "{", "\udcff", "[" * 9_000, '{"a": ' + "9" * 5_000 + "}"):
        file = tmp_path / "lines.jsonl"
        file.write_text(f"{line}\n", errors="surrogateescape")
        with pytest.raises(RunError, match="is damaged"):
            list(read_lines(file))
    for line in ('{"epoch": 0}', '{"epoch": 0, "step": [0]}'):
        (run / "steps.jsonl").write_text(f"{line}\n")
        with pytest.raises(RunError, match="has 0 whole records"):
            resume(run)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("choice", 7),
        ("choice", -1),
        ("choice", [1]),
        ("judge_losses", [0.5]),
        ("judge_losses", "x"),
    ],
)
def test_judges_that_cannot_be_are_refused(run, name, value):
    lines = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    next(line for line in lines if "choice" in line)[name] = value
    (run / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunError, match="is damaged"):
        read_records([run])


def test_a_run_without_the_record_of_its_best_epoch_is_refused(run):
    (run / "epochs.jsonl").write_text('{"epoch": 0, "valid": {}}\n')
    with pytest.raises(RunError, match="lacks the record of epoch 1"):
        resume(run)


def test_settings_that_were_changed_in_a_run_folder_are_completed_anew(run):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("source: exposed", "source: auto"))
    resume(run)
    (run / "config.yaml").write_text(text.replace("select_by: log_loss", "select_by: luck"))
    with pytest.raises(ConfigError, match="unknown metric 'luck'"):
        resume(run)


def test_counts_of_settings_are_numbers_that_fit():
    with pytest.raises(ConfigError, match="batch_size: a number below 2147483648 is needed"):
        load_config({"batch_size": 10**30})


def test_an_annotation_whose_numbers_are_none_is_refused(run):
    made_of = {"fingerprint": json.loads((run / "run.json").read_text())["fingerprint"], "epoch": 1}
    test = {"ece": [1], "brier": 0.1, "table": []}
    (run / "annotation.json").write_text(json.dumps(made_of | {"test": test}))
    with pytest.raises(RunError, match="damaged or no annotation"):
        read_records([run])


def torn(file, rows=None):
    """A Parquet file, or what becomes one, whose footer is whole and whose column `id` is not."""
    frame = pl.read_parquet(file) if rows is None else rows
    frame.write_parquet(file, compression="zstd", statistics=False)
    content = bytearray(file.read_bytes())
    start = content.index(b"\x28\xb5\x2f\xfd")  # of the first page that zstd packed
    content[start + 4 : start + 12] = b"\xff" * 8
    file.write_bytes(content)
    pl.scan_parquet(file).collect_schema()
    with pytest.raises(pl.exceptions.ComputeError):
        pl.read_parquet(file)


def asked_of(run, data, log, asks):
    """Have something read that the id maps and a log are needed for."""
    out = run.parent / "out.parquet"
    if asks == "rows":
        find_rows(OtherLog(log=log, seen="keep", rule=["label(label)"]), Dataset.open(data))
    elif asks == "pairs":
        invlearn.annotate(run, out, dataset=data, pairs=log)
    else:
        invlearn.annotate(run, out, dataset=data)


@pytest.mark.parametrize("file", ["users.parquet", "items.parquet"])
@pytest.mark.parametrize("asks", ["its own pairs", "pairs", "rows"])
def test_damage_inside_an_id_map_is_said_where_it_shows(run, data, tmp_path, file, asks):
    torn(data / file)
    sealed(data)
    log = tmp_path / "log.csv"
    log.write_text("user,item,label\n1,2,1\n2,3,0\n")
    with pytest.raises(DataError, match=r"id map of .*data cannot be read .*damaged"):
        asked_of(run, data, log, asks)
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("asks", ["pairs", "rows"])
def test_damage_inside_a_log_is_said_where_it_shows(run, data, tmp_path, asks):
    log = tmp_path / "log.parquet"
    rows = {"user": [*range(20)] * 9, "item": [*range(15)] * 12, "label": [0, 1] * 90}
    torn(log, pl.DataFrame(rows))
    with pytest.raises(DataError, match=r"log.parquet cannot be read .*damaged"):
        asked_of(run, data, log, asks)
    assert not (tmp_path / "out.parquet").exists()


# What is written


def test_texts_that_a_spreadsheet_would_compute_get_an_apostrophe():
    formulas = ["=1+1", "-a", "@x", "\ta", "\rb", "\n=1", "+cmd|' /C'!A0", "+1\n=1", "-"]
    formulas += [f"{wide}1" for wide in "\uff1d\uff0b\uff0d\uff20"]
    others = ["+1", "-2.5", "u1", "a=b", "a\n=1", " =1", "", None]
    texts = [*formulas, *others]
    columns = {
        "user": texts,
        "item": pl.Series(texts, dtype=pl.Categorical),
        "source": pl.Series(texts, dtype=pl.Enum(texts[:-1])),
        "rank": range(len(texts)),
    }
    found = _harmless(pl.LazyFrame(columns)).collect()
    for name in ("user", "item", "source"):
        assert found[name].to_list() == [f"'{text}" for text in formulas] + others, name
    assert found["rank"].to_list() == list(range(len(texts)))


@MANY
@given(TREES)
def test_data_cannot_end_the_script_that_holds_them(tree):
    try:
        text = as_json({"</script><!--": tree})
    except ValueError:  # not a number
        return
    assert "<" not in text
    assert "</script><!--" in json.loads(text)


def test_a_name_that_is_html_stays_text_in_a_report(run, tmp_path):
    pytest.importorskip("vl_convert", reason="the extra report is not installed")
    name = "<script>alert(1)<!--\"'&"
    run.rename(tmp_path / name)
    invlearn.report([tmp_path / name], tmp_path / "out.html", draws=0)
    page = (tmp_path / "out.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert not re.search(r"href=\"?\s*javascript:", page)


# What the source never does


def test_nothing_is_fetched_unpacked_or_executed():
    words = (
        r"\bimport (?:pickle|marshal|shelve|dill|zipfile|tarfile|ftplib|requests)\b",
        r"\burllib\.request|\burllib3|\bhttp\.client\b|urlopen|urlretrieve|unpack_archive|torch\.hub",
        r"torch\.load\(|allow_pickle=True|yaml\.(?:load|unsafe_load|full_load)\(",
        r"(?<![\w.])(?:eval|exec|compile)\(|shell=True|os\.system|os\.popen|__import__",
    )
    for file in SOURCE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert [word for word in words if re.search(word, text)] == [], file


def test_processes_are_started_from_lists_of_words():
    for file in SOURCE.rglob("*.py"):
        for found in re.findall(r"subprocess\.(?:run|Popen)\(\s*(\S)", file.read_text()):
            assert found not in ("'", '"', "f"), file


# The service and the command line


def test_a_body_that_does_not_come_is_given_up():
    said = []

    async def never():
        await asyncio.sleep(60)

    async def send(message):
        said.append(message)

    async def app(*_):
        raise AssertionError("it must not be asked")

    guard = BodyLimit(app, max_bytes=10, seconds=0.01)
    asyncio.run(guard({"type": "http"}, never, send))
    assert said[0]["status"] == 408
    assert "0.01 seconds" in json.loads(said[1]["body"])["error"]


def test_files_are_written_with_the_rights_that_the_user_gives(run, tmp_path):
    before = os.umask(0o077)
    try:
        invlearn.recommend(run, tmp_path / "x.csv")
    finally:
        os.umask(before)
    assert (tmp_path / "x.csv").stat().st_mode & 0o777 == 0o600


def test_the_command_line_says_it_in_a_sentence(data, tmp_path):
    (tmp_path / "bomb.yaml").write_text("model: &m {dim: *m}\n")
    found = call("train", data, "--config", tmp_path / "bomb.yaml", "--out", tmp_path / "out")
    assert found.code == 2
    assert "Traceback" not in found.err
    assert not (tmp_path / "out").exists()
