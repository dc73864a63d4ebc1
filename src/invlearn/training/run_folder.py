"""The run folder on disk: all results of a training.

```
RUN/
  config.yaml          every setting, defaults written out; also a file for `--config`
  run.json             dataset, fingerprint, sizes, features if any; format version
  environment.json     versions, threads, machine
  users.parquet        original ids, row number = dense id; items.parquet likewise
  steps.jsonl          one line per step: loss, judges' losses and choice if any
  epochs.jsonl         one line per epoch: losses, validation metrics, choices, speed
  beliefs-first.npy    w1 of a fixed sample of unlabelled pairs after the first epoch
  beliefs-last.npy     the same after the last epoch
  checkpoints/         the last and the best; weights of recent epochs
  test.json            test metrics of the best epoch and of the baselines
```
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shlex import quote
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from invlearn.backbones.auxiliary import is_auxiliary
from invlearn.config.schema import RunConfig, load_config
from invlearn.config.validation_errors import describe_validation_error
from invlearn.data.dataset import Dataset
from invlearn.data.features import NO_FEATURES, FeatureCard
from invlearn.data.parts import Count, sha256
from invlearn.runtime import atomic, locks
from invlearn.runtime.environment import environment
from invlearn.runtime.errors import DataError, RunError
from invlearn.runtime.safe_load import json_of, misplaced
from invlearn.training.checkpoint import Checkpoint
from invlearn.training.class_lookup import is_known

FORMAT = 1
IDS = ("users.parquet", "items.parquet")
"""Files of original ids, copied from the dataset."""
TRUST_VARIABLE = "INVLEARN_TRUST"
"""Environment variable: comma-separated modules that run folders may import."""
KEYS = ("dataset", "fingerprint", "n_users", "n_items")
"""Required keys of `run.json`, except the format."""


class RunCard(BaseModel):
    """The content of `run.json`."""

    model_config = ConfigDict(
        strict=True, extra="allow", frozen=True, use_attribute_docstrings=True
    )
    format: int = FORMAT
    """Version of the folder's format."""
    id: str = ""
    """Hash of the settings and the dataset; empty in runs of earlier versions."""
    dataset: str
    """Path of the dataset folder."""
    fingerprint: str
    """Fingerprint of the dataset."""
    n_users: Count
    """Number of users of the dataset."""
    n_items: Count
    """Number of items of the dataset."""
    ids: dict[str, str] = {}
    """SHA-256 of the files in `IDS`; empty in runs of earlier versions."""
    features: FeatureCard = NO_FEATURES
    """Which features of users and items the dataset has."""


@contextmanager
def new_run(
    folder: Path, dataset: Dataset, config: RunConfig, *, overwrite: bool, n_processes: int = 1
) -> Generator[None, None, None]:
    """Create a run folder atomically, and hold its lock from the start.

    Raises:
        DataError: The dataset was replaced since it was opened.
        InvlearnError: The folder exists, is not writable, or is in use by another process.
    """
    with ExitStack() as held:
        if overwrite and (folder / "run.json").exists():
            held.enter_context(locks.locked(folder))
        with atomic.new_folder(folder, overwrite=overwrite, marker="run.json") as partial:
            _write_run(partial, dataset, config, n_processes)
            held.enter_context(locks.locked(partial))
        yield


@contextmanager
def held_run(folder: Path) -> Generator[None, None, None]:
    """Hold the lock of a run folder to resume it.

    Raises:
        InvlearnError: Another process uses the folder, or it is not writable.
    """
    with locks.locked(folder):
        atomic.forget(folder)
        yield


