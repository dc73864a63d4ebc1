"""Known public data sets: description, source, and preparation settings.

No data is downloaded or shipped: under the licences, each user must fetch the data. Each data
set is recognized in its original files, and in some smaller forms as Parquet.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

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
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Options of `prepare` that differ from their defaults."""


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


class Recipe(NamedTuple):
    """The files found of a known data set, and how to prepare them."""

    files: tuple[Path, ...]
    form: Form


_TIMED, _TIME_MS, _TEMPORAL = {"time": "timestamp"}, {"time": "time_ms"}, {"split": "temporal"}
_IDS = {"user": "user_id", "item": "item_id"}
_VIDEO_IDS = {"user": "user_id", "item": "video_id"}
_SPLIT_COLUMN = {"split": "column", "split_column": "split"}
_PAPER_FRACTIONS = {"valid_fraction": 0.2, "test_fraction": 0.2}
"""Valid and test as large as in the split of Lin et al. (WSDM 2024)."""
_LIKED, _WATCHED = "rating > 2", "watch_ratio >= 1.5, < 0.2"

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
            Form(("u.data",), "ml-100k", _LIKED, _TIMED),
            Form(("ml-100k.inter",), "inter", _LIKED, _IDS | _TIMED),
            Form(("ratings.parquet",), "parquet", _LIKED, _TIMED),
        ),
        archive="ml-100k.zip",
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
            Form(("ratings.dat",), "ml-1m", _LIKED, _TIMED | _PAPER_FRACTIONS),
            Form(("ml-1m.inter",), "inter", _LIKED, _IDS | _TIMED | _PAPER_FRACTIONS),
            # the exact split of Lin et al., as a column
            Form(("ratings.parquet",), "parquet", _LIKED, _SPLIT_COLUMN),
        ),
        archive="ml-1m.zip",
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
            Form(("big_matrix.csv",), "kuairec", _WATCHED, _VIDEO_IDS | _TIMED | _TEMPORAL),
            # some of its rows have no timestamp
            Form(("small_matrix.csv",), "kuairec", _WATCHED, _VIDEO_IDS),
            Form(("watch_ratio.parquet",), "parquet", _WATCHED),
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
                _VIDEO_IDS | _TIME_MS | _TEMPORAL,
            ),
            Form(("clicks.parquet",), "parquet", "label(label)", _SPLIT_COLUMN),
            Form(("raw_rows.parquet",), "parquet", "label(label)", _VIDEO_IDS | _TIME_MS),
        ),
    ),
    "coat": KnownDataset(
        title="Coat Shopping (Schnabel et al. 2016)",
        n_rows=11_600,
        n_users=290,
        n_items=300,
        size="1 MB",
        licence="research use; read the terms of the download",
        homepage="https://www.cs.cornell.edu/~schnabts/mnar/",
        forms=(Form(("train.ascii", "test.ascii"), "coat", "rating >= 4, <= 2", _SPLIT_COLUMN),),
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
            if files := _files_of(place, form):
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
    files, form = find(name, folder)
    if "split" in options:
        options = {"split_column": None} | options  # the form's belongs to the overridden split
    settings: dict[str, Any] = {"rule": form.rule, "format": form.format, **form.options, **options}
    return prepare(files, out, **settings)


def _files_of(place: Path, form: Form) -> tuple[Path, ...]:
    """Return the files of a form in a folder or, if their names are distinctive, a subfolder."""
    depths = ("*/", "*/*/") if form.format != "parquet" else ()
    for folder in (place, *(folder for depth in depths for folder in sorted(place.glob(depth)))):
        found = [sorted(folder.glob(pattern)) for pattern in form.files]
        if all(found):
            return tuple(file for files in found for file in files)
    return ()


def _where_to_get(name: str) -> str:
    data = DATASETS[name]
    what = data.archive or data.title
    return f"get {what} ({data.size}) from {data.homepage} (licence: {data.licence})"
