"""The parts (splits) of a dataset, and the files of a dataset folder.

```
DATASET/
  data.json            the card: counts, label rule, seed, source, checksums, format version
  users.parquet        column `id`: original user ids, row number = dense id
  items.parquet        column `id`: original item ids, row number = dense id
  {train,valid,test}.{user,item,label}.npy     int32, int32, int8 (1 or 0)
  unlabelled.{user,item}.npy                   int32, int32
  {train,unlabelled}.truth.npy                 int8, only where labels were hidden or flipped
  {user,item}_features.*                       only with features, see `data.feature_files`
```
Columns are memory-mapped. Rows of a part are in the order (user, item). No pair occurs twice,
within a part or in two parts.
"""

import hashlib
from collections.abc import Container, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from invlearn.config.validation_errors import describe_validation_error
from invlearn.data.features import NO_FEATURES, FeatureCard
from invlearn.data.logs.formats import reading
from invlearn.runtime import atomic
from invlearn.runtime.errors import DataError
from invlearn.runtime.safe_load import column_of, json_of, misplaced

FORMAT = 1
KEYS = ("fingerprint", "n_users", "n_items", "files")
"""Required keys of every card, except `format`."""


Count = Annotated[int, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=100)]


class FileEntry(BaseModel):
    """Size and checksum of a file, as recorded in the card."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)
    bytes: int
    """File size in bytes."""
    sha256: str
    """SHA-256 checksum, in hexadecimal."""


class DatasetCard(BaseModel):
    """The content of `data.json`."""

    model_config = ConfigDict(
        strict=True, extra="allow", frozen=True, use_attribute_docstrings=True
    )
    format: int = FORMAT
    """Version of the folder's format."""
    fingerprint: str
    """SHA-256 of the columns and id maps: equal for equal content."""
    n_users: Count
    """Number of users; dense ids are below it."""
    n_items: Count
    """Number of items; dense ids are below it."""
    rows: dict[str, Any] = {}
    """Number of rows of each part by label."""
    rule: list[str] = []
    """Label rules, strongest first."""
    columns: dict[str, Any] = {}
    """Log column names for `user`, `item` and `time`, and for the rules."""
    repeats: str = "last"
    """Which row was kept of a repeated pair."""
    audit: dict[str, Any] | None = None
    """Audit of the preparation steps (see `invlearn.data.prepare.audit`)."""
    features: FeatureCard = NO_FEATURES
    """Which features of users and items there are."""
    weakened: dict[str, Any] | None = None
    """Settings and counts of `invlearn.corrupt_labels`, if it was applied."""
    files: dict[Name, FileEntry] = {}
    """Size and checksum of each file, by name."""

    def to_json(self) -> dict[str, Any]:
        """Return the content as it was read."""
        return self.model_dump(mode="json", exclude_unset=True)


PARTS = ("train", "valid", "test", "unlabelled")

