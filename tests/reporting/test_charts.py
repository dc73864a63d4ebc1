"""Charts: drawn from small values, saved without a browser, the same every time."""

import re
import sys

import pytest

from invlearn.reporting.charts import Reading, save, share_chart
from invlearn.runtime.errors import ConfigError


@pytest.fixture(scope="module")
def chart():
    """Two methods and a trivial baseline over the share of labels."""
    readings = [
        Reading(name, share, mean=0.6 + share / 5, low=0.5 + share / 5, high=0.7 + share / 5)
        for name in ("none", "ig")
        for share in (0.01, 0.2, 1.0)
    ]
    readings += [Reading("item-rate", share, 0.6, trivial=True) for share in (0.01, 0.2, 1.0)]
    return share_chart(readings, "Labels hidden", "test AUC")


def test_a_chart_names_what_it_shows_and_is_the_same_every_time(chart, tmp_path):
    for name in ("one.svg", "other.svg"):
        save(chart, tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    written = set(re.findall(r">([^<>]+)</text>", text))
    words = {"test AUC", "training labels kept (log scale)", "20%", "item-rate", "ig"}
    assert words <= written
    assert (tmp_path / "other.svg").read_text() == text
    assert 300 < float(re.search(r'width="(\d+)', text)[1]) < 720


def test_png_is_written_and_other_suffixes_are_refused(chart, tmp_path):
    save(chart, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"end it in \.svg or \.png"):
        save(chart, tmp_path / "chart.pdf")


def test_without_the_extra_the_error_says_what_to_install(chart, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(ConfigError, match=r"vl_convert, .* pip install 'invlearn\[report\]'"):
        save(chart, tmp_path / "chart.svg")
    assert not (tmp_path / "chart.svg").exists()
