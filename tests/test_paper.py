"""The paper as data: rows that load, figures that count right, a page that goes by intervals."""

import json
import re

import numpy as np
import pytest

from conftest import ROOT
from invlearn.errors import ConfigError, RunError
from invlearn.paper.figures import BINS, MAX_POINTS, binned, figure_data, read_beliefs, read_judges
from invlearn.paper.page import page
from invlearn.paper.results import Gap
from invlearn.paper.rows import Figure, figures, published_rows, row
from invlearn.paper.verdict import METRICS, STAND_IN, number, outcome
from invlearn.recording import read_lines
from invlearn.strategies.inverse import CHOICES

DATASETS = ("ml-1m", "micro-video")


def variants(found):
    return [name for name in ("printed", "released", "ablated") if getattr(found, name) is not None]


# Rows and figures


def test_every_row_and_figure_loads_against_todays_settings():
    rows = published_rows()
    assert len(rows) == 12
    for found in rows:
        for variant in variants(found):
            for dataset, rate in (("ml-1m", 1e-4), ("micro-video", 1e-5)):
                config = found.config(variant, dataset)
                assert (config.backbone, config.optimizer.lr) == (found.backbone, rate)
                assert config.model["dim"] == 32
    assert [figure.name for figure in figures()] == [f"figure{n}" for n in (3, 4, 5, 6)]
    for figure in figures():
        for variant in (None, "printed", "released"):
            assert len(figure.configs(variant)) == len(figure.panels)


def test_published_numbers_are_those_of_the_table():
    file = ROOT.parent / "shared" / "paper" / "SPEC.md"
    if not file.is_file():
        pytest.skip(f"the paper's specification is not at {file}")
    cells = re.findall(r"^\| (GMF|NeuMF) \| (\S+)" + r" \| (\.\d{4})" * 6, file.read_text(), re.M)
    found = [
        (
            *row.name.split(),
            *(
                getattr(row.published[dataset], metric)
                for dataset in DATASETS
                for metric in ("ndcg", "auc", "gauc")
            ),
        )
        for row in published_rows()
    ]
    assert found == [(backbone, method, *map(float, rest)) for backbone, method, *rest in cells]


def test_only_the_stated_settings_differ_between_variants():
    def changed(name, one, other):
        first, second = (
            row(name).config(variant, "ml-1m").model_dump() for variant in (one, other)
        )
        return {key for key in first if first[key] != second[key]}

    assert changed("GMF IDL", "printed", "released") == {"batch_size"}
    assert changed("GMF IG", "printed", "released") == {"strategy", "method"}
    assert changed("NeuMF IG", "released", "ablated") == {"method"}


def test_figure_6_varies_alpha_alone():
    configs = figures()[3].configs()
    assert [config.method["alpha_ratio"] for config in configs] == [1, 10, 50, 100]
    assert len({json.dumps(c.model_dump() | {"method": None}) for c in configs}) == 1


def test_missing_variants_and_rows_are_errors_that_teach():
    with pytest.raises(ConfigError, match="'released': no such code"):
        row("GMF NS").config("released", "ml-1m")
    with pytest.raises(ConfigError, match="did you mean 'GMF IG'"):
        row("GMF IGG")


# Figures


def test_beliefs_are_counted_from_a_run(feed):
    found = read_beliefs(feed.ig, "GMF")
    for epoch in ("first", "last"):
        w1 = np.load(feed.ig / f"beliefs-{epoch}.npy").astype(float)
        counts = found.counts[epoch]
        assert sum(counts["w1"]) == sum(counts["w0"]) == found.n_pairs == len(w1)
        in_bins = [np.minimum(w * BINS, BINS - 1).astype(int) for w in (w1, 1 - w1)]
        expected = [np.bincount(bins, minlength=BINS) for bins in in_bins]
        # A weight on the edge of a bin may fall on either side of it.
        assert abs(np.array([counts["w1"], counts["w0"]]) - expected).sum() <= 0.01 * len(w1)
        assert found.positive_fraction[epoch] == (w1 > 0.5).mean()


def test_bins_hold_both_ends():
    assert binned(np.array([0.0, 1.0, 0.999]))[:: BINS - 1] == (1, 2)


def test_judges_agree_with_the_record_of_epochs(feed):
    found = read_judges(feed.ig, "GMF")
    epochs = list(read_lines(feed.ig / "epochs.jsonl"))
    assert found.counts == {
        name: sum(epoch["choices"][name] for epoch in epochs) for name in found.counts
    }
    assert sum(found.counts.values()) == found.n_steps


