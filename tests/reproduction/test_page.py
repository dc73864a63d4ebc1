"""The page about the paper: its tables and marks go by the numbers."""

import re

import pytest
from trees import difference, measured, plot, table, tree, ways_of

from conftest import ROOT
from reproduction import page as page_module
from reproduction.figures import dots_of
from reproduction.formatting import number, outcome
from reproduction.page import STAND_IN, headlines
from reproduction.plans import figures, tuned_plan
from reproduction.reproduce import write_page
from reproduction.results import Gap, Results, Table, read_results

TIE, WIN, LOSS = (-0.001, 0.002), (0.001, 0.003), (-0.003, -0.001)
PLACE = ROOT / "docs" / "paper"


def page(made, notes=""):
    return page_module.page(Results.model_validate(made), notes)


def lines_of(text, title):
    """Cells of the table below a heading."""
    block = text.split(f"# {title}\n")[1].split("\n#")[0]
    return [[c.strip() for c in x.split("|")[1:-1]] for x in block.splitlines() if x[:1] == "|"]


def test_the_page_in_the_docs_says_what_its_data_say(tmp_path):
    (tmp_path / "paper").mkdir()
    for name in ("results.json", "notes.txt"):
        (tmp_path / "paper" / name).write_bytes((PLACE / name).read_bytes())
    write_page(tmp_path / "paper.md")
    text = (ROOT / "docs" / "paper.md").read_text()
    assert text == (tmp_path / "paper.md").read_text()
    for named in re.findall(r"\((paper/[^)]+)\)", text):
        assert (PLACE.parent / named).is_file(), named


def test_every_number_of_the_notes_stands_in_a_table_or_text_of_the_page():
    text = page_module.page(read_results(PLACE / "results.json"))
    numbers = re.findall(r"[+-]?\.\d{4}|\d\.\d%|\d+ of \d+", (PLACE / "notes.txt").read_text())
    assert len(numbers) > 10
    assert [n for n in numbers if n not in text] == []


def test_the_published_numbers_of_the_page_are_those_of_the_data_files():
    for found in read_results(PLACE / "results.json").tables:
        expected = {
            (r["backbone"], r["method"]): r["published"] for r in table(found.dataset)["rows"]
        }
        assert {(r.backbone, r.method): r.published.model_dump() for r in found.rows} == expected


def test_notes_are_shown_below_the_opening():
    assert "## What we found\n\nIt works.\n\n## Table 2" in page(tree(), "It works.\n")
    assert "What we found" not in page(tree())


@pytest.mark.parametrize(
    ("gap", "word"),
    [(TIE, "tie"), (WIN, "ahead"), (LOSS, "behind"), ((0.0001, 0.0003), "negligible")],
)
def test_main_comparisons_are_marked_by_their_intervals(gap, word):
    made = tree(
        difference("IG released", "IG ablated", gap, gauc=WIN),
        difference("NS printed", "None printed", gap),
    )
    text = page(made)
    ((_, *cells),) = lines_of(text, "Main comparisons, ML-1M")[2:3]
    assert cells[:2] == ["IG as released - no unlabelled step", "5"]
    assert cells[2].endswith(f"), {word}")
    assert cells[3] == "+.0020 (+.0010 to +.0030), ahead"
    assert len(lines_of(text, "Paired differences, ML-1M")) == 2 + 2
    first, line = headlines(Results.model_validate(made))
    assert first == "GMF, ML-1M, AUC:"
    assert line == f"  IG as released - no unlabelled step: {cells[2]}"
    assert len(line) < 80


def test_the_unlabelled_steps_part_of_the_published_gain():
    made = tree(difference("IG released", "IG ablated", (0.00647, 0.01941)))
    assert "| GMF      | +.0647         | 20.0% (10.0% to 30.0%) " in page(made)


def test_every_row_is_set_against_the_published_one():
    made = tree()
    ways_of(made, "GMF NS")["printed"]["metrics"]["auc"]["mean"] = 0.7
    for name in ("GMF NS", "GMF IG"):
        ways_of(made, name)["printed"]["best_epochs"] = [10, 9, 10, 10]
    ways_of(made, "GMF IDL")["printed"]["best_epochs"] = [10, 9]
    lines = lines_of(page(made), "Measured less published, ML-1M")
    assert ["GMF", "NS", "as printed", "-.0639", "**+.0010**", "**+.0010**"] in lines
    assert ["GMF", "as printed", "5 of 6", "2 of 6"] in lines
    assert ["GMF", "as released", "2 of 2", "0 of 2"] in lines


