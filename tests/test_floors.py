"""The plan of the house: who may import whom, and what every file keeps to."""

import ast
import re
import subprocess
import sys
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

import invlearn

SOURCE = Path(invlearn.__file__).parent

FLOORS = (
    # value types and words
    "errors guards interruption pairs plain room progress wire wording",
    # words of the service
    "misfits service_page",
    # messages between processes and locks, draws
    "locks processes randomness",
    # what is known of a dataset before a model trains
    "exposures features rates",
    "exposure_factors intercepts mixing",
    "mixed_model pretraining",
    # mathematics of one batch or one column, settings, models, safe files
    "atomic backbones calibration calibrators config environment live_tensors losses machine_memory"
    " metrics thresholds top_k",
    # models beside models; tensors in files
    "peers tensor_files",
    # strategies; logs as tables, and what may be said of their rows
    "bootstrap schedule scoring strategies"
    " data data.audit data.checks data.counters data.dataset data.duckdb_engine data.engine"
    " data.engines data.exposure data.feature_files data.formats data.grammar data.labels"
    " data.logs data.order data.parquet data.portable data.quantile data.reaction data.repeats"
    " data.scratch data.settings data.side_tables data.spark_engine data.spill data.splits"
    " data.table data.text data.unseen data.written",
    # weights in play, files of a run, scores to metrics; logs to datasets, datasets to batches
    "baselines checkpoint evaluation recording registry stores"
    " data.prepare data.sampler data.simulate data.weaken",
    # the loop, the run folder, the catalogue
    "export_page plots replication seen run_folder steps traces"
    " data.asked data.catalogue data.lookup",
    "annotation_facts ids onnx_file pair_influence ranking training",
    # names become objects
    "assessment composition",
    "sharing",
    "sizing",
    "demands",
    "planning",
    "fitting",
    "job",
    "ann run",
    "annotator comparison epoch_sides recommendation",
    "annotation answering experiments exporting lists reporting",
    "serving",
    "service",
    "paper screen",
    "screen_annotation screen_experiments screen_planning screen_serving",
    "cli_data misuse",
    "cli_annotation cli_experiments cli_planning cli_report cli_serving",
    "cli",
    "__main__",
)
"""Modules by floor, lowest first; a folder stands for its modules unless they are named."""

LAZY = {"invlearn"}
"""Imports nothing until it is asked."""


def modules():
    return {
        ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted(SOURCE.rglob("*.py"))
        if file != SOURCE / "__init__.py"
    }


def floor_of(module):
    floors = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
    return floors.get(module, floors.get(module.partition(".")[0]))


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
                found |= {name if name in known else outer for name in inner} - LAZY
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
            found |= {n.removeprefix("invlearn.") for n in names if n.startswith("invlearn.")}
        todo.extend(ast.iter_child_nodes(node))
    return found


def test_every_module_stands_on_a_floor():
    assert [name for name in modules() if floor_of(name) is None] == []
    named = {name for names in FLOORS for name in names.split()}
    assert named <= set(modules())


def test_the_plan_in_the_documentation_has_every_room():
    page = (Path(__file__).parents[1] / "docs" / "design.md").read_text(encoding="utf-8")
    plan = page.partition("| rooms |")[2].partition("\n\n")[0]
    rooms = [room.rstrip("/") for room in re.findall(r"`([^`]+)`", plan)]
    own = {name.partition(".")[0] for name in modules()}
    assert [name for name in own if not any(fnmatch(name, room) for room in rooms)] == []
    known = {*modules(), *own}
    assert [room for room in rooms if not any(fnmatch(name, room) for name in known)] == []


def test_modules_import_from_lower_floors_or_their_own_family():
    upward = [
        f"{name} (floor {floor_of(name)}) imports {other} (floor {floor_of(other)})"
        for name, file in modules().items()
        for other in imported(file)
        if not (
            floor_of(other) < floor_of(name)
            or (floor_of(other) == floor_of(name) and other.split(".")[0] == name.split(".")[0])
        )
    ]
    assert upward == []


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
    assert printing <= {"cli", "screen"}


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
        "import sys, invlearn, invlearn.cli;"
        "print(sorted({'torch', 'polars', 'narwhals', 'numpy'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
