"""The training loop: steps, epochs, logs and checkpoints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from time import perf_counter
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from invlearn.evaluation.metrics import is_better
from invlearn.runtime.errors import DivergedError, Stopped
from invlearn.runtime.progress import Progress
from invlearn.training.metrics_log import Recorder
from invlearn.training.schedule import learning_rate
from invlearn.training.train_step import Step

if TYPE_CHECKING:
    from invlearn.training.trainer import Trainer

PROGRESS_STEPS = 10
"""Steps between progress reports; each report synchronizes the device."""
UNCHECKED_STEPS = 64
"""Device steps between checks on the host that their losses are finite."""
ShouldPrune = Callable[[int, Mapping[str, float]], bool]
"""Called after an epoch with its number (from 0) and validation metrics; true stops."""


@final
@dataclass
class TrainLoop:
    """Runs the steps and epochs of one call of `fit`."""

    trainer: "Trainer"
    recorder: Recorder
    save: Callable[[bool], object]
    on_epoch_end: Callable[[int], object]
    progress: Progress

    def __post_init__(self) -> None:
        self.n_steps = self.trainer.sampler.steps_per_epoch
        is_cpu = torch.device(self.trainer.config.device).type == "cpu"
        self.max_unchecked = 1 if is_cpu else UNCHECKED_STEPS
        self.unchecked: list[tuple[int, int, float, Step]] = []

    def run(self, should_stop: Callable[[], bool], should_prune: ShouldPrune) -> None:
        """Train to the last epoch, or until a callback stops."""
        trainer, state, config = self.trainer, self.trainer.state, self.trainer.config
        while not trainer.is_finished:
            started, done_before = perf_counter(), state.step
            while state.step < self.n_steps:
                log = self._step()
                state.step += 1
                if state.step % PROGRESS_STEPS == 0 or state.step == self.n_steps:
                    speed = (state.step - done_before) * config.batch_size
                    self._report(log, speed / max(perf_counter() - started, 1e-9))
                if should_stop():
                    self._save_within_epoch()
                    raise Stopped(
                        f"stopped after step {state.step} of epoch {state.epoch + 1}; saved"
                    )
                every = config.checkpoint_steps or self.n_steps
                if state.step % every == 0 and state.step < self.n_steps:
                    self._save_within_epoch()
            scores = self._close_epoch(perf_counter() - started, self.n_steps - done_before)
            if should_prune(state.epoch - 1, scores):
                raise Stopped(f"pruned after epoch {state.epoch}; saved")

    def _step(self) -> Mapping[str, Tensor]:
        """Take and log the step of the next batch."""
        trainer, state, config = self.trainer, self.trainer.state, self.trainer.config
        at = state.epoch * self.n_steps + state.step
        lr = learning_rate(config.schedule, config.optimizer.lr, at, config.epochs * self.n_steps)
        step = trainer.stepper(trainer.sampler.batch(state.epoch, state.step, lr=lr))
        self.unchecked.append((state.epoch, state.step, lr, step))
        if len(self.unchecked) >= self.max_unchecked:
            self._check_finite()
        self.recorder.step(state.epoch, at, step.log)
        return step.log

    def _save_within_epoch(self) -> None:
        """Save a checkpoint, after writing the log of all its steps."""
        self._check_finite()
        self.recorder.sync()
        self.save(False)

    def _close_epoch(self, seconds: float, n_steps: int) -> dict[str, float]:
        """Validate, log and save; return the validation metrics."""
        trainer, state = self.trainer, self.trainer.state
        started = perf_counter()
        scores = trainer.validate()
        score = scores[trainer.config.select_by]
        is_best = is_better(trainer.config.select_by, score, state.best_score)
        self.on_epoch_end(state.epoch)
        trainer.stepper.close_epoch()
        steps, choices = self.recorder.current_steps(), self._choices()
        record = {
            "train_loss": fmean(step["loss"] for step in steps),
            **({"choices": choices} if choices else {}),
            "valid": scores,
            "best": is_best,
            "steps": self.n_steps,
            "train_seconds": seconds,
            "validate_seconds": perf_counter() - started,
            "pairs_per_second": n_steps * trainer.config.batch_size / seconds if seconds else None,
        }
        self.recorder.epoch(state.epoch, record)
        trainer.history.append({"epoch": state.epoch, **record})
        if is_best:
            state.best_score, state.best_epoch = score, state.epoch
        state.epochs_since_best = 0 if is_best else state.epochs_since_best + 1
        state.epoch, state.step = state.epoch + 1, 0
        self.recorder.sync()
        self.save(is_best)
        return scores

    def _choices(self) -> dict[str, int]:
        """Return the counts of the strategy's choices in this epoch; empty without choices."""
        if not self.recorder.choices:
            return {}
        names = enumerate(self.trainer.strategy.choices)
        return {name: self.recorder.choices[number] for number, name in names}

    def _report(self, log: Mapping[str, Tensor], pairs_per_second: float) -> None:
        self._check_finite()
        state, config = self.trainer.state, self.trainer.config
        figures: dict[str, float | str] = {"loss": float(log["loss"])}
        self.recorder.flush()
        if choices := self._choices():
            figures["choices"] = " ".join(f"{name[0]}{count}" for name, count in choices.items())
        figures |= {"epoch": f"{state.epoch + 1}/{config.epochs}"}
        done = state.epoch * self.n_steps + state.step
        total = config.epochs * self.n_steps
        self.progress("train", done, total, **figures, pairs_per_second=pairs_per_second)

    def _check_finite(self) -> None:
        """Raise `DivergedError` if one of the unchecked steps is not finite."""
        for epoch, number, lr, step in self.unchecked:
            if not step.is_finite:
                raise DivergedError(
                    f"training diverged at step {number + 1} of epoch {epoch + 1}: the loss is "
                    f"{float(step.log['loss']):g} or the proposed update is not finite, at "
                    f"learning rate {lr:g}; stopped before the optimizer step, and the last "
                    "checkpoint is kept; train it again with a lower --optimizer.lr or a higher "
                    "--optimizer.l2, and --overwrite"
                )
        self.unchecked.clear()
