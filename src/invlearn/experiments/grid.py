"""A grid of strategies x backbones x datasets x seeds, as one YAML file.

```yaml
datasets: {ml-1m: data/ml1m}          # or a list of folders
backbones: [gmf, mf]
strategies: [none, ns, idl, ig]       # the first one is what the others are compared with
label_shares: [0.01, 0.05, 0.2, 1]    # part of the training labels that is kept
seeds: 5
settings: {epochs: 20, patience: 2}   # of every run, as in `invlearn train --config`
tuning: {trials: 12}
```
An entry of `backbones` or `strategies` can also be spelled out, with settings and a search of its
own: `{wide gmf: {settings: {backbone: gmf, model: {dim: 128}}, search: {...}}}`.

In the place of both, `methods` names whole ways to train, each with a backbone of its own:

```yaml
methods:
  mf: {settings: {backbone: mf}}
  mf ig: {settings: {backbone: mf, strategy: ig}}
  recommended:                        # a preset, taken as it is
```
"""

from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from invlearn.config.schema import (
    PRESETS,
    RunConfig,
    Settings,
    load_config,
    read_settings,
    validated,
)
from invlearn.data.corrupt_labels import corrupt_labels
from invlearn.data.dataset import Dataset
from invlearn.data.sampling.sampler import UnlabelledSource, check_source
from invlearn.experiments.cell import Cell, Tuning
from invlearn.experiments.search import Choices, Range, Space, check_default, nested, value_at
from invlearn.runtime.errors import ConfigError, InvlearnError
from invlearn.training.build import check_metric, complete, exposed_fraction
from invlearn.training.registry import strategy_class

Share = Annotated[float, Field(gt=0, le=1)]
Flip = Annotated[float, Field(ge=0, le=1)]
Ranges = dict[str, Space]

MOST_SEEDS = 10_000
"""Trainings of one method in one cell."""

SEARCH: Ranges = {
    "optimizer.lr": Range(low=1e-4, high=3e-2, log=True),
    "optimizer.l2": Choices(choices=[0.0, 1e-6, 1e-5, 1e-4, 1e-3]),
}
"""What is searched for any method unless a grid says otherwise."""

STRATEGY_SEARCH: dict[str, Ranges] = {
    "t-ce": {"method.drop_fraction": Range(low=0.01, high=0.5, log=True)},
    "r-ce": {"method.alpha": Range(low=0.05, high=1.0, log=True)},
    "ig": {"method.alpha_ratio": Range(low=0.01, high=100.0, log=True)},
    "ig-sample": {
        "method.policy": Choices(choices=["pass", "relabel", "evidence"]),
        "method.weight": Choices(choices=[0.0, 0.3, 1.0]),
    },
}
"""What is searched besides, for strategies that have hyper-parameters of weight."""


UNSEARCHABLE = ("strategy", "backbone", "seed", "select_by", "device", "tensorboard", "store")
"""Settings that are the grid's own, or decide how a run is judged."""


OWN = "own backbones"
"""Stands for the backbone of a grid of whole methods."""


class Entry(Settings):
    """A backbone, a strategy or a whole method of a grid, spelled out."""

    settings: dict[str, Any]
    """Of the run, as a tree."""
    search: Ranges = Field(default_factory=dict)
    """What is searched besides what the grid searches."""
    tuned: bool = True
    """Whether anything is searched; false takes the settings as they are."""
    alone: bool = False
    """Whether the grid's settings are left out from under these, as they are for a preset."""


class TuningPlan(Settings):
    """The budget of each method in each cell, and what it is spent on."""

    trials: PositiveInt = 12
    """Trainings to find settings with, the first with the defaults; 1 takes the defaults."""
    seed: NonNegativeInt = 1000
    """Of the search; none of the reported seeds."""
    prune: bool = True
    """Whether a trial behind the median of earlier ones is given up."""
    search: Ranges = SEARCH
    """What is searched for any method."""


