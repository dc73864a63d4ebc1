"""Sections about where things come from: the label audit, settings, how to do it again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from invlearn.data.prepare.audit import Audit
from invlearn.reporting.blocks import (
    DASH,
    Block,
    Cell,
    Code,
    Heading,
    Picture,
    Row,
    Section,
    Table,
    Text,
    count,
    decimals,
)
from invlearn.reporting.flow import drawn, streams
from invlearn.reporting.measures import Results
from invlearn.reporting.records import RunRecord
from invlearn.runtime.text import counted

WIDE, NARROW = 860, 350
"""Widths in pixels of the flow on a desk and on a phone."""


def audit_section(found: Sequence[Results]) -> Section:
    """What became of the rows of the log: labels, parts, and what was dropped and why."""
    blocks: list[Block] = []
    for results in found:
        if len(found) > 1:
            blocks.append(Heading(results.dataset))
        if results.card is None or "audit" not in results.card:
            blocks.append(Text("There is no audit: the dataset is not there, or was not prepared."))
        else:
            blocks += _audit(results.card)
    return Section("labels", "From rows to labels", tuple(blocks))


def _audit(card: Mapping[str, Any]) -> Iterator[Block]:
    audit = Audit.from_json(card["audit"])
    final = audit.final
    rules = "; ".join(card.get("rule", ()))
    yield Text(
        f"The label rule {rules!r} made {counted(final.positive, 'pair')} positive, "
        f"{final.negative:,} negative and left {final.unlabelled:,} unlabelled: "
        f"{final.labelled_fraction:.1%} of {counted(final.rows, 'pair is', 'pairs are')} labelled."
    )
    found = streams(audit)
    if found:
        said = "Rows of the log on the left, their labels in the middle, the dataset on the right."
        wide, narrow = (drawn(found, width=w, height=220) for w in (WIDE, NARROW))
        yield Picture(wide, narrow, f"{said} The tables below have the numbers.")
    yield _stages(audit)
    yield _parts(audit)
    if "weakened" in card:
        done = card["weakened"]
        flipped = done["n_flipped_positives"] + done["n_flipped_negatives"]
        yield Text(
            f"Afterwards the labels were weakened on purpose: "
            f"{counted(done['n_hidden'], 'training label was', 'training labels were')} hidden and "
            f"{flipped:,} flipped. The numbers above are from before."
        )


def _stages(audit: Audit) -> Table:
    rows = tuple(
        Row(
            (
                Cell(stage.name),
                *(count(getattr(stage.after, kind)) for kind in _KINDS),
                count(sum(stage.dropped.values()))._replace(
                    detail=", ".join(f"{reason}: {n:,}" for reason, n in stage.dropped.items())
                ),
            )
        )
        for stage in audit.stages
    )
    return Table("What each step left", ("step", *_KINDS, "dropped"), rows)


_KINDS = ("positive", "negative", "unlabelled", "users", "items")


def _parts(audit: Audit) -> Table:
    facts = ("positive", "negative", "users", "users_scored", "items")
    rows = tuple(
        Row((Cell(name), *(count(getattr(part, fact)) for fact in facts)))
        for name, part in audit.parts.items()
    )
    heads = ("part", "positive", "negative", "users", "with both classes", "items")
    return Table("What the dataset holds", heads, rows)


def setup_section(records: Sequence[RunRecord], found: Sequence[Results]) -> Section:
    """What the runs were told, and the commands that do it again."""
    blocks: list[Block] = []
    told = {record.name: dict(_flat(record.config.model_dump(mode="json"))) for record in records}
    names = dict.fromkeys(name for settings in told.values() for name in settings)
    differing = [n for n in names if len({repr(s.get(n)) for s in told.values()}) > 1]
    if differing:
        rows = tuple(
            Row((Cell(run), *(_setting(settings.get(name)) for name in differing)), run)
            for run, settings in told.items()
        )
        blocks.append(Table("Settings in which the runs differ", ("run", *differing), rows))
    elif len(records) > 1:
        blocks.append(Text("The runs have the same settings."))
    blocks += [Text(words) for record in records if (words := _settled(record))]
    folders = " ".join(quote(str(_near(record.folder))) for record in records)
    commands = "\n".join(
        [*(_again(r) for r in records), f"invlearn report {folders} -o report.html"]
    )
    blocks.append(Code("How to train each run and make this page again", commands, open=True))
    blocks += [Code(f"Every setting of {r.name}", r.config.to_yaml(), run=r.name) for r in records]
    for results in (one for one in found if one.card is not None):
        blocks.append(Code(f"How {results.dataset} was prepared", _facts(results.card or {})))
    blocks.append(Code("Software and machines", _machines(records)))
    return Section("setup", "Settings, and how to do it again", tuple(blocks))


def _settled(record: RunRecord) -> str:
    """What validation decided for the run's backbone, such as the parts of a mix."""
    found = (record.test or {}).get("fitted_on_validation", {})
    parts = ", ".join(f"{name} {decimals(weight, 2)}" for name, weight in found.items())
    return f"Validation decided for {record.name}: {parts}." if parts else ""


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted name."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _setting(value: Any) -> Cell:
    order = float(value) if isinstance(value, int | float) else None
    return Cell(DASH if value is None else str(value), order=order)


def _again(record: RunRecord) -> str:
    dataset, folder = _near(Path(record.card.dataset)), _near(record.folder)
    beside = folder.parent if folder.name not in ("", "..") else folder / ".."
    config, out = folder / "config.yaml", beside / f"{record.folder.resolve().name}-again"
    words = ("invlearn", "train", str(dataset), "--config", str(config), "--out", str(out))
    return " ".join(map(quote, words))


def _near(path: Path) -> Path:
    """The path as seen from here, if it is below."""
    here = Path.cwd()
    whole = path.resolve()
    return whole.relative_to(here) if whole.is_relative_to(here) else path


def _facts(card: Mapping[str, Any]) -> str:
    """What a dataset's card says of its making, a line a fact."""
    left_out = ("audit", "files", "format", "features", "rows", "weakened")
    return "\n".join(
        f"{name}: {value}" for name, value in _flat(card) if name.split(".")[0] not in left_out
    )


def _machines(records: Sequence[RunRecord]) -> str:
    """Environments, each once with the runs that it is of."""
    found: dict[str, list[str]] = {}
    for record in records:
        facts = "\n".join(f"  {name}: {value}" for name, value in _flat(record.environment))
        found.setdefault(facts, []).append(record.name)
    return "\n".join(f"{', '.join(runs)}\n{facts}" for facts, runs in found.items())