def steps_file(folder, n_steps):
    """A record in which every third step is judged, and the choice goes round."""
    rng = np.random.default_rng(0)
    lines = []
    for step in range(3 * n_steps):
        line = {"epoch": 0, "step": step, "loss": 1.0}
        if step % 3 == 2:
            choice = step // 3 % 3
            losses = (0.6 + 0.1 * rng.random(3)).tolist()
            losses[choice] = 0.5 if step // 3 % 10 else losses[choice]
            if step // 3 % 10 == 0:
                losses = [losses[choice] * (1 + 1e-8 * way) for way in range(3)]
            line |= {"judge_losses": losses, "choice": choice}
        lines.append(json.dumps(line) + "\n")
    folder.mkdir(exist_ok=True)
    (folder / "steps.jsonl").write_text("".join(lines))
    return folder


def test_points_are_left_out_evenly_and_counts_are_not(tmp_path):
    found = read_judges(steps_file(tmp_path, 1000), "GMF")
    assert (found.n_steps, found.every, len(found.steps)) == (1000, 4, MAX_POINTS)
    assert found.steps == tuple(range(1, 1001, 4))
    assert found.choices == tuple(CHOICES[(step - 1) % 3] for step in found.steps)
    assert found.counts == {"stay": 334, "inverse": 333, "direct": 333}
    assert found.n_rounding == 100
    assert {
        loss for step, loss in zip(found.steps, found.losses, strict=True) if step % 10 != 1
    } == {0.5}


def test_a_figure_names_what_it_left_out_and_stays_small(tmp_path):
    figure = figures()[3]
    runs = [steps_file(tmp_path / str(n), 8000) for n in range(4)]
    data = figure_data(figure, runs)
    assert "1 in 32 drawn" in data.caption
    assert "3,200 of 32,000 steps" in data.caption
    assert len(json.dumps(data.to_json())) < 100_000


def test_runs_without_the_records_are_refused(feed, tmp_path):
    with pytest.raises(RunError, match="no judged step"):
        read_judges(feed.none, "GMF")
    with pytest.raises(RunError, match="missing or damaged"):
        read_beliefs(tmp_path, "GMF")


def test_an_unknown_key_in_a_file_is_an_error():
    with pytest.raises(ValueError, match="extra"):
        Figure.model_validate(figures()[0].model_dump() | {"colour": "red"})


# The page


def level(value):
    return {"mean": value, "sd": 0.001, "low": value - 0.004, "high": value + 0.004}


def table(dataset, stand_in=None):
    rows = [
        {
            "backbone": found.name.split()[0],
            "method": found.method,
            "published": found.published[dataset].model_dump(),
            "ways": {
                variant: {
                    "metrics": {
                        name: level(getattr(found.published[dataset], name.split("@")[0]) + 0.001)
                        for name in METRICS
                    },
                    "n_seeds": 5,
                    "seconds": 30.0,
                    "epochs": 9.6,
                }
                for variant in variants(found)
            },
        }
        for found in published_rows()
    ]
    return {"dataset": dataset, "stand_in": stand_in, "rows": rows}


def difference(of, less, gap, dataset="ml-1m"):
    low, high = gap
    return {
        "dataset": dataset,
        "backbone": "GMF",
        "of": dict(zip(("method", "way"), of.split(), strict=True)),
        "less": dict(zip(("method", "way"), less.split(), strict=True)),
        "n_seeds": 5,
        "metrics": {name: {"mean": (low + high) / 2, "low": low, "high": high} for name in METRICS},
    }


def tree(*differences, tables=None):
    return {
        "provenance": {
            "commit": "abc1234",
            "date": "2026-01-01",
            "machine": "2 cores",
            "command": "invlearn reproduce all",
            "seeds": [0, 1, 2, 3, 4],
            "intervals": "Intervals hold 95 %.",
        },
        "tables": [table("ml-1m")] if tables is None else tables,
        "differences": list(differences),
    }


def said(text):
    return text.split("## The verdict")[1].split("\n## ")[0]


TIE, WIN, LOSS = (-0.001, 0.002), (0.001, 0.003), (-0.003, -0.001)


def test_the_page_is_a_function_of_its_tree():
    made = tree(difference("IG released", "IG ablated", TIE))
    assert page(made) == page(json.loads(json.dumps(made)))
    assert page(made).count("\n# ") == 0


