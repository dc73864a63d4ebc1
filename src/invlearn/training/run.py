"""Runs: train into a run folder, and load the trained model from it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from invlearn.backbones.backbone import FitsOnValidation
from invlearn.config.schema import RunConfig, load_config
from invlearn.data.dataset import Dataset
from invlearn.data.parts import PARTS, check_ids
from invlearn.evaluation.assessment import Assessment, assess, measure_baselines
from invlearn.evaluation.baselines import ALL_BASELINES, BASELINES
from invlearn.evaluation.evaluation import Evaluation
from invlearn.evaluation.scoring import score_pairs
from invlearn.runtime import atomic
from invlearn.runtime.distributed import ALONE, Group
from invlearn.runtime.errors import DataError, RunError, Stopped, unknown
from invlearn.runtime.progress import Progress, silent
from invlearn.strategies import Strategy
from invlearn.training import checkpoint
from invlearn.training.build import make_backbone, meta_model
from invlearn.training.job import Job
from invlearn.training.metrics_log import read_lines
from invlearn.training.run_folder import (
    RunCard,
    check_code,
    check_same,
    held_run,
    load_weights,
    new_run,
    open_dataset,
    read_json,
    read_run,
)
from invlearn.training.settings import complete, named_backbone, named_strategy, usable_device
from invlearn.training.stores.distributed_scorer import DistributedScorer

SPARE_BYTES = 1 << 26
"""Memory for building a backbone, in addition to twice its saved weights."""


@dataclass(frozen=True, slots=True)
class Run:
    """An opened run folder: the backbone with the weights of its best epoch."""

    folder: Path
    config: RunConfig = field(repr=False)
    module: nn.Module = field(repr=False)
    card: RunCard = field(repr=False)

    @classmethod
    def open(cls, folder: str | Path, *, backbone: nn.Module | None = None) -> "Run":
        """Open a run folder with at least one finished epoch.

        Args:
            folder: The run folder.
            backbone: The module to load the weights into, if the run was given one from Python.

        Raises:
            RunError: The folder is missing, damaged, or has another format version.
        """
        folder = Path(folder)
        card, config = read_run(folder)
        if backbone is None:
            check_code(folder, config)
        for kind, size in (("user", card.n_users), ("item", card.n_items)):
            check_ids(folder / f"{kind}s.parquet", size)
        made_of = config, card.n_users, card.n_items, card.features
        bare = meta_model(*made_of) if backbone is None else None
        # An allocated backbone gets copies; one on `meta` gets the saved tensors themselves, which
        # must be in private memory.
        load = checkpoint.load if bare is None else checkpoint.load_private
        saved = load(folder / "checkpoints", "best")
        module = backbone or bare
        if module is None:
            n_bytes = sum(weight.nbytes for weight in saved.weights.values())
            module = make_backbone(*made_of, max_bytes=SPARE_BYTES + 2 * n_bytes)
        load_weights(module, saved, folder, as_they_are=bare is not None)
        module.eval()
        return cls(folder, config, module, card)

    @property
    def test(self) -> dict[str, Any]:
        """The content of `test.json`: test metrics under the names of `docs/metrics.md`.

        Raises:
            RunError: The run has not finished.
        """
        return read_json(self.folder / "test.json")

    @property
    def is_finished(self) -> bool:
        """Whether the run has finished, including its test metrics."""
        return (self.folder / "test.json").is_file()

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The records of all epochs."""
        return list(read_lines(self.folder / "epochs.jsonl"))

    def score(self, users: npt.ArrayLike, items: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the logits of pairs, shape `(pairs,)`.

        Args:
            users: Dense user ids, shape `(pairs,)`.
            items: Dense item ids, shape `(pairs,)`.

        Raises:
            DataError: An id is not in the run's dataset.
        """
        columns = {"user": np.asarray(users), "item": np.asarray(items)}
        for key, ids in columns.items():
            n_known = {"user": self.card.n_users, "item": self.card.n_items}[key]
            if not np.issubdtype(ids.dtype, np.integer) or ((ids < 0) | (ids >= n_known)).any():
                raise DataError(
                    f"{key} ids must be integers from 0 to {n_known - 1}, row numbers of "
                    f"{self.folder / f'{key}s.parquet'}, which has the original ids"
                )
        return score_pairs(self.module, columns["user"], columns["item"])

    def dataset(self, folder: str | Path | None = None) -> Dataset:
        """Open the dataset that the run was trained on, and check every file.

        Args:
            folder: Its folder, if it was moved.

        Raises:
            DataError: The dataset is missing or damaged.
            RunError: It is not the dataset that the run was trained on.
        """
        return open_dataset(Path(folder or self.card.dataset), self.card)

    def evaluate(
        self,
        *,
        part: str = "test",
        dataset: Dataset | None = None,
        draws: int = 1000,
        seed: int = 0,
        baselines: Mapping[str, Evaluation] | Sequence[str] = ALL_BASELINES,
        progress: Progress = silent,
    ) -> Assessment:
        """Compute metrics of the run and the baselines on a part of its dataset.

        Args:
            part: `train`, `valid` or `test`.
            dataset: The run's dataset; by default opened from its recorded path.
            draws: Bootstrap draws over users; 0 for no intervals.
            seed: Seed of the draws.
            baselines: Names of baselines, or their known results on this part.
            progress: Called for each set of scores.

        Raises:
            ConfigError: The part or a baseline does not exist.
        """
        if part not in PARTS[:3]:
            raise unknown("part", part, PARTS[:3])
        dataset = dataset or self.dataset()
        rows, options = getattr(dataset, part), {"draws": draws, "seed": seed}
        return assess(
            self.module, dataset, rows, part=part, baselines=baselines, progress=progress, **options
        )


def train(
    dataset: str | Path,
    out: str | Path,
    *,
    config: RunConfig | str | Path | None = None,
    backbone: str | type[nn.Module] | nn.Module | None = None,
    strategy: str | Strategy | type[Strategy] | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
    resume_if_exists: bool = False,
    group: Group = ALONE,
    **options: Any,
) -> Run:
    """Train a backbone on a dataset folder and write a run folder.

    The processes of a group (see `invlearn.runtime.distributed.joined`) call it together, and share
    the pairs of each batch. They make the same choices as one process. Only the first one writes,
    except that each writes its shards of tables (`store="sharded"`). The folders must be on disks
    that all of them can access.

    Args:
        dataset: Folder that `prepare` wrote.
        out: The run folder to create.
        config: Settings, or a YAML file of them.
        backbone: Name, `module:Class`, a class `(n_users, n_items, **model)`, or a module, which
            is trained in place.
        strategy: Name, `module:Class`, a class, or a strategy with its options set.
        overwrite: Replace an existing run folder.
        progress: Called with the progress of steps and epochs.
        should_stop: Called after every step; true saves and raises `Stopped`.
        resume_if_exists: If `out` is a run with the same settings and dataset, resume it; any
            other run is an error, or is replaced with `overwrite`.
        group: The processes that train together.
        options: Settings that override `config`, as in `optimizer={"lr": 1e-3}`, `epochs=5`.

    Raises:
        ConfigError: A setting does not exist or does not fit the dataset.
        DataError: The dataset is missing or damaged.
        RunError: `out` exists.
        DivergedError: The loss is not finite; the last checkpoint is kept.
        Stopped: `should_stop` returned true; continue with `resume(out)`.
    """
    data, out = Dataset.open(dataset, verify=group.is_first), Path(out)
    named = named_backbone(backbone) | named_strategy(strategy) | options
    module = backbone if isinstance(backbone, nn.Module) else None
    settings = complete(load_config(named, config), data, module)
    exists = bool(group.broadcast_object(out.exists()))
    if exists and resume_if_exists and _resumes(out, data, settings, group, overwrite=overwrite):
        shared: dict[str, Any] = {"progress": progress, "should_stop": should_stop, "group": group}
        return resume(out, dataset=dataset, backbone=module, **shared)
    if exists and not overwrite:
        raise RunError(
            f"{out} already exists; continue it with `invlearn resume {out}`, choose another "
            "--out, or pass --overwrite"
        )
    job = Job.start(out, data, settings, module, group=group)
    with (
        new_run(out, data, job.trainer.config, overwrite=overwrite, n_processes=group.size)
        if group.is_first
        else nullcontext()
    ):
        group.barrier()
        return _completed(job, progress, should_stop)


def _resumes(out: Path, data: Dataset, config: RunConfig, group: Group, *, overwrite: bool) -> bool:
    """Return whether to resume the run; raise if it differs and `overwrite` is false."""
    if not overwrite:
        check_same(out, data, config)
        return True
    try:
        is_same = group.is_first and check_same(out, data, config) is None
    except RunError:
        is_same = False
    return bool(group.broadcast_object(is_same))


def resume(
    folder: str | Path,
    *,
    dataset: str | Path | None = None,
    device: str | None = None,
    backbone: nn.Module | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
    group: Group = ALONE,
) -> Run:
    """Resume a run from its last checkpoint, with bit-identical weights as without a stop.

    A finished run is opened and its test metrics are rewritten. Weights are bit-identical on a CPU
    with the same numbers of threads and processes, but not across devices. A run can be resumed
    with any number of processes.

    Args:
        folder: The run folder.
        dataset: Folder of the dataset, if it was moved.
        device: Device to use, if not the run's own; it is written to `config.yaml`.
        backbone: The module, if the run was given one from Python.
        progress: Called with the progress of steps and epochs.
        should_stop: Called after every step; true saves and raises `Stopped`.
        group: The processes that train together.

    Raises:
        ConfigError: The device is not available.
        RunError: The folder or its checkpoint is damaged, or the dataset is not the run's own.
        DivergedError: The loss is not finite.
        Stopped: `should_stop` returned true.
    """
    folder = Path(folder)
    read_run(folder)  # do not lock other folders
    with held_run(folder) if group.is_first else nullcontext():
        card, config = read_run(folder)
        check_code(folder, config)
        data = open_dataset(Path(dataset or card.dataset), card)
        settings = config.model_copy(update={"device": usable_device(device or config.device)})
        settings = complete(settings, data, backbone)  # config.yaml may be edited
        job = Job.start(folder, data, settings, backbone, group=group)
        if group.broadcast_object(checkpoint.exists(folder / "checkpoints")):
            job.restore(job.load("last"))
        if settings.device != config.device and group.is_first:
            atomic.write_text(folder / "config.yaml", settings.to_yaml())
        return _completed(job, progress, should_stop)


def _completed(job: Job, progress: Progress, should_stop: Callable[[], bool]) -> Run:
    """Train to the end, and write the test metrics of the best epoch."""
    trainer, group = job.trainer, job.trainer.group
    try:
        job.work(progress=progress, should_stop=should_stop)
    except Stopped as stop:
        again = f"invlearn resume {quote(str(job.folder))}"
        raise Stopped(f"{stop}; continue with `{again}`") from stop
    if isinstance(trainer.scorer, DistributedScorer):
        group.barrier()  # until the first one has written
        load_weights(trainer.module, job.load("best"), job.folder)
        run = Run(job.folder, trainer.config, trainer.scorer.eval(), read_run(job.folder)[0])
    else:
        run = Run.open(job.folder, backbone=trainer.module)
    data = trainer.dataset
    # The file has no intervals of baselines, so nothing is drawn for them.
    baselines = measure_baselines(data, data.test, names=BASELINES, draws=0, progress=progress)
    tested = run.evaluate(dataset=data, baselines=baselines, progress=progress)
    if group.is_first:
        epoch = trainer.state.best_epoch
        content: dict[str, Any] = {"epoch": None if epoch is None else epoch + 1}
        if epoch is not None:
            _check_recorded(run, epoch + 1)
        if isinstance(trainer.module, FitsOnValidation) and trainer.module.fitted_on_validation:
            content["fitted_on_validation"] = trainer.module.fitted_on_validation
        atomic.write_json(job.folder / "test.json", content | tested.to_json())
    group.barrier()
    return run


def _check_recorded(run: Run, epoch: int) -> None:
    """Raise `RunError` if the record of an epoch (from 1) is missing or incomplete."""
    valid = run.epochs[epoch - 1].get("valid") if len(run.epochs) >= epoch else None
    if not isinstance(valid, dict) or not isinstance(valid.get(run.config.select_by), float):
        raise RunError(
            f"{run.folder / 'epochs.jsonl'} lacks the record of epoch {epoch}, the best one; "
            "restore it or train the run again"
        )
