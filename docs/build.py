"""Build the documentation site into build/site, warnings as errors: `python docs/build.py`.

The pages are Markdown that reads well where it lies. Beside the site's own pages in `docs/` stand a
few that live elsewhere (`CONTRIBUTING.md`, for example), and pages link to files that no site has.
So the pages are first staged in `build/pages`, their links rewritten to where things are on the
site; then Zensical makes HTML of them, without a network and with nothing that the reader's
browser would have to fetch from one.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "experiments/README.md": "experiments-record.md",
    "benchmarks/README.md": "benchmarks-record.md",
}
"""Pages that live outside of `docs/`, and what they are called on the site."""
PICTURES = {".svg", ".png"}
CODE = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)
COLOR = re.compile(r"\x1b\[[\d;]*m")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def pages(root: Path = ROOT) -> dict[Path, str]:
    """Every page of the site: its file, and its path on the site."""
    own = {file: str(file.relative_to(root / "docs")) for file in (root / "docs").rglob("*.md")}
    return own | {root / file: name for file, name in ELSEWHERE.items()}


def staged(page: Path, root: Path = ROOT) -> tuple[str, dict[str, Path]]:
    """A page's text with links that hold on the site, and the pictures that it shows.

    A link to another page leads there, a picture is taken along, and of any other file in the
    repository the site names the path.

    Returns:
        The text, and the pictures by their path on the site.

    Raises:
        SystemExit: A link leads nowhere.
    """
    there, pictures = pages(root), dict[str, Path]()
    here = Path(there[page]).parent

    def on_site(link: re.Match[str]) -> str:
        mark, words, target, anchor = link[1], link[2], link[3], link[4] or ""
        if not target or "://" in target:
            return link[0]
        file = (page.parent / target).resolve()
        if not file.exists():
            raise SystemExit(f"{page}: the link to {target} leads nowhere")
        if file in there:
            return f"[{words}]({os.path.relpath(there[file], here)}{anchor})"
        name = str(file.relative_to(root))
        if file.suffix in PICTURES:
            pictures[name.removeprefix("docs/")] = file
            return f"{mark}[{words}]({os.path.relpath(name.removeprefix('docs/'), here)})"
        return f"`{name}`" if words.strip("`") in (name, target) else f"{words} (`{name}`)"

    return outside_code(page.read_text(encoding="utf-8"), on_site), pictures


def outside_code(text: str, on_site: Callable[[re.Match[str]], str]) -> str:
    """Rewrite the links of a page, and leave its code as it is."""
    parts, last = list[str](), 0
    for code in CODE.finditer(text):
        parts += [LINK.sub(on_site, text[last : code.start()]), code[0]]
        last = code.end()
    return "".join([*parts, LINK.sub(on_site, text[last:])])


def navigation(entries: list[Any], there: set[str]) -> list[Any]:
    """The navigation without pages that are not there and sections that would be empty."""
    kept = list[Any]()
    for entry in entries:
        if isinstance(entry, str):
            kept += [entry] if entry in there else []
            continue
        ((title, what),) = entry.items()
        inner = navigation(what, there) if isinstance(what, list) else what
        kept += [{title: inner}] if (inner in there if isinstance(inner, str) else inner) else []
    return kept


def named(entries: list[Any]) -> Iterator[str]:
    """Every page that a navigation names."""
    for entry in entries:
        for what in [entry] if isinstance(entry, str) else entry.values():
            yield from [what] if isinstance(what, str) else named(what)


def stage(place: Path) -> None:
    """Write pages, pictures and the settings of the site below `place`."""
    shutil.rmtree(place, ignore_errors=True)
    there = pages()
    for page, name in there.items():
        text, pictures = staged(page)
        files = {name: text.encode()} | {n: f.read_bytes() for n, f in pictures.items()}
        for path, content in files.items():
            (place / "docs" / path).parent.mkdir(parents=True, exist_ok=True)
            (place / "docs" / path).write_bytes(content)
    shutil.copytree(ROOT / "docs" / "assets", place / "docs" / "assets", dirs_exist_ok=True)
    settings = yaml.safe_load((ROOT / "docs" / "site.yaml").read_text(encoding="utf-8"))
    nav = navigation(settings["nav"], set(there.values()))
    more = sorted(set(there.values()) - set(named(nav)))
    settings["nav"] = [*nav, *([{"More": more}] if more else [])]
    settings["site_dir"] = "site"
    python = settings["plugins"][-1]["mkdocstrings"]["handlers"]["python"]
    python["paths"] = [str(ROOT / "src")]
    (place / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False))


def build(place: Path, out: Path) -> None:
    """Stage the pages in `place` and write the site to `out`.

    Raises:
        SystemExit: The site cannot be built without a warning.
    """
    stage(place)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    said = COLOR.sub("", done.stdout + done.stderr)
    if done.returncode or re.search(r"\bwarning\b", said, re.IGNORECASE):
        raise SystemExit(f"{said}\nThe site could not be built without a warning.")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(place / "site", out)


if __name__ == "__main__":
    build(ROOT / "build" / "pages", ROOT / "build" / "site")
    print(f"Wrote build/site: {len(pages())} pages, opened by build/site/index.html.")
