"""The search for settings: search spaces, records of trials, and the next settings to try.

The next settings are a function of the seed and of the finished trials, so a resumed search gives
the same trials. Optuna (https://optuna.org) samples and prunes; the trials of a search are kept as
an Optuna study in a journal file, which `optuna-dashboard FILE` shows.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from invlearn.config.schema import Settings
from invlearn.config.validation_errors import describe_validation_error
from invlearn.runtime.errors import ConfigError, RunError
from invlearn.runtime.random import stream
from invlearn.runtime.text import clipped

ALIKE = 16
"""Number of trials, including the defaults, that are random and have the same values of the shared
settings in all methods. Only a longer search learns from its scores: in a few trials, a learning
rate that one method finds by chance would decide the comparison."""
PRUNE_FROM = 1 / 3
"""Share of the epochs before any trial is pruned: a low learning rate starts slowly."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
Value = float | int | str | bool | None


class Range(Settings):
    """Numbers from `low` to `high`."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Whether all orders of magnitude are equally likely."""
    whole: bool = False
    """Whether the numbers are integers."""

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low must be below high, and above 0 if log")
        if self.whole and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError("low and high must be whole numbers if whole")
        return self

    def holds(self, value: Any) -> bool:
        """Return whether a value is in the range."""
        return isinstance(value, float | int) and self.low <= value <= self.high

    def distribution(self) -> Any:
        """Return the distribution of Optuna."""
        distributions = require().distributions
        if self.whole:
            return distributions.IntDistribution(int(self.low), int(self.high), log=self.log)
        return distributions.FloatDistribution(self.low, self.high, log=self.log)


