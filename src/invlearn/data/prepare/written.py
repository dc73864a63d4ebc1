"""Write the prepared tables as the files of a dataset folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl

from invlearn.data.engines.engine import IN_MEMORY, Frame, Rows
from invlearn.data.engines.parquet import write_parquet
from invlearn.data.feature_files import write_side
from invlearn.data.features import FeatureCard, Kind
from invlearn.data.parts import PARTS, Part, write_parts
from invlearn.data.prepare.audit import SideFacts
from invlearn.data.prepare.side_tables import ReadSide, SideTable, read_side
from invlearn.data.prepare.table import ITEM, LABEL, PAIR, PART, USER, pieces


def write_ids(ids: Frame, file: Path) -> int:
    """Write original ids in the order of the dense ids, and return their number.

    Raises:
        InvlearnError: The disk is full or not writable.
    """
    write_parquet(ids.to_native(), file)
    return len(ids)


def write_rows(rows: Rows, folder: Path) -> None:
    """Write the columns of every part, sorted by (user, item), one chunk of rows at a time.

    Args:
        rows: A materialized lazy Polars table, with dense ids in `USER` and `ITEM`, and with
            `LABEL` and `PART`.
        folder: Output folder.
    """
    found = IN_MEMORY.collect(rows.group_by(PART).agg(nw.len().alias("n"))).iter_rows()
    sizes: dict[str, int] = dict.fromkeys(PARTS, 0)
    sizes |= {PARTS[position]: int(n) for position, n in found}
    write_parts(folder, sizes, map(_parts, pieces(rows)))


def parts_of(rows: Rows) -> dict[str, Part]:
    """Return the rows of every part in memory, sorted by (user, item)."""
    return _parts(rows)


def write_sides(
    sides: Mapping[Kind, SideTable], folder: Path
) -> tuple[dict[str, Any], dict[str, SideFacts]]:
    """Write the features of users and items, in the order of the written ids.

    Args:
        sides: Feature tables of `user` and `item`.
        folder: Folder with the files of `write_ids`; the features are written there.

    Returns:
        The card entry of the features, if there are any, and facts for the audit.

    Raises:
        DataError: A table cannot be used (see `read_side`).
        InvlearnError: The disk is full or not writable.
    """
    found: dict[Kind, ReadSide] = {}
    for kind, table in sides.items():
        ids = pl.read_parquet(folder / f"{kind}s.parquet", glob=False)["id"]
        side = read_side(table, ids)
        write_side(folder, kind, side.features, side.vocabulary)
        found[kind] = side
    cards = {kind: side.features.card for kind, side in found.items()}
    card = {"features": FeatureCard(**cards).model_dump()} if cards else {}
    return card, {kind: side.facts for kind, side in found.items()}


def _parts(piece: Rows) -> dict[str, Part]:
    columns = (nw.col(USER, ITEM).cast(nw.Int32), LABEL, PART, PAIR.alias("pair"))
    frame = IN_MEMORY.collect(piece.select(*columns)).sort("pair")
    return {name: _part(frame, position) for position, name in enumerate(PARTS)}


def _part(frame: nw.DataFrame[Any], position: int) -> Part:
    chosen = frame.filter(nw.col(PART) == position)
    is_labelled = PARTS[position] != "unlabelled"
    labels = chosen[LABEL].head(len(chosen) if is_labelled else 0)
    return Part(chosen[USER].to_numpy(), chosen[ITEM].to_numpy(), labels.to_numpy())
