"""The examples of the documentation run, in order, in one folder; the file tree is true."""

import re
import shlex
import sys
from functools import partial
from types import ModuleType

import pytest
import yaml
from cyclopts import CycloptsError
from test_pages import PAGES as COMPARED

import invlearn
from conftest import ROOT
from invlearn.cli.main import app, main
from invlearn.experiments.grid import (
    SEARCH,
    STRATEGY_SEARCH,
    Entry,
    Experiment,
    TuningPlan,
    load_experiment,
)
from invlearn.experiments.search import Choices, Range
from reproduction.plans import SEEDS
from test_layers import PACKAGES

PAGES = (
    "README.md",
    "docs/data.md",
    "docs/training.md",
    "docs/scale.md",
    "docs/experiments.md",
    "docs/annotation.md",
    "docs/report.md",
    "docs/using.md",
)
EXPERIMENTS = (ROOT / "docs" / "experiments.md").read_text()
TABLES = {
    "the file": Experiment,
    "`tuning`": TuningPlan,
    "an entry": Entry,
    "a range": Range,
    "choices": Choices,
}


def examples(page):
    """Code blocks of a page: language and text; a block announced as `not run` is left out."""
    text = (ROOT / page).read_text()
    found = re.findall(r"(<!-- not run[^\n]*\n+)?```(sh|python)\n(.*?)```", text, flags=re.DOTALL)
    return [(language, block) for skipped, language, block in found if not skipped]


def test_examples_run_in_order(tmp_path, monkeypatch, capsys):
    """Of a smaller log than that of the pages, whose numbers nothing here looks at."""
    small = partial(invlearn.simulate, users=600, items=400, rows=40_000)
    monkeypatch.setitem(vars(invlearn), "simulate", small)
    monkeypatch.chdir(tmp_path)
    module = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    blocks = [block for page in PAGES for block in examples(page)]
    assert [language for language, _ in blocks].count("python") >= 3
    for language, block in blocks:
        if language == "python":
            exec(compile(block, "<example>", "exec"), module.__dict__)
        for line in block.replace("\\\n", " ").splitlines() if language == "sh" else []:
            if line.startswith("invlearn "):
                with pytest.raises(SystemExit) as left:
                    main(shlex.split(line)[1:])
                assert left.value.code == 0, line
    out = capsys.readouterr().out
    assert "means, below them the difference from none" in out
    assert re.search(r"AUC 0\.\d\d, by rates 0\.\d\d", out)


def test_every_page_with_examples_is_one_that_a_test_names():
    tests = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("*.py"))
    named = {*PAGES, *(f"docs/{name}.md" for name in COMPARED)}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in (str(file.relative_to(ROOT)) for file in pages):
        shown = re.search(r"```console\n", (ROOT / page).read_text())
        if examples(page) or shown:
            assert page in named or page.rpartition("/")[2] in tests, page


def shown_commands():
    """Every command of the pages but of the one on errors, which are made on purpose."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in (page for page in pages if page.name != "faq.md"):
        blocks = re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(), re.DOTALL)
        for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
            if line.removeprefix("$ ").startswith("invlearn "):
                yield page.name, shlex.split(line.removeprefix("$ "), comments=True)[1:]


def test_commands_that_are_shown_exist_with_their_options_also_where_they_are_not_run():
    commands = list(shown_commands())
    assert len(commands) > 20
    for page, words in commands:
        try:
            app.parse_args(words, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            pytest.fail(f"{page}: {' '.join(words)}: {error}")


def test_the_table_of_packages_on_the_design_page_is_the_order_of_the_layers():
    page = (ROOT / "docs" / "design.md").read_text()
    table = page.partition("| package | purpose |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)/`", table, re.MULTILINE) == list(PACKAGES)


ALL_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_no_page_has_a_part_twice(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ .*", text, flags=re.MULTILINE)
    assert len(headings) == len(set(headings))


@pytest.mark.parametrize("title", TABLES)
def test_every_key_of_an_experiment_stands_on_its_page_with_its_default(title):
    table = re.search(rf"\| key of {title} \|.*?\n\|---.*?\n((?:\|.*\n)+)", EXPERIMENTS)
    assert table
    rows = [[cell.strip(" `") for cell in line.split("|")[1:3]] for line in table[1].splitlines()]
    fields = TABLES[title].model_fields
    assert [name for name, _ in rows] == [*fields]
    for name, default in rows:
        if fields[name].is_required():
            assert default == "required"
        elif default not in ("below", "as in the file above"):
            value = fields[name].get_default(call_default_factory=True)
            expected = [*value] if isinstance(value, tuple) else value
            assert yaml.safe_load(default) == expected, name


def test_the_experiment_file_on_its_page_is_one_with_every_key_and_the_default_search():
    file, own, whole = [
        yaml.safe_load(block)
        for block in re.findall(r"```yaml\n(.*?)```", EXPERIMENTS, flags=re.DOTALL)
    ]
    experiment = load_experiment(file)
    assert set(file) == set(Experiment.model_fields)
    assert set(file["tuning"]) == set(TuningPlan.model_fields)
    assert experiment.tuning == TuningPlan()
    ranges = {
        name: {key: (Range if "low" in r else Choices)(**r) for key, r in keys.items()}
        for name, keys in own.items()
    }
    assert (ranges, experiment.tuning.search) == (STRATEGY_SEARCH, SEARCH)
    assert [*load_experiment(whole).strategies] == [*whole["methods"]]


def test_the_page_on_experiments_names_every_way_to_repeat_the_paper():
    assert all(f"`{way}`" in EXPERIMENTS for way in SEEDS)
