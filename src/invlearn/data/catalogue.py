"""Known public data sets: description, source, and preparation settings.

No data is downloaded or shipped: under the licences, each user must fetch the data. Each data
set is recognised in its original files, and in some smaller forms as Parquet.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invlearn.data.logs.logs import open_log
from invlearn.data.prepare.audit import Audit
from invlearn.data.prepare.prepare import prepare
from invlearn.runtime.errors import DataError, unknown

FOLDER_VARIABLE = "INVLEARN_DATA"
"""Environment variable that names a folder with one folder for each data set."""

_GROUPLENS = "GroupLens: research use with citation, no redistribution, no commercial use"
_CC_BY_SA = "CC BY-SA 4.0"


@dataclass(frozen=True, slots=True)
class Form:
    """One file form of a data set, with its preparation settings."""

    files: tuple[str, ...]
    """Names or globs of its files; each must match at least one file."""
    format: str
    """Log format for `open_log`."""
    rule: str
    """Label rule."""
    user: str = "user"
    item: str = "item"
    time: str | None = None
    split: str = "random"
    split_column: str | None = None
    held_out_fraction: float = 0.1
    """Fraction of the labelled rows for validation, and the same for the test."""

    def options(self) -> dict[str, Any]:
        """Return the options of `prepare` for this form."""
        return {
            "rule": self.rule,
            "user": self.user,
            "item": self.item,
            "time": self.time,
            "split": self.split,
            "split_column": self.split_column,
            "valid_fraction": self.held_out_fraction,
            "test_fraction": self.held_out_fraction,
        }


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A public data set."""

    title: str
    n_rows: int
    n_users: int
    n_items: int
    size: str
    """Size of the download."""
    licence: str
    homepage: str
    forms: tuple[Form, ...]
    """Supported forms; if several are found, the first is used."""
    archive: str | None = None
    """Name of the archive to download, if certain."""
    archive_sha256: str | None = None
    """Checksum of the archive, if certain."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The files found of a known data set, and how to prepare them."""

    files: tuple[Path, ...]
    form: Form


DATASETS: dict[str, KnownDataset] = {
    "ml-100k": KnownDataset(
        title="MovieLens 100K (Harper & Konstan 2015)",
        n_rows=100_000,
        n_users=943,
        n_items=1_682,
        size="5 MB",
        licence=_GROUPLENS,
        homepage="https://grouplens.org/datasets/movielens/100k/",
        forms=(
            Form(("u.data",), "ml-100k", "rating > 2", time="timestamp"),
            Form(("ml-100k.inter",), "inter", "rating > 2", "user_id", "item_id", "timestamp"),
            Form(("ratings.parquet",), "parquet", "rating > 2", time="timestamp"),
        ),
        archive="ml-100k.zip",
        archive_sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    ),
    "ml-1m": KnownDataset(
        title="MovieLens 1M (Harper & Konstan 2015)",
        n_rows=1_000_209,
        n_users=6_040,
        n_items=3_706,
        size="6 MB",
        licence=_GROUPLENS,
        homepage="https://grouplens.org/datasets/movielens/1m/",
        forms=(
            # valid and test as large as in the split of Lin et al. (WSDM 2024)
            Form(("ratings.dat",), "ml-1m", "rating > 2", time="timestamp", held_out_fraction=0.2),
            Form(
                ("ml-1m.inter",),
                "inter",
                "rating > 2",
                "user_id",
                "item_id",
                "timestamp",
                held_out_fraction=0.2,
            ),
            # the exact split of Lin et al., as a column
            Form(
                ("ratings.parquet",), "parquet", "rating > 2", split="column", split_column="split"
            ),
        ),
        archive="ml-1m.zip",
        archive_sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    ),
    "kuairec": KnownDataset(
        title="KuaiRec, big matrix (Gao et al. 2022)",
        n_rows=12_530_806,
        n_users=7_176,
        n_items=10_728,
        size="432 MB",
        licence=_CC_BY_SA,
        homepage="https://kuairec.com",
        forms=(
            Form(
                ("big_matrix.csv",),
                "kuairec",
                "watch_ratio >= 1.5, < 0.2",
                "user_id",
                "video_id",
                "timestamp",
                split="temporal",
            ),
            # some of its rows have no timestamp
            Form(
                ("small_matrix.csv",), "kuairec", "watch_ratio >= 1.5, < 0.2", "user_id", "video_id"
            ),
            Form(("watch_ratio.parquet",), "parquet", "watch_ratio >= 1.5, < 0.2"),
        ),
        archive="KuaiRec.zip",
    ),
    "kuairand": KnownDataset(
        title="KuaiRand-Pure, standard feed (Gao et al. 2022)",
        n_rows=1_436_609,
        n_users=27_285,
        n_items=7_551,
        size="184 MB",
        licence=_CC_BY_SA,
        homepage="https://kuairand.com",
        forms=(
            # log_random_*.csv holds randomly exposed videos, a different population
            Form(
                ("log_standard_*.csv",),
                "kuairand",
                "label(is_click)",
                "user_id",
                "video_id",
                "time_ms",
                split="temporal",
            ),
            Form(
                ("clicks.parquet",), "parquet", "label(label)", split="column", split_column="split"
            ),
            Form(
                ("raw_rows.parquet",), "parquet", "label(label)", "user_id", "video_id", "time_ms"
            ),
        ),
    ),
    "coat": KnownDataset(
        title="Coat Shopping (Schnabel et al. 2016)",
        n_rows=11_600,
        n_users=290,
        n_items=300,
        size="1 MB",
        licence="research use; read the terms beside the download",
        homepage="https://www.cs.cornell.edu/~schnabts/mnar/",
        forms=(
            Form(
                ("train.ascii", "test.ascii"),
                "coat",
                "rating >= 4, <= 2",
                split="column",
                split_column="split",
            ),
        ),
        archive="coat.zip",
    ),
}
"""All known data sets by name."""


