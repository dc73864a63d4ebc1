"""The report: its numbers are those of the measurement, its page is safe, its errors teach."""

import json
import shlex
import shutil
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import altair as alt
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import ValidationError

import invlearn
from console import call, done
from invlearn.data.dataset import Dataset
from invlearn.data.prepare.audit import Audit, PartFacts, Stage
from invlearn.data.prepare.table import Counts
from invlearn.evaluation.calibration import calibration
from invlearn.inference.comparison import compare_runs
from invlearn.reporting import page as page_module
from invlearn.reporting.blocks import Chart, Charts, Code, Page, Table, Text, decimals
from invlearn.reporting.flow import GAP, HEIGHT, draw, streams
from invlearn.reporting.measures import measured
from invlearn.reporting.page import as_json, in_script, rendered
from invlearn.reporting.records import read_records
from invlearn.reporting.results import outcome, sweep
from invlearn.reporting.write import page_of
from invlearn.runtime.errors import ConfigError, InvlearnError, RunError
from invlearn.training.run import Run

DRAWS = 50


@pytest.fixture(scope="module")
def found(feed):
    """Records of both runs, and what they reached."""
    records = read_records([feed.none, feed.ig])
    return records, measured(records, draws=DRAWS)


@pytest.fixture(scope="module")
def page(found):
    return page_of(*found)


@pytest.fixture(autouse=True, scope="module")
def short_bundle():
    """Stand in for the bundle, which takes seconds; the tests with a browser have the real one."""
    kept, page_module._bundle = page_module._bundle, lambda: "window.vegaEmbed = null;"
    yield
    page_module._bundle = kept


def blocks_of(page, kind):
    for section in page.sections:
        for block in section.blocks:
            inner = block.charts if isinstance(block, Charts) else (block,)
            yield from (one for one in inner if isinstance(one, kind))


def table(page, caption):
    (one,) = [t for t in blocks_of(page, Table) if t.caption.startswith(caption)]
    return {row[0].text: dict(zip(one.heads[1:], row[1:], strict=True)) for row in one.rows}


def words(page):
    return " ".join(finding.words for finding in page.findings)


def copied(folder, place, name="run"):
    return shutil.copytree(folder, place / name)


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


# What it says


def test_numbers_are_those_of_the_comparison(feed, page):
    compared = compare_runs([feed.none, feed.ig], draws=DRAWS)
    shown = table(page, "Metrics on the test part")
    assert list(shown) == ["none", "ig", *compared.assessments["none"].baselines]
    for name, assessment in compared.assessments.items():
        own = assessment.backbone
        for metric, head in (("auc", "AUC"), ("log_loss", "log loss")):
            cell = shown[name][head]
            assert cell.text == f"{own.values[metric]:.4f}"
            assert cell.order == own.values[metric]
            low, high = own.intervals[metric]
            assert cell.detail == f"{low:.4f} to {high:.4f}"
    difference = compared.differences["ig"]["gauc"]
    cell = table(page, "Difference from none")["ig"]["GAUC"]
    assert cell.order == difference.value
    assert cell.tone == outcome("gauc", difference)
    assert shown["random"]["log loss"].text == decimals(None)


def test_reliability_is_that_of_the_test_rows(feed, page):
    test = Dataset.open(feed.dataset).test
    logits = Run.open(feed.ig).score(test.users, test.items).astype(np.float64)
    expected = calibration(test.labels, 1 / (1 + np.exp(-logits)))
    cell = table(page, "Calibration errors")["ig"]
    assert cell["ECE"].order == pytest.approx(expected.ece)
    assert cell["Brier"].order == pytest.approx(expected.brier)


def test_charts_hold_what_the_records_hold(feed, found, page):
    charts = {chart.title: chart for chart in blocks_of(page, Chart)}
    losses = [epoch["valid"]["auc"] for epoch in Run.open(feed.ig).epochs]
    assert [r["value"] for r in rows_of(charts["Validation AUC"]) if r["run"] == "ig"] == losses
    (record,) = [record for record in found[0] if record.name == "ig"]
    (judged,) = [chart for title, chart in charts.items() if title.startswith("ig: judges' loss")]
    assert [r["loss"] for r in rows_of(judged)] == list(record.judges.losses)
    last = next(chart for title, chart in charts.items() if title.startswith("ig, last epoch"))
    weights = np.load(feed.ig / "beliefs-last.npy")
    assert sum(r["part"] for r in rows_of(last)) == pytest.approx(1)
    assert sum(row[1].order for row in last.table.rows) == len(weights)