def test_the_opening_says_how_many_intervals_there_are_and_what_tuned_is():
    made = tree(
        difference("IG released", "IG ablated", TIE), difference("IG tuned", "None tuned", WIN)
    )
    ways_of(made, "GMF NS")["printed"]["metrics"]["auc"]["sd"] = 0.0042
    opening = " ".join(page(made).split("## Main comparisons")[0].split())
    plan = tuned_plan()
    settings = plan["settings"]
    assert "store" not in settings  # the page says that it is the row store
    for words in (
        "shows 6 intervals of differences (2 comparisons, 3 metrics each)",
        "about 0.3 of them would exclude 0",
        "within ±.0010",
        "± .0009 to .0042",
        f"search of {plan['tuning']['trials']} trials",
        f"at most {settings['epochs']} epochs with patience {settings['patience']}",
        "by validation AUC",
    ):
        assert words in opening


def test_what_is_missing_or_at_an_end_is_marked():
    made = tree()
    ways_of(made, "GMF IG")["tuned"] = measured(
        {"auc": 0.8},
        n_seeds=3,
        best_epochs=[30, 30, 4],
        epoch_cap=30,
        settings={"optimizer.lr": 0.03, "optimizer.l2": 0.0},
        at_end=["optimizer.lr"],
        trials={"complete": 7, "pruned": 2, "failed": 1},
    )
    made["tables"][0]["failures"] = {"GMF IG tuned": ["seed 3: loss is NaN"], "GMF NS tuned": []}
    text = page(made)
    assert ".8000 ± .0009 (3 of 5 seeds)" in text
    assert text.count("of 5 seeds)") == 1
    assert "### What failed, ML-1M\n\n* GMF IG tuned, seed 3: loss is NaN\n" in text
    (line,) = [line for line in text.splitlines() if "optimizer.lr" in line]
    assert "| 21.3 of 30 (cap) |" in line
    assert "| 7, 2, 1 |" in line
    assert "optimizer.lr 0.03 (end), optimizer.l2 0 " in line
    assert text.count("(cap) ") == 1
    assert "What failed" not in page(tree())


def test_what_is_simulated_is_marked_wherever_it_stands():
    made = tree(
        difference("IG released", "IG ablated", TIE, dataset="micro-video"),
        tables=[table("micro-video", stand_in="Made by simulate.")],
    )
    text = page(made)
    headings = [line for line in text.splitlines() if re.match(r"#+ .*Micro Video", line)]
    assert len(headings) == 6
    assert all(STAND_IN in heading for heading in headings)
    assert STAND_IN in next(headlines(Results.model_validate(made)))
    # Nothing published is reproduced on simulated data.
    assert "less published" not in text
    assert "published gain" not in text


def test_published_dots_are_drawn_with_values_of_the_same_data_only():
    real = {dot.variant for dot in dots_of(Table.model_validate(table("ml-1m")))}
    simulated = {
        dot.variant for dot in dots_of(Table.model_validate(table("micro-video", "Made.")))
    }
    assert real == {"published", "as printed", "as released"}
    assert simulated == {"as printed", "as released"}


def test_figures_of_simulated_data_say_so():
    for figure in figures():
        marked = [STAND_IN in f"{figure.title} {panel.title}" for panel in figure.panels]
        assert marked == [panel.dataset == "micro-video" for panel in figure.panels]
    made = [plot("Beliefs", stand_in=True), plot(f"Judges, {STAND_IN}", stand_in=True)]
    headings = [line for line in page(tree() | {"plots": made}).splitlines() if line[:4] == "### "]
    assert [heading.count(STAND_IN) for heading in headings if "ML-1M" not in heading] == [1, 1]


def test_tables_are_aligned_and_whole():
    text = page(tree(difference("IG released", "IG ablated", TIE)))
    blocks = re.findall(r"(?:^\|.*\|\n)+", text + "\n", re.M)
    assert len(blocks) == 8
    for block in blocks:
        lines = block.splitlines()
        assert len({len(line) for line in lines}) == 1
        assert len({line.count("|") for line in lines}) == 1
    assert "| IG     | AUC     | .8318     | .8328 ± .0009 | .8328 ± .0009 | -     |" in text


@pytest.mark.parametrize(
    ("ends", "word"),
    [
        ((0.0, 0.2), "tie"),
        ((-0.2, 0.0), "tie"),
        ((-0.0001, 0.0001), "tie"),
        ((0.0001, 0.00099), "negligible"),
        ((-0.00099, -0.0001), "negligible"),
        ((0.0001, 0.001), "ahead"),
        ((-0.001, -0.0001), "behind"),
    ],
)
def test_an_interval_is_read_by_its_ends(ends, word):
    assert outcome(Gap(mean=sum(ends) / 2, low=ends[0], high=ends[1])) == word
    assert f"), {word} |" in page(tree(difference("IG tuned", "None tuned", ends)))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.99999, "1.0000"), (-0.00001, "+.0000"), (0.5, "+.5000"), (-1.25, "-1.2500")],
)
def test_numbers_are_written_alike(value, text):
    assert number(value, signed=True).lstrip("+") == text.lstrip("+")
