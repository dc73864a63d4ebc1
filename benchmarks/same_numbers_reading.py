"""What `same_numbers.py` reads from the files that commands of `invlearn` wrote.

Numbers stay numbers, so that a difference can be read. What is long becomes the first half of a
SHA-256: tensors by name, columns of tables by name, files by name.
"""

import hashlib
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from safetensors.numpy import load_file

CARD, RUN_CARD, TEST, CONFIG = "data.json", "run.json", "test.json", "config.yaml"
LINES = {"epochs": "epochs.jsonl", "steps": "steps.jsonl"}
CHECKPOINTS, INDEX, RESULTS = "checkpoints", "index.json", "results.json"
"""Names of the files that are read."""

STRIPPED = {
    *("seconds", "train_seconds", "validate_seconds", "search_seconds", "pairs_per_second"),
    *("peak_bytes", "commit", "environment", "versions", "invlearn", "files"),
}
"""Keys that tell of time, speed, memory, code and machine; `files` are digested themselves."""
NO_RUN_CARD = {"dataset", "id", "format"}
"""Left out of `run.json`: an absolute path, and a digest of the text of `config.yaml`."""
NO_STATE = {"run"}
"""Left out of a checkpoint's state: that digest again."""
NO_EXPORT = {"sha256"}
"""Left out of `export.json`: an ONNX file names the modules that it was made by. The logits that it
gives are compared instead. The README of an export is prose, and is left out, too."""
NO_SECTIONS = {"cost", "setup"}
"""Sections of a report that tell of seconds and versions."""
NO_TABLES = "| method | seconds"
"""Begins a table of `results.md` that tells of seconds."""
LONGEST = 80
"""Characters of a list above which its digest is recorded."""


def digest(content: bytes | str) -> str:
    """The first half of a SHA-256."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:32]


def short(value: Any) -> Any:
    """A value, or its digest if it is long."""
    text = json.dumps(value, default=str)
    return value if len(text) <= LONGEST else f"{digest(text)} of {len(value)}"


def plain(value: Any, left_out: frozenset[str] | set[str] = frozenset()) -> Any:
    """A value of JSON without what cannot be the same; lists of objects go by columns."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in STRIPPED | left_out}
        return {k: plain(v, left_out) for k, v in kept.items()}
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        rows = [dict(leaves(plain(row, left_out))) for row in value]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: short([row.get(name) for row in rows]) for name in names}
    is_text = isinstance(value, list) and value and all(isinstance(one, str) for one in value)
    return short(value) if isinstance(value, list) and not is_text else value


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values that are no objects, by their path."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}/{key}" if path else str(key))
    else:
        yield path, value


def logs(work: Path) -> Any:
    """Files of the logs, by name: the simulated feed, and what was taken of the data sets."""
    files = sorted(p for p in (work / "logs").rglob("*") if p.is_file() and "tiny" not in str(p))
    return {str(file.relative_to(work / "logs")): digest(file.read_bytes()) for file in files}


def dataset(work: Path, folder: str, same_as: str = "") -> Any:
    """Files and card of a dataset; whether the card is that of another one, in place of it."""
    place = work / folder
    files = sorted(file for file in place.iterdir() if not file.name.startswith("."))
    found: dict[str, Any] = {f.name: digest(f.read_bytes()) for f in files if f.name != CARD}
    card = plain(json.loads((place / CARD).read_text()))
    if not same_as:
        return {"files": found, "card": card}
    same = card == plain(json.loads((work / same_as / CARD).read_text()))
    return {"files": found, "fingerprint": card["fingerprint"], f"card as in {same_as}": same}


def run(work: Path, folder: str) -> Any:
    """Whatever a training left."""
    place = work / folder
    index = json.loads((place / CHECKPOINTS / INDEX).read_text())
    best, last = (place / CHECKPOINTS / index[which]["name"] for which in ("best", "last"))
    records = {name: _table_of_lines(place / file) for name, file in LINES.items()}
    test = plain(json.loads((place / TEST).read_text()))
    if "baselines" in test:
        test["baselines"] = {k: digest(json.dumps(v)) for k, v in test["baselines"].items()}
    return {
        "weights": _tensors(best, "weights"),
        "last weights": _tensors(last, "weights") if last != best else "those of the best",
        "optimizer": _tensors(last, "optimizer"),
        "state": plain(json.loads((last / "state.json").read_text()), NO_STATE),
        "kept": sorted(key for key in index if key not in ("best", "last")),
        "card": plain(json.loads((place / RUN_CARD).read_text()), NO_RUN_CARD),
        "arrays": {f.name: _array(np.load(f)) for f in sorted(place.glob("*.npy"))},
        "test": test,
        **records,
        "config": yaml.safe_load((place / CONFIG).read_text()),
    }


def annotated(work: Path, name: str) -> Any:
    """Columns of an annotation, rows by user and item, and its facts."""
    file = work / "out" / name
    facts = plain(json.loads(file.with_suffix(".json").read_text()))
    return {"columns": _columns(pl.read_parquet(file)), "facts": facts}