def test_charts_are_such_as_vega_lite_knows(page):
    charts = [*blocks_of(page, Chart)]
    assert len(charts) == 12
    for chart in charts:
        assert_drawable(chart.spec)
    with pytest.raises(ValidationError, match="bars"):
        assert_drawable(charts[0].spec | {"layer": [{"mark": "bars"}]})


def assert_drawable(spec):
    (alt.LayerChart if "layer" in spec else alt.Chart).validate(spec)


def rows_of(chart):
    """The longest data within a chart."""
    todo, data = [chart.spec], []
    while todo:
        node = todo.pop()
        data += [node["data"]["values"]] if "data" in node else []
        todo += node.get("layer", [])
    return max(data, key=len)


def test_the_settings_that_differ_and_the_commands_that_repeat(page):
    differing = table(page, "Settings in which the runs differ")
    assert differing["ig"]["strategy"].text == "ig"
    assert "epochs" not in differing["ig"]
    command = next(code for code in blocks_of(page, Code) if code.open).text.splitlines()
    assert command[-1].startswith("invlearn report ")
    assert command[1].split()[:2] == ["invlearn", "train"]
    assert "ig/config.yaml" in command[1]
    yamls = [code.text for code in blocks_of(page, Code) if code.label == "Every setting of ig"]
    assert yaml.safe_load(yamls[0])["strategy"] == "ig"


def test_a_sweep_of_alpha_is_found_and_drawn(feed, tmp_path):
    runs = []
    for alpha in (0.05, 0.1, 0.5):
        run = copied(feed.ig, tmp_path, f"ig-{alpha}")
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["method"]["alpha_ratio"] = alpha
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        runs.append(run)
    records = read_records([feed.none, *runs])
    assert sweep(records) == {"ig-0.05": 0.05, "ig-0.1": 0.1, "ig-0.5": 0.5}
    assert sweep(read_records([feed.none, feed.ig])) == {}
    page = page_of(records, measured(records, draws=0))
    assert list(table(page, "Metrics by alpha")) == ["ig-0.05", "ig-0.1", "ig-0.5"]
    for chart in blocks_of(page, Chart):
        assert_drawable(chart.spec)


def test_an_annotation_in_the_run_folder_is_drawn(feed, tmp_path):
    run = copied(feed.ig, tmp_path)
    done("annotate", run, "--out", run / "annotation.parquet")
    test = json.loads((run / "annotation.json").read_text())["test"]
    (record,) = read_records([run])
    assert (record.annotation.ece, record.annotation.brier) == (test["ece"], test["brier"])
    assert [b._asdict() for b in record.annotation.table] == test["table"]
    page = tmp_path / "page.html"
    done("report", run, "--out", page)
    assert "Probabilities, as invlearn annotate calibrated them" in page.read_text()


@pytest.mark.parametrize("changed", [{"epoch": 99}, {"fingerprint": "0"}, {"test": {}}, None])
def test_an_annotation_of_something_else_is_to_be_made_again(changed, feed, tmp_path):
    run = copied(feed.ig, tmp_path)
    done("annotate", run, "--out", run / "annotation.parquet")
    if changed is None:
        (run / "annotation.json").write_text("[")
    else:
        change(run / "annotation.json", **changed)
    answer = call("report", run, "--out", tmp_path / "page.html")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert f"annotate again with `invlearn annotate {run} --out {run}/annotation" in answer.err
    assert not (tmp_path / "page.html").exists()


def test_a_run_may_have_a_baseline_s_name(feed, tmp_path):
    run = copied(feed.ig, tmp_path, "random")
    records = read_records([run])
    (results,) = found = measured(records, draws=0)
    page = page_of(records, found)
    charts = {chart.title: chart for chart in blocks_of(page, Chart)}
    drawn = {r["run"]: r["value"] for r in rows_of(charts["AUC (higher is better)"])}
    assert drawn["random"] == results.runs["random"]["auc"].value
    assert drawn["random (baseline)"] == results.baselines["random"]["auc"].value
    losses = {r["run"] for r in rows_of(charts["log loss (lower is better)"])}
    assert "random" in losses
    assert "random (baseline)" not in losses
    (metrics,) = [t for t in blocks_of(page, Table) if t.caption.startswith("Metrics on the test")]
    own = [row[-1].text for row in metrics.rows if row[0].text == "random"]
    assert own == [decimals(results.runs["random"]["log_loss"].value), decimals(None)]


