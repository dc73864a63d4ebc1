"""Dataset class: the prepared rows, ids and features that training reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from invlearn.data.feature_files import open_side
from invlearn.data.features import FeatureCard, Features, Kind, SideFeatures
from invlearn.data.logs.formats import reading
from invlearn.data.logs.logs import open_log
from invlearn.data.parts import DatasetCard, Part, fingerprint_of, open_parts, read_card
from invlearn.data.prepare.grammar import parse_rules
from invlearn.data.prepare.labels import Rule
from invlearn.data.prepare.prepare import describe, prepared
from invlearn.data.prepare.settings import PrepareSettings
from invlearn.data.prepare.side_tables import open_tables
from invlearn.data.prepare.splits import Split
from invlearn.data.prepare.written import parts_of
from invlearn.runtime.progress import Progress, silent


class Sides(NamedTuple):
    """Original ids and features of the users and items of a dataset in memory."""

    ids: dict[Kind, pl.Series]
    """Row number = dense id."""
    features: Features


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled and unlabelled rows with dense ids, read from a dataset folder or held in memory."""

    folder: Path
    """The dataset folder; for a dataset in memory, a name for messages."""
    card: DatasetCard
    train: Part
    valid: Part
    test: Part
    unlabelled: Part
    memory: Sides | None = field(default=None, repr=False)
    """Ids and features of a dataset in memory; None for a folder."""

    @property
    def n_users(self) -> int:
        """Number of users; dense user ids are 0 to `n_users - 1`."""
        return self.card.n_users

    @property
    def n_items(self) -> int:
        """Number of items; dense item ids are 0 to `n_items - 1`."""
        return self.card.n_items

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the columns and id maps: equal for equal content."""
        return self.card.fingerprint

    @property
    def feature_card(self) -> FeatureCard:
        """Names and sizes of the user and item feature columns."""
        return self.card.features

    @property
    def features(self) -> Features:
        """Features of all users and items, memory-mapped; zero columns if the dataset has none.

        Raises:
            DataError: The files do not match the card.
        """
        if self.memory:
            return self.memory.features
        card = self.feature_card
        return Features(
            open_side(self.folder, "user", card.user, self.n_users),
            open_side(self.folder, "item", card.item, self.n_items),
        )

    def ids(self, kind: Kind) -> pl.Series:
        """Return the original ids of users or items; row number = dense id.

        Raises:
            DataError: The file is missing or damaged.
        """
        if self.memory:
            return self.memory.ids[kind]
        with reading(f"an id map of {self.folder}"):
            return pl.read_parquet(self.folder / f"{kind}s.parquet", glob=False)["id"]

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = False) -> "Dataset":
        """Open a dataset folder that `prepare` wrote.

        Args:
            folder: The folder.
            verify: Check the checksum and every value of each file; otherwise check only the
                file sizes.

        Raises:
            DataError: The folder is missing, damaged, of another format version, or contains a
                link that leads out of it.
        """
        folder = Path(folder)
        card = read_card(folder)
        return cls(folder, card, memory=None, **open_parts(folder, card, verify=verify))

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        rule: Sequence[str | Rule] | str | Rule,
        user: str = "user",
        item: str = "item",
        time: str | None = None,
        split: str | Split = "random",
        split_column: str | None = None,
        repeats: str = "last",
        bad_rows: str = "error",
        core: int = 0,
        text_ids: bool = False,
        user_features: Any = None,
        item_features: Any = None,
        categorical: Sequence[str] = (),
        progress: Progress = silent,
    ) -> "Dataset":
        """Prepare a log in memory, with the same steps and settings as `invlearn.prepare`.

        Args:
            frame: The log: a Polars, pandas or Arrow table, a file, or a folder.
            rule: Label rules, strongest first.
            user: Column of user ids, integers or strings.
            item: Column of item ids, integers or strings.
            time: Column that orders rows; by default, their position in the log.
            split: `random`, `per-user`, `temporal` or `column`; or a `Split` with fractions and
                a seed.
            split_column: Column that holds train, valid or test, for the split `column`.
            repeats: Which row of a repeated pair to keep: `last`, `first`, `any-positive`,
                `majority`.
            bad_rows: `error`, or `drop` to drop and count rows without a usable value.
            core: Repeatedly drop users and items with fewer rows than this; 0 keeps all.
            text_ids: Ids are text, also where they look like numbers or like words for a missing
                id.
            user_features: Table of user features, with the id column `user`.
            item_features: Table of item features, with the id column `item`.
            categorical: Numeric feature columns to treat as categories.
            progress: Called after each step.

        Raises:
            ConfigError: A setting is unknown or contradicts another.
            DataError: The log lacks a column, has bad rows, or gives no usable labels; or a
                feature table cannot be used.
        """
        rules, how = parse_rules(rule), split if isinstance(split, Split) else Split(split)
        settings = PrepareSettings(
            rules, user, item, time, how, split_column, repeats, bad_rows, core, text_ids
        )
        log = open_log(frame, roles=settings.roles, every=False)
        tables = open_tables(
            {"user": (user_features, user), "item": (item_features, item)}, categorical
        )
        with reading(log.name):
            result = prepared(log, settings, progress=progress)
            parts = parts_of(result.rows)
        _, card, sides = describe(log, settings, result, parts, tables)
        features = {
            kind: sides[kind].features if kind in sides else SideFeatures.none(len(ids))
            for kind, ids in result.ids.items()
        }
        card["fingerprint"] = fingerprint_of(parts, result.ids)
        memory = Sides(result.ids, Features(features["user"], features["item"]))
        return cls(Path("<memory>"), DatasetCard.model_validate(card), memory=memory, **parts)

    @classmethod
    def from_arrays(
        cls, users: npt.ArrayLike, items: npt.ArrayLike, labels: npt.ArrayLike, **options: Any
    ) -> "Dataset":
        """Prepare a dataset from arrays.

        Args:
            users: User ids, integers or strings, shape `(rows,)`.
            items: Item ids, integers or strings, shape `(rows,)`.
            labels: 1, 0, or NaN (unlabelled), shape `(rows,)`.
            options: Settings of `from_frame`, such as `split` or `seed`.

        Raises:
            DataError: The rows give no usable labels.

        Example:
            >>> users, items = np.divmod(np.arange(400), 20)
            >>> Dataset.from_arrays(users, items, (users + items) % 2).n_items
            20
        """
        columns = {"user": np.asarray(users), "item": np.asarray(items)}
        columns["label"] = np.asarray(labels, dtype=np.float64)
        frame = pl.DataFrame(columns).with_columns(pl.col("label").fill_nan(None))
        return cls.from_frame(frame, rule="label(label)", **options)