def _write_run(partial: Path, dataset: Dataset, config: RunConfig, n_processes: int) -> None:
    """Write the files of a new run folder."""
    settings = config.to_yaml()
    (partial / "config.yaml").write_text(settings, encoding="utf-8")
    card: dict[str, Any] = {
        "format": FORMAT,
        "id": hashlib.sha256((dataset.fingerprint + settings).encode()).hexdigest()[:16],
        "dataset": str(dataset.folder.resolve()),
        "fingerprint": dataset.fingerprint,
        "n_users": dataset.n_users,
        "n_items": dataset.n_items,
        "ids": {name: dataset.card.files[name].sha256 for name in IDS},
    }
    if "features" in dataset.card.model_fields_set:
        card["features"] = dataset.card.features.model_dump()
    (partial / "run.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    several = {"processes": n_processes} if n_processes > 1 else {}
    atomic.write_json(partial / "environment.json", environment() | several)
    for name in IDS:
        shutil.copyfile(dataset.folder / name, partial / name)
        if sha256(partial / name) != card["ids"][name]:
            raise DataError(
                f"{dataset.folder} was replaced while it was read; train again to use what it "
                "holds now"
            )


def read_run(folder: Path) -> tuple[RunCard, RunConfig]:
    """Read `run.json` and `config.yaml`.

    Raises:
        RunError: The folder is not a run, is damaged, has another format version, or contains a
            pipe or a link to the outside.
    """
    atomic.recover(folder)
    if found := misplaced(folder):
        raise RunError(f"{found}; replace it with a regular file")
    card = read_json(folder / "run.json")
    if card.get("format") != FORMAT:
        raise RunError(
            f"{folder} has run format {card.get('format')}, this invlearn reads "
            f"{FORMAT}; train it again"
        )
    missing = [key for key in KEYS if key not in card]
    if missing:
        raise RunError(f"{folder / 'run.json'} lacks {', '.join(missing)}; train the run again")
    try:
        checked = RunCard.model_validate(card)
    except ValidationError as error:
        reason = describe_validation_error(RunCard, error)
        raise RunError(
            f"{folder / 'run.json'} is damaged ({reason}); train the run again"
        ) from error
    return checked, load_config({}, folder / "config.yaml")


def check_code(folder: Path, config: RunConfig) -> None:
    """Refuse a run folder that would import untrusted code.

    A backbone or strategy `module:Class` is imported when a run is opened, but only if this process
    has already imported the module, or if `INVLEARN_TRUST` names it.

    Raises:
        RunError: The module is not trusted.
    """
    trusted = {name.strip() for name in os.environ.get(TRUST_VARIABLE, "").split(",")}
    for path in (config.backbone, config.strategy):
        module = path.partition(":")[0]
        if ":" in path and not is_known(path) and module not in {*trusted, *sys.modules}:
            raise RunError(
                f"{folder} asks for {path}, code that is not part of invlearn; if you trust it, "
                f"set {TRUST_VARIABLE}={module}, or from Python import {module} first"
            )


def check_same(folder: Path, dataset: Dataset, config: RunConfig) -> None:
    """Check that a run has these settings and this dataset.

    Raises:
        RunError: It differs, or is damaged.
    """
    card, own = read_run(folder)
    if card.fingerprint != dataset.fingerprint:
        raise RunError(
            f"cannot resume {folder}: it was trained on another dataset than {dataset.folder}; "
            "choose another --out, or pass --overwrite"
        )
    decided = {"compile", "device"}  # depend on the machine
    theirs, ours = (c.model_dump(mode="json", exclude=decided) for c in (own, config))
    differing = [name for name, value in ours.items() if theirs[name] != value]
    if differing:
        raise RunError(
            f"cannot resume {folder}: settings differ: "
            + "; ".join(f"{name} {theirs[name]}, now {ours[name]}" for name in differing)
            + "; choose another --out, or pass --overwrite"
        )


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file of a run folder.

    Raises:
        RunError: The file is missing or damaged.
    """
    if not file.is_file():
        raise _absent(file.parent, file.name)
    try:
        content = json_of(file)
        if not isinstance(content, dict):
            raise ValueError("it is not an object")
    except ValueError as error:
        raise RunError(f"{file} is damaged ({error}); train the run again") from error
    return cast(dict[str, Any], content)


def _absent(folder: Path, name: str) -> RunError:
    """Return the error for a missing file of a run, with the kind of the folder."""
    place = quote(str(folder))
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        return RunError(f"{folder} {state}; name a run folder written by `invlearn train`")
    if (folder / "run.json").is_file():
        what = "the run is damaged; train it again"
        if name == "test.json":
            what = f"the run has not finished; continue it with `invlearn resume {place}`"
    elif (folder / "data.json").is_file():
        what = f"it is a dataset folder; train a run on it with `invlearn train {place} --out RUN`"
    elif (folder / "experiment.yaml").is_file():
        what = "it is an experiment; its own tables are in its results.md"
    else:
        what = "it is not a run folder; name one written by `invlearn train`"
    return RunError(f"{folder} has no {name}: {what}")


def open_dataset(folder: Path, card: RunCard) -> Dataset:
    """Open the dataset that a run was trained on, and check every file.

    Raises:
        DataError: The dataset is missing or damaged.
        RunError: It is another dataset, or has changed.
    """
    if not folder.exists():
        raise RunError(
            f"the run's dataset {folder} does not exist; if it was moved, pass its path with "
            "--dataset"
        )
    dataset = Dataset.open(folder, verify=True)
    if dataset.fingerprint != card.fingerprint:
        raise RunError(
            f"{folder} is not the dataset that the run was trained on (fingerprint "
            f"{dataset.fingerprint[:12]}, the run's is {card.fingerprint[:12]}); "
            "pass the right one with --dataset, or train again"
        )
    return dataset


def run_id(folder: Path) -> str:
    """Return the id of a run; empty in runs of earlier versions."""
    file = folder / "run.json"
    return str(read_json(file).get("id", "")) if file.exists() else ""


def check_own(saved: Checkpoint, folder: Path) -> None:
    """Check that a checkpoint belongs to a run.

    Raises:
        RunError: It belongs to another run.
    """
    own = run_id(folder)
    if saved.run and own and saved.run != own:
        raise RunError(
            f"{folder / 'checkpoints'} holds a checkpoint of another run (id {saved.run}, that of "
            f"{folder / 'run.json'} is {own}); restore this run's own, or train it again"
        )


def check_ids(folder: Path, card: RunCard) -> None:
    """Check that the files of original ids are unchanged.

    Raises:
        RunError: A file is missing or changed. Runs of earlier versions are not checked.
    """
    for name, expected in card.ids.items():
        file = folder / name
        if not file.is_file() or sha256(file) != expected:
            found = "was changed since it was written" if file.is_file() else "is missing"
            raise RunError(
                f"{file} {found}; copy it from the run's dataset, or train the run again"
            )


def load_weights(
    module: nn.Module, saved: Checkpoint, folder: Path, *, as_they_are: bool = False
) -> None:
    """Load the weights of a run's checkpoint into a module.

    Args:
        module: The module.
        saved: The checkpoint.
        folder: The run folder.
        as_they_are: Use the saved tables without copying, for a module that will not train; they
            must be in private memory (`checkpoint.load_private`).

    Raises:
        RunError: The weights are another run's, or do not fit the module.
    """
    check_own(saved, folder)
    known = module.state_dict()
    weights = {n: w for n, w in saved.weights.items() if n in known or not is_auxiliary(n)}
    if as_they_are:  # clone for the memory alignment of training: same bits of products
        tables = getattr(module, "tables", {})
        weights = {n: w if n in tables else w.clone() for n, w in weights.items()}
    try:
        module.load_state_dict(weights, assign=as_they_are)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"{folder}: weights do not fit the backbone ({reason}); a backbone that was given from "
            "Python must be passed again, as backbone=..."
        ) from error