@pytest.mark.parametrize(("seeds", "said"), [
    ((0, 0, 0), "One seed each: "),
    ((0, 1, 0), "One seed of 1 of 2: "),
    ((0, 1, None), None),
])  # fmt: skip
def test_settings_that_rest_on_one_seed_are_named_as_such(feed, tmp_path, seeds, said):
    """The third has other settings, though the same method."""
    runs = []
    for number, seed in enumerate(seeds):
        if seed is not None:
            runs.append(copied(feed.ig, tmp_path, f"ig-{number}"))
            config = yaml.safe_load((runs[-1] / "config.yaml").read_text())
            config |= {"seed": seed, "batch_size": 64 if number == 2 else 128}
            (runs[-1] / "config.yaml").write_text(yaml.safe_dump(config))
    records = read_records(runs)
    found = words(page_of(records, measured(records, draws=0)))
    assert said in found if said else "One seed" not in found


@pytest.mark.parametrize("named", [".", "../run", "whole"])
def test_a_report_from_within_a_run_says_how_to_train_it_beside(feed, tmp_path, named, monkeypatch):
    run = copied(feed.none, tmp_path)
    monkeypatch.chdir(run)
    records = read_records([run if named == "whole" else named])
    page = page_of(records, measured(records, draws=0))
    command = next(code for code in blocks_of(page, Code) if code.open).text.splitlines()[0]
    parts = shlex.split(command)
    assert (run / parts[parts.index("--out") + 1]).resolve() == tmp_path / "run-again"
    assert (run / parts[parts.index("--config") + 1]).resolve() == run / "config.yaml"


# What is missing


def test_without_its_dataset_a_run_shows_what_it_recorded(feed, tmp_path, monkeypatch):
    run = copied(feed.ig, tmp_path, "ig")
    change(run / "run.json", dataset=str(tmp_path / "gone"))
    records = read_records([run])
    (results,) = found = measured(records, draws=DRAWS)
    test = json.loads((run / "test.json").read_text())
    assert results.runs["ig"]["auc"] == (test["auc"], *test["intervals"]["auc"])
    assert results.baselines["random"]["auc"].value == test["baselines"]["random"]["auc"]
    page = page_of(records, found)
    assert "gone does not exist" in words(page)
    told = words(page)
    assert "item-rate and item+user-rate were measured; exposure-factors was not" in told
    assert "strongest trivial baseline is" not in told
    assert "reliability" not in {section.key for section in page.sections}
    moved = measured(records, dataset=feed.dataset, draws=DRAWS)
    assert not moved[0].missing
    told = words(page_of(records, moved))
    assert "measured;" not in told
    monkeypatch.chdir(feed.dataset)
    (here,) = measured(records, dataset=Path(), draws=0)
    assert (here.dataset, here.missing) == (feed.dataset.name, "")
    change(run / "run.json", fingerprint="f" * 64)
    with pytest.raises(RunError, match="the dataset of none of these runs"):
        measured(read_records([run]), dataset=feed.dataset)


def test_a_run_that_has_not_finished_is_measured_at_its_best_epoch(feed, tmp_path):
    run = copied(feed.ig, tmp_path, "half")
    (run / "test.json").unlink()
    records = read_records([feed.none, run])
    page = page_of(records, measured(records, draws=DRAWS))
    assert "half has not finished" in words(page)
    assert "half" in table(page, "Metrics on the test part")
    assert rendered(page)


