"""Does unclear feedback help on this dataset, how much, and what to run next?

A small comparison of fixed size. Two questions are kept apart, since their answers differ: what
unlabelled rows are worth as *input* (who was shown what: the recommended default with and without
them), and what they are worth as *training pairs* (strategies over biased factors, beside the same
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
from invlearn.evaluation.evaluation import Difference, Evaluation
from invlearn.evaluation.replication import paired_over_seeds
from invlearn.experiments.baselines import BaselineFolder
from invlearn.experiments.cell import CellFolder
from invlearn.experiments.compare import compare
from invlearn.experiments.results import Group, Method, failures
from invlearn.runtime.errors import ConfigError, DataError, RunError
from invlearn.runtime.progress import Progress, silent
from invlearn.runtime.text import counted

RECOMMENDED, WITHOUT, ALONE = "recommended", "without unclear rows", "mf, labelled rows alone"
AS_PAIRS = {"ns": "mf ns", "idl": "mf idl", "ig-sample": "mf ig-sample"}
"""Strategies that train on unlabelled pairs, and what the methods are called."""
SETTINGS: dict[str, Any] = {
    "steps_per_epoch": 128,
    "epochs": 30,
    "patience": 5,
    "select_by": "auc",
}
"""Of the methods over biased factors; the recommended default has its own."""

FEWEST_USERS = 10
"""Of the test part, below which an interval over users means nothing."""
SEARCH = {"method.weight": {"choices": [0.3, 1.0]}}
"""Of `ig-sample` here, where the question is what unlabelled pairs do: abstaining is no answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference of two methods on the test part."""

    better: str
    """What the difference is of."""
    than: str
    """What it is from."""
    differences: Mapping[str, Difference]
    """By metric, with 95 % intervals over users and seeds."""

    @property
    def verdict(self) -> str:
        """What the interval of the AUC says: `helps`, `hurts` or `unsure`."""
        _, low, high = self.differences["auc"]
        return "helps" if low > 0 else "hurts" if high < 0 else "unsure"


@dataclass(frozen=True, slots=True)
class Advice:
    """What was found, and what to do."""

    dataset: Path
    n_labelled: int
    """Labelled training rows."""
    n_unlabelled: int
    """Unlabelled rows that were shown."""
    group: Group
    """All methods and baselines."""
    as_exposures: Finding | None
    """The recommended default with and without unlabelled rows; none if there are none."""
    as_pairs: Finding | None
    """The strategy that validation likes best, from training on the labelled rows alone; none if
    their trainings failed."""
    lead: Finding
    """The winner from the recommended default; of the default itself, from the best baseline."""
    winner: str
    """The recommended default, or the best of the methods and baselines whose 95 % interval is
    ahead of it. It is picked on the test part, so its lead flatters it a little."""

    @property
    def verdict(self) -> str:
        """Whether unlabelled rows help in either way, as `Finding.verdict` says it."""
        found = [finding.verdict for finding in (self.as_exposures, self.as_pairs) if finding]
        if "helps" in found:
            return "helps"
        return "hurts" if found and {*found} == {"hurts"} else "unsure"

    @property
    def command(self) -> str:
        """What to run next; baselines cannot be trained, so one that wins changes nothing."""
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
    """Compare what unlabelled rows are worth on a dataset, in a fixed budget.

    The recommended default is trained as it is; the methods over biased factors get `trials`
    trainings each to find their rate and penalty. The same call goes on after a stop.

    Args:
        dataset: Dataset folder.
        out: Folder of the experiment.
        trials: Trainings of each search, at least 2.
        seeds: Fresh seeds of each method.
        workers: Processes that share the work.
        progress: Told of trainings done.
        should_stop: Asked all the time; true stops.

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
        "methods": methods_for(exposed=len(data.unlabelled) > 0),
        "tuning": {"trials": trials},
        "seeds": seeds,
    }
    results = compare(grid, out, workers=workers, progress=progress, should_stop=should_stop)
    group = results.groups[0]
    return _advice(Path(dataset), data, group, _evaluations(out, group))


def methods_for(*, exposed: bool) -> dict[str, Any]:
    """The methods that are compared, for a dataset with or without exposed unlabelled rows."""
    preset = read_settings(RECOMMENDED)
    twin = {**preset, "model": {**preset.get("model", {}), "unlabelled": False}}
    factors = {**SETTINGS, "backbone": "mf"}
    return {
        RECOMMENDED: None,
        **({WITHOUT: {"settings": twin, "tuned": False}} if exposed else {}),
        ALONE: {"settings": {**factors, "strategy": "none"}},
        **{
            name: {
                "settings": {**factors, "strategy": strategy},
                "search": SEARCH if strategy == "ig-sample" else {},
            }
            for strategy, name in AS_PAIRS.items()
        },
    }


Evaluations = Mapping[str, Mapping[int, Evaluation]]
"""By method or baseline, and seed."""


def _evaluations(out: Path, group: Group) -> Evaluations:
    cells = {name: method.cell for name, method in group.methods.items() if method.cell}
    found = {name: CellFolder(out, cell).evaluations() for name, cell in cells.items()}
    some = cells[RECOMMENDED]
    baselines = BaselineFolder(out, some).evaluations()
    found |= {name: dict.fromkeys(some.seeds, one) for name, one in baselines.items()}
    return {name: evaluations for name, evaluations in found.items() if evaluations}


def _advice(dataset: Path, data: Dataset, group: Group, found: Evaluations) -> Advice:
    def finding(better: str, than: str) -> Finding:
        return Finding(better, than, paired_over_seeds(found[better], found[than]))

    if RECOMMENDED not in found:
        raise RunError(f"the recommended default failed: {failures([group.methods[RECOMMENDED]])}")
    pairs = [name for name in AS_PAIRS.values() if name in found and ALONE in found]
    pairs.sort(key=lambda name: _validated(group.methods[name]))
    trivial = max(group.baselines, key=lambda name: group.baselines[name].means["auc"].value)
    ahead = [
        name
        for name in found
        if name != RECOMMENDED and finding(name, RECOMMENDED).verdict == "helps"
    ]
    everyone = group.methods | group.baselines
    winner = max(ahead, key=lambda n: everyone[n].means["auc"].value, default=RECOMMENDED)
    if winner in pairs and ALONE in ahead and finding(winner, ALONE).verdict != "helps":
        winner = ALONE  # the simpler one, if nothing is sure to be gained
    return Advice(
        dataset,
        len(data.train),
        len(data.unlabelled),
        group,
        finding(RECOMMENDED, WITHOUT) if WITHOUT in found else None,
        finding(pairs[-1], ALONE) if pairs else None,
        finding(RECOMMENDED, trivial) if winner == RECOMMENDED else finding(winner, RECOMMENDED),
        winner,
    )


def _validated(method: Method) -> float:
    """Best validation score of a method's search."""
    return max(trial.best or 0.0 for trial in method.trials)
