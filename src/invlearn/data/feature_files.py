"""Feature files of users and items in a dataset folder.

```
DATASET/
  {user,item}_features.codes.npy            int32, (ids, categorical columns)
  {user,item}_features.values.npy           float32, (ids, numeric columns)
  {user,item}_features.vocabulary.parquet   columns `feature`, `code`, `value`: meaning of codes
```
A file exists only if it has columns; `features` in `data.json` names them.
"""

from pathlib import Path

import numpy as np
import polars as pl

from invlearn.data.engines.parquet import write_parquet
from invlearn.data.features import Kind, SideCard, SideFeatures
from invlearn.data.parts import open_column
from invlearn.runtime.errors import DataError
from invlearn.runtime.text import counted


def write_side(
    folder: Path, kind: Kind, side: SideFeatures, vocabulary: pl.DataFrame | None = None
) -> None:
    """Write the features of users or of items.

    Args:
        folder: A dataset folder under its temporary name.
        kind: `user` or `item`.
        side: The features.
        vocabulary: The category of each code.

    Raises:
        InvlearnError: The disk is full or not writable.
    """
    for name, columns in (("codes", side.codes), ("values", side.values)):
        if columns.shape[1]:
            np.save(folder / f"{kind}_features.{name}.npy", np.ascontiguousarray(columns))
    if vocabulary is not None and len(vocabulary):
        write_parquet(vocabulary, folder / f"{kind}_features.vocabulary.parquet")


def open_side(folder: Path, kind: Kind, card: SideCard, n_ids: int) -> SideFeatures:
    """Memory-map the features of users or of items.

    Args:
        folder: The dataset folder.
        kind: `user` or `item`.
        card: The feature columns listed in `data.json`.
        n_ids: Number of users or items.

    Raises:
        DataError: The files do not match the card.
    """
    none = SideFeatures.none(n_ids)
    stem = folder / f"{kind}_features"
    codes = open_column(stem.with_suffix(".codes.npy")) if card.categorical else none.codes
    values = open_column(stem.with_suffix(".values.npy")) if card.numeric else none.values
    try:
        side = SideFeatures(card, codes, values)
    except DataError as error:
        raise DataError(f"{folder}: {kind} {error}, or prepare it again") from error
    if len(side) != n_ids:
        raise DataError(
            f"{folder} has {counted(n_ids, kind)} and features of {len(side):,}; prepare it again"
        )
    return side
