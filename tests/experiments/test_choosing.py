"""The page on choosing says what the committed data say."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/choosing.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["recommended", "ig-sample"])
def test_tables_on_the_page_are_those_of_the_data(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    sys.modules.pop("leads", None)
    from leads import of_method, table

    folder = ROOT / "experiments" / name.replace("-", "_")
    made = {"recommended": table, "ig-sample": of_method}[name](folder)
    shown = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", PAGE, re.DOTALL)
    assert shown
    assert shown[1] == made
