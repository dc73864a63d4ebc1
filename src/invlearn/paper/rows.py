"""Published rows and figures, read from the data files beside this module.

A file holds what the paper prints, the settings that repeat it, and a comment wherever the paper
is silent. Lin et al., Inverse Learning with Extremely Sparse Feedback for Recommendation, WSDM 2024
(https://doi.org/10.1145/3616855.3635797).
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PositiveFloat

from invlearn.config.schema import RunConfig, Settings, load_config, validated
from invlearn.runtime.errors import ConfigError, unknown
from invlearn.training.registry import backbone_class, complete_options, strategy_class

DatasetName = Literal["ml-1m", "micro-video"]
VariantName = Literal["printed", "released", "ablated"]
NAMES = {"gmf": "GMF", "neumf": "NeuMF"}
"""Backbones as the paper writes them."""
METHODS = ("None", "NS", "T-CE", "R-CE", "IDL", "IG")
"""Methods in the order of the paper."""
Share = Annotated[float, Field(ge=0, le=1)]


class Published(Settings):
    """What Table 2 prints for one data set."""

    ndcg: Share
    """NDCG, by Section 4.1.2 at 10, by the released inverse-gradient code at 20."""
    auc: Share
    """AUC over all test rows."""
    gauc: Share
    """Mean AUC of users, each counting 1."""


class Row(Settings):
    """A row of Table 2: a backbone trained by a method."""

    name: str
    """Backbone and method, as in `GMF IG`."""
    backbone: str
    """Name of the backbone here."""
    method: str
    """Name of the method in the paper; the variants say which strategies repeat it."""
    published: dict[DatasetName, Published]
    """Printed numbers by data set."""
    rates: dict[DatasetName, PositiveFloat]
    """Learning rate by data set."""
    printed: dict[str, Any]
    """Settings of a run, as in `RunConfig`, as the paper describes it; less backbone and rate."""
    released: dict[str, Any] | None = None
    """What the released code does otherwise; none where no code was released."""
    ablated: dict[str, Any] | None = None
    """What differs as released without the unlabelled step; none where there is no such step."""

    def config(self, variant: VariantName, dataset: DatasetName) -> RunConfig:
        """Settings of a run that repeats the row, options of method and backbone written out.

        Args:
            variant: Which way to repeat it.
            dataset: Decides the learning rate.

        Raises:
            ConfigError: The row has no such variant, or its file does not fit today's settings.

        Example:
            >>> row("GMF None").config("printed", "ml-1m").optimizer.lr
            0.0001
        """
        changes: dict[str, Any] | None = getattr(self, variant)
        if changes is None:
            raise ConfigError(
                f"{self.name} has no variant '{variant}': no such code was released; take 'printed'"
            )
        rate = {"backbone": self.backbone, "optimizer": {"lr": self.rates[dataset]}}
        return _completed(load_config(changes, load_config(rate, load_config(self.printed))))


class Panel(Settings):
    """A part of a figure, drawn from one run."""

    title: str
    """What stands above it."""
    row: str
    """Name of the row whose settings the run has."""
    dataset: DatasetName
    """Data set of the run."""
    method: dict[str, Any] = Field(default={})
    """Options of the strategy that differ from the row's."""


class Figure(Settings):
    """A figure of the paper: what it draws, and from which runs."""

    name: str
    """As in `figure3`."""
    title: str
    """What it shows."""
    kind: Literal["beliefs", "judges"]
    """beliefs: distributions of w1 and w0; judges: losses of training-test batches with choices."""
    variant: VariantName
    """Which variant of the rows is drawn, unless another is asked for."""
    panels: tuple[Panel, ...]
    """In reading order."""
    published: str
    """What the paper's text says that the figure shows."""

    def configs(self, variant: VariantName | None = None) -> tuple[RunConfig, ...]:
        """Settings of the run behind each panel.

        Raises:
            ConfigError: A row has no such variant, or a file does not fit today's settings.
        """
        found = [row(p.row).config(variant or self.variant, p.dataset) for p in self.panels]
        return tuple(
            _completed(load_config({"method": panel.method}, config))
            for panel, config in zip(self.panels, found, strict=True)
        )


@cache
def published_rows() -> tuple[Row, ...]:
    """All rows of Table 2, in its order."""
    rows = [validated(Row, content) for content in _contents("table2")]
    return tuple(sorted(rows, key=lambda r: (r.backbone, METHODS.index(r.method))))


def row(name: str) -> Row:
    """The row of Table 2 of a name such as `GMF IG`.

    Raises:
        ConfigError: There is none of that name.
    """
    known = {found.name: found for found in published_rows()}
    if name not in known:
        raise unknown("row", name, known)
    return known[name]


def figures() -> tuple[Figure, ...]:
    """Figures 3 to 6, in order."""
    return tuple(validated(Figure, content) for content in _contents("figures"))


def _completed(config: RunConfig) -> RunConfig:
    """Options of backbone and strategy checked and written out."""
    model = complete_options(backbone_class(config.backbone), config.model, "model")
    method = complete_options(strategy_class(config.strategy), config.method, "method")
    return config.model_copy(update={"model": model, "method": method})


def _contents(folder: str) -> list[Mapping[str, Any]]:
    """Contents of the data files of a folder, by name of the file."""
    found = sorted((files("invlearn.paper") / folder).iterdir(), key=lambda file: file.name)
    return [
        yaml.safe_load(file.read_text(encoding="utf-8"))
        for file in found
        if file.name.endswith(".yaml")
    ]
