"""All settings of a run, as one frozen tree; a run folder stores them with all defaults.

The same tree is a YAML file, the command line's options (`--optimizer.lr 1e-3`) and the keyword
arguments of `invlearn.train`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, ValidationError

from invlearn.config.validation_errors import describe_validation_error
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.safe_load import yaml_of

PRESETS = ("recommended",)
"""Names of the settings files in this package, for example `--config recommended`."""

Model = TypeVar("Model", bound=BaseModel)
Count = Annotated[int, Field(gt=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """A frozen group of settings; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )
    also: ClassVar[tuple[str, ...]] = ()
    """Accepted keys that are not fields: shorthands for some of them."""


class OptimizerConfig(Settings):
    """Settings of the optimizer."""

    name: Literal["adam", "adagrad", "sgd"] = "adam"
    """Update rule; the row store applies it only to rows in the batch (lazy Adam)."""
    lr: PositiveFloat = 1e-3
    """Learning rate (gamma in the paper)."""
    beta1: Fraction = 0.9
    """Decay of Adam's first moment."""
    beta2: Fraction = 0.999
    """Decay of Adam's second moment."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator of the update (Adam, Adagrad)."""
    l2: NonNegativeFloat = 0.0
    """Adds `l2 * row` to the gradient of every table row that the batch touches."""


class ScheduleConfig(Settings):
    """Settings of the learning-rate schedule."""

    name: Literal["constant", "linear", "cosine"] = "constant"
    """Shape of the decay from `optimizer.lr` to `final_fraction` of it at the end of the run."""
    warmup_steps: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Steps of linear warmup from 0."""
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Final learning rate of linear and cosine decay, as a fraction of `optimizer.lr`."""


class UnlabelledConfig(Settings):
    """Source of the unlabelled pairs, for strategies that use them."""

    source: Literal["auto", "exposed", "sampled", "mix"] = "auto"
    """exposed: shown, but without a clear reaction; sampled: never shown; auto: exposed if any."""
    exposed_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Fraction of exposed pairs among the unlabelled ones, if the source is mix."""
    per_labelled: Count = 1
    """Unlabelled pairs per labelled pair."""
    hardest_of: Count = 1
    """Draw this many candidates per unlabelled pair and keep the highest-scoring one (DNS, dynamic
    negative sampling); above 1 the source must be sampled."""


class RunConfig(Settings):
    """Settings of one training run."""

    backbone: str = "gmf"
    """Name of a backbone, or `module:Class`; `invlearn backbones` lists them."""
    model: dict[str, Any] = {}
    """Options of the backbone, for example `--model.dim 64`."""
    strategy: str = "none"
    """Name of a strategy, or `module:Class`; `invlearn strategies` lists them."""
    method: dict[str, Any] = {}
    """Options of the strategy, for example `--method.alpha-ratio 0.5`."""
    unlabelled: UnlabelledConfig = UnlabelledConfig()
    """Source of the unlabelled pairs."""
    store: Literal["auto", "row", "dense", "sharded"] = "auto"
    """row: update only the embedding rows in the batch; dense: update whole tables with torch's own
    optimizer; sharded: like row, with each table split by rows over the processes; auto: row if the
    backbone declares its tables."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Settings of the optimizer."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Learning-rate schedule."""
    batch_size: Count = 1024
    """Labelled pairs per batch."""
    steps_per_epoch: Count | None = None
    """Choose the batch size, from 32 to 65,536 pairs, so that an epoch has about this many steps;
    none: use `batch_size`. A `batch_size` on the command line overrides it."""
    epochs: Count = 10
    """Maximum number of epochs."""
    patience: Count | None = None
    """Stop after this many epochs without a better validation score; none: never stop early."""
    select_by: str = "log_loss"
    """Validation metric that selects the best epoch; a loss is better when lower."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Random seed of initial weights, judges, order and sampling."""
    device: str = "auto"
    """Torch device, for example cpu or cuda; auto: cuda if there is one."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Use `torch.compile` for the training step (row store); weights differ by rounding at most;
    auto: if there is a compiler and the run is long enough to gain time."""
    checkpoint_steps: Count | None = None
    """Steps between checkpoints, in addition to one per epoch."""
    keep_epochs: Annotated[int, Field(ge=0, lt=2**31)] = 3
    """Number of recent epochs whose weights are kept, for `annotate` to compare with the best one;
    each takes a file of the size of the backbone."""
    tensorboard: bool = False
    """Also write TensorBoard scalars to the run folder."""

    def to_yaml(self) -> str:
        """Return all settings as YAML that `load_config` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class OtherLog(Settings):
    """Another log to evaluate on, instead of a part of the runs' dataset.

    Options left out default to those that the dataset was prepared with.
    """

    log: Any = None
    """Another log to evaluate on instead: a file, a folder, or a quoted glob."""
    format: str = "auto"
    """Format of --log, as in `invlearn prepare`; auto: by file suffix."""
    rule: list[str] | None = None
    """Label rule for --log, default: the dataset's own; several are tried in order."""
    user: str | None = None
    """Column of --log with user ids, default: its name in the dataset's log."""
    item: str | None = None
    """Column of --log with item ids, default: its name in the dataset's log."""
    time: str | None = None
    """Column to order the rows of --log by, default: its name in the dataset's log, if any."""
    bad_rows: Literal["error", "drop"] = "error"
    """What to do with invalid rows of --log (for example a negative watch time)."""
    unknown: Literal["error", "drop"] = "error"
    """What to do with rows of --log whose user or item is unknown to the runs."""
    seen: Literal["error", "drop", "keep"] = "error"
    """What to do with rows of --log whose pair the runs were trained or validated on."""


