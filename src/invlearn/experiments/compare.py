"""Methods compared on equal terms, from a grid to a table.

```
EXPERIMENT/
  experiment.yaml      the grid, complete
  data/                datasets with labels hidden or flipped
  cells/  baselines/   records of every training and baseline
  results.json         everything that was found
  results.md           the same as tables
  *.svg                curves over shares of labels, where there are several shares
```
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from invlearn.config.schema import read_yaml
from invlearn.experiments.cell import Cell
from invlearn.experiments.curves import draw_curves
from invlearn.experiments.grid import Experiment, Place, cells_of_grid, load_experiment
from invlearn.experiments.markdown import to_markdown
from invlearn.experiments.results import Results, failures, read_results
from invlearn.experiments.search import require
from invlearn.experiments.workers import work_together
from invlearn.runtime import atomic, locks
from invlearn.runtime.environment import commit, environment
from invlearn.runtime.errors import ConfigError, RunError
from invlearn.runtime.progress import Progress, silent
from invlearn.runtime.safe_load import misplaced

OURS = (".", "cells", "baselines", "data", "paper", "experiment.yaml", "results.", "worker")
"""How names in an experiment's folder begin, but for the curves."""


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

    Trainings that `out` holds already are not done again, so the same call goes on after a stop,
    and a grid that grew does only what is new. Results do not depend on the number of workers.

    Args:
        grid: What to compare: a YAML file, the same as a mapping, or an `Experiment`.
        out: Folder of the experiment.
        workers: Processes that share the work.
        progress: Told of trainings done.
        should_stop: Asked all the time; true stops.
        options: Keys of the grid that override it, as in `seeds=3`; `trials` stands for the one
            of its `tuning`.

    Raises:
        ConfigError: A setting does not exist or does not fit.
        DataError: A dataset is missing or damaged.
        RunError: A record is damaged, a worker ended early, or every training failed.
        Stopped: `should_stop` said so.
    """
    experiment, out = _experiment(grid, options), Path(out)
    if experiment.tuning.trials > 1:
        require()
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    with locks.in_turn(out, "plan"):
        cells = cells_of_grid(experiment, out)
        places = {name: path.resolve() for name, path in experiment.datasets.items()}
        found = experiment.model_copy(update={"datasets": places})
        settings = yaml.safe_dump(found.model_dump(mode="json"), sort_keys=False)
        atomic.write_text(out / "experiment.yaml", settings)
    work_together(
        out, [*cells.values()], workers=workers, progress=progress, should_stop=should_stop
    )
    results = write_results(out, cells, reference=experiment.compared_with)
    methods = [method for group in results.groups for method in group.methods.values()]
    if not any(method.means for method in methods):
        reason = "; ".join(failures(methods)[:1])
        raise RunError(f"every training failed: {reason}; {out / 'results.md'} has all of it")
    return results


def check_folder(out: Path) -> None:
    """Make sure that a folder is an experiment's, or free to become one.

    Raises:
        ConfigError: Something else is in it, a link that leads out of it, or a pipe.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; an experiment is a folder, so choose another --out")
    if found := misplaced(out):
        raise ConfigError(f"{found}; remove it")
    for path in sorted(out.iterdir()) if out.exists() else ():
        if not path.name.startswith(OURS) and path.suffix != ".svg":
            raise ConfigError(
                f"{out} holds {path.name}, which is none of an experiment's; give the experiment a "
                "folder of its own with --out"
            )
        if path.name in ("data.json", "run.json"):
            raise ConfigError(f"{out} is a dataset or a run; give the experiment its own --out")


def write_results(out: Path, cells: Mapping[Place, Cell], *, reference: str) -> Results:
    """Collect what was found, and write it as JSON and as Markdown."""
    results = read_results(out, cells, reference=reference)
    provenance = {"commit": commit(), "environment": environment()}
    with locks.in_turn(out, "results"):
        atomic.write_json(out / "results.json", provenance | results.to_json())
        atomic.write_text(out / "results.md", to_markdown(results))
        draw_curves(results, out)
    return results


def _experiment(
    grid: Experiment | Mapping[str, Any] | str | Path, options: Mapping[str, Any]
) -> Experiment:
    if isinstance(grid, Experiment):
        base = grid.model_dump()
    else:
        base = dict(grid) if isinstance(grid, Mapping) else read_yaml(Path(grid))
    values = base | dict(options)
    if "trials" in values:
        tuning = values.get("tuning") or {}
        values["tuning"] = {**tuning, "trials": values.pop("trials")}
    return load_experiment(values)
