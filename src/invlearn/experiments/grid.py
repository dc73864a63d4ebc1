"""A grid of strategies x backbones x datasets x seeds, as one YAML file.

```yaml
datasets: {ml-1m: data/ml1m}          # or a list of folders
backbones: [gmf, mf]
strategies: [none, ns, idl, ig]       # the others are compared with the first one
label_shares: [0.01, 0.05, 0.2, 1]    # shares of the training labels that are kept
seeds: 5
settings: {epochs: 20, patience: 2}   # of every run, as in `invlearn train --config`
tuning: {trials: 12}
```
An entry of `backbones` or `strategies` can be spelled out, with its own settings and search:
`{wide gmf: {settings: {backbone: gmf, model: {dim: 128}}, search: {...}}}`.

Instead of both, `methods` names whole methods, each with its own backbone:

```yaml
methods:
  mf: {settings: {backbone: mf}}
  mf ig: {settings: {backbone: mf, strategy: ig}}
  recommended:                        # a preset, used unchanged
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
from invlearn.experiments.cell import Cell
from invlearn.experiments.search import (
    Choices,
    Range,
    Space,
    Tuning,
    check_default,
    nested,
    value_at,
)
from invlearn.runtime.errors import ConfigError, InvlearnError
from invlearn.training.class_lookup import strategy_class
from invlearn.training.settings import check_metric, complete, exposed_fraction

Share = Annotated[float, Field(gt=0, le=1)]
Flip = Annotated[float, Field(ge=0, le=1)]
Ranges = dict[str, Space]

SOME = Field(min_length=1)
MOST_SEEDS = 10_000
"""Most reported trainings of one method in one cell."""

SEARCH: Ranges = {
    "optimizer.lr": Range(low=1e-4, high=3e-2, log=True),
    "optimizer.l2": Choices(choices=[0.0, 1e-6, 1e-5, 1e-4, 1e-3]),
}
"""Default search spaces of every method."""

STRATEGY_SEARCH: dict[str, Ranges] = {
    "t-ce": {"method.drop_fraction": Range(low=0.01, high=0.5, log=True)},
    "r-ce": {"method.alpha": Range(low=0.05, high=1.0, log=True)},
    "ig": {"method.alpha_ratio": Range(low=0.01, high=100.0, log=True)},
    "ig-sample": {
        "method.policy": Choices(choices=["pass", "relabel", "evidence"]),
        "method.weight": Choices(choices=[0.0, 0.3, 1.0]),
    },
}
"""Additional search spaces of strategies with important hyper-parameters."""

UNSEARCHABLE = ("strategy", "backbone", "seed", "select_by", "device", "tensorboard", "store")
"""Settings that the grid decides, or that decide how a run is judged."""

OWN = "own backbones"
"""Name of the backbone in a grid of whole methods."""


class Entry(Settings):
    """A backbone, a strategy or a whole method of a grid, spelled out."""

    settings: dict[str, Any]
    """Settings of the run, as a tree."""
    search: Ranges = Field(default_factory=dict)
    """Search spaces that are added to those of the grid, or replace them."""
    tuned: bool = True
    """Whether anything is searched; false uses the settings unchanged."""
    alone: bool = False
    """Whether the settings of the grid are ignored, as they are for a preset."""


class TuningPlan(Tuning):
    """The search of each method in each cell."""

    trials: PositiveInt = 12
    """Trainings of a search, the first with the defaults; 1 uses the defaults."""
    search: Ranges = SEARCH
    """Search spaces of every method."""


class Experiment(Settings):
    """A comparison of methods on equal terms."""

    also: ClassVar[tuple[str, ...]] = ("methods",)

    datasets: Annotated[dict[str, Path], SOME]
    """Dataset folders by name; a list uses the names of the folders."""
    strategies: Annotated[dict[str, Entry], SOME]
    """Names, or entries spelled out."""
    backbones: Annotated[dict[str, Entry], SOME] = Field(default=["gmf"], validate_default=True)  # type: ignore[assignment]
    """Names, or entries spelled out."""
    reference: str = ""
    """Strategy that the others are compared with; by default the first one."""
    label_shares: Annotated[tuple[Share, ...], SOME] = (1.0,)
    """Shares of the labelled training rows that keep their labels."""
    flip_positives: Annotated[tuple[Flip, ...], SOME] = (0.0,)
    """Shares of the positive training labels that become negative."""
    flip_negatives: Annotated[tuple[Flip, ...], SOME] = (0.0,)
    """Shares of the negative training labels that become positive."""
    weaken_seed: NonNegativeInt = 0
    """Decides which labels are hidden or flipped."""
    seeds: Annotated[tuple[NonNegativeInt, ...], SOME] = (0, 1, 2, 3, 4)
    """Seeds of the reported trainings; a number n stands for 0 to n - 1."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of every run, as a tree, as `invlearn train --config` reads them. `select_by` is
    `auc` by default: by log loss, a constant can be the best of poor models."""
    tuning: TuningPlan = TuningPlan()
    """The search, with the same budget for every method."""
    draws: PositiveInt = 1000
    """Bootstrap draws over users."""
    threads: PositiveInt = 1
    """Threads of a training."""

    @model_validator(mode="before")
    @classmethod
    def _whole_methods(cls, values: Any) -> Any:
        """Replace whole methods by strategies that contain their backbones."""
        if not isinstance(values, Mapping) or "methods" not in values:
            return values
        if taken := [key for key in ("strategies", "backbones") if key in values]:
            raise ValueError(f"methods name whole ways to train; leave {' and '.join(taken)} out")
        methods = _by_name(values["methods"])
        if not isinstance(methods, Mapping):
            raise ValueError(f"methods: options by name are needed; got {methods!r}")
        if not methods:
            raise ValueError("methods: at least one is needed")
        entries = {str(name): _whole_method(str(name), entry) for name, entry in methods.items()}
        rest = {key: value for key, value in values.items() if key != "methods"}
        return {**rest, "strategies": entries, "backbones": {OWN: {"settings": {}}}}

    @field_validator("datasets", mode="before")
    @classmethod
    def _named_folders(cls, value: Any) -> Any:
        folders = [value] if isinstance(value, str | Path) else value
        if not isinstance(folders, list | tuple) or not all(
            isinstance(folder, str | Path) for folder in folders
        ):
            return value
        named = {Path(folder).name: folder for folder in folders}
        if len(named) < len(folders):
            raise ValueError("two folders have the same name; give them other names, as in a: x/y")
        return named

    @field_validator("strategies", "backbones", mode="before")
    @classmethod
    def _spelled_out(cls, value: Any, info: Any) -> Any:
        kind = {"strategies": "strategy", "backbones": "backbone"}[info.field_name]
        entries = _by_name([value] if isinstance(value, str) else value)
        if not isinstance(entries, Mapping):
            return value
        return {str(name): _spelled_entry(kind, name, entry) for name, entry in entries.items()}

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
        strategies = "methods" if whole else "strategies"
        if self.reference and self.reference not in self.strategies:
            known = [*self.strategies]
            raise ValueError(f"reference '{self.reference}' is none of the {strategies} {known}")
        decided: list[tuple[str, Iterable[str], tuple[str, ...]]] = [
            ("settings", self.settings, ("strategy", "backbone", "seed")),
            ("tuning.search", self.tuning.search, UNSEARCHABLE),
        ]
        for kind, entries, others in (
            (strategies, self.strategies, () if whole else ("backbone", "model")),
            ("backbones", self.backbones, ("strategy", "method")),
        ):
            for name, entry in entries.items():
                decided.append((f"{kind}.{name}.settings", entry.settings, (*others, "seed")))
                decided.append((f"{kind}.{name}.search", entry.search, UNSEARCHABLE))
        for place, given, taken in decided:
            if name := next((name for name in given if name in taken), None):
                raise ValueError(
                    f"{place}.{name} has no effect here; the grid decides it by its strategies, "
                    "backbones, seeds and settings"
                )
        if self.tuning.seed in self.seeds:
            raise ValueError(
                f"seed {self.tuning.seed} is used by the search; the reported seeds must be fresh"
            )
        return self

    @property
    def compared_with(self) -> str:
        """Name of the strategy that the others are compared with."""
        return self.reference or next(iter(self.strategies))


def _by_name(value: Any) -> Any:
    """Replace a list of names by a mapping without values."""
    return dict.fromkeys(map(str, value)) if isinstance(value, list | tuple) else value


def _whole_method(name: str, entry: Any) -> Any:
    """Complete a method with the strategy `none`, or read a preset."""
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
    """Complete an entry with its strategy or backbone, by default its name."""
    if entry is None or isinstance(entry, str):
        entry = {"settings": {kind: str(name) if entry is None else entry}}
    settings = entry.get("settings", {}) if isinstance(entry, Mapping) else None
    if name == OWN or not isinstance(settings, Mapping):
        return entry
    return {**entry, "settings": {kind: str(name), **settings}}


class Place(NamedTuple):
    """Position of a cell in a grid."""

    dataset: str
    label_share: float
    flip_positives: float
    flip_negatives: float
    backbone: str
    strategy: str


def load_experiment(values: Mapping[str, Any]) -> Experiment:
    """Build an experiment from the content of its YAML file.

    Raises:
        ConfigError: A key is unknown or a value does not fit.
    """
    return validated(Experiment, values)


def cells_of_grid(experiment: Experiment, folder: Path) -> dict[Place, Cell]:
    """Return every cell of a grid; datasets with hidden or flipped labels are written, each once.

    Args:
        experiment: The grid.
        folder: The experiment folder; these datasets go into its `data`.

    Raises:
        ConfigError: A setting does not exist or does not fit a dataset.
        DataError: A dataset is missing or damaged, or loses one class.
    """
    cells: dict[Place, Cell] = {}
    shapes = product(experiment.label_shares, experiment.flip_positives, experiment.flip_negatives)
    for (name, source), shape in product(experiment.datasets.items(), list(shapes)):
        dataset = Dataset.open(_weakened(name, source, shape, experiment.weaken_seed, folder))
        for backbone, strategy in product(experiment.backbones, experiment.strategies):
            entries = (experiment.backbones[backbone], experiment.strategies[strategy])
            try:
                cell = _cell(experiment, dataset, entries)
            except ConfigError as error:
                raise ConfigError(f"{strategy} with {backbone} on {name}: {error}") from error
            cells[Place(name, *shape, backbone, strategy)] = cell
    return cells


def _cell(experiment: Experiment, dataset: Dataset, entries: tuple[Entry, ...]) -> Cell:
    under = {} if any(entry.alone for entry in entries) else experiment.settings
    config = load_config({"select_by": "auc"} | under)
    for entry in entries:
        config = load_config(entry.settings, config)
    config = complete(config, dataset, None)
    check_metric(config.select_by, dataset)
    if strategy_class(config.strategy)(**config.method).feed.unlabelled:
        check_source(UnlabelledSource(exposed_fraction(config)), dataset)
    return Cell(
        dataset=dataset.folder.resolve(),
        config=config,
        tuning=_tuning(experiment.tuning, config, entries),
        seeds=experiment.seeds,
        draws=experiment.draws,
        threads=experiment.threads,
        fingerprint=dataset.fingerprint,
    )


def _tuning(plan: TuningPlan, config: RunConfig, entries: tuple[Entry, ...]) -> Tuning | None:
    """Return the search of a cell; None without a search space or a budget."""
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
    return Tuning(**plan.model_dump(exclude={"search"}), search=search)


def _weakened(
    name: str, source: Path, shape: tuple[float, float, float], seed: int, folder: Path
) -> Path:
    """Return the folder of the dataset with labels hidden and flipped, or `source` if none are."""
    if shape == (1.0, 0.0, 0.0):
        return source
    share, positives, negatives = shape
    words = {"share": share, "flip-positives": positives, "flip-negatives": negatives}
    changes = [f"{word}-{part:.12g}" for word, part in words.items() if part]
    out = folder / "data" / "-".join([name, *changes, f"seed-{seed}"])
    if not (out / "data.json").exists():
        flips: Any = {"flip_positives": positives, "flip_negatives": negatives}
        corrupt_labels(source, out, label_share=share, **flips, seed=seed)
        return out
    made = (Dataset.open(out).card.weakened or {}).get("from", {})
    if made.get("fingerprint") != Dataset.open(source).fingerprint:
        raise InvlearnError(
            f"{out} was made from another dataset than {source}; give the experiment a folder "
            "of its own with --out"
        )
    return out