class Experiment(Settings):
    """A comparison of methods on equal terms."""

    also: ClassVar[tuple[str, ...]] = ("methods",)

    datasets: dict[str, Path]
    """Dataset folders by name; a list goes by the folders' names."""
    strategies: dict[str, Entry]
    """Names, or entries spelled out."""
    backbones: dict[str, Entry] = Field(default=["gmf"], validate_default=True)  # type: ignore[assignment]
    """Names, or entries spelled out."""
    reference: str = ""
    """Strategy that the others are compared with; the first one if left out."""
    label_shares: tuple[Share, ...] = (1.0,)
    """Parts of the labelled training rows that keep their labels."""
    flip_positives: tuple[Flip, ...] = (0.0,)
    """Parts of the positive training labels that are turned into negative ones."""
    flip_negatives: tuple[Flip, ...] = (0.0,)
    """Parts of the negative training labels that are turned into positive ones."""
    weaken_seed: NonNegativeInt = 0
    """Decides which labels are hidden or flipped."""
    seeds: tuple[NonNegativeInt, ...] = (0, 1, 2, 3, 4)
    """Of the reported trainings; a number n stands for 0 to n - 1."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of every run, as a tree; what `invlearn train --config` reads. Here `select_by` is `auc`
    unless it says otherwise: by log loss, a constant can be the best of poor models."""
    tuning: TuningPlan = TuningPlan()
    """The search, the same budget for every method."""
    draws: PositiveInt = 1000
    """Bootstrap draws over users."""
    threads: PositiveInt = 1
    """Threads of a training."""

    @model_validator(mode="before")
    @classmethod
    def _whole_methods(cls, values: Any) -> Any:
        """Whole methods are strategies that bring their backbones."""
        if not isinstance(values, Mapping) or "methods" not in values:
            return values
        rest = {key: value for key, value in values.items() if key != "methods"}
        if taken := [key for key in ("strategies", "backbones") if key in rest]:
            raise ValueError(f"methods name whole ways to train; leave {' and '.join(taken)} out")
        methods = values["methods"]
        if isinstance(methods, list | tuple):
            methods = dict.fromkeys(map(str, methods))
        if not isinstance(methods, Mapping):
            raise ValueError(f"methods: options by name are needed; got {methods!r}")
        entries = {str(name): _whole_method(str(name), entry) for name, entry in methods.items()}
        return {**rest, "strategies": entries, "backbones": {OWN: {"settings": {}}}}

    @field_validator("datasets", mode="before")
    @classmethod
    def _named_folders(cls, value: Any) -> Any:
        if isinstance(value, str | Path):
            value = [value]
        if not isinstance(value, list | tuple) or not all(isinstance(v, str | Path) for v in value):
            return value
        named = {Path(v).name: v for v in value}
        if len(named) < len(value):
            raise ValueError("two folders have the same name; give them other names, as in a: x/y")
        return named

    @field_validator("strategies", "backbones", mode="before")
    @classmethod
    def _spelled_out(cls, value: Any, info: Any) -> Any:
        kind = {"strategies": "strategy", "backbones": "backbone"}[info.field_name]
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple):
            value = dict.fromkeys(map(str, value))
        if not isinstance(value, Mapping):
            return value
        return {str(name): _spelled_entry(kind, name, entry) for name, entry in value.items()}

    @field_validator("label_shares", "flip_positives", "flip_negatives", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int | float) else value

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, value: Any) -> Any:
        if isinstance(value, int) and value > MOST_SEEDS:
            raise ValueError(f"at most {MOST_SEEDS:,} seeds are needed")
        return tuple(range(value)) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        whole = OWN in self.backbones
        words = {"strategies": "methods"} if whole else {}
        lists = ("label_shares", "flip_positives", "flip_negatives", "seeds")
        for name in ("datasets", "strategies", "backbones", *lists):
            if not getattr(self, name):
                raise ValueError(f"{words.get(name, name)}: at least one is needed")
        if self.reference and self.reference not in self.strategies:
            kind = words.get("strategies", "strategies")
            raise ValueError(
                f"reference '{self.reference}' is none of the {kind} {list(self.strategies)}"
            )
        _check_untaken("settings", self.settings, ("strategy", "backbone", "seed"))
        _check_untaken("tuning.search", self.tuning.search, UNSEARCHABLE)
        kinds = {"strategies": ("backbone", "model"), "backbones": ("strategy", "method")}
        if whole:
            kinds = {"strategies": ()}
        for kind, taken in kinds.items():
            for name, entry in getattr(self, kind).items():
                place = f"{words.get(kind, kind)}.{name}"
                _check_untaken(f"{place}.settings", entry.settings, (*taken, "seed"))
                _check_untaken(f"{place}.search", entry.search, UNSEARCHABLE)
        if self.tuning.seed in self.seeds:
            raise ValueError(
                f"seed {self.tuning.seed} is used by the search; the reported seeds must be fresh"
            )
        return self

    @property
    def compared_with(self) -> str:
        """Name of the strategy that the others are compared with."""
        return self.reference or next(iter(self.strategies))


def _whole_method(name: str, entry: Any) -> Any:
    """A method with its strategy, which is `none` unless it says otherwise; or a preset."""
    if entry is None and name in PRESETS:
        return {"settings": read_settings(name), "tuned": False, "alone": True}
    if isinstance(entry, Mapping):
        settings = entry.get("settings")
        if isinstance(settings, Mapping) and "backbone" in settings:
            return {**entry, "settings": {"strategy": "none", **settings}}
    raise ValueError(
        f"methods.{name}: settings with a backbone are needed, or the name of a preset "
        f"({', '.join(PRESETS)}) and nothing else; got {entry!r}"
    )


def _spelled_entry(kind: str, name: Any, entry: Any) -> Any:
    """An entry with its strategy or backbone, which is its name unless it says otherwise."""
    if name == OWN:
        return entry
    if isinstance(entry, str):
        return {"settings": {kind: entry}}
    if entry is None:
        return {"settings": {kind: str(name)}}
    if isinstance(entry, Mapping) and isinstance(entry.get("settings", {}), Mapping):
        return {**entry, "settings": {kind: str(name), **entry.get("settings", {})}}
    return entry


