"""The documentation site can be built without a warning, and needs no network to be read."""

import importlib.util
import re
from html import unescape
from urllib.parse import unquote

import pytest

import invlearn
from conftest import ROOT


def load_build():
    spec = importlib.util.spec_from_file_location("site_build", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site_build = load_build()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("zensical", reason="the extra docs is not installed")
    place = tmp_path_factory.mktemp("site")
    site_build.build(place / "pages", place / "site")
    return place / "site"


def test_every_page_is_on_the_site(site):
    for name in site_build.pages().values():
        assert (site / name).with_suffix(".html").is_file(), name


def test_the_site_fetches_nothing_from_a_network(site):
    for page in site.rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text())
        fetched = [t for t in tags if re.search(r"(?:src|href)=\"?(?:https?:)?//", t)]
        assert [tag for tag in fetched if "canonical" not in tag] == [], page


def test_links_on_the_site_lead_somewhere(site):
    anchors = {}
    for page in site.rglob("*.html"):
        text = page.read_text()
        anchors[page.resolve()] = set(re.findall(r"\bid=\"?([^\"\s>]+)", text))
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # its links start at the root of a server
            continue
        for link in re.findall(r"<a\b[^>]*\bhref=\"([^\"]+)\"", page.read_text()):
            target, _, anchor = unquote(unescape(link)).partition("#")
            if ":" in target:
                continue
            file = (page.parent / target).resolve() if target else page.resolve()
            assert file.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors.get(file, {anchor}), f"{page.name}: {link}"


def test_every_public_name_is_in_the_reference_once():
    pages = (ROOT / "docs" / "reference").glob("*.md")
    named = re.findall(
        r"^::: invlearn\.(\w+)$", "\n".join(p.read_text() for p in pages), re.MULTILINE
    )
    assert sorted(set(named)) == sorted(invlearn.__all__)
    assert len(named) == len(set(named))
    summary = (ROOT / "docs" / "reference" / "index.md").read_text()
    assert {name for name in named if f"`{name}`" not in summary} == set()


def made(root, **files):
    for name, text in files.items():
        file = root / name.replace("__", "/").replace("_md", ".md")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root / "docs" / "page.md"


def test_links_hold_on_the_site_and_code_is_left_alone(tmp_path):
    text = (
        "[a](other.md#part) ![b](own.svg) ![c](../experiments/far.svg) [`x`](../src/x.py)\n"
        "[how](../CONTRIBUTING.md) [here](#part) [out](https://example.org)\n"
        "```\n[a](nowhere.md)\n```\n"
    )
    for name in ("docs/other.md", "docs/own.svg", "experiments/far.svg", "src/x.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    page = made(tmp_path, docs__page_md=text, CONTRIBUTING_md="")
    real, pictures = site_build.staged(page, tmp_path)
    assert real == (
        "[a](other.md#part) ![b](own.svg) ![c](experiments/far.svg) `x` (`src/x.py`)\n"
        "[how](contributing.md) [here](#part) [out](https://example.org)\n"
        "```\n[a](nowhere.md)\n```\n"
    )
    assert set(pictures) == {"own.svg", "experiments/far.svg"}


def test_a_link_that_leads_nowhere_stops_the_build(tmp_path):
    page = made(tmp_path, docs__page_md="[a](gone.md)")
    with pytest.raises(SystemExit, match=r"page.md: the link to gone.md leads nowhere"):
        site_build.staged(page, tmp_path)


def test_the_navigation_has_what_is_there():
    nav = [{"Home": "index.md"}, {"Guide": [{"A": "a.md"}, {"B": "b.md"}]}, {"Empty": ["c.md"]}]
    kept = site_build.navigation(nav, {"index.md", "b.md"})
    assert kept == [{"Home": "index.md"}, {"Guide": [{"B": "b.md"}]}]
    assert list(site_build.named(kept)) == ["index.md", "b.md"]
