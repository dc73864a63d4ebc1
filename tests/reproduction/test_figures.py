"""Charts of the paper: they name what they show and are the same every time."""

import re
import sys
from dataclasses import replace

import pytest

from invlearn.reporting.charts import save
from invlearn.runtime.errors import ConfigError
from reproduction.figures import Dot, figure_chart, figure_data, table2_chart
from reproduction.plans import figures


@pytest.fixture(scope="module")
def charts(feed):
    """A chart of each kind, and words that must be on it."""
    beliefs, _, judges, _ = figures()
    judges = judges.model_copy(update={"panels": judges.panels[:2]})
    dots = [
        Dot("GMF", method, variant, metric, 0.7, None if variant == "published" else 0.68, 0.72)
        for method in ("None", "IG")
        for variant in ("published", "as released", "tuned")
        for metric in ("AUC", "GAUC")
    ]
    return {
        "beliefs": (
            figure_chart(figure_data(beliefs, [feed.ig] * 2)),
            ["NeuMF, last epoch", "share of pairs", "w0"],
        ),
        "judges": (
            figure_chart(figure_data(judges, [feed.ig] * 2), note="A note."),
            ["A note.", "NeuMF, ML-1M", "judged step", "log loss", "inverse"],
        ),
        "table2": (table2_chart(dots, "Table 2"), ["GMF, GAUC", "as released", "published"]),
    }


@pytest.mark.parametrize("kind", ["beliefs", "judges", "table2"])
def test_charts_name_what_they_show_and_are_the_same_every_time(charts, kind, tmp_path):
    chart, words = charts[kind]
    for name in ("one.svg", "other.svg"):
        save(chart, tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    assert set(words) <= set(re.findall(r">([^<>]+)</text>", text))
    assert (tmp_path / "other.svg").read_text() == text
    assert 300 < float(re.search(r'width="(\d+)', text)[1]) < 720


def test_a_missing_end_of_an_interval_draws_no_interval(tmp_path):
    dot = Dot("GMF", "IG", "tuned", "AUC", 0.8, 0.79, 0.81)
    marks = []
    for dots in ([dot], [replace(dot, low=None, high=None)]):
        save(table2_chart(dots, "Table 2"), tmp_path / "chart.svg")
        svg = (tmp_path / "chart.svg").read_text()
        marks.append(len(re.findall(r'<line [^>]*stroke="#0072B2"', svg)))
    assert marks == [1, 0]


def test_without_the_extra_the_error_says_what_to_install(charts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(ConfigError, match=r"pip install 'invlearn\[report\]'"):
        save(charts["table2"][0], tmp_path / "chart.svg")