def test_a_run_without_an_epoch_does_not_spoil_the_others(feed, tmp_path):
    run = copied(feed.none, tmp_path, "new")
    for name in ("test.json", "epochs.jsonl", "steps.jsonl"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints")
    for runs in ([run], [feed.none, feed.ig, run]):
        records = read_records(runs)
        page = page_of(records, measured(records, draws=DRAWS))
        assert "new has not finished" in words(page)
        assert rendered(page)
    assert list(table(page, "Difference from none")) == ["ig"]


def test_runs_of_different_datasets_are_never_compared_across(feed, tmp_path):
    run = copied(feed.ig, tmp_path, "other")
    change(run / "run.json", fingerprint="f" * 64)
    records = read_records([feed.none, run])
    found = measured(records, draws=DRAWS)
    assert [list(results.runs) for results in found] == [["none"], ["other"]]
    change(run / "run.json", dataset="/somewhere/else")
    records = read_records([feed.none, run])
    found = measured(records, dataset=feed.dataset, draws=DRAWS)
    own = records[0].card.fingerprint[:8]
    assert [r.dataset for r in found] == [f"{feed.dataset.name} ({own})", "else (ffffffff)"]
    page = page_of(records, found)
    assert "2 different datasets" in words(page)
    assert "somewhere" in found[1].missing
    assert rendered(page)


def test_what_validation_decided_is_told(feed, tmp_path):
    run = copied(feed.none, tmp_path, "mixed")
    change(run / "test.json", fitted_on_validation={"exposures": 0.75, "rates": 0.25})
    records = read_records([run])
    page = page_of(records, measured(records, draws=0))
    told = [text.words for text in blocks_of(page, Text)]
    assert "Fitted on validation for mixed: exposures 0.75, rates 0.25." in told
    assert "mixed reaches an AUC of" in words(page)


def test_a_loss_that_is_no_number_is_a_gap(feed, tmp_path):
    run = copied(feed.none, tmp_path)
    with (run / "epochs.jsonl").open("a") as file:
        last = json.loads((run / "epochs.jsonl").read_text().splitlines()[-1])
        file.write(json.dumps(last | {"train_loss": float("nan"), "best": False}) + "\n")
    records = read_records([run])
    assert rendered(page_of(records, measured(records, draws=0)))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: (run / "run.json").unlink(), "no run.json"),
        (lambda run: (run / "epochs.jsonl").write_text("{]\n"), "is damaged"),
        (
            lambda run: (run / "epochs.jsonl").write_text('{"epoch": 0}\n'),
            "train_loss: a value is needed",
        ),
        (lambda run: (run / "epochs.jsonl").write_text("3\n"), "is damaged"),
        (lambda run: (run / "test.json").write_text("{}"), "auc: a value is needed"),
        (lambda run: (run / "environment.json").write_text("["), "is damaged"),
        (lambda run: (run / "experiment.yaml").touch(), "is an experiment, not a run"),
    ],
)
def test_what_is_no_run_is_said_in_one_sentence(feed, tmp_path, spoil, said):
    run = copied(feed.none, tmp_path)
    spoil(run)
    answer = call("report", run, "--out", tmp_path / "report.html")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert said in answer.err
    assert not (tmp_path / "report.html").exists()


def test_without_the_extra_it_says_what_to_install(feed, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "invlearn.runtime.environment.find_spec", lambda name: None if name == "jinja2" else 1
    )
    with pytest.raises(ConfigError, match=r"pip install 'invlearn\[report\]'"):
        invlearn.report([feed.none], tmp_path / "report.html")


def test_without_a_folder_for_it_nothing_is_measured(feed, tmp_path, monkeypatch):
    monkeypatch.setattr("invlearn.reporting.write.measured", None)
    with pytest.raises(InvlearnError, match=r"there is no folder .*none to write .*make it first"):
        invlearn.report([feed.none], tmp_path / "none" / "report.html")


# The command


def test_the_command_writes_once_and_says_what_it_found(feed, tmp_path):
    out = tmp_path / "report.html"
    said = done("report", feed.none, feed.ig, "-o", out, "--draws", DRAWS)
    assert "by AUC" in said
    assert max(map(len, said.splitlines())) <= 80
    before = out.read_bytes()
    answer = call("report", feed.none, "-o", out)
    assert (answer.code, out.read_bytes()) == (2, before)
    assert "already exists" in answer.err
    done("report", feed.none, feed.ig, "-o", out, "--draws", DRAWS, "--overwrite")
    assert out.read_bytes() == before
    assert call("report", feed.none, feed.none, "-o", tmp_path / "two.html").code == 2
    with pytest.raises(ConfigError, match="at least one run"):
        invlearn.report([], tmp_path / "none.html")


# The flow of the audit


