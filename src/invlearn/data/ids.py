"""Mapping between original ids of users or items and the dense ids of a run."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from invlearn.data.features import Kind
from invlearn.data.logs.formats import reading
from invlearn.data.types import IntegerIds
from invlearn.runtime.errors import DataError, RunError

Integers = npt.NDArray[np.int64]
UNKNOWN = -1
"""Dense id of a user or item that is not in the dataset, and value of an unknown truth."""

TEXTS = (pl.String, pl.Categorical, pl.Enum, pl.Null)


class IdMap(NamedTuple):
    """Two-way map between original and dense ids.

    Ids are compared as text, so the text `7` in a file or a request matches the integer 7.

    Example:
        >>> ids = IdMap.of(pl.Series([30, 7, 12]))
        >>> ids.dense(pl.Series(["7", "8", "30"]))
        array([ 1, -1,  0])
        >>> ids.original(np.array([2, 0])).to_list()
        [12, 30]
    """

    ids: pl.Series
    """Original ids, row number = dense id."""
    texts: pl.Series
    """Original ids as text, ascending."""
    order: Integers
    """Dense id of each entry of `texts`."""

    @classmethod
    def of(cls, ids: pl.Series) -> "IdMap":
        """Build the map from original ids in the order of the dense ids."""
        texts = ids.cast(pl.String)
        order = texts.arg_sort()
        return cls(ids, texts.gather(order), order.cast(pl.Int64).to_numpy())

    @classmethod
    def open(cls, file: Path, sha256: str | None = None) -> "IdMap":
        """Read `users.parquet` or `items.parquet` of a run.

        Args:
            file: The file; it is read once, into memory.
            sha256: Required checksum of the content, in hexadecimal; None in runs of earlier
                versions.

        Raises:
            DataError: The file is missing or damaged.
            RunError: The file has another checksum.
        """
        with reading(str(file)):
            content = file.read_bytes()
            if sha256 not in (None, hashlib.sha256(content).hexdigest()):
                raise RunError(
                    f"{file} was changed since it was written; copy it from the run's dataset, or "
                    "train the run again"
                )
            return cls.of(pl.read_parquet(io.BytesIO(content), columns=["id"])["id"])

    def __len__(self) -> int:
        return len(self.ids)

    def dense(self, ids: pl.Series) -> Integers:
        """Return dense ids of original ids of any type, -1 if unknown; shape `(len(ids),)`."""
        wanted = ids.cast(pl.String).fill_null("")
        place = self.texts.search_sorted(wanted).clip(0, len(self.texts) - 1)
        found = (self.texts.gather(place) == wanted) & ids.is_not_null()
        return np.where(found.to_numpy(), self.order[place.to_numpy()], UNKNOWN)

    def original(self, dense: IntegerIds) -> pl.Series:
        """Return original ids of dense ids, none of them -1; shape `(len(dense),)`."""
        return self.ids.gather(dense)

    def in_type(self, ids: pl.Series) -> pl.Series:
        """Return the ids in the type of the run's ids if all can be converted, else as text."""
        own = ids.cast(pl.String).cast(self.ids.dtype, strict=False)
        return ids.cast(pl.String) if own.null_count() > ids.null_count() else own


def read_ids(
    source: str | Path | Sequence[Any] | pl.Series, kind: Kind, *, own: str | None = None
) -> pl.Series:
    """Return distinct ids in the order of their first occurrence.

    Args:
        source: The ids, or a file of ids: Parquet, CSV with a header line, or any other text
            with one id per line. A table needs a column named `kind`, `kind_id`, `id` or `own`;
            a Parquet file may have a single column of any name instead. Whitespace around ids
            in text files is removed.
        kind: `user` or `item`.
        own: Name of the id column in the dataset's log.

    Raises:
        DataError: The file is missing, damaged or empty, or it is not clear which column to take.
    """
    name = str(source) if isinstance(source, str | Path) else "those given"
    if isinstance(source, str | Path):
        file = Path(source)
        if not file.is_file():
            raise DataError(f"{file} does not exist; give a file with the ids of {kind}s")
        with reading(str(file)):
            ids = _read(file, kind, own)
    else:
        ids = source if isinstance(source, pl.Series) else _series(source, kind)
    if not (ids.dtype.is_integer() or any(ids.dtype == text for text in TEXTS)):
        raise DataError(
            f"ids of {kind}s are integers or text; those in {name} are of type "
            f"{ids.dtype}; convert them"
        )
    ids = ids.drop_nulls().unique(maintain_order=True)
    if not len(ids):
        raise DataError(f"there is no id of {kind}s in {name}; give at least one")
    return ids


def _read(file: Path, kind: Kind, own: str | None) -> pl.Series:
    """Return the ids in a file; those in a text file are strings."""
    if file.suffix not in (".parquet", ".pq", ".csv"):
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{file} cannot be read ({error}); write it as UTF-8 text") from error
        return pl.Series([line.strip() for line in lines if line.strip()], dtype=pl.String)
    if file.suffix == ".csv":
        table = pl.read_csv(file, infer_schema=False, glob=False)
        table = table.select(pl.all().str.strip_chars().replace("", None))
    else:
        table = pl.read_parquet(file, glob=False)
    found = {name.strip(): name for name in table.columns}
    names = [found[name] for name in (kind, f"{kind}_id", "id", own) if name in found]
    if names:
        return table[names[0]]
    if table.width == 1 and file.suffix != ".csv":
        return table.to_series()
    # in a CSV file without a header line, the first id would be lost
    raise DataError(
        f"{file} has the columns {', '.join(table.columns)}, and none of them is named "
        f"'{kind}', '{kind}_id' or 'id'; name the one with the ids of {kind}s in the first line, "
        "or write plain ids, one a line, to a .txt file"
    )


def _series(ids: Sequence[Any], kind: Kind) -> pl.Series:
    if not all(isinstance(one, int | str | np.integer) for one in ids):
        raise DataError(f"ids of {kind}s are integers or text; found others among those given")
    return pl.Series([str(one) for one in ids], dtype=pl.String)
