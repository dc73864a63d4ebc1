"""A run folder as a report reads it: its records alone, without weights and without a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isinf
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
)

from invlearn.config.schema import RunConfig
from invlearn.config.validation_errors import describe_validation_error
from invlearn.evaluation.calibration import Calibration, ReliabilityBin
from invlearn.inference.comparison import run_names
from invlearn.reporting.traces import Beliefs, Judges, read_beliefs, read_judges
from invlearn.runtime.errors import RunError
from invlearn.runtime.safe_load import json_of
from invlearn.training import checkpoint
from invlearn.training.metrics_log import best_epoch, read_lines
from invlearn.training.run_folder import RunCard, read_json, read_run


def _not_infinite(value: float | None) -> float | None:
    if value is not None and isinf(value):
        raise ValueError("a finite number is needed")
    return value


Number = Annotated[float | None, AfterValidator(_not_infinite)]
Metrics = dict[str, Number]


class _Record(BaseModel):
    """Types of the figures that a report shows."""

    model_config = ConfigDict(strict=True)


class _Metrics(_Record):
    metrics: Metrics


class _Epoch(_Record):
    epoch: NonNegativeInt
    train_loss: Number
    train_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    validate_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    valid: Metrics
    choices: dict[str, NonNegativeInt] = {}
    pairs_per_second: Number = None
    best: bool = False


class _Annotated(_Record):
    ece: Number
    brier: Number
    table: list[dict[str, Number]]


class _Test(_Record):
    auc: Number
    epoch: int | None = None
    intervals: dict[str, Annotated[list[Number], Field(min_length=2, max_length=2)]]
    baselines: dict[str, Metrics]
    rows: NonNegativeInt
    users: NonNegativeInt
    users_scored: NonNegativeInt


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run wrote down."""

    name: str
    """Folder's own name, or its whole path where two runs share a name."""
    folder: Path
    config: RunConfig = field(repr=False)
    card: RunCard = field(repr=False)
    environment: dict[str, Any] = field(repr=False)
    """The content of `environment.json`."""
    epochs: tuple[dict[str, Any], ...] = field(repr=False)
    """A record of each finished epoch."""
    test: dict[str, Any] | None = field(repr=False)
    """The content of `test.json`; none before the run's end."""
    beliefs: Beliefs | None = field(repr=False)
    """At the first and the last epoch, where the strategy has any."""
    judges: Judges | None = field(repr=False)
    """Where the strategy judges."""
    annotation: Calibration | None = field(repr=False)
    """Of the probabilities on the test part after calibration, where the run's folder holds the
    summary `annotation.json` of an annotation (`--out RUN/annotation.parquet`)."""

    @property
    def fingerprint(self) -> str:
        """Of the dataset that it was trained on."""
        return self.card.fingerprint

    @property
    def has_weights(self) -> bool:
        """Whether there is a best epoch to measure."""
        return bool(self.epochs) and checkpoint.exists(self.folder / "checkpoints")

    @property
    def best_epoch(self) -> int | None:
        """Number from 1 of the epoch whose weights were kept; none before the first one."""
        return best_epoch(self.epochs)

    @property
    def seconds(self) -> float:
        """Spent in training, validation left out."""
        return sum(epoch["train_seconds"] for epoch in self.epochs)


def read_records(folders: Sequence[str | Path]) -> tuple[RunRecord, ...]:
    """Read run folders, finished or not.

    Raises:
        RunError: A folder is no run, or a file of it is damaged.
        ConfigError: A folder is named twice.
    """
    paths = [Path(folder) for folder in folders]
    for path in paths:
        if (path / "experiment.yaml").is_file():
            raise RunError(
                f"{path} is an experiment, not a run; give run folders, or read its own tables in "
                f"{path / 'results.md'}"
            )
    return tuple(_read(path, name) for name, path in zip(run_names(paths), paths, strict=True))


def _read(folder: Path, name: str) -> RunRecord:
    card, config = read_run(folder)
    try:
        epochs = tuple(read_lines(folder / "epochs.jsonl"))
        test = read_json(folder / "test.json") if (folder / "test.json").is_file() else None
        _check(epochs, test)
        return RunRecord(
            name,
            folder,
            config,
            card,
            environment=read_json(folder / "environment.json"),
            epochs=epochs,
            test=test,
            beliefs=_beliefs(folder, name),
            judges=read_judges(folder, name)
            if any("choices" in epoch for epoch in epochs)
            else None,
            annotation=_annotation(folder, (card.fingerprint, best_epoch(epochs))),
        )
    except (ValueError, TypeError, KeyError) as error:
        reason = f"a record of {folder} is damaged ({error!r}); train the run again"
        raise RunError(reason) from error


def _check(epochs: Sequence[dict[str, Any]], test: dict[str, Any] | None) -> None:
    """Raise `ValueError` if a record lacks a figure that the report shows."""
    for epoch in epochs:
        _fits(_Epoch, epoch)
    if test is not None:
        _fits(_Test, test)
        _fits(_Metrics, {"metrics": {name: test.get(name) for name in test["intervals"]}})


def _fits(model: type[BaseModel], record: dict[str, Any]) -> None:
    try:
        model.model_validate(record)
    except ValidationError as error:
        raise ValueError(describe_validation_error(model, error)) from error


def _annotation(folder: Path, made_of: tuple[str, int | None]) -> Calibration | None:
    """What an annotation says of the test part, if it is of this dataset and best epoch."""
    file = folder / "annotation.json"
    if not file.is_file():
        return None
    try:
        said = json_of(file)
        test, found = said["test"], (said["fingerprint"], said["epoch"])
        _fits(_Annotated, test)
        bins = tuple(ReliabilityBin(**b) for b in test["table"])
        calibration = Calibration(test["ece"], test["brier"], bins)
    except (ValueError, TypeError, KeyError) as error:
        raise _annotate_again(file, f"is damaged or no annotation ({error!r})") from error
    if found != made_of:
        raise _annotate_again(file, "is of another dataset or best epoch than the run has now")
    return calibration


def _annotate_again(file: Path, what: str) -> RunError:
    out = file.with_suffix(".parquet")
    return RunError(
        f"{file} {what}; annotate again with "
        f"`invlearn annotate {file.parent} --out {out} --overwrite`, or remove it"
    )


def _beliefs(folder: Path, name: str) -> Beliefs | None:
    files = [folder / f"beliefs-{epoch}.npy" for epoch in ("first", "last")]
    return read_beliefs(folder, name) if all(file.is_file() for file in files) else None
