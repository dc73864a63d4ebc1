"""The page about the paper: every sentence goes by the numbers."""

import re
from copy import deepcopy

import pytest

from invlearn.paper.drawing import dots_of
from invlearn.paper.outcome import number, outcome
from invlearn.paper.page import page
from invlearn.paper.plan import tuned_plan
from invlearn.paper.results import Gap, Results, Table
from invlearn.paper.rows import figures
from invlearn.paper.verdict import STAND_IN
from invlearn.runtime.errors import ConfigError
from trees import difference, measured, plot, table, tree, ways_of


def said(text):
    return " ".join(text.split("## The verdict")[1].split("\n## ")[0].split())


TIE, WIN, LOSS = (-0.001, 0.002), (0.001, 0.003), (-0.003, -0.001)
TINY = (0.0001, 0.0003)


def test_the_page_is_a_function_of_its_tree():
    made = tree(difference("IG released", "IG ablated", TIE))
    before = deepcopy(made)
    text = page(made)
    assert made == before
    assert page(Results.model_validate(made).model_dump(mode="json")) == text
    ways_of(made, "GMF IG")["released"]["metrics"]["auc"]["mean"] += 0.1
    assert page(made) != text


@pytest.mark.parametrize(
    ("gap", "words", "others"),
    [
        (
            TIE,
            "tie, so these runs show no difference",
            ["is ahead", "is behind", "another seed do"],
        ),
        (WIN, "is ahead of the same loop without its unlabelled step by AUC, GAUC and", ["tie"]),
        (LOSS, "is behind the same loop without its unlabelled step by AUC, GAUC and", ["tie"]),
        (TINY, "by less than another seed does (AUC ± .0009), less than", ["tie", "is ahead"]),
    ],
)
def test_the_ablation_is_told_by_its_interval(gap, words, others):
    text = said(page(tree(difference("IG released", "IG ablated", gap))))
    assert words in text
    assert not any(other in text for other in others)


def test_the_unlabelled_steps_part_of_the_published_gain_is_said():
    made = tree(difference("IG released", "IG ablated", (0.00647, 0.01941)))
    assert "+.0647 AUC; the unlabelled step makes 20.0% of that (10.0% to 30.0%)" in said(
        page(made)
    )


def test_what_is_negligible_is_less_than_another_seed_does_only_if_it_is():
    made = tree(difference("IG released", "IG ablated", (-0.0003, 0.0001), auc=TINY))
    assert "less than another seed does (AUC ± .0009): AUC +.0002" in said(page(made))
    ways_of(made, "GMF IG")["released"]["metrics"]["auc"]["sd"] = 0.0002
    assert "by a negligible AUC: AUC +.0002" in said(page(made))


def test_the_papers_own_comparison_has_a_sentence():
    made = tree(difference("IG released", "None printed", WIN, gauc=TIE))
    words = "IG as released is ahead of plain training on the labelled pairs as printed by AUC and"
    assert f"The paper's own comparison: {words} NDCG@20: AUC +.0020" in said(page(made))


@pytest.mark.parametrize(("gap", "gains"), [(WIN, True), (TIE, False), (LOSS, False)])
def test_what_else_the_released_loop_gains_is_told_only_if_it_gains(gap, gains):
    printed = difference("IG released", "None printed", gap)
    text = said(page(tree(printed, difference("IG released", "IG ablated", TIE))))
    assert ("What else the released loop gains" in text) == gains


def test_a_side_that_had_to_stop_early_is_named():
    made = tree(difference("None tuned", "IG released", WIN))
    words = "IG as released was best in the last of its 10 epochs in most seeds; the other could go"
    for best, cap, is_told in (([9] * 5, 30, False), ([10] * 5, 30, True), ([10] * 5, 10, False)):
        ways_of(made, "GMF IG")["released"] |= {"best_epochs": best, "epoch_cap": 10}
        ways_of(made, "GMF None")["tuned"] = measured({"auc": 0.8}, epoch_cap=cap)
        assert (f"{words} on to 30." in said(page(made))) == is_told


@pytest.mark.parametrize(
    ("gap", "words", "others"),
    [
        (TIE, "room for one of up to +.0020 (", ["use IG", "it is behind"]),
        (WIN, "use IG, and tune the learning rate with it: on equal terms it is ahead", ["room"]),
        (LOSS, "Every interval lies below 0: it is behind", ["use IG", "room"]),
        (TINY, "up to +.0003 (NDCG@20 with GMF), which is negligible", ["use IG"]),
        (None, "not measured", ["use IG", "room"]),
    ],
)
def test_the_advice_follows_the_tuned_difference(gap, words, others):
    differences = [difference("IG tuned", "None tuned", gap)] if gap else []
    advice = said(page(tree(*differences))).split("**What to do:**")[1]
    assert words in advice
    assert not any(other in advice for other in others)


def test_a_win_by_one_metric_is_told_by_its_name():
    text = said(page(tree(difference("IG tuned", "None tuned", TIE, gauc=WIN))))
    assert "IG is ahead of plain training by GAUC: AUC" in text
    assert "on equal terms it is ahead of plain training by GAUC with GMF." in text


def test_wins_and_losses_together_are_told_as_both():
    mixed = difference("None tuned", "IG released", WIN, gauc=LOSS)
    words = "is ahead of IG as released by AUC and NDCG@20 and behind by GAUC"
    assert words in said(page(tree(mixed)))
    text = said(page(tree(difference("IG tuned", "None tuned", LOSS, auc=WIN))))
    assert "IG is ahead by AUC with GMF, and not elsewhere" in text


