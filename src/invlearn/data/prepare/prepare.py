"""Prepare a dataset folder from a log of impressions, with an audit of every step.

`prepared` executes the steps on one lazy table of any engine; `prepare` writes the result. The
same log and settings give the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import polars as pl

from invlearn.data.engines.engine import IN_MEMORY, Engine, Rows
from invlearn.data.engines.engines import EngineSettings, starting
from invlearn.data.engines.parquet import write_parquet
from invlearn.data.feature_files import write_side
from invlearn.data.features import FeatureCard, Kind
from invlearn.data.logs.formats import reading
from invlearn.data.logs.logs import ROW, Log, open_log
from invlearn.data.parts import PARTS, Part, open_part, write_card
from invlearn.data.prepare import checks
from invlearn.data.prepare.audit import Audit, PartFacts, Stage, facts_of
from invlearn.data.prepare.grammar import parse_rules
from invlearn.data.prepare.labels import Rule, for_types, labelled
from invlearn.data.prepare.portable import portable, restored
from invlearn.data.prepare.repeats import (
    COPIES,
    RepeatedPairs,
    core_of,
    one_per_pair,
    without_copies,
)
from invlearn.data.prepare.settings import PrepareSettings
from invlearn.data.prepare.side_tables import ReadSide, SideTable, open_tables, read_side
from invlearn.data.prepare.splits import Split, part_of, with_part
from invlearn.data.prepare.table import (
    ID_COLUMNS,
    ITEM,
    LABEL,
    SPLIT,
    TIME,
    USER,
    Counts,
    coded,
    codes_of,
    counts,
    working,
)
from invlearn.data.prepare.times import check_one_form, instant
from invlearn.data.prepare.written import write_rows
from invlearn.runtime import atomic
from invlearn.runtime.errors import DataError
from invlearn.runtime.progress import Progress, silent
from invlearn.runtime.text import counted

N_STEPS = 7


@dataclass(frozen=True, slots=True)
class Prepared:
    """Result of all preparation steps, before writing."""

    rows: Rows
    """`USER`, `ITEM` (dense ids), `LABEL`, `PART`; unordered."""
    ids: dict[Kind, pl.Series]
    """Original ids of users and items; row number = dense id."""
    stages: tuple[Stage, ...]
    repeats: RepeatedPairs


def prepare(
    log: Any,
    out: str | Path,
    *,
    rule: Sequence[str | Rule] | str | Rule,
    format: str = "auto",  # noqa: A002  the word users know
    user: str = "user",
    item: str = "item",
    time: str | None = None,
    split: str = "random",
    split_column: str | None = None,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    repeats: str = "last",
    bad_rows: str = "error",
    core: int = 0,
    text_ids: bool = False,
    seed: int = 0,
    user_features: Any = None,
    item_features: Any = None,
    categorical: Sequence[str] = (),
    engine: str = "polars",
    memory: str | None = None,
    spark: str | None = None,
    scratch: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Audit:
    """Write a dataset folder from a log, and return the audit.

    Memory holds the ids and one chunk of rows at a time (see `table.pieces`).
    Intermediate tables are on disk: about 70 MB per million rows.

    Args:
        log: A file, a folder, a glob, a table in memory, or an opened log
            (see `invlearn.data.logs.logs.open_log`).
        out: The dataset folder to write; it appears only when it is complete.
        rule: Label rules, strongest first: the first rule that gives a label decides.
        format: Format of the log; `auto` uses the file suffix.
        user: Column of user ids, integers or strings.
        item: Column of item ids, integers or strings.
        time: Column that orders rows (number, date, ISO 8601 text); default: log order.
        split: `random`, `per-user`, `temporal` or `column` (see `invlearn.data.prepare.splits`).
        split_column: Column that holds train, valid or test (0, 1, 2), for the split `column`.
        valid_fraction: Fraction of the labelled rows for validation.
        test_fraction: Fraction of the labelled rows for the test.
        repeats: Which row of a repeated pair to keep: `last`, `first`, `any-positive`, `majority`.
        bad_rows: Whether rows without a usable value are an `error` or `drop`ped and counted.
        core: Repeatedly drop users and items with fewer rows than this; 0 keeps all.
        text_ids: Ids are text, also where they look like numbers or like words for a missing id.
        seed: Seed of the hash that splits rows.
        user_features: Table of user features, in any form of a log, with the id column `user`
            (see `invlearn.data.prepare.side_tables`).
        item_features: Table of item features, likewise.
        categorical: Numeric feature columns to treat as categories.
        engine: Engine that runs the steps: `polars`, `duckdb` or `spark` (see
            `invlearn.data.engines.engines`). The dataset is byte-identical for all.
        memory: Memory limit of DuckDB or of local Spark, for example `4GiB`.
        spark: Address of a Spark Connect server, such as `sc://host:15002`; default: local Spark.
        scratch: Folder for intermediate tables, visible to a Spark server under the same path; by
            default next to `out`.
        overwrite: Replace `out` if it exists.
        progress: Called after each step.

    Raises:
        ConfigError: A setting is unknown or contradicts another.
        DataError: The log lacks a column, has bad rows, or gives no usable labels; or a feature
            table has no id of the log, a repeated id, or an unusable column.
        InvlearnError: The folder exists or is not writable.
    """
    rules, how = parse_rules(rule), Split(split, valid_fraction, test_fraction, seed)
    settings = PrepareSettings(
        rules, user, item, time, how, split_column, repeats, bad_rows, core, text_ids
    )
    if not isinstance(log, Log):
        log = open_log(log, format=format, roles=settings.roles, every=False)
    place = EngineSettings(engine, memory, spark, scratch)
    tables = open_tables(
        {"user": (user_features, user), "item": (item_features, item)}, categorical
    )
    whole = atomic.new_folder(Path(out), overwrite=overwrite, marker="data.json")
    with reading(log.name), whole as folder:
        with starting(place, folder) as running:
            result = prepared(log, settings, engine=running, progress=progress)
            for kind, ids in result.ids.items():
                write_parquet(ids.to_frame(), folder / f"{kind}s.parquet")
            write_rows(running.to_polars(result.rows), folder)
        parts = {name: open_part(folder, name) for name in PARTS}
        audit, card, sides = describe(log, settings, result, parts, tables)
        for kind, side in sides.items():
            write_side(folder, kind, side.features, side.vocabulary)
        write_card(folder, card)
    progress("prepare", N_STEPS, N_STEPS, step="written")
    return audit


def prepared(
    log: Log, settings: PrepareSettings, *, engine: Engine = IN_MEMORY, progress: Progress = silent
) -> Prepared:
    """Run all steps except writing: read, check, label, reduce, split, assign dense ids.

    All engines run this same function: the same log gives the same rows on each.

    Raises:
        DataError: The log lacks a column, has bad rows, or gives no usable labels.
    """
    story = _Story(progress, engine, [])
    rows = read_rows(log, settings, engine)
    _check_any(story.note("read", rows), f"{log.name} has no rows; give a log with impressions")
    rows, reasons = good_rows(rows, settings, log, engine)
    found = story.note("bad rows", rows if reasons else None, reasons)
    why = ", ".join(f"{reason} ({counted(n_rows, 'row')})" for reason, n_rows in reasons.items())
    _check_any(found, f"every row of {log.name} is bad: {why}; fix the log")

    ids = {column: codes_of(rows, column, engine) for column in ID_COLUMNS.values()}
    names = {USER: settings.user, ITEM: settings.item}
    for column, codes in ids.items():
        if codes.schema[column] == nw.String and not settings.text_ids:
            checks.check_text_ids(codes[column].to_list(), names[column], log)
        rows = coded(rows, column, codes, engine)
    if settings.copies_matter:
        rows = engine.materialize(rows)
        rows, n_copies = without_copies(rows, settings.rule_columns, engine)
        if n_copies:
            story.note("copies of a row", rows, COPIES, same_ids=True)
    rules = for_types(settings.rules, log.rows.collect_schema())
    rows = labelled(rows, rules, engine).select(ROW, USER, ITEM, LABEL, TIME, SPLIT)
    rows = engine.materialize(rows)
    check_labels(story.note("label", rows, same_ids=True), settings.rules, log.name)
    rows, repeats = one_per_pair(rows, settings.repeats, engine)
    story.note("one row a pair", rows, "repeats of a pair", same_ids=True)
    if settings.core > 1:
        rows = core_of(rows, settings.core, engine)
        found = story.note("core", rows, f"user or item with fewer than {settings.core} rows")
        _check_any(found, f"core {settings.core} leaves no row of {log.name}; lower it")
    rows = with_part(rows, settings.split, engine)
    may_drop = settings.split.dropped
    found = story.note("split", rows, may_drop, same_ids=not may_drop)

    for column, n_left in ((USER, found.users), (ITEM, found.items)):
        if n_left < len(ids[column]):
            kept = codes_of(rows, column, engine)
            rows = engine.materialize(coded(rows, column, kept, engine))
            ids[column] = ids[column][kept[column].to_numpy()].with_columns(kept["code"])
    schema, columns = log.rows.collect_schema(), {"user": settings.user, "item": settings.item}
    originals: dict[Kind, pl.Series] = {
        kind: restored(ids[column], column, schema[columns[kind]])
        for kind, column in ID_COLUMNS.items()
    }
    return Prepared(rows, originals, tuple(story.stages), repeats)


class _Story(NamedTuple):
    """Records the rows kept and dropped by each step, and reports progress."""

    progress: Progress
    engine: Engine
    stages: list[Stage]

    def note(
        self,
        name: str,
        rows: Rows | None,
        dropped: Mapping[str, int] | str = "",
        *,
        same_ids: bool = False,
    ) -> Counts:
        """Record a step, and return the counts after it.

        Args:
            name: Name of the step in the audit.
            rows: Rows after the step; None if unchanged.
            dropped: Rows dropped by reason, or the only possible reason.
            same_ids: Whether all users and items still have rows, so that the counts are reused.
        """
        before = self.stages[-1].after if same_ids else None
        after = self.stages[-1].after if rows is None else counts(rows, self.engine, before=before)
        if isinstance(dropped, str):
            n_lost = self.stages[-1].after.rows - after.rows if self.stages else 0
            dropped = {dropped: n_lost} if n_lost else {}
        self.stages.append(Stage(name, after, dropped))
        self.progress("prepare", len(self.stages), N_STEPS, step=name)
        return after


def read_rows(log: Log, settings: PrepareSettings, engine: Engine = IN_MEMORY) -> Rows:
    """Read the required columns: `USER`, `ITEM`, `TIME`, `SPLIT` and the columns of the rules.

    Polars converts them to working names and to types that all engines support. Without a column
    for it, `TIME` is 0 and `SPLIT` is null. `LABEL` is null.

    Raises:
        DataError: The log is damaged, lacks a column, or has a column of the wrong type.
    """
    schema = log.rows.collect_schema()
    checks.check_columns(log, settings.columns)
    checks.check_types(log.rows, settings.checks(schema), log.name)
    null, source = nw.lit(None, nw.Int8), log.rows
    columns = {TIME: nw.lit(0, nw.Int64), SPLIT: null, LABEL: null}
    for kind, name in {USER: settings.user, ITEM: settings.item, TIME: settings.time}.items():
        if name is not None:
            columns[kind] = portable(name, schema[name], engine)
    if settings.time is not None and checks.is_text(schema[settings.time]):
        check_one_form(log, settings.time)
        native: pl.LazyFrame = nw.to_native(source)
        source = nw.from_native(native.with_columns(instant(settings.time).alias(TIME)))
        columns[TIME] = nw.col(TIME)
    if settings.split_column is not None:
        columns[SPLIT] = part_of(settings.split_column)
    columns |= {working(name): nw.col(name).cast(nw.Float64) for name in settings.rule_columns}
    with reading(log.name):  # damage inside a file is detected only here
        return engine.import_lazy(source.select(nw.col(ROW).cast(nw.Int64), **columns))


def good_rows(
    rows: Rows, settings: PrepareSettings, log: Log, engine: Engine = IN_MEMORY
) -> tuple[Rows, dict[str, int]]:
    """Return the rows that pass all checks, and the number of dropped rows by reason.

    Raises:
        DataError: There are bad rows, and the settings do not drop them.
    """
    wanted, drop = settings.checks(log.rows.collect_schema()), settings.bad_rows == "drop"
    return checks.without_bad(rows, wanted, log, drop=drop, engine=engine)


def describe(
    log: Log,
    settings: PrepareSettings,
    result: Prepared,
    parts: Mapping[str, Part],
    tables: Mapping[Kind, SideTable],
) -> tuple[Audit, dict[str, Any], dict[Kind, ReadSide]]:
    """Return the audit of prepared rows, their card, and the features of users and items.

    Raises:
        DataError: A labelled part lacks a class, or a feature table has none of the ids.
    """
    sizes = {f"n_{kind}s": len(ids) for kind, ids in result.ids.items()}
    sides: dict[Kind, ReadSide] = {
        kind: read_side(table, result.ids[kind]) for kind, table in tables.items()
    }
    facts = {name: facts_of(parts[name], parts["train"], **sizes) for name in PARTS[:3]}
    check_classes(facts, log.name)
    side_facts = {kind: side.facts for kind, side in sides.items()}
    repeated, conflicts, crossed = result.repeats
    audit = Audit(result.stages, repeated, conflicts, facts, side_facts, crossed)
    classes = {n: {"positive": f.positive, "negative": f.negative} for n, f in facts.items()}
    card: dict[str, Any] = {
        **sizes,
        "rows": {**classes, "unlabelled": audit.final.unlabelled},
        "rule": [str(rule) for rule in settings.rules],
        "columns": {
            **{name: getattr(settings, name) for name in ("user", "item", "time")},
            "rule": list(settings.rule_columns),
        },
        "repeats": settings.repeats,
        "bad_rows": settings.bad_rows,
        "core": settings.core,
        "split": {
            "how": settings.split.how,
            "column": settings.split_column,
            "valid_fraction": settings.split.valid_fraction,
            "test_fraction": settings.split.test_fraction,
        },
        "seed": settings.split.seed,
        "source": {"name": log.name, "sha256": log.sha256},
        "invlearn": version("invlearn"),
        "audit": audit.to_json(),
    }
    if sides:
        cards = {kind: side.features.card for kind, side in sides.items()}
        card["features"] = FeatureCard(**cards).model_dump()
    return audit, card, sides


def _check_any(found: Counts, message: str) -> None:
    if found.rows == 0:
        raise DataError(message)


_LIKES = (
    " for rows that are surely unwanted, if few, such as 'watch_ratio >= 1.5, < 0.05': without "
    "any nothing can be measured or chosen by; `nnpu` with --method.unlabelled-weight 1 and a "
    "--method.prior, and `rel-mf`, then learn from positives and unlabelled rows"
)
"""Advice for logs with positive feedback only."""


def check_labels(found: Counts, rules: Sequence[Rule], log_name: str) -> None:
    """Raise `DataError` unless the rules produced both labels."""
    if found.positive and found.negative:
        return
    rule = "; ".join(str(rule) for rule in rules)
    raise DataError(
        f"the label rule '{rule}' gives {log_name} {found.positive:,} positive and "
        f"{found.negative:,} negative labels in {counted(found.rows, 'row')}, and both classes are "
        "needed; compare its bounds with the columns' values, or add a rule"
        f"{_LIKES * (not found.negative)}"
    )


def check_classes(facts: Mapping[str, PartFacts], log_name: str) -> None:
    """Raise `DataError` if a labelled part lacks a class."""
    for name, part in facts.items():
        if not (part.positive and part.negative):
            raise DataError(
                f"the {name} part of {log_name} would have {part.positive:,} positive and "
                f"{part.negative:,} negative rows, and both classes are needed; use larger "
                "fractions, another split or seed, or rules that label more rows"
            )
