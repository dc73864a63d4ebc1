"""Whether a training fits into memory: checked before it starts, or planned long before."""

from pathlib import Path
from typing import Any

from invlearn.backbones import BACKBONES
from invlearn.config.schema import DatasetSizes, RunConfig, load_config
from invlearn.data.dataset import Dataset
from invlearn.data.features import NO_FEATURES
from invlearn.data.prepare.splits import Split
from invlearn.runtime.distributed import Group
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.memory import available, gib
from invlearn.training.capacity.param_count import Counts
from invlearn.training.capacity.planning import Plan, plan
from invlearn.training.settings import check_metric, complete_settings

MARGIN = 0.9
"""Part of the available memory that a training may take by this estimate."""


def counts_of(dataset: Dataset) -> Counts:
    """Sizes of a dataset."""
    parts = (dataset.train, dataset.valid, dataset.test, dataset.unlabelled)
    return Counts(dataset.n_users, dataset.n_items, *map(len, parts))


def check_memory(config: RunConfig, dataset: Dataset, group: Group) -> None:
    """Refuse a training that a machine has too little memory for, before any of it is taken.

    All processes decide the same, and none starts before all have checked. Backbones that are not
    built in are not checked: building one may have side effects.

    Args:
        config: Settings, complete.
        dataset: What to train on.
        group: The processes that share it.

    Raises:
        ConfigError: It does not fit; says what takes most, and what to do.
    """
    if config.backbone not in BACKBONES:
        return
    found = _planned(config, dataset, group)
    free, needed = available() * MARGIN, found.to_come * group.n_here
    fits = needed <= free
    if not group.any_rank(not fits):
        return
    if fits:
        raise ConfigError(
            "another machine has too little memory for its processes of this training; see their "
            "message above or in their log"
        )
    parts = found.lasting | found.passing
    largest = max(parts, key=parts.__getitem__)
    raise ConfigError(
        f"this training would take {gib(needed)} more memory on this machine, which can give "
        f"{gib(free)}; {largest} alone {gib(parts[largest])} for each of {group.n_here} "
        f"processes here. {_advice(found, dataset, group)}; `invlearn plan` estimates each part"
    )


def _planned(config: RunConfig, dataset: Dataset, group: Group) -> Plan:
    return plan(config, counts_of(dataset), dataset.feature_card, n_processes=group.size)


def _advice(found: Plan, dataset: Dataset, group: Group) -> str:
    """What makes a training smaller."""
    part, config = found.peak, found.config
    if found.passing[part] > found.memory / 2:
        if part in ("validation", "test"):
            return f"Prepare with a smaller --{part.removesuffix('ation')}-fraction"
        if part == "drawing pairs for beliefs":
            return "Pass a smaller --unlabelled.per-labelled or --unlabelled.hardest-of"
    if config.store == "row" and not group.is_alone:
        sharded = config.model_copy(update={"store": "sharded"})
        needed = _planned(sharded, dataset, group).to_come * group.n_here
        return f"With --store sharded it would take {gib(needed)}"
    return (
        "Pass a smaller --model.dim or --batch-size, --optimizer.name sgd, which keeps no moments, "
        "or train on more machines with --store sharded"
    )


def plan_for(
    dataset: str | Path | DatasetSizes,
    *,
    config: RunConfig | str | Path | None = None,
    n_processes: int = 1,
    n_hosts: int = 1,
    **options: Any,
) -> Plan:
    """Estimate what a training takes, on a dataset or on one that does not exist yet.

    Args:
        dataset: Dataset folder, or sizes of a dataset that `prepare` would split as by default.
        config: Settings, or a YAML file of them.
        n_processes: How many share it.
        n_hosts: Machines that they are spread over evenly.
        options: Settings that override `config`.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The dataset is missing or damaged.
    """
    settings = load_config(options, config)
    if not 1 <= n_hosts <= n_processes or n_processes % n_hosts:
        raise ConfigError(
            f"--processes {n_processes} cannot be spread evenly over --hosts {n_hosts}; give at "
            "least one host, and a multiple of the hosts"
        )
    if isinstance(dataset, DatasetSizes):
        split, n, features = Split(), dataset.rows, NO_FEATURES
        valid, test = int(n * split.valid_fraction), int(n * split.test_fraction)
        parts = n - valid - test, valid, test, dataset.unlabelled_rows
        counts = Counts(dataset.users, dataset.items, *parts)
    else:
        data = Dataset.open(dataset)
        check_metric(settings.select_by, data)
        counts, features = counts_of(data), data.feature_card
    settings = complete_settings(settings, n_train=counts.train, n_unlabelled=counts.unlabelled)
    return plan(settings, counts, features, n_processes=n_processes)
