"""The run folder on disk: what a training leaves behind, and all that its later uses need.

```
RUN/
  config.yaml          every setting, defaults written out; also a file for `--config`
  run.json             dataset, its fingerprint, sizes, features if any; format version
  environment.json     versions, threads, machine
  users.parquet        original ids, row number = dense id; items.parquet likewise
  steps.jsonl          one line a step: loss, and the judges' losses and choice where there are any
  epochs.jsonl         one line an epoch: losses, validation metrics, choices, speed
  beliefs-first.npy    w1 of a fixed sample of unlabelled pairs after the first epoch
  beliefs-last.npy     the same after the last epoch
  checkpoints/         the last and the best; of the last epochs the weights
  test.json            metrics of the best epoch on the test part, baselines beside them
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
from typing import Any

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
from invlearn.training.registry import is_known

FORMAT = 1
IDS = ("users.parquet", "items.parquet")
"""Original ids, as the dataset has them."""
TRUST_VARIABLE = "INVLEARN_TRUST"
"""Names modules, parted by commas, that run folders may have imported."""
KEYS = ("dataset", "fingerprint", "n_users", "n_items")
"""What `run.json` holds besides the format."""


class RunCard(BaseModel):
    """The content of `run.json`."""

    model_config = ConfigDict(
        strict=True, extra="allow", frozen=True, use_attribute_docstrings=True
    )
    format: int = FORMAT
    id: str = ""
    """Tells the run from those of other settings or data; empty in runs of earlier versions."""
    dataset: str
    """Path of the dataset folder."""
    fingerprint: str
    """Of the dataset."""
    n_users: Count
    n_items: Count
    ids: dict[str, str] = {}
    """SHA-256 of the files of original ids; empty in runs of earlier versions."""
    features: FeatureCard = NO_FEATURES


@contextmanager
def new_run(
    folder: Path, dataset: Dataset, config: RunConfig, *, overwrite: bool, n_processes: int = 1
) -> Generator[None, None, None]:
    """Make a run folder, whole or not at all, and hold its lock from its first instant on.

    Raises:
        DataError: The dataset was replaced since it was opened.
        InvlearnError: The folder exists, cannot be written, or another process is at work in it.
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
    """Hold the lock of a run folder to go on with it.

    Raises:
        InvlearnError: Another process is at work in it, or it cannot be written.
    """
    with locks.locked(folder):
        atomic.forget(folder)
        yield


