"""Which package may import which, and what every file keeps to."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import invlearn

SOURCE = Path(invlearn.__file__).parent

PACKAGES = (
    *("runtime", "config", "data", "backbones", "strategies", "evaluation", "training"),
    *("inference", "reporting", "experiments", "cli"),
)
"""Lowest first. A package imports from itself and from those before it."""


@cache
def modules():
    return {
        ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted(SOURCE.rglob("*.py"))
        if file != SOURCE / "__init__.py"
    }


def package_of(module):
    return module.partition(".")[0]


def folder_of(module):
    return module if (SOURCE / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]


@cache
def imported(file):
    """Modules of the package that a file imports when it runs, wherever the import stands."""
    todo, found, known = [ast.parse(file.read_text(encoding="utf-8"))], set(), modules()
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo.extend(node.orelse)
            continue
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file.name} imports by a relative name"
            inner = {
                f"{node.module}.{alias.name}".removeprefix("invlearn.") for alias in node.names
            }
            outer = str(node.module).removeprefix("invlearn.")
            if str(node.module).partition(".")[0] == "invlearn":
                found |= {name if name in known else outer for name in inner} - {"invlearn"}
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
            found |= {n.removeprefix("invlearn.") for n in names if n.startswith("invlearn.")}
        todo.extend(ast.iter_child_nodes(node))
    return found


def test_packages_import_from_lower_packages_only():
    upward = [
        f"{name} imports {other}"
        for name, file in modules().items()
        if name != "__main__"
        for other in imported(file)
        if PACKAGES.index(package_of(other)) > PACKAGES.index(package_of(name))
    ]
    assert upward == []


def test_folders_of_a_package_do_not_import_each_other_in_a_cycle():
    graph = {}
    for name, file in modules().items():
        mine = folder_of(name)
        others = {folder_of(other) for other in imported(file)}
        apart = {o for o in others if not f"{o}.".startswith(f"{mine}.")}
        graph.setdefault(mine, set()).update(o for o in apart if not mine.startswith(f"{o}."))
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_every_package_says_its_purpose_in_a_line():
    for name in PACKAGES:
        tree = ast.parse((SOURCE / name / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), name
    entries = {path.name for path in SOURCE.iterdir()} - {"__pycache__", "py.typed"}
    assert entries == {*PACKAGES, "__init__.py", "__main__.py"}


def test_imports_have_no_cycle():
    graph = {name: imported(file) - {name} for name, file in modules().items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_only_the_screen_prints():
    printing = {
        name
        for name, file in modules().items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write")
    }
    assert printing <= {"cli.main", "cli.display"}


def test_nothing_is_ever_unpickled():
    words = ("import pickle", "torch.load(", "allow_pickle=True", "eval(", "exec(")
    for name, file in modules().items():
        text = file.read_text(encoding="utf-8").replace(".eval()", "")
        assert [word for word in words if word in text] == [], name


def test_files_stay_small():
    assert {n for n, f in modules().items() if len(f.read_text().splitlines()) > 400} == set()


def test_file_names_say_one_purpose():
    vague = {"utils", "util", "common", "base", "helpers", "misc"}
    assert {name for name in modules() if name.rpartition(".")[2] in vague} == set()


def test_the_package_and_its_command_line_load_no_engine():
    code = (
        "import sys, invlearn, invlearn.cli.main;"
        "print(sorted({'torch', 'polars', 'narwhals', 'numpy'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
