"""What is installed is whole, and the files beside the code agree with it."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from email import message_from_bytes
from zipfile import ZipFile

import pytest
import yaml

import invlearn
from conftest import ROOT

SOURCE = ROOT / "src" / "invlearn"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pip(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    place = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", place / "tree" / "src", ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / "tree")
    alone = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    pip("wheel", *alone, "--wheel-dir", place, place / "tree")
    (made,) = place.glob("*.whl")
    return made


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel):
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    here = {
        f"invlearn/{file.relative_to(SOURCE)}"
        for file in SOURCE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert packed == here
    assert "invlearn/py.typed" in packed


def test_the_wheel_says_what_it_is(wheel):
    with ZipFile(wheel) as archive:
        (info,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        told = message_from_bytes(archive.read(f"{info}/METADATA"))
        assert f"{info}/licenses/LICENSE" in archive.namelist()
        assert b"invlearn = invlearn.cli.main:main" in archive.read(f"{info}/entry_points.txt")
    assert (told["Version"], told["License-Expression"]) == (invlearn.__version__, "Apache-2.0")
    assert set(told.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])


def test_an_installed_wheel_answers_from_its_own_folder(wheel, tmp_path):
    venv.create(tmp_path / "fresh", with_pip=False, symlinks=True)
    bin_folder = tmp_path / "fresh" / "bin"
    pip("--python", bin_folder / "python", "install", "--no-deps", "--no-index", wheel)
    # What it depends on comes from the environment of the tests, after its own packages.
    (own,) = (tmp_path / "fresh" / "lib").glob("python*/site-packages")
    (own / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (tmp_path / "empty").mkdir()
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in (["invlearn", "--help"], ["python", "-c", "import invlearn as i; print(i)"]):
        found = subprocess.run(
            [bin_folder / command[0], *command[1:]],
            cwd=tmp_path / "empty",
            env=clean,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert ("Usage: invlearn" in found.stdout) or (str(own) in found.stdout)


def test_the_version_is_one_and_semantic():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    first = re.search(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    assert PROJECT["version"] == cited["version"] == first[1]


def test_the_citation_names_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    (paper,) = cited["references"]
    assert paper["doi"] == "10.1145/3616855.3635797"
    assert [author["family-names"] for author in paper["authors"]][:2] == ["Lin", "Gao"]
    assert len(paper["authors"]) == 11


def test_every_extra_that_is_asked_for_exists_and_the_developers_have_them():
    extras = PROJECT["optional-dependencies"]
    places = [*SOURCE.rglob("*.py"), ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in places)
    for named in re.findall(r"(?:invlearn|\.)\[([a-z,]+)\]'", text):
        assert set(named.split(",")) <= set(extras)
    table = (ROOT / "docs" / "faq.md").read_text().partition("| extra | needed for |")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(extras)
    (all_of_them,) = (d for d in extras["dev"] if d.startswith("invlearn["))
    heavy = {"dev", "bench", "lake", "spark"}
    assert set(re.findall(r"\w+", all_of_them)) == {"invlearn", *extras} - heavy


def test_pre_commit_runs_the_linters_of_the_environment_and_fetches_nothing():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in hooks["repos"]} == {"local"}
    entries = [hook["entry"].split() for hook in hooks["repos"][0]["hooks"]]
    linters = re.findall(r"\$\(BIN\)/((?:ruff \w+|pyright))", (ROOT / "Makefile").read_text())
    assert [" ".join(e[:2]) for e in entries] == linters
