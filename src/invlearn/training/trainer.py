"""The training loop: take steps, close epochs, save; in the words of the strategy and the store."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from time import perf_counter

import torch

from invlearn.config.schema import RunConfig
from invlearn.data.sampling.sampler import Sampler
from invlearn.runtime.errors import DivergedError, Stopped
from invlearn.runtime.progress import Progress
from invlearn.strategies.inverse import CHOICES
from invlearn.training.checkpoint import TrainState
from invlearn.training.metrics_log import Recorder
from invlearn.training.schedule import learning_rate
from invlearn.training.train_step import Step, Stepper

PROGRESS_STEPS = 10
"""Steps between two reports of progress, each of which waits for the device."""
UNCHECKED_STEPS = 64
"""Steps that may pass on a device before the host looks whether they were sound."""


@dataclass(frozen=True, slots=True)
class TrainerParts:
    """Everything that a training works with, made by `invlearn.training.run`."""

    config: RunConfig
    device: torch.device
    stepper: Stepper
    sampler: Sampler
    recorder: Recorder
    validate: Callable[[], dict[str, float]]
    """Metrics of the weights as they stand on the validation part."""
    note_beliefs: Callable[[int], None]
    """Keep the beliefs in a fixed sample of unlabelled pairs after an epoch."""
    save: Callable[[TrainState, bool], None]
    """Write a checkpoint; the flag makes it the best one."""
    should_prune: Callable[[int, Mapping[str, float]], bool] = lambda epoch, scores: False
    """Asked after an epoch, with its number from 0 and its validation metrics; true stops."""


def fit(
    shop: TrainerParts, state: TrainState, *, progress: Progress, should_stop: Callable[[], bool]
) -> None:
    """Train from `state` to the last epoch, or until patience ends; `state` follows along.

    Raises:
        DivergedError: A loss or a slope is not finite; raised before the optimizer step.
        Stopped: `should_stop` or `should_prune` returned true; a checkpoint was written after the
            last step.
    """
    n_steps, watch = shop.sampler.steps_per_epoch, Watch(shop.device)
    while not finished(shop.config, state):
        started, done_before = perf_counter(), state.step
        while state.step < n_steps:
            log = _take_step(shop, state, watch)
            state.step += 1
            if state.step % PROGRESS_STEPS == 0 or state.step == n_steps:
                speed = (state.step - done_before) * shop.config.batch_size
                speed /= max(perf_counter() - started, 1e-9)
                watch.check()
                _report(shop, state, log, speed, progress)
            if should_stop():
                watch.check()
                _save_within_epoch(shop, state)
                raise Stopped(f"stopped after step {state.step} of epoch {state.epoch + 1}; saved")
            if state.step % (shop.config.checkpoint_steps or n_steps) == 0 and state.step < n_steps:
                watch.check()
                _save_within_epoch(shop, state)
        scores = _close_epoch(shop, state, perf_counter() - started, n_steps - done_before)
        if shop.should_prune(state.epoch - 1, scores):
            raise Stopped(f"given up after epoch {state.epoch}; saved")


def finished(config: RunConfig, state: TrainState) -> bool:
    """Whether no epoch is left, or patience has run out."""
    out_of_patience = config.patience is not None and state.epochs_since_best >= config.patience
    return state.epoch >= config.epochs or out_of_patience


def is_better(metric: str, score: float, best: float | None) -> bool:
    """Whether a validation score beats the best one; a loss is better when lower.

    Example:
        >>> is_better("log_loss", 0.5, 0.6), is_better("auc", 0.5, 0.6)
        (True, False)
    """
    if best is None:
        return True
    return score < best if metric.endswith("loss") else score > best


def _take_step(shop: TrainerParts, state: TrainState, watch: "Watch") -> Mapping[str, torch.Tensor]:
    """Take the step of the next batch, and record it."""
    n_steps = shop.sampler.steps_per_epoch
    at = state.epoch * n_steps + state.step
    lr = learning_rate(
        shop.config.schedule, shop.config.optimizer.lr, at, shop.config.epochs * n_steps
    )
    step = shop.stepper(shop.sampler.batch(state.epoch, state.step, lr=lr))
    watch.note(state.epoch, state.step, lr, step)
    shop.recorder.step(state.epoch, at, step.log)
    return step.log


def _save_within_epoch(shop: TrainerParts, state: TrainState) -> None:
    """Save, after the record of every step that the checkpoint has behind it."""
    shop.recorder.sync()
    shop.save(state, False)


def _close_epoch(
    shop: TrainerParts, state: TrainState, seconds: float, n_steps: int
) -> dict[str, float]:
    """Validate, record, and save, the best epoch as such; return the validation metrics."""
    started = perf_counter()
    scores = shop.validate()
    better = is_better(shop.config.select_by, scores[shop.config.select_by], state.best_score)
    shop.note_beliefs(state.epoch)
    shop.stepper.close_epoch()
    steps, choices = shop.recorder.current_steps(), _choices(shop.recorder)
    shop.recorder.epoch(
        state.epoch,
        {
            "train_loss": fmean(step["loss"] for step in steps),
            **({"choices": choices} if choices else {}),
            "valid": scores,
            "best": better,
            "steps": shop.sampler.steps_per_epoch,
            "train_seconds": seconds,
            "validate_seconds": perf_counter() - started,
            "pairs_per_second": n_steps * shop.config.batch_size / seconds if seconds else None,
        },
    )
    if better:
        state.best_score, state.best_epoch = scores[shop.config.select_by], state.epoch
    state.epochs_since_best = 0 if better else state.epochs_since_best + 1
    state.epoch, state.step = state.epoch + 1, 0
    shop.recorder.sync()
    shop.save(state, better)
    return scores


def _choices(recorder: Recorder) -> dict[str, int]:
    """How often the judges made each choice in this epoch; nothing if there were no judges."""
    if not recorder.choices:
        return {}
    return {name: recorder.choices[number] for number, name in enumerate(CHOICES)}


def _report(
    shop: TrainerParts,
    state: TrainState,
    log: Mapping[str, torch.Tensor],
    pairs_per_second: float,
    progress: Progress,
) -> None:
    figures: dict[str, float | str] = {"loss": float(log["loss"])}
    shop.recorder.flush()
    if choices := _choices(shop.recorder):
        figures["choices"] = " ".join(f"{name[0]}{count}" for name, count in choices.items())
    figures |= {"epoch": f"{state.epoch + 1}/{shop.config.epochs}"}
    n_steps = shop.sampler.steps_per_epoch
    done, total = state.epoch * n_steps + state.step, shop.config.epochs * n_steps
    progress("train", done, total, **figures, pairs_per_second=pairs_per_second)


class Watch:
    """Looks whether steps were sound: at once, or later where looking means waiting."""

    def __init__(self, device: torch.device) -> None:
        self._patience = 1 if device.type == "cpu" else UNCHECKED_STEPS
        self._waiting: list[tuple[int, int, float, Step]] = []

    def note(self, epoch: int, number: int, lr: float, step: Step) -> None:
        """Take note of a step, from 0 within its epoch.

        Raises:
            DivergedError: It, or one before it, is not sound.
        """
        self._waiting.append((epoch, number, lr, step))
        if len(self._waiting) >= self._patience:
            self.check()

    def check(self) -> None:
        """Look at every step that was not looked at yet.

        Raises:
            DivergedError: One is not sound.
        """
        for epoch, number, lr, step in self._waiting:
            if not step.is_finite:
                raise DivergedError(
                    f"training diverged at step {number + 1} of epoch {epoch + 1}: the loss is "
                    f"{float(step.log['loss']):g} or what was proposed is not finite, at learning "
                    f"rate {lr:g}; stopped before the optimizer step, and the last checkpoint "
                    "stands; train it again with a lower --optimizer.lr or a higher "
                    "--optimizer.l2, and --overwrite"
                )
        self._waiting.clear()
