"""What several calls measured, put together on one page."""

import pytest
from trees import difference, measured, plot, source, table, tree

from invlearn.runtime.errors import RunError
from reproduction.page import page
from reproduction.results import Provenance, Results, merged, read_results

TIE, WIN = (-0.001, 0.002), (0.001, 0.003)


def results(*rows, differences=(), plots=(), **changes):
    """Results of a call with some rows of a table: name, way and what was measured."""
    whole = table("ml-1m")
    kept = []
    for found in whole["rows"]:
        name = f"{found['backbone']} {found['method']}"
        ways = {way: value for asked, way, value in rows if asked == name}
        kept += [found | {"ways": ways}] if ways else []
    tables = [whole | {"rows": kept} | changes] if kept else []
    return Results.model_validate(
        {"tables": tables, "differences": list(differences), "plots": list(plots)}
    )


def found_in(made):
    return {
        (row.backbone, row.method, way): found.metrics["auc"].mean
        for table in made.tables
        for row in table.rows
        for way, found in row.ways.items()
    }


def test_measuring_one_row_again_keeps_the_others_and_where_they_came_from():
    first, second = source("aaa", "one", "2026-01-01"), source("bbb", "two", "2026-02-02")
    before = results(
        ("GMF IG", "printed", measured({"auc": 0.5}, provenance=first)),
        ("GMF None", "printed", measured({"auc": 0.6}, provenance=first)),
        differences=[difference("IG printed", "None printed", TIE)],
        plots=[plot("Figure 3"), plot("Table 2, ML-1M")],
        failures={"GMF None printed": ["seed 1: of old"], "GMF IG printed": ["seed 2: stays"]},
    )
    now = results(
        ("GMF None", "released", measured({"auc": 0.7}, provenance=second)),
        ("GMF NS", "printed", measured({"auc": 0.8}, provenance=second)),
        plots=[plot("Figure 3", caption="New.")],
        failures={"GMF None printed": []},
    )
    made = merged(before, now)
    assert list(found_in(made).items()) == [
        (("GMF", "None", "printed"), 0.6),
        (("GMF", "None", "released"), 0.7),
        (("GMF", "NS", "printed"), 0.8),
        (("GMF", "IG", "printed"), 0.5),
    ]
    assert [(p.title, p.caption) for p in made.plots] == [
        ("Table 2, ML-1M", "Read so."),
        ("Figure 3", "New."),
    ]
    assert made.differences == before.differences
    assert made.tables[0].failures == {"GMF None printed": (), "GMF IG printed": ("seed 2: stays",)}
    whole = made.tables[0].provenance
    assert (whole.commands, whole.commits) == (("one", "two"), ("aaa", "bbb"))
    text = page(made)
    section = text.split("## Table 2, ML-1M")[1]
    assert section.startswith(
        "\n\n```\none\ntwo\n```\nCommit: aaa, bbb. Measured: 2026-01-01, 2026-0"
    )
    assert merged(made, now) == merged(made, Results()) == made


def test_a_comparison_goes_with_the_numbers_that_it_compared():
    compared = difference("IG printed", "None printed", TIE)
    old = measured({"auc": 0.5})
    before = results(
        ("GMF IG", "printed", old), ("GMF None", "printed", old), differences=[compared]
    )
    same = merged(before, results(("GMF IG", "printed", old | {"seconds": 1.0})))
    assert same.differences == before.differences
    other = merged(before, results(("GMF IG", "printed", measured({"auc": 0.51}))))
    assert other.differences == ()
    redone = difference("IG printed", "None printed", WIN)
    again = results(("GMF IG", "printed", measured({"auc": 0.51})), differences=[redone])
    assert merged(before, again).differences == again.differences


def test_rows_of_other_data_share_no_table():
    row, compared = measured({"auc": 0.5}), difference("IG printed", "None printed", TIE)
    before = results(
        ("GMF IG", "printed", row), ("GMF None", "printed", row), differences=[compared]
    )
    made = merged(before, results(("GMF NS", "printed", row), fingerprint="f1"))
    assert [*found_in(made)] == [("GMF", "NS", "printed")]
    assert made.differences == ()


@pytest.mark.parametrize("content", ["{", '{"provenance": {}, "tables": []}', '{"tables": 1}'])
def test_results_that_do_not_fit_are_to_be_removed(tmp_path, content):
    file = tmp_path / "results.json"
    assert read_results(file) == Results()
    file.write_text(content)
    with pytest.raises(RunError, match=r"results\.json does not fit .*; remove it"):
        read_results(file)


def test_records_without_a_commit_are_said_to_have_none():
    made = tree()
    for found in made["tables"][0]["rows"]:
        for way in found["ways"].values():
            way["provenance"] = source(commit="")
    assert "Commit: not recorded. Measured: 2026-01-01, on 2 cores." in page(
        Results.model_validate(made)
    )
    some = [Provenance.model_validate(source(commit)) for commit in ("", "x", "y", "x")]
    assert Provenance.merged(some).commits == ("x", "y")