class DatasetSizes(Settings):
    """Sizes of a dataset that does not exist yet."""

    users: Count
    """Users of a dataset that does not exist yet."""
    items: Count
    """Number of items."""
    rows: Annotated[int, Field(gt=0, lt=2**48)]
    """Number of labelled rows, split as `prepare` does by default: a tenth for validation, a tenth
    for the test."""
    unlabelled_rows: Annotated[int, Field(ge=0, lt=2**48)] = 0
    """Number of unlabelled rows."""


def load_config(values: Mapping[str, Any], base: RunConfig | str | Path | None = None) -> RunConfig:
    """Build the configuration of a run from a YAML file and values that override it.

    Args:
        values: Nested like the tree, for example `{"optimizer": {"lr": 1e-3}}`.
        base: YAML file of the same form, the name of a preset, or a `RunConfig`.

    Raises:
        ConfigError: A key is unknown or a value is invalid; one message lists all of them.

    Example:
        >>> load_config({"optimizer": {"lr": "1e-4"}}).optimizer.lr
        0.0001
        >>> load_config({"optimizer": {"rl": 1}})
        Traceback (most recent call last):
        invlearn.runtime.errors.ConfigError: optimizer.rl: unknown option; did you mean 'lr'?; ...
    """
    if isinstance(base, RunConfig):
        given = base.model_dump()
    else:
        given = {} if base is None else read_settings(base)
    if "batch_size" in values:
        given = given | {"steps_per_epoch": None}
    return validated(RunConfig, _merged(given, values))


def read_settings(source: str | Path) -> dict[str, Any]:
    """Read the settings of a preset or of a YAML file.

    Raises:
        ConfigError: The file cannot be read, or is not a mapping.

    Example:
        >>> read_settings("recommended")["backbone"]
        'exposure-hybrid'
    """
    if str(source) in PRESETS:
        source = Path(__file__).with_name(f"{source}.yaml")
    elif Path(source).name == str(source) and "." not in str(source) and not Path(source).exists():
        raise ConfigError(
            f"'{source}' is neither a file nor a preset; presets: {', '.join(PRESETS)}"
        )
    return read_yaml(Path(source))


def validated(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Build a settings object.

    Raises:
        ConfigError: A key is unknown or a value is invalid.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(describe_validation_error(model, error)) from None


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML file of options by name.

    Raises:
        ConfigError: The file cannot be read, or is not a mapping.
    """
    try:
        content = yaml_of(file)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file} must hold options by name, found {type(content).__name__}")
    return content


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` updated with `over`, group by group."""
    return dict(base) | {
        key: _merged(base[key], value)
        if isinstance(base.get(key), Mapping) and isinstance(value, Mapping)
        else value
        for key, value in over.items()
    }
