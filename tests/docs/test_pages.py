"""Pages that show commands and what they print show what is really printed."""

import pytest

from conftest import ROOT
from pages import disagreement, replayed

PAGES = ("tutorial", "own-logs", "faq")
WITHIN = {"own-logs": 0.06}
"""Absolute tolerances. On own-logs the default, whose factors differ between processors in their
last digits, ranks 77 users: two processors gave a GAUC of .881 and .838."""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_its_examples_print(name, tmp_path, monkeypatch, request):
    page = ROOT / "docs" / f"{name}.md"
    shown = page.read_text(encoding="utf-8")
    real = replayed(shown, tmp_path, monkeypatch)
    if request.config.getoption("--renew"):
        page.write_text(real, encoding="utf-8")
    elif different := disagreement(shown, real, within=WITHIN.get(name, 0.015)):
        pytest.fail(
            f"{page.name} shows\n  {different[0]}\nbut it is\n  {different[1]}\nIf that is right: "
            f"pytest tests/docs/test_pages.py -k {name} --renew, and read the change"
        )


PAGE = """
```console
$ printf 'AUC %s of %s\\n' .8190 \\
    1,099
AUC .8190 of 1,099
```
"""


@pytest.mark.parametrize(
    ("change", "agrees"),
    [
        ((".8190 of", ".8191 of"), True),  # the last digit of a measured number
        ((".8190 of", ".7890 of"), False),
        (("of 1,099\n`", "of 1,098\n`"), False),
        (("AUC .8190 of 1,099\n`", "`"), False),
    ],
)
def test_an_untrue_page_is_found_out(change, agrees, tmp_path, monkeypatch):
    shown = PAGE.replace(*change)
    real = replayed(shown, tmp_path, monkeypatch)
    assert (disagreement(shown, real) is None) == agrees
    assert replayed(real, tmp_path, monkeypatch) == real


def test_what_a_python_block_prints_is_compared_and_cannot_be_left_out(tmp_path, monkeypatch):
    shown = "```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n"
    real = replayed(shown, tmp_path, monkeypatch)
    assert disagreement(shown, real) == ("3", "2")
    with pytest.raises(AssertionError, match="not shown: 2"):
        replayed("```python\nprint(1 + 1)\n```\n", tmp_path, monkeypatch)


def test_an_error_must_be_shown_and_a_block_can_be_left_out(tmp_path, monkeypatch):
    page = "```console\n$ invlearn train nowhere --out run\n```\n"
    with pytest.raises(AssertionError, match="nowhere"):
        replayed(page, tmp_path, monkeypatch)
    left = f"<!-- not run: to see it left -->\n{page}"
    assert replayed(left, tmp_path, monkeypatch) == left
