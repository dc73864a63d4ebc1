"""The training loop as people write it, for `epoch.py`; nothing in it is ours but the backbones.

A `Dataset` of single rows, whose unlabelled items are drawn by rejection against a set of the
user's own; a `DataLoader` with its default collation; whole tables under `torch.optim.Adam`; for
the inverse gradient Algorithm 1 with two copies of the model at each judged step.
"""

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from statistics import fmean

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as log_loss
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from invlearn.backbones import BACKBONES
from invlearn.data.dataset import Dataset
from invlearn.data.parts import Part
from invlearn.strategies.losses import inverse_dual_loss

FORMS: dict[str, Callable] = {"numbers": np.ndarray.tolist, "tensors": torch.from_numpy}
"""Columns as lists of Python's numbers, which collate fastest, or as tensors."""
LEAST_STEPS = 10


class Rows(TorchDataset):
    """Labelled rows one by one, each with an unseen item of its user if `seen` is given."""

    def __init__(
        self, part: Part, rows: np.ndarray, form: str, *, n_items: int, seen: Sequence | None
    ) -> None:
        columns = (part.users, part.items, part.labels.astype(np.float32))
        self.users, self.items, self.labels = (FORMS[form](column[rows]) for column in columns)
        self.n_items, self.seen = n_items, seen

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, row: int) -> tuple:
        user, item, label = self.users[row], self.items[row], self.labels[row]
        if self.seen is None:
            return user, item, label
        unseen = random.randrange(self.n_items)
        while unseen in self.seen[user]:
            unseen = random.randrange(self.n_items)
        return user, item, label, unseen


class RowLoop:
    """The loop; it goes through a part of each phase of an epoch and scales the seconds."""

    def __init__(
        self,
        data: Dataset,
        backbone: str,
        form: str,
        *,
        judge_fraction: float,
        dim: int,
        batch_size: int,
        rate: float,
        alpha: float,
        clock: Callable[[], float],
    ) -> None:
        torch.manual_seed(0)
        self._model = BACKBONES[backbone](data.n_users, data.n_items, dim=dim)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=rate)
        self._batch_size, self._alpha, self._clock = batch_size, alpha, clock
        order = np.random.default_rng(0).permutation(len(data.train))
        judges, rows = np.split(order, [round(judge_fraction * len(order))])
        seen: list[set[int]] = [set() for _ in range(data.n_users)]
        for user, item in zip(data.train.users.tolist(), data.train.items.tolist(), strict=True):
            seen[user].add(item)
        phases = [(rows, None, self._learn), (judges, seen, self._judge)]
        self._phases = [
            (Rows(data.train, part, form, n_items=data.n_items, seen=sets), step)
            for part, sets, step in phases
            if len(part)
        ]

    def epoch(self) -> dict[str, float]:
        """Train through a tenth of each phase; seconds of a whole epoch."""
        loading = stepping = 0.0
        for rows, step in self._phases:
            loader = DataLoader(rows, batch_size=self._batch_size, shuffle=True)
            waits, steps, batches = [], [], iter(loader)
            for _ in range(max(LEAST_STEPS, len(loader) // 10)):
                started = self._clock()
                batch = next(batches)
                loaded = self._clock()
                step(*batch)
                waits.append(loaded - started)
                steps.append(self._clock() - loaded)
            # Only the first batch waits for the order of all rows.
            loading += waits[0] + fmean(waits[1:]) * (len(loader) - 1)
            stepping += fmean(steps) * len(loader)
        return {"seconds": loading + stepping, "loading": loading, "stepping": stepping}

    def _learn(self, users: Tensor, items: Tensor, labels: Tensor) -> float:
        self._optimizer.zero_grad()
        loss = log_loss(self._model(users, items), labels.float())
        loss.backward()
        self._optimizer.step()
        return loss.item()

    def _judge(self, users: Tensor, items: Tensor, labels: Tensor, unseen: Tensor) -> float:
        self._optimizer.zero_grad()
        inverse_dual_loss(self._model(users, unseen)).mean().backward()
        inverse, direct = deepcopy(self._model), deepcopy(self._model)
        models = [self._model, inverse, direct]
        with torch.no_grad():
            for weight, up, down in zip(*(model.parameters() for model in models), strict=True):
                up.add_(weight.grad, alpha=self._alpha)
                down.sub_(weight.grad, alpha=self._alpha)
            losses = [log_loss(model(users, items), labels.float()).item() for model in models]
        self._model.load_state_dict(models[losses.index(min(losses))].state_dict())
        return self._learn(users, items, labels)
