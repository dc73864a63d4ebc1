"""Preparation of a dataset in memory, with the steps of `prepare`."""

from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from invlearn.data.features import Features, Kind, SideFeatures
from invlearn.data.logs.formats import reading
from invlearn.data.logs.logs import Log
from invlearn.data.parts import PARTS, DatasetCard, Part, fingerprint_of
from invlearn.data.prepare.audit import Audit, facts_of
from invlearn.data.prepare.prepare import card_of, check_classes, prepared
from invlearn.data.prepare.settings import PrepareSettings
from invlearn.data.prepare.side_tables import SideTable, read_side
from invlearn.data.prepare.written import parts_of
from invlearn.runtime.progress import Progress, silent


class Sides(NamedTuple):
    """Original ids and features of the users and items of a dataset in memory."""

    ids: dict[Kind, pl.Series]
    """Row number = dense id."""
    features: Features


class InMemory(NamedTuple):
    """A prepared dataset in memory."""

    card: DatasetCard
    parts: dict[str, Part]
    """By the names of `PARTS`."""
    sides: Sides


def prepare_in_memory(
    log: Log,
    settings: PrepareSettings,
    tables: Mapping[Kind, SideTable],
    *,
    progress: Progress = silent,
) -> InMemory:
    """Return the dataset of a log, with the same parts as `prepare` writes.

    Args:
        log: The log.
        settings: Columns, rules, split.
        tables: Opened feature tables.
        progress: Called after each step.

    Raises:
        ConfigError: A setting contradicts another.
        DataError: The log lacks a column, has bad rows, or gives no usable labels; or a feature
            table cannot be used.
    """
    with reading(log.name):
        result = prepared(log, settings, progress=progress)
        parts = parts_of(result.rows)
    frames: dict[Kind, pl.DataFrame] = {
        "user": result.users.to_native(),
        "item": result.items.to_native(),
    }
    ids: dict[Kind, pl.Series] = {kind: frame["id"] for kind, frame in frames.items()}
    sides = {kind: read_side(table, ids[kind]) for kind, table in tables.items()}
    features = Features(
        *(
            sides[kind].features if kind in sides else SideFeatures.none(len(ids[kind]))
            for kind in ids
        )
    )
    sizes = {"n_users": len(ids["user"]), "n_items": len(ids["item"])}
    facts = {name: facts_of(parts[name], **sizes) for name in PARTS[:3]}
    check_classes(facts, log.name)
    audit = Audit(
        result.stages,
        result.repeated_pairs,
        result.conflicts,
        facts,
        {kind: side.facts for kind, side in sides.items()},
    )
    card = {"fingerprint": fingerprint_of(parts, ids), **sizes, **card_of(log, settings, audit)}
    card |= {"features": features.card} if sides else {}
    return InMemory(DatasetCard.model_validate(card), parts, Sides(ids, features))
