"""Names become classes, and options are checked against what a class takes."""

import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Annotated, Literal

import pytest
from pydantic import Field
from torch import nn

from invlearn.backbones import BACKBONES
from invlearn.runtime.errors import ConfigError
from invlearn.strategies import STRATEGIES
from invlearn.strategies.strategy import LossStrategy
from invlearn.training import class_lookup
from invlearn.training.class_lookup import (
    backbone_class,
    complete_options,
    options_of,
    strategy_class,
    summary_of,
)


class Net(nn.Module):
    """A backbone with options of many kinds."""

    class Inner(nn.Module):
        """A class within a class."""

    def __init__(
        self,
        n_users: int,
        n_items: int,
        *,
        width: Annotated[int, Field(gt=0)],
        kind: Literal["flat", "deep"] = "flat",
        shares: tuple[float, ...] = (0.5, 0.5),
        bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__()


@dataclass(frozen=True)
class Loss(LossStrategy):
    """A strategy with an option."""

    margin: Annotated[float, Field(ge=0)] = 1.0

    @property
    def feed(self):
        raise NotImplementedError

    def loss(self, score, params, batch):
        raise NotImplementedError


@pytest.fixture
def plugins(monkeypatch):
    """Pretend that a package with entry points is installed."""
    module = ModuleType("plugin_of_somebody")
    module.Net, module.Loss, module.number = Net, Loss, 7
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = {
        "invlearn.backbones": {"net": "Net", "gone": "Gone", "gmf": "Net", "number": "number"},
        "invlearn.strategies": {"loss": "Loss", "lost": "nowhere.at.all:Loss"},
    }

    def entry_points(*, group):
        return [
            EntryPoint(name, value if ":" in value else f"{module.__name__}:{value}", group)
            for name, value in found[group].items()
        ]

    monkeypatch.setattr(class_lookup, "entry_points", entry_points)


def test_built_in_names():
    assert {name: backbone_class(name) for name in BACKBONES} == BACKBONES
    assert {name: strategy_class(name) for name in STRATEGIES} == STRATEGIES
    assert set(BACKBONES) >= {"gmf", "neumf", "mlp", "mf"}
    assert set(STRATEGIES) >= {"none", "ns", "t-ce", "r-ce", "idl", "ig"}


def test_entry_points(plugins):
    assert backbone_class("net") is Net
    assert strategy_class("loss") is Loss


def test_built_in_names_go_before_entry_points(plugins):
    assert backbone_class("gmf") is BACKBONES["gmf"]


@pytest.mark.parametrize(
    ("find", "name", "says"),
    [
        (backbone_class, "gone", "has no attribute 'Gone'"),
        (backbone_class, "number", "must be a subclass of Module"),
        (backbone_class, "nett", "did you mean 'net'"),
        (strategy_class, "lost", "No module named 'nowhere'"),
        (strategy_class, "losss", "did you mean 'loss'"),
    ],
)
def test_broken_entry_points_are_errors_in_words(find, name, says, plugins):
    with pytest.raises(ConfigError, match=says):
        find(name)


def test_module_and_class():
    assert backbone_class("test_class_lookup:Net") is Net
    assert backbone_class("test_class_lookup:Net.Inner") is Net.Inner
    assert strategy_class("test_class_lookup:Loss") is Loss


@pytest.mark.parametrize(
    "name", [":Net", "test_class_lookup:", ".x:Net", "a b:Net", "test_class_lookup::"]
)
def test_what_cannot_be_imported(name):
    with pytest.raises(ConfigError, match="backbone"):
        backbone_class(name)


def test_options_of_a_class():
    found = options_of(Net)
    assert list(found) == ["width", "kind", "shares", "bias", "name"]
    assert found["width"][1] is ...
    assert options_of(Loss)["margin"][1] == 1.0


def test_text_becomes_what_the_class_asks_for():
    given = {"width": "8", "kind": "deep", "shares": ["0.25", "0.75"], "bias": "false"}
    assert complete_options(Net, given, "model") == {
        "width": 8,
        "kind": "deep",
        "shares": (0.25, 0.75),
        "bias": False,
        "name": None,
    }


def test_hyphens_as_the_command_line_writes_them():
    options = complete_options(STRATEGIES["ig"], {"alpha-ratio": 0.5}, "method")
    assert options == {"alpha_ratio": 0.5, "judge_fraction": 0.1}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "model.width: a value is needed"),
        ({"width": 0}, "model.width: a number above 0 is needed; got 0"),
        ({"width": 1, "kid": "deep"}, "model.kid: unknown option; did you mean 'kind'"),
        ({"width": 1, "n_users": 7}, "model.n_users: unknown option"),
        ({"width": 1, "kind": "dep"}, "model.kind: 'flat' or 'deep' is needed; got 'dep'"),
    ],
)
def test_wrong_options(options, says):
    with pytest.raises(ConfigError, match=says):
        complete_options(Net, options, "model")


@pytest.mark.parametrize("known", [BACKBONES, STRATEGIES])
def test_everything_built_in_is_described_with_types_and_defaults(known):
    for name, cls in known.items():
        sentence = summary_of(cls)
        assert sentence.endswith("."), name
        assert "\n" not in sentence
        assert all(default is not ... for _, default in options_of(cls).values())


def test_defaults_of_every_built_in_class_are_valid():
    for known, where in ((BACKBONES, "model"), (STRATEGIES, "method")):
        for cls in known.values():
            options = complete_options(cls, {}, where)
            assert complete_options(cls, options, where) == options
