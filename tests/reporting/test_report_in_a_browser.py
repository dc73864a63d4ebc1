"""The report as a person meets it: in a real browser, by mouse, by keyboard, narrow and printed."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

import invlearn

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
LONG = "推荐-≥-naïve-a-run-whose-name-" + "goes-on-and-" * 12 + "on"
HOSTILE = '"><img src=x onerror=alert(2)><script>alert(1)<'


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, or a skip that says what is missing.

    Where `INVLEARN_BROWSER` is `required`, as `.ci/run` sets it, what is missing is a failure.
    """
    missing = pytest.fail if os.environ.get("INVLEARN_BROWSER") == "required" else pytest.skip
    if not find_spec("playwright"):
        missing("playwright is not installed")
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        known = found or driver.chromium.executable_path
        if not Path(known).exists():
            missing("there is no Chromium; install chromium, or run `playwright install`")
        opened = driver.chromium.launch(executable_path=known, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(feed, tmp_path_factory):
    """A report of both runs, of one of them under two names that try the page."""
    place = tmp_path_factory.mktemp("report")
    runs = [place / name for name in (HOSTILE, LONG)]
    for run in runs:
        run.symlink_to(feed.ig)
    return invlearn.report([feed.none, *runs], place / "report.html", draws=50).file


class Heard:
    """What a page did that it should not."""

    def __init__(self, page):
        self.all = []
        page.on("console", lambda message: self.all.append(message.text))
        page.on("pageerror", lambda error: self.all.append(str(error)))
        page.on("dialog", lambda dialog: (self.all.append(dialog.message), dialog.dismiss()))
        page.on("request", self._note)

    def _note(self, request):
        if not request.url.startswith(("file:", "data:")):
            self.all.append(request.url)


@pytest.fixture
def opened(browser, report):
    """Open the report, and make sure that nothing went wrong until the end of the test."""
    pages = []

    def open_page(**options):
        page = browser.new_page(**options)
        pages.append((page, Heard(page)))
        page.goto(report.as_uri())
        page.wait_for_function("document.documentElement.dataset.drawn === 'yes'")
        return page

    yield open_page
    for page, heard in pages:
        page.close()
        assert heard.all == []


def column(page, table, index):
    """Texts of a column of the table with a caption that starts so."""
    rows = page.locator(f"table:has(caption:text('{table}')) tbody tr").all()
    return [row.locator("th, td").nth(index).inner_text().split()[0] for row in rows]


def test_every_chart_is_drawn_and_says_what_it_shows(opened):
    page = opened()
    charts = page.locator(".chart")
    assert charts.count() > 12
    for chart in charts.all():
        marks = chart.locator(".mark-symbol path, .mark-rect path, .mark-line path")
        assert marks.count() > 0
        assert chart.bounding_box()["height"] > 90
        assert chart.get_attribute("role") == "img"
        assert len(chart.get_attribute("aria-label")) > 20
    assert page.locator("h1").count() == 1


def test_a_table_is_sorted_by_a_click_and_by_the_keyboard(opened):
    page = opened()
    button = page.get_by_role("button", name="AUC", exact=True).first
    head = page.locator("th:has(button)").nth(1)
    assert head.get_attribute("aria-sort") is None
    button.click()
    values = [float(text) for text in column(page, "Metrics on the test part", 1)]
    assert values == sorted(values, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    button.focus()
    page.keyboard.press("Enter")
    values = [float(text) for text in column(page, "Metrics on the test part", 1)]
    assert values == sorted(values)
    assert head.get_attribute("aria-sort") == "ascending"
    assert "Sorted by AUC, ascending" in page.locator("#said").inner_text()
    loss = page.get_by_role("button", name="log loss", exact=True).first
    loss.click()
    assert set(column(page, "Metrics on the test part", 4)[-2:]) == {"\u2013"}  # no value: last


def test_a_run_is_hidden_everywhere_and_comes_back(opened):
    page = opened()

    def seen():
        marks = page.locator(".chart").first.locator(".mark-symbol path").count()
        return marks, page.locator("tr[data-run='none']:visible").count()

    before = seen()
    box = page.locator("#runs input[value='none']")
    box.focus()
    page.keyboard.press("Space")
    page.wait_for_function("document.getElementById('said').textContent === '2 runs shown'")
    assert seen() == (before[0] - 1, 0)
    assert page.locator("figure[data-run='none']:visible").count() == 0
    box.check()
    page.wait_for_function("document.getElementById('said').textContent === '3 runs shown'")
    assert seen() == before


def test_hovering_tells_numbers_and_shows_hostile_names_as_text(opened):
    page = opened()
    marks = page.locator(".chart").first.locator(".mark-symbol path")
    assert page.locator("img").count() == 0
    marks.nth(1).hover()
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    assert HOSTILE in tip.inner_text()
    assert page.locator("#vg-tooltip-element img").count() == 0


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_never_scrolls_sideways_and_can_be_read(opened, width):
    page = opened(viewport={"width": width, "height": 800}, color_scheme="light")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for details in page.locator("details").all():
        details.evaluate("node => node.open = true")
    backgrounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CONTRAST) == []
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2


@pytest.mark.parametrize("width", [375, 1280])
def test_a_table_that_is_cut_says_so_and_is_scrolled_by_the_keyboard(opened, width):
    page = opened(viewport={"width": width, "height": 800})
    for details in page.locator("details").all():
        details.evaluate("node => node.open = true")
    page.wait_for_timeout(100)
    cut = page.evaluate(CUT)
    assert len(cut) > 5
    assert [name for name, is_wide, says in cut if is_wide != says] == []
    wide = [name for name, is_wide, _ in cut if is_wide]
    assert wide or width > 375
    for name in wide[:1]:
        region = page.get_by_role("region", name=name, exact=True).first
        region.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(300)
        assert page.evaluate("document.activeElement.scrollLeft") > 0


def test_the_many_settings_of_unlike_runs_are_cut_with_a_hint_on_a_wide_screen(
    browser, feed, tmp_path
):
    run = tmp_path / "other"
    given = {"schedule": {"name": "cosine", "warmup_steps": 3}, "optimizer": {"name": "adagrad"}}
    invlearn.train(feed.dataset, run, epochs=1, backbone="neumf", seed=3, **given)
    file = invlearn.report([feed.ig, run], tmp_path / "report.html", draws=0).file
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(file.as_uri())
    page.wait_for_function("document.documentElement.dataset.drawn === 'yes'")
    page.wait_for_timeout(100)
    told = {name: (is_wide, says) for name, is_wide, says in page.evaluate(CUT)}
    assert told["Settings in which the runs differ"] == (True, True)
    shade = page.locator(".scroll").first.evaluate("n => getComputedStyle(n).backgroundImage")
    assert shade.count("linear-gradient") == 2
    page.close()


CUT = """() => [...document.querySelectorAll(".scroll")].map((part) => {
  const hint = getComputedStyle(part.parentElement, "::after").content;
  const isCut = part.scrollWidth > part.clientWidth + 1;
  return [part.getAttribute("aria-label"), isCut, hint !== "none"];
})"""
"""Of each table its name, whether it is cut, and whether it says so."""


CONTRAST = """() => {
  const light = (c) => (c <= 10 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = numbers(getComputedStyle(node).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const pale = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || node.closest("script, title, .hidden, [hidden], noscript")) continue;
    const style = getComputedStyle(node);
    const text = node instanceof SVGElement ? style.fill : style.color;
    if (!text.startsWith("rgb")) continue;
    const [a, b] = [luminance(numbers(text)), luminance(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) pale.push(`${node.tagName} ${node.textContent.slice(0, 40)} ${ratio}`);
  }
  return pale;
}"""
"""Texts whose contrast is below 4.5 : 1."""


def test_the_button_switches_the_theme_of_page_and_charts(opened):
    page = opened(color_scheme="light")

    def colors():
        text = page.locator(".chart text").first.evaluate("node => getComputedStyle(node).fill")
        return page.evaluate("getComputedStyle(document.body).backgroundColor"), text

    light = colors()
    page.get_by_role("button", name="Switch to dark colors").click()
    dark = colors()
    assert light[0] == "rgb(255, 255, 255)"
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    page.get_by_role("button", name="Switch to light colors").click()
    assert colors() == light


def test_the_first_key_leads_past_the_top(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_on_paper_it_is_light_and_whole(opened):
    page = opened(color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#theme").is_visible()
    assert not page.locator("nav").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_all_numbers_are_there(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("noscript p").is_visible()
    assert page.locator("table tbody tr").count() > 20
    context.close()
