"""The paper as data: rows that load, figures that count right, the command that was asked for."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from trees import variants

from conftest import ROOT
from invlearn.reporting.traces import BINS, MAX_POINTS, binned, read_beliefs, read_judges
from invlearn.runtime.errors import ConfigError, RunError
from invlearn.strategies.inverse import CHOICES
from invlearn.training.metrics_log import read_lines
from reproduction.figures import figure_data
from reproduction.plans import Figure, Request, figures, published_rows, row

DATASETS = ("ml-1m", "micro-video")


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
        assert len(figure.configs()) == len(figure.panels)


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


# The command


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, ""),
        ({"rows": ("GMF IG", "GMF NS")}, " --row 'GMF IG' --row 'GMF NS'"),
        ({"ways": ("tuned",), "trials": 3}, " --way tuned --trials 3"),
        ({"seeds": 2, "stand_in": False}, " --seeds 2 --no-stand-in"),
        ({"full_size": True}, " --full-size"),
    ],
)
def test_the_command_has_all_that_was_asked_for(asked, words):
    request = Request("table2", Path("/home/me/ml-1m/"), Path("/tmp/my out"), **asked)
    assert request.command == f"invlearn reproduce table2 --data ml-1m --out 'my out'{words}"


def test_without_the_stand_in_figures_keep_their_real_panels():
    def drawn(stand_in):
        request = Request("all", Path("d"), Path("o"), stand_in=stand_in)
        return {f.name: [p.dataset for p in f.panels] for f in request.wanted_figures}

    assert drawn(stand_in=True) == {f.name: [p.dataset for p in f.panels] for f in figures()}
    assert drawn(stand_in=False) == {"figure3": ["ml-1m"] * 2, "figure5": ["ml-1m"] * 2}
