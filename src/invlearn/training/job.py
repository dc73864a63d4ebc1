"""A training at work in a run folder: its objects made, put back after a stop, and run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from invlearn.backbones.auxiliary import (
    attach_auxiliary_models,
    detach_auxiliary_models,
    tables_with_auxiliary,
)
from invlearn.backbones.backbone import FitsExposures, FitsOnValidation, ReadsFeatures
from invlearn.config.schema import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.data.exposures import Exposures
from invlearn.data.sampling.sampler import Sampler, UnlabelledSource
from invlearn.data.sampling.scratch import Scratch
from invlearn.evaluation.evaluation import evaluate
from invlearn.evaluation.scoring import score_pairs
from invlearn.runtime import atomic
from invlearn.runtime.distributed import ALONE, Group
from invlearn.runtime.errors import DivergedError, RunError
from invlearn.runtime.progress import Progress
from invlearn.runtime.random import stream
from invlearn.runtime.tensor_files import NO_SHARDS, Shard
from invlearn.strategies import Strategy
from invlearn.strategies.losses import belief_in_positive
from invlearn.training import checkpoint
from invlearn.training.build import decide_compile, exposed_fraction, usable_device
from invlearn.training.capacity.memory_check import check_memory
from invlearn.training.checkpoint import Checkpoint, TrainState
from invlearn.training.metrics_log import Recorder
from invlearn.training.registry import strategy_class
from invlearn.training.run_folder import load_weights, run_id
from invlearn.training.sharing import check, made, stored
from invlearn.training.stores import ShardedStore, Store
from invlearn.training.train_step import Stepper
from invlearn.training.trainer import TrainerParts, fit

BELIEF_PAIRS = 10_000
"""Unlabelled pairs whose belief is kept."""


@dataclass(slots=True)
class Job:
    """A training at work in a run folder."""

    folder: Path
    dataset: Dataset
    config: RunConfig
    module: nn.Module
    store: Store
    strategy: Strategy
    sampler: Sampler
    stepper: Stepper
    state: TrainState
    group: Group
    scorer: nn.Module
    """The backbone, scored by all processes together."""

    @classmethod
    def start(
        cls,
        folder: Path,
        dataset: Dataset,
        config: RunConfig,
        module: nn.Module | None,
        *,
        n_runs: int = 1,
        group: Group = ALONE,
    ) -> "Job":
        """Make every object that the configuration names; nothing is written.

        Args:
            folder: The run folder.
            dataset: What to train on.
            config: Settings, complete but for `compile`, which is decided here.
            module: A backbone that was made already.
            n_runs: Trainings of the same form that this process may see.
            group: The processes that train together.

        Raises:
            ConfigError: There is too little memory, or the backbone breaks a promise.
        """
        if module is None:
            check_memory(config, dataset, group)
        torch.manual_seed(config.seed)
        if module is None:
            sizes = dataset.n_users, dataset.n_items
            module = made(config, *sizes, dataset.feature_card, group)
        module.to(usable_device(config.device)).train()
        check(module, config, dataset, group)
        if isinstance(module, FitsExposures):
            module.fit_exposures(Exposures.of(dataset.train, dataset.unlabelled))
        if isinstance(module, ReadsFeatures):
            module.read_features(dataset.features)
        strategy = strategy_class(config.strategy)(**config.method)
        attach_auxiliary_models(module, strategy.feed.n_auxiliary)
        hardest_of = config.unlabelled.hardest_of
        per_labelled = config.unlabelled.per_labelled * hardest_of
        source = UnlabelledSource(exposed_fraction(config), per_labelled)
        size, seed = config.batch_size, config.seed
        by_user = bool(getattr(module, "by_user", False))
        sampler = Sampler(
            dataset,
            strategy.feed,
            source,
            batch_size=size,
            seed=seed,
            by_user=by_user,
            scratch=Scratch(folder),
        )
        tables = tables_with_auxiliary(getattr(module, "tables", {}), strategy.feed.n_auxiliary)
        n_steps = n_runs * config.epochs * sampler.steps_per_epoch
        config = decide_compile(config, module, n_steps=n_steps, n_processes=group.size)
        store, scorer = stored(module, tables, config, dataset, group)
        kind = type(module) if config.compile == "on" else None
        stepper = Stepper(store, strategy, hardest_of=hardest_of, compiled_for=kind)
        if strategy.feed.row_state:
            stepper.init_row_state(sampler.labelled_rows)
        state = TrainState()
        return cls(
            folder,
            dataset,
            config,
            module,
            store,
            strategy,
            sampler,
            stepper,
            state,
            group,
            scorer,
        )

    @property
    def shards(self) -> Mapping[str, Shard]:
        """Which weights and moments are rows of bigger tables."""
        return self.store.shards if isinstance(self.store, ShardedStore) else NO_SHARDS

    def load(self, which: checkpoint.Which) -> Checkpoint:
        """Read a checkpoint, of tables the rows that are here."""
        return checkpoint.load(self.folder / "checkpoints", which, self.shards)

    def restore(self, saved: Checkpoint) -> None:
        """Put weights, moments and state back as they were."""
        load_weights(self.module, saved, self.folder)
        try:
            self.store.load_state(saved.optimizer)
        except (KeyError, RuntimeError, ValueError) as error:
            raise RunError(f"{self.folder}: moments do not fit the backbone ({error})") from error
        self.state = saved.state

    def work(
        self,
        *,
        progress: Progress,
        should_stop: Callable[[], bool],
        should_prune: Callable[[int, Mapping[str, float]], bool] = lambda epoch, scores: False,
    ) -> None:
        """Train to the end; whoever calls holds the lock of the run folder.

        Args:
            progress: Told of steps and epochs.
            should_stop: Asked after every step; true saves and raises `Stopped`.
            should_prune: Called after every epoch with its number, from 0, and its validation
                metrics; true raises `Stopped`, too.
        """
        try:
            self._work(progress=progress, should_stop=should_stop, should_prune=should_prune)
        finally:
            detach_auxiliary_models(self.module)

    def _work(
        self,
        *,
        progress: Progress,
        should_stop: Callable[[], bool],
        should_prune: Callable[[int, Mapping[str, float]], bool],
    ) -> None:
        if not self.group.broadcast_object(checkpoint.exists(self.folder / "checkpoints")):
            self._save(self.state, False)
        elif self.group.is_first:
            checkpoint.tidy(self.folder / "checkpoints")
        recorder = Recorder(
            self.folder if self.group.is_first else None,
            n_steps=self.state.epoch * self.sampler.steps_per_epoch + self.state.step,
            n_epochs=self.state.epoch,
            tensorboard=self.config.tensorboard,
        )
        shop = TrainerParts(
            config=self.config,
            device=torch.device(self.config.device),
            stepper=self.stepper,
            sampler=self.sampler,
            recorder=recorder,
            validate=self._validate,
            note_beliefs=self._note_beliefs,
            save=self._save,
            should_prune=should_prune,
        )
        try:
            anyone = lambda: self.group.any_rank(should_stop())  # noqa: E731  asked in step
            fit(shop, self.state, progress=progress, should_stop=anyone)
        finally:
            recorder.close()

    def _validate(self) -> dict[str, float]:
        rows = self.dataset.valid
        if isinstance(self.module, FitsOnValidation):
            self.module.fit_on_validation(rows.users, rows.items, rows.labels)
        logits = score_pairs(self.scorer, rows.users, rows.items)
        if not np.isfinite(logits).all():
            raise DivergedError(
                f"training diverged at the last step of epoch {self.state.epoch + 1}: the scores "
                "of the validation part are not finite; the last checkpoint stands; lower "
                "--optimizer.lr or raise --optimizer.l2"
            )
        found = evaluate(rows.users, rows.labels, logits, draws=0, name="validation of the run")
        return self.group.broadcast_object(found.values)  # hosts may differ in the last bit

    def _note_beliefs(self, epoch: int) -> None:
        """Keep w1 of a fixed sample of unlabelled pairs (Figures 3 and 4 of the paper)."""
        if not self.strategy.feed.unlabelled:
            return
        rng = stream(self.config.seed, "beliefs")
        users = rng.choice(self.dataset.train.users, BELIEF_PAIRS)
        pairs = self.sampler.unlabelled(users, rng)
        columns = (column.numpy()[:: len(column) // BELIEF_PAIRS] for column in pairs)
        logits = torch.from_numpy(score_pairs(self.scorer, *columns))
        if not self.group.is_first:
            return
        beliefs = belief_in_positive(logits).numpy()
        for name in ("first", "last") if epoch == 0 else ("last",):
            with (
                atomic.new_file(self.folder / f"beliefs-{name}.npy") as partial,
                partial.open("wb") as stream_,
            ):
                np.save(stream_, beliefs)

    def _save(self, state: TrainState, best: bool) -> None:
        run = run_id(self.folder)
        saved = Checkpoint(dict(self.module.state_dict()), self.store.state(), state, run)
        keep = self.config.keep_epochs
        checkpoint.save(
            self.folder / "checkpoints",
            saved,
            best=best,
            keep=keep,
            shards=self.shards,
            group=self.group,
        )