def test_published_numbers_are_told_by_their_distance_and_never_by_an_interval():
    made = tree()
    auc = ways_of(made, "GMF IG")["released"]["metrics"]["auc"]
    auc |= {"mean": 0.8318 - 0.0029}
    assert "AUC -.0029 (within .0030; another seed: ± .0009); GAUC +.0010" in said(page(made))
    auc |= {"mean": 0.8318 + 0.0031, "sd": None}
    assert "AUC +.0031 (not within .0030; one seed); GAUC" in said(page(made))
    assert "inside" not in said(page(made))


def test_every_row_is_set_against_the_published_one():
    made = tree()
    ways_of(made, "GMF NS")["printed"]["metrics"]["auc"]["mean"] = 0.7
    text = said(page(made))
    assert "as printed None +.0010, NS -.0639, T-CE +.0010" in text
    assert "(5 of 6 within .0030); as released IDL +.0010, IG +.0010 (2 of 2" in text
    assert "still improving" not in text
    for name in ("GMF NS", "GMF IG"):
        ways_of(made, name)["printed"]["best_epochs"] = [10, 9, 10, 10]
    ways_of(made, "GMF IDL")["printed"]["best_epochs"] = [10, 9]
    assert "Of the 6 rows as printed, 2 were best in the last of their 10 epochs" in said(
        page(made)
    )


def test_the_opening_says_how_to_read_intervals_and_what_tuned_is():
    made = tree(
        difference("IG released", "IG ablated", TIE), difference("IG tuned", "None tuned", WIN)
    )
    ways_of(made, "GMF NS")["printed"]["metrics"]["auc"]["sd"] = 0.0042
    opening = page(made).split("## The verdict")[0]
    assert "There are 6 of differences on this page (2 comparisons" in opening
    assert "about 0.3 would exclude it" in opening
    assert "within ±.0010" in opening
    assert "± .0009 to .0042" in opening
    assert "unless there is only one, the seed" in opening
    plan = tuned_plan()
    settings = plan["settings"]
    for words in (
        f"search of {plan['tuning']['trials']} trials",
        f"at most {settings['epochs']} epochs, with patience {settings['patience']}",
        "lazy Adam",
        "chosen by validation AUC",
    ):
        assert words in opening


def test_the_opening_follows_the_plan(monkeypatch):
    plan = tuned_plan()
    plan["tuning"]["trials"] = 77
    plan["settings"] |= {"store": "dense", "epochs": 78, "select_by": "log_loss"}
    monkeypatch.setattr("invlearn.paper.page.tuned_plan", lambda: plan)
    opening = page(tree()).split("## The verdict")[0]
    assert "77 trials" in opening
    assert "at most 78 epochs" in opening
    assert "validation log_loss" in opening
    assert "lazy" not in opening


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
    assert "| 21.3 (cap) |" in line
    assert "| 7, 2, 1 |" in line
    assert "optimizer.lr 0.03 (end), optimizer.l2 0 " in line
    assert text.count("(cap) ") == 1
    assert "What failed" not in page(tree())


def test_what_is_simulated_is_marked_wherever_it_stands():
    tables = [table("micro-video", stand_in="Made by simulate.")]
    simulated = difference("IG tuned", "None tuned", WIN, dataset="micro-video")
    ablated = difference("IG released", "IG ablated", TIE, dataset="micro-video")
    made = tree(simulated, ablated, tables=tables)
    text = page(made)
    headings = [line for line in text.splitlines() if re.match(r"#+ .*Micro Video", line)]
    assert len(headings) == 5
    assert all(STAND_IN in heading for heading in headings)
    sentences = text.split("## The verdict")[1].split("\n## ")[0].splitlines()
    lines = [line for line in sentences if "GMF" in line or "NeuMF" in line]
    assert lines
    assert all(STAND_IN in line for line in lines)
    # A win on simulated data is no advice, and nothing published is reproduced there.
    assert "not measured" in said(text)
    assert "less published" not in said(text)
    assert "published gain" not in said(text)


def test_published_dots_stand_beside_values_of_the_same_data_only():
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


def test_tables_stand_straight_and_are_whole():
    text = page(tree(difference("IG released", "IG ablated", TIE)))
    blocks = re.findall(r"(?:^\|.*\|\n)+", text + "\n", re.M)
    assert len(blocks) == 4
    for block in blocks:
        lines = block.splitlines()
        assert len({len(line) for line in lines}) == 1
        assert len({line.count("|") for line in lines}) == 1
    assert "| IG     | AUC     | .8318     | .8328 ± .0009 | .8328 ± .0009 | -     |" in text


def test_a_tree_that_does_not_fit_is_an_error():
    made = tree()
    made["tables"][0]["fingerprnt"] = "x"
    with pytest.raises(ConfigError, match=r"tables\.0\.fingerprnt: unknown option"):
        page(made)


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
    made = tree(difference("IG tuned", "None tuned", ends))
    assert f"{word} |" in page(made)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.99999, "1.0000"), (-0.00001, "+.0000"), (0.5, "+.5000"), (-1.25, "-1.2500")],
)
def test_numbers_read_alike(value, text):
    assert number(value, signed=True).lstrip("+") == text.lstrip("+")
