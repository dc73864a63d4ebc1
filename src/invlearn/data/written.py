"""Tables that preparation made, as the files of a dataset folder."""

from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw

from invlearn.data.dataset import PARTS, Part, write_parts
from invlearn.data.parquet import write_parquet
from invlearn.data.table import ITEM, LABEL, PAIR, PART, USER, Rows, collected, pieces


def write_ids(ids: Rows, file: Path) -> int:
    """Write original ids in the order of the dense ones, and count them.

    Raises:
        InvlearnError: The disk is full or cannot be written.
    """
    frame = collected(ids).to_polars()
    write_parquet(frame, file)
    return len(frame)


def write_rows(rows: Rows, folder: Path) -> None:
    """Write the columns of every part, sorted by (user, item), a piece of the rows at a time.

    Args:
        rows: Settled, with dense ids in `USER` and `ITEM`, and with `LABEL` and `PART`.
        folder: Where the columns go.
    """
    found = collected(rows.group_by(PART).agg(nw.len().alias("n"))).iter_rows()
    sizes: dict[str, int] = dict.fromkeys(PARTS, 0)
    sizes |= {PARTS[position]: int(n) for position, n in found}
    write_parts(folder, sizes, map(_parts, pieces(rows)))


def _parts(piece: Rows) -> dict[str, Part]:
    columns = (nw.col(USER, ITEM).cast(nw.Int32), LABEL, PART, PAIR.alias("pair"))
    frame = collected(piece.select(*columns)).sort("pair")
    return {name: _part(frame, position) for position, name in enumerate(PARTS)}


def _part(frame: nw.DataFrame[Any], position: int) -> Part:
    chosen = frame.filter(nw.col(PART) == position)
    is_labelled = PARTS[position] != "unlabelled"
    labels = chosen[LABEL].head(len(chosen) if is_labelled else 0)
    return Part(chosen[USER].to_numpy(), chosen[ITEM].to_numpy(), labels.to_numpy())