def _check_untaken(place: str, group: Iterable[str], taken: Iterable[str]) -> None:
    """Refuse a setting that another part of the grid decides, since it would have no effect."""
    for name in group:
        if name in taken:
            raise ValueError(
                f"{place}.{name} has no effect here; the grid decides it by its strategies, "
                "backbones, seeds and settings"
            )


class Place(NamedTuple):
    """Where a cell stands in a grid."""

    dataset: str
    label_share: float
    flip_positives: float
    flip_negatives: float
    backbone: str
    strategy: str


def load_experiment(values: Mapping[str, Any]) -> Experiment:
    """Build an experiment from what its YAML file holds.

    Raises:
        ConfigError: A key is unknown or a value does not fit.
    """
    return validated(Experiment, values)


def cells_of_grid(experiment: Experiment, folder: Path) -> dict[Place, Cell]:
    """Every cell of a grid; weakened datasets are written on the way, each once.

    Args:
        experiment: The grid.
        folder: Of the experiment; weakened datasets go into its `data`.

    Raises:
        ConfigError: A setting does not exist or does not fit a dataset.
        DataError: A dataset is missing or damaged, or is left without one class.
    """
    cells: dict[Place, Cell] = {}
    shapes = product(experiment.label_shares, experiment.flip_positives, experiment.flip_negatives)
    for (name, source), shape in product(experiment.datasets.items(), list(shapes)):
        path = _weakened(name, source, shape, experiment.weaken_seed, folder)
        dataset = Dataset.open(path)
        for backbone, strategy in product(experiment.backbones, experiment.strategies):
            place = Place(name, *shape, backbone, strategy)
            try:
                cells[place] = _cell(experiment, dataset, backbone, strategy)
            except ConfigError as error:
                raise ConfigError(f"{strategy} with {backbone} on {name}: {error}") from error
    return cells


def _cell(experiment: Experiment, dataset: Dataset, backbone: str, strategy: str) -> Cell:
    entries = (experiment.backbones[backbone], experiment.strategies[strategy])
    under = {} if any(entry.alone for entry in entries) else experiment.settings
    config = load_config({"select_by": "auc"} | under)
    for entry in entries:
        config = load_config(entry.settings, config)
    config = complete(config, dataset, None)
    check_metric(config.select_by, dataset)
    _check_unlabelled(config, dataset)
    return Cell(
        dataset=dataset.folder.resolve(),
        config=config,
        tuning=_tuning(experiment.tuning, config, entries),
        seeds=experiment.seeds,
        draws=experiment.draws,
        threads=experiment.threads,
        fingerprint=dataset.fingerprint,
    )


def _check_unlabelled(config: RunConfig, dataset: Dataset) -> None:
    """Make sure that there are the unlabelled pairs that a strategy asks for."""
    if strategy_class(config.strategy)(**config.method).feed.unlabelled:
        check_source(UnlabelledSource(exposed_fraction(config)), dataset)


def _tuning(plan: TuningPlan, config: RunConfig, entries: tuple[Entry, ...]) -> Tuning | None:
    """The search of a cell; none if there is nothing to search or no budget for it."""
    search = plan.search | STRATEGY_SEARCH.get(config.strategy, {})
    for entry in entries:
        search = search | entry.search
    if plan.trials == 1 or not search or not all(entry.tuned for entry in entries):
        return None
    tree = config.model_dump()
    check_default(search, {name: value_at(tree, name) for name in search})
    for name, space in search.items():
        for value in space.choices if isinstance(space, Choices) else (space.low, space.high):
            load_config(nested({name: value}), config)
    return Tuning(trials=plan.trials, seed=plan.seed, prune=plan.prune, search=search)


def _weakened(
    name: str, source: Path, shape: tuple[float, float, float], seed: int, folder: Path
) -> Path:
    """Folder of the dataset with labels hidden and flipped; its own if none is."""
    share, positives, negatives = shape
    if shape == (1.0, 0.0, 0.0):
        return source
    words = [name, f"share-{share:.12g}"]
    words += [f"flip-positives-{positives:.12g}"] if positives else []
    words += [f"flip-negatives-{negatives:.12g}"] if negatives else []
    out = folder / "data" / "-".join([*words, f"seed-{seed}"])
    origin = Dataset.open(source).fingerprint
    if (out / "data.json").exists():
        made = (Dataset.open(out).card.weakened or {}).get("from", {})
        if made.get("fingerprint") == origin:
            return out
        raise InvlearnError(
            f"{out} was made from another dataset than {source}; give the experiment a folder "
            "of its own with --out"
        )
    corrupt_labels(
        source,
        out,
        label_share=share,
        flip_positives=positives,
        flip_negatives=negatives,
        seed=seed,
    )
    return out