def lists(work: Path, name: str) -> Any:
    """Columns of recommended lists, or the digest of their text."""
    file = work / "out" / name
    if file.suffix == ".parquet":
        return _columns(pl.read_parquet(file))
    text = file.read_text()
    return {"text": digest(text), "lines": text.count("\n"), "first": text.splitlines()[:2]}


def export(work: Path, folder: str) -> Any:
    """Tables of an export, what is said of it, and the logits of its ONNX file for all pairs."""
    import onnxruntime

    place = work / folder
    card = plain(json.loads((place / "export.json").read_text()), NO_EXPORT)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(place / "model.onnx"), options)
    pairs = np.indices((card["n_users"], card["n_items"])).reshape(2, -1).astype(np.int64)
    inputs = {one.name: ids for one, ids in zip(session.get_inputs(), pairs, strict=True)}
    tables = place / "embeddings.safetensors"
    return {
        "card": card,
        "files": sorted(file.name for file in place.iterdir()),
        "ids": {f.name: digest(f.read_bytes()) for f in sorted(place.glob("*.parquet"))},
        "tables": _tensors(place, "embeddings") if tables.exists() else {},
        "logits": _array(session.run(None, inputs)[0]),
    }


def report(work: Path) -> Any:
    """Numbers of each section of a report: those in its text, and those that its charts draw."""
    page = (work / "out" / "report.html").read_text()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    charts = json.loads(data[1])["charts"] if data else {}
    found: dict[str, Any] = {}
    # The record was made when the page had two drawings of the flow chart, for two widths.
    page = re.sub(r'<svg class="flow" .*?</svg>.*?</svg>', r"\g<0>\g<0>", page, flags=re.S)
    for name, content in re.findall(r'<section id="([^"]+)"(.*?)</section>', page, re.S):
        text = html.unescape(re.sub(r"<[^>]+>", " ", content))
        drawn = dict.fromkeys(re.findall(r"chart-\d+", content))
        values = [rows for chart in drawn for rows in _drawn(charts[chart])]
        found[name] = {"numbers": short(_numbers(text)), "charts": [plain(v) for v in values]}
    findings = re.search(r'<ul class="findings".*?</ul>', page, re.S)
    top = _numbers(html.unescape(re.sub(r"<[^>]+>", " ", findings[0]))) if findings else None
    kept = {name: section for name, section in found.items() if name not in NO_SECTIONS}
    return {"findings": top, "sections": kept, "left out": sorted(found.keys() - kept.keys())}


def results(work: Path, folder: str) -> Any:
    """What an experiment found, and its tables as text."""
    place = work / folder
    found = plain(json.loads((place / RESULTS).read_text()))
    groups = json.loads((place / RESULTS).read_text())["groups"]
    found["groups"] = {f"group {n}": plain(group) for n, group in enumerate(groups)}
    tables = (place / RESULTS).with_suffix(".md").read_text().split("\n\n")
    kept = [table for table in tables if not table.startswith(NO_TABLES)]
    return {"results": found, "numbers of the page": short(_numbers("\n".join(kept)))}


def json_file(work: Path, name: str) -> Any:
    """A JSON file."""
    return plain(json.loads((work / "out" / name).read_text()))


def said(work: Path, name: str) -> Any:
    """Lines that a command printed."""
    return [line.rstrip() for line in (work / "said" / f"{name}.txt").read_text().splitlines()]


def _tensors(folder: Path, name: str) -> dict[str, str]:
    """Digests of tensors by name, from one file or several."""
    files = sorted(folder.glob(f"{name}*.safetensors"))
    return {key: _array(a) for file in files for key, a in sorted(load_file(file).items())}


def _array(array: np.ndarray) -> str:
    """Digest of type, shape and bytes."""
    return digest(f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())


def _table_of_lines(file: Path) -> Any:
    return plain([json.loads(line) for line in file.read_text().splitlines()])


def _columns(table: pl.DataFrame) -> dict[str, Any]:
    """Digests of columns, rows in the order of the first two."""
    ordered = table.sort(table.columns[:2], maintain_order=True)
    found = {column.name: digest(json.dumps(column.to_list())) for column in ordered}
    return {"rows": len(table), **found}


def _numbers(text: str) -> list[str]:
    return re.findall(r"[-+\u2212]?\d[\d,]*\.?\d*(?:e[-+]\d+)?", text)


def _drawn(chart: Any) -> Iterator[list[Any]]:
    """Rows that a chart draws, at whatever depth."""
    if isinstance(chart, dict):
        for key, inner in chart.items():
            if key == "values" and isinstance(inner, list) and inner and isinstance(inner[0], dict):
                yield inner
            else:
                yield from _drawn(inner)
    elif isinstance(chart, list):
        for inner in chart:
            yield from _drawn(inner)
