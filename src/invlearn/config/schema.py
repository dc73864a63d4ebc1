"""Everything that decides a run, as one frozen tree; a run folder holds it with all defaults.

The same tree is a YAML file, the command line's options (`--optimizer.lr 1e-3`) and the keyword
arguments of `invlearn.train`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    ValidationError,
)

from invlearn.config.validation_errors import describe_validation_error
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.safe_load import yaml_of

PRESETS = ("recommended",)
"""Settings that come with the library, by name: what `--config recommended` reads."""

Model = TypeVar("Model", bound=BaseModel)
in_words = describe_validation_error
"""Old name, until every caller uses the new one."""
Count = Annotated[int, Field(gt=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """A frozen group of settings; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )
    also: ClassVar[tuple[str, ...]] = ()
    """Keys that are taken besides the fields, in the place of some of them."""


class OptimizerConfig(Settings):
    """How a slope becomes a step."""

    name: Literal["adam", "adagrad", "sgd"] = "adam"
    """Update rule; the row store applies it to touched rows only (lazy Adam)."""
    lr: PositiveFloat = 1e-3
    """Learning rate, the paper's gamma."""
    beta1: Fraction = 0.9
    """Decay of Adam's first moment."""
    beta2: Fraction = 0.999
    """Decay of Adam's second moment."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment (Adam) or of the sum of squares (Adagrad)."""
    l2: NonNegativeFloat = 0.0
    """Adds `l2 * row` to the slope of every table row that the batch touches."""


class ScheduleConfig(Settings):
    """How the learning rate moves over the steps of a run."""

    name: Literal["constant", "linear", "cosine"] = "constant"
    """Shape of the decay, from `optimizer.lr` to `final_fraction` of it at the end of the run."""
    warmup_steps: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Steps over which the rate grows in a line from 0 first."""
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Where linear and cosine decay end, in units of `optimizer.lr`."""


class UnlabelledConfig(Settings):
    """Where unlabelled pairs come from, for strategies that use them."""

    source: Literal["auto", "exposed", "sampled", "mix"] = "auto"
    """exposed: shown, reaction unclear; sampled: never shown; auto: exposed if there are any."""
    exposed_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Part of the unlabelled pairs that is exposed, when the source is mix."""
    per_labelled: Count = 1
    """Unlabelled pairs beside each labelled pair."""
    hardest_of: Count = 1
    """Each unlabelled pair is the one of highest score among so many drawn for its user (DNS,
    dynamic negative sampling); above 1 the source must be sampled."""


class RunConfig(Settings):
    """One training, from a dataset folder to a run folder."""

    backbone: str = "gmf"
    """Name of a backbone, or `module:Class`; `invlearn backbones` lists them."""
    model: dict[str, Any] = {}
    """Options of the backbone, such as `--model.dim 64`."""
    strategy: str = "none"
    """Name of a strategy, or `module:Class`; `invlearn strategies` lists them."""
    method: dict[str, Any] = {}
    """Options of the strategy, such as `--method.alpha-ratio 0.5`."""
    unlabelled: UnlabelledConfig = UnlabelledConfig()
    """Where unlabelled pairs come from."""
    store: Literal["auto", "row", "dense", "sharded"] = "auto"
    """row: a step costs what its batch costs; dense: whole tables under torch's own optimizer;
    sharded: as row, each table cut by rows over the processes; auto: row if the backbone declares
    its tables."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How a slope becomes a step."""
    schedule: ScheduleConfig = ScheduleConfig()
    """How the learning rate moves."""
    batch_size: Count = 1024
    """Labelled pairs in a batch."""
    steps_per_epoch: Count | None = None
    """Choose the batch size so that an epoch has about so many steps, between 32 and 65,536 pairs;
    none: as `batch_size` says. A `batch_size` that is given over it takes its place."""
    epochs: Count = 10
    """Epochs at most."""
    patience: Count | None = None
    """Stop after so many epochs without a better validation score; none: never early."""
    select_by: str = "log_loss"
    """Validation metric that decides the best epoch; a loss is better when lower."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides initial weights, judges, order and draws."""
    device: str = "auto"
    """A torch device such as cpu or cuda; auto: cuda where there is one."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether `torch.compile` fuses the arithmetic of a step (row store): the same choices, weights
    equal to rounding; auto: where a compiler is found and the run is long enough to pay."""
    checkpoint_steps: Count | None = None
    """Save every so many steps besides the end of each epoch."""
    keep_epochs: Annotated[int, Field(ge=0, lt=2**31)] = 3
    """Weights of so many last epochs stay in the run folder, for `annotate` to see how often they
    agree with the best; each takes a file of the size of the backbone."""
    tensorboard: bool = False
    """Write TensorBoard scalars into the run folder as well."""

    def to_yaml(self) -> str:
        """Every setting, as `load_config` reads it."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class OtherLog(Settings):
    """A log to be measured on instead of a part of the runs' dataset.

    What is left out is as the dataset was prepared.
    """

    log: Any = None
    """Another log to measure on instead: a file, a folder, or a glob in quotes."""
    format: str = "auto"
    """Of --log: auto goes by the suffix; else as for `invlearn prepare`."""
    rule: list[str] | None = None
    """Label rule for --log, if not the dataset's own; several are tried in order."""
    user: str | None = None
    """Column of user ids of --log, if not named as in the dataset's own log."""
    item: str | None = None
    """Column of item ids of --log, likewise."""
    time: str | None = None
    """Column that orders the rows of --log, likewise, if there is any."""
    bad_rows: Literal["error", "drop"] = "error"
    """What to do with rows of --log that cannot be, such as a negative watch time."""
    unknown: Literal["error", "drop"] = "error"
    """What to do with rows of --log whose user or item the runs do not know."""
    seen: Literal["error", "drop", "keep"] = "error"
    """What to do with rows of --log whose pair the runs were trained or validated on."""


def load_config(values: Mapping[str, Any], base: RunConfig | str | Path | None = None) -> RunConfig:
    """Build the configuration of a run from a YAML file and values that override it.

    Args:
        values: Nested as the tree is, such as `{"optimizer": {"lr": 1e-3}}`.
        base: YAML file of the same form, the name of a preset, or settings that are there already.

    Raises:
        ConfigError: A key is unknown or a value does not fit; all of them in one message.

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
        ConfigError: The file cannot be read, or holds something else.

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
    """Build a settings object, or say in one message everything that is wrong.

    Raises:
        ConfigError: A key is unknown or a value does not fit.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(describe_validation_error(model, error)) from None


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML file of options by name.

    Raises:
        ConfigError: It cannot be read, or holds something else.
    """
    try:
        content = yaml_of(file)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file} is not YAML that can be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file} must hold options by name, found {type(content).__name__}")
    return content


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` put over it, group by group."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(inner, value)
        else:
            result[key] = value
    return result
