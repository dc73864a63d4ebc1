"""Records of a run folder that a report shows, without weights and without a dataset."""

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
    TypeAdapter,
    ValidationError,
)

from invlearn.config.schema import RunConfig
from invlearn.config.validation_errors import describe_validation_error
from invlearn.evaluation.calibration import Calibration
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
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Metrics = dict[str, Number]
STRICT = ConfigDict(strict=True)


class _Epoch(BaseModel):
    model_config = STRICT

    epoch: NonNegativeInt
    train_loss: Number
    train_seconds: Seconds
    validate_seconds: Seconds
    valid: Metrics
    choices: dict[str, NonNegativeInt] = {}
    pairs_per_second: Number = None
    best: bool = False


class _Test(BaseModel):
    model_config = STRICT

    auc: Number
    epoch: int | None = None
    intervals: dict[str, Annotated[list[Number], Field(min_length=2, max_length=2)]]
    baselines: dict[str, Metrics]
    rows: NonNegativeInt
    users: NonNegativeInt
    users_scored: NonNegativeInt


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Records of a run."""

    name: str
    """Name of the folder, or its path if two runs share a name."""
    folder: Path
    config: RunConfig = field(repr=False)
    card: RunCard = field(repr=False)
    environment: dict[str, Any] = field(repr=False)
    """Content of `environment.json`."""
    epochs: tuple[dict[str, Any], ...] = field(repr=False)
    """Record of each finished epoch."""
    test: dict[str, Any] | None = field(repr=False)
    """Content of `test.json`; none before the end of the run."""
    beliefs: Beliefs | None = field(repr=False)
    """Beliefs after the first and the last epoch, if the strategy has any."""
    judges: Judges | None = field(repr=False)
    """Judged steps, if the strategy has any."""
    annotation: Calibration | None = field(repr=False)
    """Calibrated probabilities on the test part, if the run folder contains the summary
    `annotation.json` of an annotation (`--out RUN/annotation.parquet`)."""

    @property
    def has_weights(self) -> bool:
        """Whether there is a best epoch to measure."""
        return bool(self.epochs) and checkpoint.exists(self.folder / "checkpoints")

    @property
    def best_epoch(self) -> int | None:
        """Number of the epoch whose weights were kept, from 1; none before the first epoch."""
        return best_epoch(self.epochs)

    @property
    def seconds(self) -> float:
        """Seconds of training, without validation."""
        return sum(epoch["train_seconds"] for epoch in self.epochs)


def read_records(folders: Sequence[str | Path]) -> tuple[RunRecord, ...]:
    """Read run folders, finished or not.

    Raises:
        RunError: A folder is not a run, or a file of it is damaged.
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
    files = [folder / f"beliefs-{epoch}.npy" for epoch in ("first", "last")]
    try:
        epochs = tuple(read_lines(folder / "epochs.jsonl"))
        _checked(list[_Epoch], epochs)
        test = read_json(folder / "test.json") if (folder / "test.json").is_file() else None
        if test is not None:
            _checked(_Test, test)
            _checked(Metrics, {metric: test.get(metric) for metric in test["intervals"]})
        is_judged = any("choices" in epoch for epoch in epochs)
        return RunRecord(
            name,
            folder,
            config,
            card,
            environment=read_json(folder / "environment.json"),
            epochs=epochs,
            test=test,
            beliefs=read_beliefs(folder, name) if all(map(Path.is_file, files)) else None,
            judges=read_judges(folder, name) if is_judged else None,
            annotation=_annotation(folder, (card.fingerprint, best_epoch(epochs))),
        )
    except (ValueError, TypeError, KeyError) as error:
        reason = f"a record of {folder} is damaged ({error!r}); train the run again"
        raise RunError(reason) from error


def _checked(kind: Any, record: Any) -> Any:
    """Return a validated record; raise `ValueError` if it lacks a value that the report shows."""
    try:
        return TypeAdapter(kind).validate_python(record)
    except ValidationError as error:
        raise ValueError(describe_validation_error(None, error)) from error


def _annotation(folder: Path, origin: tuple[str, int | None]) -> Calibration | None:
    """Return the calibration of an annotation, which must be of this dataset and best epoch."""
    file = folder / "annotation.json"
    if not file.is_file():
        return None
    try:
        summary = json_of(file)
        test = {name: summary["test"][name] for name in Calibration._fields}
        calibration: Calibration = _checked(Calibration, test)
        if (summary["fingerprint"], summary["epoch"]) == origin:
            return calibration
        reason = "is of another dataset or best epoch than the run has now"
    except (ValueError, TypeError, KeyError) as error:
        reason = f"is damaged or no annotation ({error!r})"
    raise RunError(
        f"{file} {reason}; annotate again with "
        f"`invlearn annotate {folder} --out {file.with_suffix('.parquet')} --overwrite`, "
        "or remove it"
    )
