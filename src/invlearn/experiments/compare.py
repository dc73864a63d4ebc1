"""Comparison of methods on equal terms, from a grid to tables.

```
EXPERIMENT/
  experiment.yaml      the complete grid
  data/                datasets with labels hidden or flipped
  cells/  baselines/   records of every training and baseline
  results.json         all results
  results.md           the same as tables
  *.svg                curves over shares of labels, if there are several shares
```
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from invlearn.config.schema import read_yaml
from invlearn.experiments.curves import draw_curves
from invlearn.experiments.grid import Experiment, cells_of_grid, load_experiment
from invlearn.experiments.markdown import to_markdown
from invlearn.experiments.results import Results, failures, read_results
from invlearn.experiments.search import require
from invlearn.experiments.work import work_together
from invlearn.runtime import atomic, locks
from invlearn.runtime.environment import commit, environment
from invlearn.runtime.errors import ConfigError, RunError
from invlearn.runtime.progress import Progress, silent
from invlearn.runtime.safe_load import misplaced

FILES = (".", "cells", "baselines", "data", "paper", "experiment.yaml", "results.", "worker")
"""Beginnings of the names in an experiment folder, except the curves."""


def compare(
    grid: Experiment | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    workers: int = 1,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> Results:
    """Search for settings with the same budget for every method, train on fresh seeds, compare.

    Trainings with a record in `out` are not repeated, so the same call resumes after a stop, and a
    larger grid runs only the new ones. Results do not depend on the number of workers.

    Args:
        grid: What to compare: a YAML file, the same as a mapping, or an `Experiment`.
        out: The experiment folder.
        workers: Number of worker processes.
        progress: Called with the number of finished trainings.
        should_stop: Called often; true stops.
        options: Keys of the grid that override it, as in `seeds=3`; `trials` is the one of its
            `tuning`.

    Raises:
        ConfigError: A setting does not exist or does not fit.
        DataError: A dataset is missing or damaged.
        RunError: A record is damaged, a worker ended early, or every training failed.
        InvlearnError: Another process works in the folder.
        Stopped: `should_stop` returned true.
    """
    experiment, out = _experiment(grid, options), Path(out)
    if experiment.tuning.trials > 1:
        require()  # before hours of work
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    with locks.locked(out):
        cells = cells_of_grid(experiment, out)
        places = {name: path.resolve() for name, path in experiment.datasets.items()}
        planned = experiment.model_copy(update={"datasets": places})
        settings = yaml.safe_dump(planned.model_dump(mode="json"), sort_keys=False)
        atomic.write_text(out / "experiment.yaml", settings)
        work_together(
            out, [*cells.values()], workers=workers, progress=progress, should_stop=should_stop
        )
        results = read_results(out, cells, reference=experiment.compared_with)
        provenance = {"commit": commit(), "environment": environment()}
        atomic.write_json(out / "results.json", provenance | results.to_json())
        atomic.write_text(out / "results.md", to_markdown(results))
        draw_curves(results, out)
    methods = [method for group in results.groups for method in group.methods.values()]
    if not any(method.means for method in methods):
        reason = "; ".join(failures(methods)[:1])
        raise RunError(f"every training failed: {reason}; {out / 'results.md'} has all of it")
    return results


def check_folder(out: Path) -> None:
    """Check that a folder is an experiment folder, or can become one.

    Raises:
        ConfigError: It contains something else, a link that leads out of it, or a pipe.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; an experiment is a folder, so choose another --out")
    if found := misplaced(out):
        raise ConfigError(f"{found}; remove it")
    names = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if "data.json" in names or "run.json" in names:
        raise ConfigError(f"{out} is a dataset or a run; give the experiment its own --out")
    if other := [
        name for name in names if not name.startswith(FILES) and not name.endswith(".svg")
    ]:
        raise ConfigError(
            f"{out} holds {other[0]}, which is not a file of an experiment; give the experiment a "
            "folder of its own with --out"
        )


def _experiment(
    grid: Experiment | Mapping[str, Any] | str | Path, options: Mapping[str, Any]
) -> Experiment:
    if isinstance(grid, Experiment):
        grid = grid.model_dump()
    values = {**(grid if isinstance(grid, Mapping) else read_yaml(Path(grid))), **options}
    if "trials" in values:
        values["tuning"] = {**(values.get("tuning") or {}), "trials": values.pop("trials")}
    return load_experiment(values)