@st.composite
def audits(draw):
    """Audits that add up: rows are dropped on the way and the rest is split."""
    n = st.integers(0, 1000)
    final = {kind: draw(n) for kind in ("positive", "negative", "unlabelled")}
    final["positive"] += 1
    lost = {kind: draw(n) for kind in final}
    bad = draw(n)
    labelled = Counts(**{kind: final[kind] + lost[kind] for kind in final}, users=1, items=1)
    read = Counts(0, 0, labelled.rows + bad, 1, 1)
    ends = {kind: sorted((draw(st.integers(0, final[kind])), draw(st.integers(0, final[kind]))))
            for kind in ("positive", "negative")}  # fmt: skip
    shares = {kind: (a, b - a, final[kind] - b) for kind, (a, b) in ends.items()}
    parts = {
        name: PartFacts(shares["positive"][at], shares["negative"][at], 1, 0, 0, 1)
        for at, name in enumerate(("train", "valid", "test"))
    }
    stages = (
        Stage("read", read, {}),
        Stage("label", labelled, {}),
        Stage("split", Counts(**final, users=1, items=1), {}),
    )
    return Audit(stages, 0, 0, parts)


@given(audits())
def test_every_row_of_the_log_flows_somewhere(audit):
    found = streams(audit)
    read = audit.stages[0].after.rows
    assert sum(s.rows for s in found if s.source == "log") == read
    middle = {s.target for s in found if s.source == "log"} - {"unusable"}
    for name in middle:
        into = sum(s.rows for s in found if s.target == name)
        assert into == sum(s.rows for s in found if s.source == name)
    ends = ("train", "valid", "test", "unlabelled part", "dropped", "unusable")
    assert sum(s.rows for s in found if s.target in ends) == read


@given(audits())
def test_bars_are_as_high_as_their_rows_are_many_and_never_overlap(audit):
    flow = draw(streams(audit))
    scale = HEIGHT / audit.stages[0].after.rows
    columns = {}
    for node in flow.bars:
        assert node.height == pytest.approx(node.rows * scale)
        assert node.y + node.height <= flow.height
        columns.setdefault(node.x, []).append(node)
    for nodes in columns.values():
        for above, below in pairwise(nodes):
            assert below.y - (above.y + above.height) == pytest.approx(GAP)


def test_an_audit_that_does_not_add_up_is_not_drawn():
    counts = Counts(5, 5, 5, 1, 1)
    more = Counts(9, 5, 5, 1, 1)
    part = PartFacts(9, 5, 1, 0, 0, 1)
    stages = (Stage("read", counts, {}), Stage("label", counts, {}), Stage("split", more, {}))
    audit = Audit(stages, 0, 0, {"train": part})
    assert streams(audit) is None


# The page is safe


class Reader(HTMLParser):
    """Scripts, addresses and handlers of a page."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.addresses, self.handlers, self.policy = [], [], [], ""
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self._in_script = tag == "script" and given.get("type") != "application/json"
        self.addresses += [v for k, v in attributes if k in ("src", "href", "action")]
        self.handlers += [k for k, _ in attributes if k.startswith("on")]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        if self._in_script:
            self.scripts.append("")

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data

    def handle_endtag(self, tag):
        self._in_script = False


def test_the_page_runs_its_own_scripts_and_asks_nobody(feed, tmp_path):
    place = tmp_path / "<script>alert(1)<" / "script>"
    place.mkdir(parents=True)
    names = ["none", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}", "naïve run & 推荐"]
    runs = [place / name for name in names]
    for run in runs:
        run.symlink_to(feed.none)
    runs.append(feed.none)  # two of one name are told apart by their whole path
    out = invlearn.report(runs, tmp_path / "report.html", draws=DRAWS).file
    read = Reader(out.read_text(encoding="utf-8"))
    assert len(read.scripts) == 2
    for script in read.scripts:
        assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in read.policy
    assert read.handlers == []
    assert [a for a in read.addresses if not a.startswith(("#", "data:"))] == []
    assert "default-src 'none'" in read.policy
    assert "unsafe-eval" not in read.policy
    assert "script-src 'unsafe-inline'" not in read.policy
    assert "<img" not in out.read_text(encoding="utf-8")


@settings(max_examples=40)
@given(st.text(max_size=20) | st.dictionaries(st.text(max_size=9), st.text(max_size=9)))
def test_json_in_the_page_cannot_end_its_script(value):
    text = as_json(value)
    assert "<" not in text
    assert json.loads(text) == value


def test_code_in_the_page_cannot_end_its_script():
    assert "</script" not in in_script('x = "</script>"')
    assert "<!--" not in in_script('x = "<!--"')


def test_a_page_of_nothing_is_a_page():
    assert "<h1>nothing</h1>" in rendered(Page("nothing", (), (), (), "invlearn"))
