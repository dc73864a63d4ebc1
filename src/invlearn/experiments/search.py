"""The search for settings: ranges, and what to try next.

What to try next is a function of the seed and of the trials that are done, so a search that was
stopped goes on as if it had not been. Sampling and pruning are Optuna's (https://optuna.org).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from invlearn.config.schema import Settings
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.random import stream

if TYPE_CHECKING:
    import optuna

ALIKE = 16
"""Trials, the defaults' included, that every method shares: what is searched for all of them takes
the same values in all. Only a longer search learns from its scores; with a few trials, which of two
methods happened to be sent to a better learning rate would decide between them."""
State = Literal["complete", "pruned", "failed"]
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
        """Whether a value lies within."""
        return isinstance(value, float | int) and self.low <= value <= self.high


class Choices(Settings):
    """One of a few values."""

    choices: Annotated[list[Value], Field(min_length=1)]
    """The values."""

    @field_validator("choices", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Read `1e-6` as a number, which YAML takes for a text."""
        return [_number(choice) for choice in value] if isinstance(value, list) else value

    def holds(self, value: Any) -> bool:
        """Whether a value is among them."""
        return value in self.choices


def _number(choice: Any) -> Any:
    if not isinstance(choice, str) or not NUMBER.fullmatch(choice):
        return choice
    return float(choice)


def _kind(space: Any) -> str:
    """Which of the two is meant, so that an error is about that one alone."""
    given = isinstance(space, Mapping) and "choices" in space
    return "choices" if given or isinstance(space, Choices) else "range"


Space = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)
]
"""What may be tried for one setting."""
Search = Mapping[str, Range | Choices]
"""What may be tried, by dotted name of the setting, such as `optimizer.lr`."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial that is done."""

    settings: dict[str, Any]
    """By dotted name."""
    state: State
    scores: tuple[float, ...]
    """Validation score after each epoch."""
    best: float | None
    """The best of them; none for a failed trial."""


class QueriedPairs:
    """The next trial of a search: its settings, and a judge of whether to go on with it."""

    def __init__(
        self,
        search: Search,
        default: Mapping[str, Any],
        done: Sequence[Tried],
        *,
        minimize: bool,
        seed: int,
        prune_from: int | None,
    ) -> None:
        """Decide what to try next.

        Args:
            search: What may be tried.
            default: The settings that the first trial takes, by the same names.
            done: Trials so far, in order.
            minimize: Whether a lower score is better.
            seed: Of the search.
            prune_from: Epochs before `should_prune` may return true; none for never.

        Raises:
            ConfigError: Optuna is not installed.
        """
        self._prune_from = prune_from
        self._trial = _next_trial(search, default, done, minimize=minimize, seed=seed)
        self.settings: dict[str, Any] = dict(self._trial.params)

    def should_prune(self, epoch: int, score: float) -> bool:
        """Take note of the score after an epoch; tell whether earlier trials were ahead by then.

        Args:
            epoch: From 0.
            score: On the validation part.
        """
        self._trial.report(score, epoch)
        if self._prune_from is None or epoch + 1 < self._prune_from:
            return False
        return bool(self._trial.should_prune())


def require() -> None:
    """Make sure that settings can be searched for, before hours of work.

    Raises:
        ConfigError: Optuna is not installed.
    """
    _optuna()


def check_default(search: Search, default: Mapping[str, Any]) -> None:
    """Make sure that the first trial's settings can be found in the search at all.

    Raises:
        ConfigError: A default lies outside.
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
    """Look a dotted name up in a tree of settings.

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


def _next_trial(
    search: Search,
    default: Mapping[str, Any],
    done: Sequence[Tried],
    *,
    minimize: bool,
    seed: int,
) -> "optuna.Trial":
    optuna = _optuna()
    spaces = {name: _distribution(space) for name, space in search.items()}
    states = optuna.trial.TrialState
    study = optuna.create_study(
        direction="minimize" if minimize else "maximize",
        # A sampler made again for each trial, from the trial's number, needs no state of its own.
        sampler=optuna.samplers.TPESampler(
            n_startup_trials=ALIKE, seed=int(stream(seed, "search", len(done)).integers(2**32))
        ),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
    )
    for tried in done:
        # A failed trial stands as one that was pruned at once: the sampler then keeps away.
        complete = tried.state == "complete"
        study.add_trial(
            optuna.trial.create_trial(
                state=states.COMPLETE if complete else states.PRUNED,
                value=tried.best if complete else None,
                params=tried.settings,
                distributions=spaces,
                intermediate_values=dict(enumerate(tried.scores)),
            )
        )
    if not done:
        study.enqueue_trial(dict(default))
    return study.ask(spaces)


def _distribution(space: Range | Choices) -> "optuna.distributions.BaseDistribution":
    optuna = _optuna()
    if isinstance(space, Choices):
        return optuna.distributions.CategoricalDistribution(space.choices)
    if space.whole:
        return optuna.distributions.IntDistribution(int(space.low), int(space.high), log=space.log)
    return optuna.distributions.FloatDistribution(space.low, space.high, log=space.log)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "a search for settings needs optuna; pip install 'invlearn[tune]', or set "
            "tuning.trials to 1 to compare the defaults"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
