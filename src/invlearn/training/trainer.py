"""Trains a backbone with a strategy on a dataset, in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from invlearn.backbones.auxiliary import (
    attach_auxiliary_models,
    detach_auxiliary_models,
    tables_with_auxiliary,
)
from invlearn.backbones.backbone import FitsExposures, FitsOnValidation, ReadsFeatures
from invlearn.config.schema import RunConfig, load_config
from invlearn.data.dataset import Dataset
from invlearn.data.exposures import Exposures
from invlearn.data.sampling.sampler import Sampler, UnlabelledSource
from invlearn.data.sampling.scratch import Scratch
from invlearn.data.types import IntegerIds
from invlearn.evaluation.assessment import Assessment, assess
from invlearn.evaluation.evaluation import evaluate
from invlearn.evaluation.scoring import score_pairs
from invlearn.runtime.distributed import ALONE, Group
from invlearn.runtime.errors import DivergedError
from invlearn.runtime.progress import Progress, silent
from invlearn.strategies import Strategy
from invlearn.training.build import build_model, build_store, check
from invlearn.training.checkpoint import TrainState
from invlearn.training.class_lookup import strategy_class
from invlearn.training.loop import ShouldPrune, TrainLoop
from invlearn.training.metrics_log import Recorder
from invlearn.training.settings import (
    check_metric,
    complete,
    decide_compile,
    exposed_fraction,
    named_backbone,
    named_strategy,
    usable_device,
)
from invlearn.training.train_step import Stepper


def never(*given: object) -> bool:
    """Return false: never stop."""
    return False


@final
class Trainer:
    """Trains a backbone with a strategy on a dataset; no folder is needed.

    `invlearn.train` adds a run folder: locks, checkpoints and logs on disk.

    Example:
        >>> users, items = np.divmod(np.arange(400), 20)
        >>> dataset = Dataset.from_arrays(users, items, (users + items) % 2)
        >>> trainer = Trainer("mf", "none", dataset, epochs=2, model={"dim": 4}).fit()
        >>> len(trainer.history), trainer.score([0, 1], [1, 0]).shape
        (2, (2,))
    """

    def __init__(
        self,
        backbone: str | type[nn.Module] | nn.Module | None,
        strategy: str | Strategy | type[Strategy] | None,
        dataset: Dataset,
        config: RunConfig | str | Path | None = None,
        *,
        n_runs: int = 1,
        group: Group = ALONE,
        scratch: Scratch = Scratch(),  # noqa: B008  it is immutable
        **options: Any,
    ) -> None:
        """Build the model, the store of its parameters, and the sampler.

        Args:
            backbone: Name, `module:Class`, a class `(n_users, n_items, **model)`, or a module,
                which is trained in place; none for that of `config`.
            strategy: Name, `module:Class`, a class, or a strategy with its options set; none for
                the one of `config`.
            dataset: The dataset to train on.
            config: Settings, or a YAML file of them.
            n_runs: Trainings of the same shapes that share compiled code, also in other processes.
            group: The processes that train together.
            scratch: Storage for the order of many rows.
            options: Settings that override `config`, as in `optimizer={"lr": 1e-3}`, `epochs=5`.

        Raises:
            ConfigError: A setting does not exist or does not fit the dataset, or the backbone
                violates its contract.
        """
        module = backbone if isinstance(backbone, nn.Module) else None
        named = named_backbone(backbone) | named_strategy(strategy) | options
        config = complete(load_config(named, config), dataset, module)
        check_metric(config.select_by, dataset)
        torch.manual_seed(config.seed)
        if module is None:
            sizes = dataset.n_users, dataset.n_items
            module = build_model(config, *sizes, dataset.feature_card, group)
        module.to(usable_device(config.device)).train()
        check(module, config, dataset, group)
        if isinstance(module, FitsExposures):
            module.fit_exposures(Exposures.of(dataset.train, dataset.unlabelled))
        if isinstance(module, ReadsFeatures):
            module.read_features(dataset.features)
        self.dataset, self.module, self.group = dataset, module, group
        self.strategy = strategy_class(config.strategy)(**config.method)
        feed = self.strategy.feed
        attach_auxiliary_models(module, feed.n_auxiliary)
        drawn = config.unlabelled.per_labelled * config.unlabelled.hardest_of
        self.sampler = Sampler(
            dataset,
            feed,
            UnlabelledSource(exposed_fraction(config), drawn),
            batch_size=config.batch_size,
            seed=config.seed,
            by_user=bool(getattr(module, "by_user", False)),
            scratch=scratch,
        )
        n_steps = n_runs * config.epochs * self.sampler.steps_per_epoch
        self.config = decide_compile(config, module, n_steps=n_steps, n_processes=group.size)
        tables = tables_with_auxiliary(getattr(module, "tables", {}), feed.n_auxiliary)
        self.store, self.scorer = build_store(module, tables, self.config, dataset, group)
        kind = type(module) if self.config.compile == "on" else None
        hardest_of = config.unlabelled.hardest_of
        self.stepper = Stepper(self.store, self.strategy, hardest_of=hardest_of, compiled_for=kind)
        if feed.row_state:
            self.stepper.init_row_state(self.sampler.labelled_rows)
        self.state = TrainState()
        self.history: list[dict[str, Any]] = []
        """Records of the epochs trained here: losses, validation metrics, speed."""

    def fit(
        self,
        *,
        recorder: Recorder | None = None,
        save: Callable[[bool], None] | None = None,
        on_epoch_end: Callable[[int], object] = never,
        progress: Progress = silent,
        should_stop: Callable[[], bool] = never,
        should_prune: ShouldPrune = never,
    ) -> "Trainer":
        """Train from `state` to the last epoch, or until patience ends.

        Args:
            recorder: Logs steps and epochs; in memory by default.
            save: Saves a checkpoint; the flag marks the best one so far. By default the parameters
                of the best epoch are kept in memory, and loaded into the module at the end.
            on_epoch_end: Called with the number of an epoch, from 0, after its validation.
            progress: Called with the progress of steps and epochs.
            should_stop: Called after every step; true saves and raises `Stopped`.
            should_prune: Called after every epoch; true also raises `Stopped`.

        Returns:
            The trainer.

        Raises:
            DivergedError: A loss or a gradient is not finite; raised before the optimizer step.
            Stopped: `should_stop` or `should_prune` returned true; the state was saved.
        """
        best: dict[str, Tensor] = {}

        def keep(is_best: bool) -> None:
            if is_best:
                state = self.module.state_dict()
                best.update((name, tensor.clone()) for name, tensor in state.items())

        loop = TrainLoop(self, recorder or Recorder(), save or keep, on_epoch_end, progress)
        try:
            loop.run(should_stop, should_prune)
        finally:
            detach_auxiliary_models(self.module)
        if not save:
            known = self.module.state_dict()  # without auxiliary models
            self.module.load_state_dict({n: w for n, w in best.items() if n in known})
            self.scorer.eval()
        return self

    @property
    def is_finished(self) -> bool:
        """Whether no epoch is left, or patience is exhausted."""
        patience, state = self.config.patience, self.state
        is_out_of_patience = patience is not None and state.epochs_since_best >= patience
        return state.epoch >= self.config.epochs or is_out_of_patience

    def score(self, users: npt.ArrayLike, items: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the logits of pairs, shape `(pairs,)`.

        Args:
            users: Dense ids, shape `(pairs,)`.
            items: Dense ids, shape `(pairs,)`.
        """
        ids: list[IntegerIds] = [np.asarray(users), np.asarray(items)]
        return score_pairs(self.scorer, *ids)

    def evaluate(self, part: str = "test", *, draws: int = 1000, seed: int = 0) -> Assessment:
        """Compute metrics of the model and the baselines on a part, with intervals.

        Args:
            part: `train`, `valid` or `test`.
            draws: Bootstrap draws over users; 0 for no intervals.
            seed: Seed of the draws.
        """
        rows = getattr(self.dataset, part)
        return assess(self.scorer, self.dataset, rows, part=part, draws=draws, seed=seed)

    def validate(self) -> dict[str, float]:
        """Return validation metrics; backbones may fit parameters on the validation part.

        Raises:
            DivergedError: A score is not finite.
        """
        rows = self.dataset.valid
        if isinstance(self.module, FitsOnValidation):
            self.module.fit_on_validation(rows.users, rows.items, rows.labels)
        logits = score_pairs(self.scorer, rows.users, rows.items)
        if not np.isfinite(logits).all():
            raise DivergedError(
                f"training diverged at the last step of epoch {self.state.epoch + 1}: the scores "
                "of the validation part are not finite; the last checkpoint is kept; lower "
                "--optimizer.lr or raise --optimizer.l2"
            )
        found = evaluate(rows.users, rows.labels, logits, draws=0, name="validation of the run")
        return self.group.broadcast_object(found.values)  # hosts may differ by rounding
