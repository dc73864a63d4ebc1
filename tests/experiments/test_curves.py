"""Curves over shares of labels: drawn where a share was varied, and only there."""

import re

import pytest

from invlearn.evaluation.replication import Mean
from invlearn.experiments.curves import draw_curves
from invlearn.experiments.results import Group, Method, Results


def group(*, share=1.0, positives=0.0, negatives=0.0, backbone="gmf", dataset="here"):
    def method(name, value):
        mean = Mean(value, 0.01, value - 0.02, value + 0.02)
        return Method(name, {"auc": mean, "gauc": mean})

    names = ("random", "item+user-rate", "exposure-factors")
    return Group(
        dataset,
        share,
        positives,
        negatives,
        backbone,
        methods={name: method(name, 0.6 + share / 10) for name in ("none", "ig")},
        baselines={name: method(name, 0.5) for name in names},
        counts={},
    )


def names_of(files):
    return sorted(file.name for file in files)


def test_nothing_is_drawn_where_nothing_was_varied(tmp_path):
    groups = (group(), group(backbone="mf"), group(dataset="there"))
    assert draw_curves(Results("none", groups), tmp_path) == []


def test_each_axis_has_its_curve_and_mixed_groups_have_none(tmp_path):
    groups = (
        group(share=0.01),
        group(share=1.0),
        group(positives=0.2),
        group(share=0.01, positives=0.2),
        group(negatives=0.1, backbone="mf"),
        group(backbone="mf"),
    )
    drawn = draw_curves(Results("none", groups), tmp_path)
    assert names_of(drawn) == [
        f"here-{line}-{metric}.svg"
        for line in ("gmf-flip-positives", "gmf-label-share", "mf-flip-negatives")
        for metric in ("auc", "gauc")
    ]
    assert all(file.exists() for file in drawn)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ((group(share=0.01), group()), {"training labels kept (log scale)", "1%", "100%"}),
        ((group(negatives=0.25), group()), {"negative training labels flipped", "0%", "25%"}),
    ],
)
def test_a_curve_says_what_it_is_of(tmp_path, groups, words):
    file = draw_curves(Results("none", groups), tmp_path)[0]
    written = set(re.findall(r">([^<>]+)</text>", file.read_text()))
    assert words | {"here, gmf: test AUC", "none", "ig", "exposure-factors"} <= written
    assert "random" not in written


def test_without_the_extra_there_are_no_curves(tmp_path, monkeypatch):
    monkeypatch.setattr("invlearn.experiments.curves.is_installed", lambda: False)
    assert draw_curves(Results("none", (group(share=0.1), group())), tmp_path) == []