class Choices(Settings):
    """One of a few values."""

    choices: Annotated[list[Value], Field(min_length=1)]
    """The values."""

    @field_validator("choices", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Read texts such as `1e-6`, which is a text in YAML, as numbers."""
        if not isinstance(value, list):
            return value
        return [float(x) if isinstance(x, str) and NUMBER.fullmatch(x) else x for x in value]

    def holds(self, value: Any) -> bool:
        """Return whether a value is one of the choices."""
        return value in self.choices

    def distribution(self) -> Any:
        """Return the distribution of Optuna."""
        return require().distributions.CategoricalDistribution(self.choices)


def _kind(space: Any) -> str:
    """Return which of the two is meant, so that an error describes only that one."""
    given = isinstance(space, Mapping) and "choices" in space
    return "choices" if given or isinstance(space, Choices) else "range"


Space = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)
]
"""What may be tried for one setting."""
Search = Mapping[str, Range | Choices]
"""What may be tried, by dotted name of the setting, such as `optimizer.lr`."""


class Tuning(Settings):
    """How settings are searched for; the same for all methods under comparison."""

    trials: PositiveInt
    """Trainings of the search; the first uses the defaults."""
    seed: NonNegativeInt = 1000
    """Seed of the search and of its trainings; never a reported seed."""
    prune: bool = True
    """Whether to stop a trial that is behind the median of earlier ones at the same epoch."""
    search: dict[str, Space]
    """What may be tried, by dotted name of the setting, such as `optimizer.lr`."""


class Cost(Settings):
    """Time and memory of a training."""

    seconds: float
    """Seconds of training and validation, on however busy a machine."""
    epochs: int
    """Number of epochs trained."""
    peak_bytes: int | None
    """Peak memory of the process, including the libraries."""


class Trial(Settings):
    """Record of a trial."""

    number: int
    """Number in its search; 0 uses the defaults."""
    settings: dict[str, Any]
    """Settings that the search chose, by dotted name."""
    state: Literal["complete", "pruned", "failed"]
    """Whether the trial completed, was pruned, or failed."""
    scores: tuple[float, ...] = ()
    """Validation score after each epoch."""
    best: float | None = None
    """Best validation score; none for a failed trial."""
    cost: Cost | None = None
    """Time and memory; none for a failed trial."""
    reason: str | None = None
    """Why it failed."""
    commit: str = ""
    """Commit of the code that trained."""


class Suggestion:
    """The settings of the next trial, and whether to prune it."""

    def __init__(
        self,
        tuning: Tuning,
        default: Mapping[str, Any],
        done: Sequence[Trial],
        *,
        minimize: bool,
        epochs: int,
    ) -> None:
        """Choose the settings: a function of the seed and of the finished trials alone.

        Args:
            tuning: The search.
            default: Settings of the first trial, by the same names.
            done: The finished trials, in order.
            minimize: Whether a lower score is better.
            epochs: Number of epochs of a trial.

        Raises:
            ConfigError: Optuna is not installed.
        """
        optuna = require()
        seed = int(stream(tuning.seed, "search", len(done)).integers(2**32))
        study = optuna.create_study(
            direction="minimize" if minimize else "maximize",
            # A new sampler per trial, seeded by the trial's number, so a resumed search is the same
            sampler=optuna.samplers.TPESampler(n_startup_trials=ALIKE, seed=seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
        )
        study.add_trials([_frozen(trial, tuning) for trial in done])
        if not done:
            study.enqueue_trial(dict(default))
        self._trial = study.ask(_distributions(tuning))
        self._first = math.ceil(epochs * PRUNE_FROM) if tuning.prune else math.inf
        self.settings: dict[str, Any] = dict(self._trial.params)

    def should_prune(self, epoch: int, score: float) -> bool:
        """Report the validation score after an epoch, from 0; return whether to prune the trial."""
        self._trial.report(score, epoch)
        return epoch + 1 >= self._first and bool(self._trial.should_prune())


def read_trials(file: Path) -> list[Trial]:
    """Return the finished trials of a search, in order, from the journal of its Optuna study.

    Raises:
        ConfigError: Optuna is not installed.
        RunError: The file is damaged.
    """
    if not file.exists():
        return []
    try:
        study = _study(file)
        return [
            Trial(
                number=trial.number,
                settings=trial.params,
                scores=tuple(trial.intermediate_values.values()),
                **trial.user_attrs,
            )
            for trial in (study.trials if study else ())
        ]
    except ConfigError:
        raise
    except Exception as error:  # Optuna replays the lines, which may hold anything
        raise damaged(file, Trial, error, "search") from error


def damaged(file: Path, model: type[BaseModel], error: Exception, work: str) -> RunError:
    """Return the error for a damaged record of some work, with what is wrong in it."""
    is_invalid = isinstance(error, ValidationError)
    reason = describe_validation_error(model, error) if is_invalid else str(error) or repr(error)
    return RunError(
        f"{file} is damaged ({clipped(reason, 200)}); remove it, and the {work} that it records "
        "is done again"
    )


def append_trial(file: Path, trial: Trial, tuning: Tuning, *, minimize: bool) -> None:
    """Append a finished trial, as one line, to the journal of an Optuna study.

    A trial is written when it is finished, so a killed process leaves no unfinished trial. The
    caller must be the only one that writes.
    """
    if file.exists():  # remove what a killed process left
        Path(f"{file}.lock").unlink(missing_ok=True)
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)
    study = _study(file, direction="minimize" if minimize else "maximize")
    study.add_trial(_frozen(trial, tuning))


def _study(file: Path, direction: str | None = None) -> Any:
    """Open the only study of a journal; create it with a direction, or return None without one."""
    optuna = require()
    backend = optuna.storages.journal.JournalFileBackend(str(file.resolve()))
    storage = optuna.storages.JournalStorage(backend)
    if optuna.get_all_study_names(storage):
        return optuna.load_study(study_name=None, storage=storage)
    if direction:
        name = file.parent.name
        return optuna.create_study(storage=storage, study_name=name, direction=direction)
    return None


def check_default(search: Search, default: Mapping[str, Any]) -> None:
    """Check that the settings of the first trial are in the search space.

    Raises:
        ConfigError: A default is outside.
    """
    for name, space in search.items():
        if not space.holds(default[name]):
            raise ConfigError(
                f"the search for {name} has no room for its own default {default[name]!r}, which "
                f"is always tried first; widen it ({space.model_dump(exclude_defaults=True)})"
            )


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names into a tree.

    Example:
        >>> nested({"optimizer.lr": 0.1, "optimizer.l2": 0.0, "epochs": 3})
        {'optimizer': {'lr': 0.1, 'l2': 0.0}, 'epochs': 3}
    """
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *path, last = name.split(".")
        place = tree
        for key in path:
            place = place.setdefault(key, {})
        place[last] = value
    return tree


def value_at(tree: Mapping[str, Any], name: str) -> Any:
    """Return the value of a dotted name in a tree of settings.

    Raises:
        ConfigError: There is no such setting.
    """
    found: Any = tree
    for key in name.split("."):
        if not isinstance(found, Mapping) or key not in found:
            known = ", ".join(found) if isinstance(found, Mapping) else "none"
            raise ConfigError(f"cannot search for {name}: there is no '{key}'; known: {known}")
        found = found[key]
    return found


def _frozen(trial: Trial, tuning: Tuning) -> Any:
    """Convert a record into a trial of Optuna.

    A failed trial becomes one that was pruned before its first epoch: the sampler then avoids it.
    """
    optuna = require()
    states, complete = optuna.trial.TrialState, trial.state == "complete"
    return optuna.trial.create_trial(
        state=states.COMPLETE if complete else states.PRUNED,
        value=trial.best if complete else None,
        params=trial.settings,
        distributions=_distributions(tuning),
        intermediate_values=dict(enumerate(trial.scores)),
        user_attrs=trial.model_dump(mode="json", exclude={"number", "settings", "scores"}),
    )


def _distributions(tuning: Tuning) -> dict[str, Any]:
    return {name: space.distribution() for name, space in tuning.search.items()}


def require() -> Any:
    """Return Optuna.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "a search for settings needs optuna; pip install 'invlearn[tune]', or set "
            "tuning.trials to 1 to compare the defaults"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