def list_datasets() -> dict[str, KnownDataset]:
    """Return all known data sets by name."""
    return dict(DATASETS)


def find(name: str, folder: str | Path | None = None) -> Recipe:
    """Find the files of a known data set.

    The search order is `folder/NAME`, `folder`, and for original files also two levels of folders
    below these, where archives unpack.

    Args:
        name: A name in `DATASETS`.
        folder: Folder to search; defaults to the environment variable `INVLEARN_DATA`.

    Raises:
        ConfigError: The name is unknown.
        DataError: No folder is given or the files are missing; the message names the source and
            the licence.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    folder = folder or os.environ.get(FOLDER_VARIABLE)
    if not folder:
        raise DataError(
            f"no folder was named to look for {name} in; pass --from FOLDER, or set "
            f"{FOLDER_VARIABLE} to a folder that holds a folder {name}; {_where_to_get(name)}"
        )
    for place in (Path(folder) / name, Path(folder)):
        for form in DATASETS[name].forms:
            if files := next(_found(place, form), None):
                return Recipe(files, form)
    wanted = " or ".join(" and ".join(form.files) for form in DATASETS[name].forms)
    raise DataError(
        f"no {wanted} in {folder} or its folder {name}; {_where_to_get(name)}, unpack it and name "
        "its folder"
    )


def prepare_known(
    name: str, out: str | Path, *, folder: str | Path | None = None, **options: Any
) -> Audit:
    """Prepare a known data set with its default label rule and split.

    Args:
        name: A name in `DATASETS`.
        out: The dataset folder to write.
        folder: Folder with the data set's files; defaults to `INVLEARN_DATA`.
        options: Options of `invlearn.data.prepare.prepare.prepare`; they override the defaults.

    Raises:
        ConfigError: A name or an option is unknown.
        DataError: The files are missing or damaged.
        InvlearnError: `out` exists or is not writable.
    """
    recipe = find(name, folder)
    own = recipe.form.options()
    if "split" in options:
        own["split_column"] = None  # it belongs to the overridden split
    log = open_log(recipe.files, format=recipe.form.format)
    return prepare(log, out, **(own | options))


def _found(place: Path, form: Form) -> Iterator[tuple[Path, ...]]:
    """Yield the files of a form in a folder and, if their names are distinctive, in subfolders."""
    folders = [place]
    if form.format != "parquet":
        folders += [*sorted(place.glob("*/")), *sorted(place.glob("*/*/"))]
    for folder in folders:
        found = [sorted(folder.glob(pattern)) for pattern in form.files]
        if all(found):
            yield tuple(file for files in found for file in files)


def _where_to_get(name: str) -> str:
    known = DATASETS[name]
    what = known.archive or known.title
    return f"get {what} ({known.size}) from {known.homepage} (licence: {known.licence})"
