"""Sections about origins: the label audit, settings, commands that repeat the runs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import join, quote
from typing import Any

from invlearn.data.prepare.audit import Audit
from invlearn.reporting.blocks import Block, Cell, Code, Text, cell, decimals, run_cell, table
from invlearn.reporting.flow import draw, streams
from invlearn.reporting.measures import Material, Results
from invlearn.reporting.records import RunRecord
from invlearn.reporting.results import by_dataset
from invlearn.runtime.text import counted

KINDS = ("positive", "negative", "unlabelled", "users", "items")
PART_FACTS = ("positive", "negative", "users", "users_scored", "items", "cold_rows")
NOT_ABOUT_PREPARATION = {"audit", "files", "format", "features", "rows", "weakened"}
"""Keys of a dataset's card that do not describe how it was prepared."""


def audit_section(material: Material) -> Iterator[Block]:
    """Yield labels, parts, and dropped rows of the log of each dataset."""
    yield from by_dataset(material.results, _audit)


def _audit(results: Results) -> Iterator[Block]:
    card = results.card or {}
    if "audit" not in card:
        yield Text("There is no audit: the dataset does not exist, or was not prepared.")
        return
    audit = Audit.from_json(card["audit"])
    final = audit.final
    rules = "; ".join(card.get("rule", ()))
    yield Text(
        f"The label rule {rules!r} made {counted(final.positive, 'pair')} positive, "
        f"{final.negative:,} negative and left {final.unlabelled:,} unlabelled: "
        f"{final.labelled_fraction:.1%} of {counted(final.rows, 'pair is', 'pairs are')} labelled."
    )
    if flow := streams(audit):
        yield draw(
            flow,
            "Rows of the log on the left, their labels in the middle, the dataset on the right. "
            "The tables below have the numbers.",
        )
    stages = (
        (stage.name, *(getattr(stage.after, kind) for kind in KINDS), _dropped(stage.dropped))
        for stage in audit.stages
    )
    yield table("Rows after each step", ("step", *KINDS, "dropped"), stages)
    heads = ("part", "positive", "negative", "users", "with both classes", "items", "cold rows")
    parts = ((name, *(getattr(p, fact) for fact in PART_FACTS)) for name, p in audit.parts.items())
    yield table("Content of the dataset", heads, parts)
    if cold := sum(part.cold_rows for part in audit.parts.values()):
        yield Text(
            f"{counted(cold, 'row has', 'rows have')} a user or item without a training row (cold "
            "rows). A model knows nothing about these from labels."
        )
    if audit.crossed:
        yield Text(
            f"{counted(audit.crossed, 'pair was', 'pairs were')} in more than one part of the "
            "given split; one row of each was kept."
        )
    if "weakened" in card:
        done = card["weakened"]
        flipped = done["n_flipped_positives"] + done["n_flipped_negatives"]
        yield Text(
            f"Afterwards the labels were weakened on purpose: "
            f"{counted(done['n_hidden'], 'training label was', 'training labels were')} hidden and "
            f"{flipped:,} flipped. The numbers above are from before."
        )


def _dropped(counts: Mapping[str, int]) -> Cell:
    """Return the number of dropped rows, with the reasons below it."""
    reasons = ", ".join(f"{reason}: {n:,}" for reason, n in counts.items())
    return cell(sum(counts.values()))._replace(detail=reasons)


def setup_section(material: Material) -> Iterator[Block]:
    """Yield the settings of the runs, and the commands that repeat them."""
    records = material.records
    settings = {r.name: dict(_flat(r.config.model_dump(mode="json"))) for r in records}
    names = dict.fromkeys(name for own in settings.values() for name in own)
    differing = [n for n in names if len({repr(own.get(n)) for own in settings.values()}) > 1]
    if differing:
        rows = (
            (run_cell(run), *(_setting(own.get(name)) for name in differing))
            for run, own in settings.items()
        )
        yield table("Settings in which the runs differ", ("run", *differing), rows)
    elif len(records) > 1:
        yield Text("The runs have the same settings.")
    for record in records:
        fitted = (record.test or {}).get("fitted_on_validation", {})
        if fitted:
            parts = ", ".join(f"{name} {decimals(weight, 2)}" for name, weight in fitted.items())
            yield Text(f"Fitted on validation for {record.name}: {parts}.")
    folders = " ".join(quote(str(_nearby(record.folder))) for record in records)
    report = f"invlearn report {folders} -o report.html"
    commands = "\n".join([*map(_train_command, records), report])
    yield Code("How to train each run and make this page again", commands, open=True)
    for record in records:
        yield Code(f"Every setting of {record.name}", record.config.to_yaml(), run=record.name)
    for results in material.results:
        if card := results.card:
            facts = _flat({key: card[key] for key in card if key not in NOT_ABOUT_PREPARATION})
            yield Code(f"How {results.dataset} was prepared", _lines(facts))
    yield Code("Software and machines", _machines(records))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings by dotted name."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _lines(facts: Iterator[tuple[str, Any]], indent: str = "") -> str:
    return "\n".join(f"{indent}{name}: {value}" for name, value in facts)


def _setting(value: Any) -> Cell:
    order = float(value) if isinstance(value, int | float) else None
    return cell(None) if value is None else Cell(str(value), order=order)


def _train_command(record: RunRecord) -> str:
    """Return the command that trains a run again, into a folder next to it."""
    dataset, folder = _nearby(Path(record.card.dataset)), _nearby(record.folder)
    parent = folder.parent if folder.name not in ("", "..") else folder / ".."
    out = parent / f"{record.folder.resolve().name}-again"
    words = ["invlearn", "train", dataset, "--config", folder / "config.yaml", "--out", out]
    return join(map(str, words))


def _nearby(path: Path) -> Path:
    """Return a path relative to the working folder, if it is below it."""
    whole = path.resolve()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else path


def _machines(records: Sequence[RunRecord]) -> str:
    """Describe each environment once, with its runs."""
    runs: dict[str, list[str]] = {}
    for record in records:
        runs.setdefault(_lines(_flat(record.environment), "  "), []).append(record.name)
    return "\n".join(f"{', '.join(names)}\n{facts}" for facts, names in runs.items())
