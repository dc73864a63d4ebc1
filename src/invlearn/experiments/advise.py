"""Advice for a dataset: whether unclear feedback helps, how much, and what to run next.

A small comparison of fixed size answers two questions, since the answers differ: what unlabelled
rows are worth as *input* (who was shown what: the recommended default with and without them), and
what they are worth as *training pairs* (strategies over biased factors, compared with the same
factors trained on the labelled rows alone).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from invlearn.config.schema import read_settings
from invlearn.data.dataset import Dataset
from invlearn.evaluation.evaluation import Difference
from invlearn.evaluation.replication import paired_over_seeds
from invlearn.experiments.cell import BaselineFolder, CellFolder
from invlearn.experiments.compare import compare
from invlearn.experiments.results import Group, failures
from invlearn.runtime.errors import ConfigError, DataError, RunError
from invlearn.runtime.progress import Progress, silent
from invlearn.runtime.text import counted

RECOMMENDED, WITHOUT, ALONE = "recommended", "without unclear rows", "mf, labelled rows alone"
AS_PAIRS = {"ns": "mf ns", "idl": "mf idl", "ig-sample": "mf ig-sample"}
"""Strategies that train on unlabelled pairs, and the names of the methods."""
SETTINGS: dict[str, Any] = {"steps_per_epoch": 128, "epochs": 30, "patience": 5, "select_by": "auc"}
"""Settings of the methods over biased factors."""

FEWEST_USERS = 10
"""Fewest users of the test part; with fewer, an interval over users means nothing."""
SEARCH = {"method.weight": {"choices": [0.3, 1.0]}}
"""Weights of `ig-sample`, without 0, which would not use the unlabelled pairs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference of two methods on the test part."""

    better: str
    """Method whose difference it is."""
    than: str
    """Method or baseline that it is compared with."""
    differences: Mapping[str, Difference]
    """Differences by metric, with 95 % intervals over users and seeds."""

    @property
    def verdict(self) -> str:
        """Return `helps`, `hurts` or `unsure`, by the interval of the AUC."""
        _, low, high = self.differences["auc"]
        return "helps" if low > 0 else "hurts" if high < 0 else "unsure"


@dataclass(frozen=True, slots=True)
class Advice:
    """The results, and what to do."""

    dataset: Path
    n_labelled: int
    """Number of labelled training rows."""
    n_unlabelled: int
    """Number of exposed unlabelled rows."""
    group: Group
    """All methods and baselines."""
    as_exposures: Finding | None
    """The recommended default with and without unlabelled rows; None if there are none."""
    as_pairs: Finding | None
    """The strategy with the best validation score, compared with training on the labelled rows
    alone; None if their trainings failed."""
    lead: Finding
    """The winner compared with the recommended default; the default with the best baseline."""
    winner: str
    """The recommended default, or the best method or baseline that is ahead of it by the 95 %
    interval. It is chosen on the test part, so its lead is slightly too large."""

    @property
    def verdict(self) -> str:
        """Return `helps`, `hurts` or `unsure`, for the better use of unlabelled rows."""
        found = [finding.verdict for finding in (self.as_exposures, self.as_pairs) if finding]
        if "helps" in found:
            return "helps"
        return "hurts" if found and {*found} == {"hurts"} else "unsure"

    @property
    def command(self) -> str:
        """Return the command to run next; a baseline cannot be trained, so it changes nothing."""
        options: dict[str, Any] = {"config": RECOMMENDED}
        if self.winner == WITHOUT:
            options |= {"model.unlabelled": "false"}
        elif self.winner in self.group.methods and self.winner != RECOMMENDED:
            method = self.group.methods[self.winner]
            assert method.cell is not None
            options = {"backbone": "mf", "strategy": method.cell.config.strategy, **SETTINGS}
            options |= method.settings
        words = [f"--{name.replace('_', '-')} {value}" for name, value in options.items()]
        out = quote(f"{self.dataset.resolve().name}-run")
        return " ".join(["invlearn train", quote(str(self.dataset)), *words, f"--out {out}"])


def advise(
    dataset: str | Path,
    out: str | Path,
    *,
    trials: int = 6,
    seeds: int = 3,
    workers: int = 1,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> Advice:
    """Measure what unlabelled rows are worth on a dataset, with a fixed budget.

    The recommended default is trained unchanged; the methods over biased factors search their
    learning rate and penalty in `trials` trainings each. The same call resumes after a stop.

    Args:
        dataset: Dataset folder.
        out: The experiment folder.
        trials: Trainings of each search, at least 2.
        seeds: Number of new seeds of each method.
        workers: Number of worker processes.
        progress: Called with the number of finished trainings.
        should_stop: Called often; true stops.

    Raises:
        ConfigError, DataError, Stopped: As `compare` does.
        DataError: The test part has too few users.
        RunError: As `compare` does, or the recommended default failed.
    """
    if trials < 2:
        raise ConfigError(
            f"an advice compares what validation chose, so trials must be 2 or more; found {trials}"
        )
    data, out = Dataset.open(dataset), Path(out)
    if (n_users := len(np.unique(data.test.users))) < FEWEST_USERS:
        raise DataError(
            f"the test part of {dataset} has {counted(n_users, 'user')}, and an interval over so "
            f"few says nothing; an advice needs {FEWEST_USERS}"
        )
    grid = {
        "datasets": [str(dataset)],
        "methods": _methods(exposed=len(data.unlabelled) > 0),
        "tuning": {"trials": trials},
        "seeds": seeds,
    }
    results = compare(grid, out, workers=workers, progress=progress, should_stop=should_stop)
    return _advice(Path(dataset), data, out, results.groups[0])


def _methods(*, exposed: bool) -> dict[str, Any]:
    """Return the methods to compare, for a dataset with or without exposed unlabelled rows."""
    preset = read_settings(RECOMMENDED)
    twin = {**preset, "model": {**preset.get("model", {}), "unlabelled": False}}
    factors = {**SETTINGS, "backbone": "mf"}
    methods: dict[str, Any] = {RECOMMENDED: None}
    if exposed:
        methods[WITHOUT] = {"settings": twin, "tuned": False}
    methods[ALONE] = {"settings": {**factors, "strategy": "none"}}
    for strategy, name in AS_PAIRS.items():
        search = SEARCH if strategy == "ig-sample" else {}
        methods[name] = {"settings": {**factors, "strategy": strategy}, "search": search}
    return methods


def _advice(dataset: Path, data: Dataset, out: Path, group: Group) -> Advice:
    methods = group.methods.items()
    runs = {name: CellFolder(out, m.cell).evaluations() for name, m in methods if m.cell}
    if not runs[RECOMMENDED]:
        raise RunError(f"the recommended default failed: {failures([group.methods[RECOMMENDED]])}")
    some = group.methods[RECOMMENDED].cell
    assert some is not None
    for name, evaluation in BaselineFolder(out, some).evaluations().items():
        runs[name] = dict.fromkeys(some.seeds, evaluation)

    def finding(better: str, than: str) -> Finding:
        return Finding(better, than, paired_over_seeds(runs[better], runs[than]))

    def helps(better: str, than: str) -> bool:
        return bool(runs[better] and runs[than]) and finding(better, than).verdict == "helps"

    def validated(name: str) -> float:
        return max(trial.best or 0.0 for trial in group.methods[name].trials)

    def tested(name: str) -> float:
        return (group.methods | group.baselines)[name].means["auc"].value

    pairs = [name for name in AS_PAIRS.values() if runs[name] and runs[ALONE]]
    ahead = [name for name in runs if name != RECOMMENDED and helps(name, RECOMMENDED)]
    winner = max(ahead, key=tested, default=RECOMMENDED)
    if winner in pairs and ALONE in ahead and not helps(winner, ALONE):
        winner = ALONE  # the simpler one, if nothing is sure to be gained
    other = max(group.baselines, key=tested) if winner == RECOMMENDED else RECOMMENDED
    return Advice(
        dataset,
        len(data.train),
        len(data.unlabelled),
        group,
        as_exposures=finding(RECOMMENDED, WITHOUT) if runs.get(WITHOUT) else None,
        as_pairs=finding(sorted(pairs, key=validated)[-1], ALONE) if pairs else None,
        lead=finding(winner, other),
        winner=winner,
    )
