"""Write the prepared tables as the files of a dataset folder."""

from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw

from invlearn.data.engines.engine import IN_MEMORY, Rows
from invlearn.data.parts import PARTS, Part, write_parts
from invlearn.data.prepare.table import ITEM, LABEL, PAIR, PART, USER, pieces


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
    write_parts(folder, sizes, map(parts_of, pieces(rows)))


def parts_of(rows: Rows) -> dict[str, Part]:
    """Return the rows of every part in memory, sorted by (user, item)."""
    columns = (nw.col(USER, ITEM).cast(nw.Int32), LABEL, PART, PAIR.alias("pair"))
    frame = IN_MEMORY.collect(rows.select(*columns)).sort("pair")
    return {name: _part(frame, position) for position, name in enumerate(PARTS)}


def _part(frame: nw.DataFrame[Any], position: int) -> Part:
    chosen = frame.filter(nw.col(PART) == position)
    is_labelled = PARTS[position] != "unlabelled"
    labels = chosen[LABEL].head(len(chosen) if is_labelled else 0)
    return Part(chosen[USER].to_numpy(), chosen[ITEM].to_numpy(), labels.to_numpy())
