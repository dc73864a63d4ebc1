"""Charts: drawn from small values, saved without a browser, the same every time."""

import re
import sys
from dataclasses import replace

import pytest

from invlearn.paper.figures import figure_data
from invlearn.paper.plots import Dot, figure_chart, table2_chart
from invlearn.paper.rows import figures
from invlearn.reporting.plots import Reading, save, share_chart
from invlearn.runtime.errors import ConfigError


@pytest.fixture(scope="module")
def charts(feed):
    """A chart of each kind, and words that must be on it."""
    beliefs, _, judges, _ = figures()
    judges = judges.model_copy(update={"panels": judges.panels[:2]})
    readings = [
        Reading(name, share, mean=0.6 + share / 5, low=0.5 + share / 5, high=0.7 + share / 5)
        for name in ("none", "ig")
        for share in (0.01, 0.2, 1.0)
    ]
    readings += [Reading("item-rate", share, 0.6, trivial=True) for share in (0.01, 0.2, 1.0)]
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
        "share": (
            share_chart(readings, "Labels hidden", "test AUC"),
            ["test AUC", "training labels kept (log scale)", "20%", "item-rate", "ig"],
        ),
        "table2": (table2_chart(dots, "Table 2"), ["GMF, GAUC", "as released", "published"]),
    }


@pytest.mark.parametrize("kind", ["beliefs", "judges", "share", "table2"])
def test_charts_name_what_they_show_and_are_the_same_every_time(charts, kind, tmp_path):
    chart, words = charts[kind]
    for name in ("one.svg", "other.svg"):
        save(chart, tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    written = set(re.findall(r">([^<>]+)</text>", text))
    assert set(words) <= written
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


def test_png_is_written_and_other_suffixes_are_refused(charts, tmp_path):
    chart, _ = charts["share"]
    save(chart, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"end it in \.svg or \.png"):
        save(chart, tmp_path / "chart.pdf")


def test_without_the_extra_the_error_says_what_to_install(charts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ConfigError, match=r"pip install 'invlearn\[report\]'"):
        table2_chart([], "Table 2")
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(ConfigError, match="altair, vl_convert, which are not installed"):
        save(charts["share"][0], tmp_path / "chart.svg")