@pytest.mark.parametrize(
    ("gap", "words", "others"),
    [
        (TIE, "no gain from unlabelled pairs", ["adds to", "holds"]),
        (WIN, "adds to the released loop", ["no gain", "holds"]),
        (LOSS, "holds the released loop back", ["no gain", "adds to"]),
    ],
)
def test_the_ablation_is_told_by_its_interval(gap, words, others):
    text = said(page(tree(difference("IG released", "IG ablated", gap))))
    assert words in text
    assert not any(other in text for other in others)


@pytest.mark.parametrize(
    ("gap", "words"),
    [(TIE, "IG adds nothing"), (WIN, "use IG"), (LOSS, "IG adds nothing"), (None, "not measured")],
)
def test_the_advice_follows_the_tuned_difference(gap, words):
    differences = [difference("IG tuned", "None tuned", gap)] if gap else []
    assert words in said(page(tree(*differences)))


def test_wins_and_losses_together_are_told_as_both():
    mixed = difference("None tuned", "IG released", WIN)
    mixed["metrics"]["gauc"] = {"mean": -0.002, "low": -0.003, "high": -0.001}
    assert "ahead of IG as released by one metric and behind by another" in said(page(tree(mixed)))


def test_published_numbers_are_said_to_lie_inside_or_outside():
    made = tree()
    assert "AUC .8328 for .8318 (inside .8288 to .8368)" in said(page(made))
    for found in made["tables"][0]["rows"]:
        for way in found["ways"].values():
            way["metrics"]["auc"]["low"] = way["metrics"]["auc"]["mean"]
    assert "AUC .8328 for .8318 (outside .8328 to .8368)" in said(page(made))


def test_what_is_simulated_is_marked_wherever_it_stands():
    tables = [table("micro-video", stand_in="Made by simulate.")]
    simulated = difference("IG tuned", "None tuned", WIN, dataset="micro-video")
    text = page(tree(simulated, tables=tables))
    headings = [line for line in text.splitlines() if re.match(r"#+ .*Micro Video", line)]
    assert len(headings) == 5
    assert all(STAND_IN in heading for heading in headings)
    lines = [line for line in said(text).splitlines() if "GMF" in line or "NeuMF" in line]
    assert lines
    assert all(STAND_IN in line for line in lines)
    # A win on simulated data is no advice, and nothing printed is reproduced there.
    assert "not measured" in said(text)
    assert "against the printed row" not in said(text)


def test_figures_of_simulated_data_say_so():
    for figure in figures():
        marked = [STAND_IN in f"{figure.title} {panel.title}" for panel in figure.panels]
        assert marked == [panel.dataset == "micro-video" for panel in figure.panels]
    plots = [
        {"title": title, "file": "figure.svg", "caption": "Read so.", "stand_in": True}
        for title in ("Beliefs", f"Judges, {STAND_IN}")
    ]
    headings = [line for line in page(tree() | {"plots": plots}).splitlines() if line[:4] == "### "]
    assert [heading.count(STAND_IN) for heading in headings if "ML-1M" not in heading] == [1, 1]


def test_tables_stand_straight_and_are_whole():
    text = page(tree(difference("IG released", "IG ablated", TIE)))
    blocks = re.findall(r"(?:^\|.*\|\n)+", text + "\n", re.M)
    assert len(blocks) == 4
    for block in blocks:
        lines = block.splitlines()
        assert len({len(line) for line in lines}) == 1
        assert len({line.count("|") for line in lines}) == 1
    assert "| IG     | AUC     | .8318     | .8328 ± .0010 | .8328 ± .0010 | -     |" in text


def test_a_tree_that_does_not_fit_is_an_error():
    with pytest.raises(ConfigError, match=r"provenance\.comit: unknown option"):
        page(tree() | {"provenance": {**tree()["provenance"], "comit": 1}})


def test_zero_at_the_end_of_an_interval_is_a_tie():
    assert outcome(Gap(mean=0.1, low=0.0, high=0.2)) == "tie"
    assert outcome(Gap(mean=-0.1, low=-0.2, high=0.0)) == "tie"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.99999, "1.0000"), (-0.00001, "+.0000"), (0.5, "+.5000"), (-1.25, "-1.2500")],
)
def test_numbers_read_alike(value, text):
    assert number(value, signed=True).lstrip("+") == text.lstrip("+")
