"""Settings: one tree, written out whole, read back equal, and wrong values said in words."""

import dataclasses

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invlearn.config.schema import RunConfig, Settings, load_config, validated
from invlearn.config.validation_errors import describe_validation_error
from invlearn.runtime.errors import ConfigError

DEFAULTS = """
backbone: gmf
model: {}
strategy: none
method: {}
unlabelled: {source: auto, exposed_fraction: 0.5, per_labelled: 1, hardest_of: 1}
store: auto
optimizer: {name: adam, lr: 0.001, beta1: 0.9, beta2: 0.999, eps: 1.0e-08, l2: 0.0}
schedule: {name: constant, warmup_steps: 0, final_fraction: 0.0}
batch_size: 1024
steps_per_epoch: null
epochs: 10
patience: null
select_by: log_loss
seed: 0
device: auto
compile: auto
checkpoint_steps: null
keep_epochs: 3
tensorboard: false
"""
"""Decides what old configurations mean: a changed default changes what people measured."""

trees = st.fixed_dictionaries(
    {},
    optional={
        "backbone": st.sampled_from(["gmf", "neumf", "my.module:Net"]),
        "model": st.dictionaries(st.sampled_from(["dim", "layers"]), st.integers(1, 9)),
        "optimizer": st.fixed_dictionaries(
            {}, optional={"lr": st.floats(1e-6, 1.0), "name": st.sampled_from(["adam", "sgd"])}
        ),
        "schedule": st.fixed_dictionaries({}, optional={"warmup_steps": st.integers(0, 99)}),
        "epochs": st.integers(1, 99),
        "patience": st.none() | st.integers(1, 9),
        "seed": st.integers(0, 2**40),
    },
)


def overlaid(base, over):
    """The slow and obvious way: leaf by leaf."""
    result = {**base}
    for key, value in over.items():
        if isinstance(value, dict):
            result[key] = overlaid(result.get(key) or {}, value)
        else:
            result[key] = value
    return result


def test_defaults_are_frozen():
    assert RunConfig().model_dump() == yaml.safe_load(DEFAULTS)


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError):
        RunConfig().epochs = 3  # pyright: ignore
    with pytest.raises((ValidationError, dataclasses.FrozenInstanceError)):
        RunConfig().optimizer.lr = 3.0  # pyright: ignore


@given(base=trees, over=trees)
@settings(max_examples=60, deadline=None)
def test_files_settings_and_overrides_agree_leaf_by_leaf(base, over, tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "run.yaml"
    file.write_text(yaml.safe_dump(base))
    expected = overlaid(overlaid(RunConfig().model_dump(), base), over)
    assert load_config(over, file).model_dump() == expected
    assert load_config(over, load_config(base)).model_dump() == expected


@given(tree=trees)
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_back_equal(tree, tmp_path_factory):
    config = load_config(tree)
    file = tmp_path_factory.mktemp("config") / "run.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    assert load_config({}, file) == config


def test_an_empty_file_means_defaults(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("# nothing yet\n")
    assert load_config({}, file) == RunConfig()


def test_numbers_may_be_text_as_yaml_takes_1e_3(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("optimizer: {lr: 1e-3}\nepochs: '7'\n")
    assert isinstance(yaml.safe_load(file.read_text())["optimizer"]["lr"], str)
    config = load_config({}, file)
    assert (config.optimizer.lr, config.epochs) == (1e-3, 7)


def test_every_wrong_value_is_named_in_one_line():
    wrong = {
        "epochs": 0,
        "optimizer": {"lr": -1, "betta1": 0.5},
        "unlabelled": {"exposed_fraction": 1.0},
        "tensorbord": True,
    }
    with pytest.raises(ConfigError) as caught:
        load_config(wrong)
    text = str(caught.value)
    assert "\n" not in text
    for words in (
        "epochs: a number above 0 is needed; got 0",
        "optimizer.lr: a number above 0 is needed; got -1",
        "optimizer.betta1: unknown option; did you mean 'beta1'?; known: beta1, beta2",
        "unlabelled.exposed_fraction: a number below 1 is needed; got 1.0",
        "tensorbord: unknown option; did you mean 'tensorboard'?",
    ):
        assert words in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "-inf", "nan"])
def test_settings_are_finite(value):
    for field in ("lr", "l2", "eps"):
        with pytest.raises(ConfigError, match=f"optimizer.{field}"):
            load_config({"optimizer": {field: value}})


def test_a_needed_value_is_asked_for():
    class Needy(Settings):
        colour: str

    with pytest.raises(ConfigError, match="colour: a value is needed"):
        validated(Needy, {})


def test_an_unknown_option_far_from_all_gets_the_list_only():
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate({"xyzzy": 1})
    text = describe_validation_error(RunConfig, caught.value)
    assert text.startswith("xyzzy: unknown option; known: backbone, batch_size")
