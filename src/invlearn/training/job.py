"""Training in a run folder: a trainer with logs, checkpoints and beliefs on disk."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from invlearn.config.schema import RunConfig
from invlearn.data.dataset import Dataset
from invlearn.data.sampling.scratch import Scratch
from invlearn.evaluation.scoring import score_pairs
from invlearn.runtime import atomic
from invlearn.runtime.distributed import ALONE, Group
from invlearn.runtime.errors import RunError
from invlearn.runtime.progress import Progress
from invlearn.runtime.random import stream
from invlearn.strategies.losses import belief_in_positive
from invlearn.training import checkpoint
from invlearn.training.capacity.memory_check import check_memory
from invlearn.training.checkpoint import Checkpoint
from invlearn.training.loop import ShouldPrune
from invlearn.training.metrics_log import Recorder
from invlearn.training.run_folder import load_weights, run_id
from invlearn.training.trainer import Trainer, never

BELIEF_PAIRS = 10_000
"""Unlabelled pairs whose belief is saved."""


@dataclass(slots=True)
class Job:
    """A training in a run folder."""

    folder: Path
    trainer: Trainer

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
        """Build the trainer, without writing files.

        Args:
            folder: The run folder.
            dataset: The dataset to train on.
            config: Settings, complete except for `compile`, which is resolved here.
            module: An existing backbone.
            n_runs: Trainings of the same shapes that share compiled code.
            group: The processes that train together.

        Raises:
            ConfigError: There is too little memory, or the backbone violates its contract.
        """
        if module is None:
            check_memory(config, dataset, group)
        own: Any = {"n_runs": n_runs, "group": group, "scratch": Scratch(folder)}
        return cls(folder, Trainer(module, None, dataset, config, **own))

    def load(self, which: checkpoint.Which) -> Checkpoint:
        """Return a checkpoint; of sharded tables only this process's rows."""
        return checkpoint.load(self.folder / "checkpoints", which, self.trainer.store.shards)

    def restore(self, saved: Checkpoint) -> None:
        """Load parameters, moments and state from a checkpoint.

        Raises:
            RunError: They do not fit the backbone.
        """
        load_weights(self.trainer.module, saved, self.folder)
        try:
            self.trainer.store.load_state(saved.optimizer)
        except (KeyError, RuntimeError, ValueError) as error:
            raise RunError(f"{self.folder}: moments do not fit the backbone ({error})") from error
        self.trainer.state = saved.state

    def work(
        self,
        *,
        progress: Progress,
        should_stop: Callable[[], bool],
        should_prune: ShouldPrune = never,
    ) -> None:
        """Train to the end; the caller must hold the lock of the run folder.

        Args:
            progress: Called with the progress of steps and epochs.
            should_stop: Called after every step; true saves and raises `Stopped`.
            should_prune: Called after every epoch with its number, from 0, and its validation
                metrics; true also raises `Stopped`.
        """
        trainer, group = self.trainer, self.trainer.group
        if not group.broadcast_object(checkpoint.exists(self.folder / "checkpoints")):
            self._save(False)
        elif group.is_first:
            checkpoint.tidy(self.folder / "checkpoints")
        recorder = Recorder(
            self.folder if group.is_first else None,
            n_steps=trainer.state.epoch * trainer.sampler.steps_per_epoch + trainer.state.step,
            n_epochs=trainer.state.epoch,
            tensorboard=trainer.config.tensorboard,
        )
        try:
            trainer.fit(
                recorder=recorder,
                save=self._save,
                on_epoch_end=self._write_beliefs,
                progress=progress,
                should_stop=lambda: group.any_rank(should_stop()),
                should_prune=should_prune,
            )
        finally:
            recorder.close()

    def _write_beliefs(self, epoch: int) -> None:
        """Write `w1` of a fixed sample of unlabelled pairs (Figures 3 and 4 of the paper)."""
        trainer = self.trainer
        if not trainer.strategy.feed.unlabelled:
            return
        rng = stream(trainer.config.seed, "beliefs")
        users = rng.choice(trainer.dataset.train.users, BELIEF_PAIRS)
        pairs = trainer.sampler.unlabelled(users, rng)
        columns = (column.numpy()[:: len(column) // BELIEF_PAIRS] for column in pairs)
        logits = torch.from_numpy(score_pairs(trainer.scorer, *columns))
        if not trainer.group.is_first:
            return
        beliefs = belief_in_positive(logits).numpy()
        for name in ("first", "last") if epoch == 0 else ("last",):
            with (
                atomic.new_file(self.folder / f"beliefs-{name}.npy") as partial,
                partial.open("wb") as stream_,
            ):
                np.save(stream_, beliefs)

    def _save(self, is_best: bool) -> None:
        trainer = self.trainer
        weights = dict(trainer.module.state_dict())
        saved = Checkpoint(weights, trainer.store.state(), trainer.state, run_id(self.folder))
        checkpoint.save(
            self.folder / "checkpoints",
            saved,
            best=is_best,
            keep=trainer.config.keep_epochs,
            shards=trainer.store.shards,
            group=trainer.group,
        )