def _write_run(partial: Path, dataset: Dataset, config: RunConfig, n_processes: int) -> None:
    """Fill a run folder under its temporary name."""
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
    told = environment() | ({"processes": n_processes} if n_processes > 1 else {})
    atomic.write_json(partial / "environment.json", told)
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
        RunError: The folder is no run, damaged, of another format version, or holds a link that
            leads out of it, or a pipe.
    """
    atomic.recover(folder)
    if found := misplaced(folder):
        raise RunError(f"{found}; put a file of its own there")
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
    """Refuse a run folder that would have code imported which nobody here asked for.

    A backbone or strategy `module:Class` is imported when a run is opened. That is done only if
    this process has imported the module already, or if `INVLEARN_TRUST` names it.

    Raises:
        RunError: It is neither.
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
    """Make sure that a run is one of these settings on this dataset.

    Raises:
        RunError: It is another one, or damaged.
    """
    card, own = read_run(folder)
    if card.fingerprint != dataset.fingerprint:
        raise RunError(
            f"{folder} was trained on another dataset than {dataset.folder}, so it is not gone on "
            "with; choose another --out, or pass --overwrite"
        )
    decided = {"compile", "device"}  # by the machine
    theirs, ours = (c.model_dump(mode="json", exclude=decided) for c in (own, config))
    differing = [name for name, value in ours.items() if theirs[name] != value]
    if differing:
        raise RunError(
            f"{folder} was trained with other settings, so it is not gone on with: "
            + "; ".join(f"{name} {theirs[name]}, now {ours[name]}" for name in differing)
            + "; choose another --out, or pass --overwrite"
        )


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file of a run folder.

    Raises:
        RunError: It is missing or damaged.
    """
    if not file.is_file():
        raise _absent(file.parent, file.name)
    try:
        content = json_of(file)
    except ValueError as error:
        raise RunError(f"{file} is damaged ({error}); train the run again") from error
    if not isinstance(content, dict):
        raise RunError(f"{file} is damaged (it holds no object); train the run again")
    return content


def _absent(folder: Path, name: str) -> RunError:
    """Error that says what a folder is, if it has not what a run has."""
    place = quote(str(folder))
    if not folder.exists():
        return RunError(f"{folder} does not exist; name a run folder, which `invlearn train` makes")
    if not folder.is_dir():
        return RunError(f"{folder} is a file; name a run folder, which `invlearn train` makes")
    if (folder / "run.json").is_file():
        rest = (
            f"the run has not finished; go on with `invlearn resume {place}`"
            if name == "test.json"
            else "the run is damaged; train it again"
        )
        return RunError(f"{folder} has no {name}: {rest}")
    what = "no run folder; name one, which `invlearn train` makes"
    if (folder / "data.json").is_file():
        what = f"a dataset folder; train a run on it with `invlearn train {place} --out RUN`"
    elif (folder / "experiment.yaml").is_file():
        what = "an experiment; its own tables are in its results.md"
    return RunError(f"{folder} has no {name}: it is {what}")


def open_dataset(folder: Path, card: RunCard) -> Dataset:
    """Open a dataset, every file checked, if it is the one that a run was trained on.

    Raises:
        DataError: It is missing or damaged.
        RunError: It is another one, or has changed.
    """
    if not folder.exists():
        raise RunError(
            f"the run's dataset {folder} is not there; if it was moved, say where it is with "
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
    """What tells a run from those of other settings or data; empty in runs of earlier versions."""
    file = folder / "run.json"
    return str(read_json(file).get("id", "")) if file.exists() else ""


def check_own(saved: Checkpoint, folder: Path) -> None:
    """Make sure that a checkpoint belongs to a run.

    Raises:
        RunError: It is another run's.
    """
    own = run_id(folder)
    if saved.run and own and saved.run != own:
        raise RunError(
            f"{folder / 'checkpoints'} holds a checkpoint of another run (id {saved.run}, that of "
            f"{folder / 'run.json'} is {own}); put this run's own back, or train it again"
        )


def check_ids(folder: Path, card: RunCard) -> None:
    """Make sure that the files of original ids are what the run was made with.

    Raises:
        RunError: One is missing or was changed; runs of earlier versions cannot tell.
    """
    for name, expected in card.ids.items():
        file = folder / name
        if not file.is_file() or sha256(file) != expected:
            found = "was changed since it was written" if file.is_file() else "is missing"
            raise RunError(
                f"{file} {found}; copy that of the run's dataset, or train the run again"
            )


def load_weights(
    module: nn.Module, saved: Checkpoint, folder: Path, *, as_they_are: bool = False
) -> None:
    """Put the weights of a run's checkpoint into a module.

    Args:
        module: The module.
        saved: The checkpoint.
        folder: The run folder.
        as_they_are: Take the saved tables themselves in place of copies, for a module that will
            not train; they must be in memory of this process's own (`checkpoint.load_private`).

    Raises:
        RunError: They are another run's, or do not fit.
    """
    check_own(saved, folder)
    known = module.state_dict()
    weights = {n: w for n, w in saved.weights.items() if n in known or not is_auxiliary(n)}
    if as_they_are:  # what is multiplied lies as it did in training, for the same last bits
        tables = getattr(module, "tables", {})
        weights = {n: w if n in tables else w.clone() for n, w in weights.items()}
    try:
        module.load_state_dict(weights, assign=as_they_are)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"{folder}: weights do not fit the backbone ({reason}); a backbone that was given from "
            "Python must be given again, as backbone=..."
        ) from error