Ids = npt.NDArray[np.int32]
Labels = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one part of a dataset, as columns of shape `(rows,)`."""

    users: Ids
    items: Ids
    labels: Labels
    """1 or 0; empty in the unlabelled part."""
    truth: Labels | None = None
    """Labels before `invlearn.corrupt_labels`, -1 where unknown; None without a truth column.
    For evaluation only, never for training."""

    def __len__(self) -> int:
        return len(self.users)


def write_dataset(folder: Path, parts: Mapping[str, Part], card: Mapping[str, Any]) -> None:
    """Write the parts and the card to `folder`, which already has `{users,items}.parquet`.

    Args:
        folder: A folder under its temporary name (see `invlearn.runtime.atomic.new_folder`).
        parts: The rows of each of `PARTS`.
        card: Content of `data.json` except format, files and fingerprint; includes `n_users`
            and `n_items`.
    """
    write_parts(folder, {name: len(part) for name, part in parts.items()}, [parts])
    write_card(folder, card)


def write_parts(
    folder: Path, sizes: Mapping[str, int], pieces: Iterable[Mapping[str, Part]]
) -> None:
    """Write the columns of each part, one chunk of rows at a time.

    Args:
        folder: Output folder.
        sizes: Number of rows of each part over all chunks.
        pieces: At least one chunk of rows of every part, sorted by (user, item) over all chunks.
    """
    with ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        for piece in pieces:
            for name, values in _columns(piece).items():
                if name not in files:
                    files[name] = stack.enter_context((folder / f"{name}.npy").open("wb"))
                    shape = (sizes[name.partition(".")[0]],)
                    head = np.lib.format.header_data_from_array_1_0(values) | {"shape": shape}
                    np.lib.format.write_array_header_1_0(files[name], head)
                files[name].write(np.ascontiguousarray(values).data)


def _columns(parts: Mapping[str, Part]) -> dict[str, npt.NDArray[Any]]:
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in PARTS:
        part = parts[name]
        columns |= {f"{name}.user": part.users, f"{name}.item": part.items}
        if name != "unlabelled":
            columns[f"{name}.label"] = part.labels
        if part.truth is not None:
            columns[f"{name}.truth"] = part.truth
    return columns


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write `data.json`, with the checksums of all files in `folder`."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.iterdir())
    }
    digest = hashlib.sha256("".join(f"{n} {e['sha256']}\n" for n, e in files.items()).encode())
    head = {"format": FORMAT, "fingerprint": digest.hexdigest()}
    atomic.write_json(folder / "data.json", head | dict(card) | {"files": files})


def fingerprint_of(parts: Mapping[str, Part], ids: Mapping[Any, pl.Series]) -> str:
    """Return the SHA-256 of an in-memory dataset; it differs from that of the same one on disk."""
    digest = hashlib.sha256()
    for name, values in _columns(parts).items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values).data)
    for series in ids.values():
        digest.update("\n".join(series.cast(pl.String)).encode())
    return digest.hexdigest()


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_card(folder: Path) -> DatasetCard:
    """Read `data.json`.

    Raises:
        DataError: The folder is not a dataset, is damaged or of another format version, or
            contains a link that leads out of it.
    """
    atomic.recover(folder)
    if found := misplaced(folder):
        raise DataError(f"{found}; replace it with a regular file")
    file = folder / "data.json"
    if not file.is_file():
        raise DataError(
            f"{folder} is not a dataset folder: no data.json in it; "
            "make one with `invlearn prepare`"
        )
    try:
        card = json_of(file)
        found = card["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error!r}); prepare the dataset again") from error
    if found != FORMAT:
        raise DataError(
            f"{folder} has format version {found}, this invlearn reads version {FORMAT}; "
            "prepare the dataset again"
        )
    missing = [key for key in KEYS if key not in card]
    if missing:
        raise DataError(f"{file} lacks {', '.join(missing)}; prepare the dataset again")
    try:
        return DatasetCard.model_validate(card)
    except ValidationError as error:
        reason = describe_validation_error(DatasetCard, error)
        raise DataError(f"{file} is damaged ({reason}); prepare the dataset again") from error


def open_parts(folder: Path, card: DatasetCard, *, verify: bool) -> dict[str, Part]:
    """Check the files of a dataset folder, and memory-map the columns of its parts.

    Args:
        folder: The dataset folder.
        card: Its card.
        verify: Check the checksum of each file and every value; otherwise check only sizes.

    Raises:
        DataError: A file is missing, or does not match the card or the other files.
    """
    for name, entry in card.files.items():
        file = folder / name
        if not file.is_file():
            raise DataError(f"{file} is missing; prepare the dataset again")
        size = file.stat().st_size
        if size != entry.bytes:
            raise DataError(
                f"{file} has {size} bytes, data.json says {entry.bytes}; prepare the dataset again"
            )
        if verify and sha256(file) != entry.sha256:
            raise DataError(f"{file} was changed since it was written; prepare the dataset again")
    parts = {name: open_part(folder, name, card.files) for name in PARTS}
    for name, part in parts.items():
        if not _fits(part, card, is_labelled=name != "unlabelled", verify=verify):
            raise DataError(
                f"{folder / name}.*.npy do not fit one another or data.json: wanted are columns of "
                "one length, ids below the number of users or items, and labels 0 and 1; prepare "
                "the dataset again"
            )
    check_ids(folder / "users.parquet", card.n_users)
    check_ids(folder / "items.parquet", card.n_items)
    return parts


def open_part(folder: Path, part: str, files: Container[str] = ()) -> Part:
    """Memory-map the columns of one of `PARTS`.

    Args:
        folder: A folder written by `write_parts`.
        part: Name of the part.
        files: Names of all files in the folder; they tell whether there is a truth column.
    """
    users, items = (open_column(folder / f"{part}.{name}.npy") for name in ("user", "item"))
    labels, truth = folder / f"{part}.label.npy", folder / f"{part}.truth.npy"
    return Part(
        users,
        items,
        open_column(labels) if part != "unlabelled" else np.empty(0, np.int8),
        open_column(truth) if truth.name in files else None,
    )


def open_column(file: Path) -> npt.NDArray[Any]:
    """Memory-map a `.npy` file.

    Raises:
        DataError: The file is damaged.
    """
    try:
        return column_of(file, mapped=True)
    except (ValueError, OSError) as error:
        raise DataError(f"{file} is damaged ({error}); prepare the dataset again") from error


def _fits(part: Part, card: DatasetCard, *, is_labelled: bool, verify: bool) -> bool:
    """Return whether columns match one another and the card; `verify` checks every value."""
    columns: list[tuple[npt.NDArray[Any] | None, type, int, int]] = [
        (part.users, np.int32, 0, card.n_users - 1),
        (part.items, np.int32, 0, card.n_items - 1),
        (part.labels if is_labelled else None, np.int8, 0, 1),
        (part.truth, np.int8, -1, 1),
    ]
    return all(
        column.dtype == kind
        and column.shape == (part.users.size,)
        and not (verify and column.size and (column.min() < least or column.max() > most))
        for column, kind, least, most in columns
        if column is not None
    )


def check_ids(file: Path, n_ids: int) -> None:
    """Check that a file of original ids has one row per dense id.

    Raises:
        DataError: It has not, or its ids are neither integers nor text.
    """
    with reading(str(file)):
        table = pl.scan_parquet(file, glob=False)
        kind = table.collect_schema().get("id", pl.Null())
        found = table.select(pl.len()).collect().item()
    if not (kind.is_integer() or kind == pl.String) or found != n_ids:
        raise DataError(
            f"{file} holds {found:,} ids of type {kind} in its column id, and {n_ids:,} integers "
            "or texts are needed; prepare the dataset again"
        )
