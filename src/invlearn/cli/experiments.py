"""The commands that train many times: compare methods, repeat the paper."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from invlearn.runtime.errors import ConfigError
from invlearn.runtime.interruption import interruptible

Way = Literal["printed", "released", "ablated", "tuned"]
MANY = Parameter(negative="", consume_multiple=True)
Several = Annotated[list[str] | None, MANY]


def compare(
    grid: Path | None = None,
    *,
    out: Path,
    dataset: Annotated[list[Path] | None, MANY] = None,
    backbone: Several = None,
    strategy: Several = None,
    label_share: str | None = None,
    flip_positives: str | None = None,
    flip_negatives: str | None = None,
    trials: int | None = None,
    seeds: int | None = None,
    workers: int = 1,
) -> None:
    """Compare methods on equal terms: the same search for each, then fresh seeds, intervals.

    The same command goes on after a stop; what is done is not done again.

    Parameters
    ----------
    grid
        YAML file of the grid; options given here go before it.
    out
        Folder of the experiment; it is made, or gone on with.
    dataset
        Dataset folder; several are compared on each.
    backbone
        Backbone; several are tried with every strategy.
    strategy
        Strategy; the others are compared with the first.
    label_share
        Shares of the training labels to keep, such as 0.01,0.05,0.2,0.5,1.
    flip_positives
        Fractions of the positive training labels to turn into negative ones, such as 0,0.1.
    flip_negatives
        Fractions of the negative training labels to turn into positive ones.
    trials
        Trainings that the search of each method may take; 1 takes the defaults.
    seeds
        Number of fresh seeds that are reported.
    workers
        Processes that share the work; the results are the same.
    """
    from invlearn.cli import display, screen_experiments
    from invlearn.experiments.compare import compare as work

    given = {
        "datasets": dataset,
        "backbones": backbone,
        "strategies": strategy,
        "label_shares": _numbers("--label-share", label_share),
        "flip_positives": _numbers("--flip-positives", flip_positives),
        "flip_negatives": _numbers("--flip-negatives", flip_negatives),
        "trials": trials,
        "seeds": seeds,
    }
    options = {key: value for key, value in given.items() if value is not None}
    if grid and grid.is_dir():
        raise ConfigError(
            f"{grid} is a folder, and a grid is a YAML file; name datasets by --dataset"
        )
    with display.progress_bars() as progress, interruptible() as should_stop:
        results = work(
            grid if grid else {},
            out,
            workers=workers,
            progress=progress,
            should_stop=should_stop,
            **options,
        )
    screen_experiments.show_results(results, out)


def advise(
    dataset: Path,
    *,
    out: Path | None = None,
    trials: int = 6,
    seeds: int = 3,
    workers: int = 1,
) -> None:
    """Find out whether unclear feedback helps on a dataset, by how much, and what to run next.

    A small comparison of fixed size; the same command goes on after a stop.

    Parameters
    ----------
    dataset
        Dataset folder.
    out
        Folder of the experiment, advice-DATASET if left out; it is made, or gone on with.
    trials
        Trainings of each search.
    seeds
        Fresh seeds of each method.
    workers
        Processes that share the work; the results are the same.
    """
    from invlearn.cli import display, screen_experiments
    from invlearn.experiments.advise import advise as work

    out = out or Path(f"advice-{dataset.resolve().name}")
    with display.progress_bars() as progress, interruptible() as should_stop:
        advice = work(
            dataset,
            out,
            trials=trials,
            seeds=seeds,
            workers=workers,
            progress=progress,
            should_stop=should_stop,
        )
    screen_experiments.show_advice(advice, out)


def reproduce(
    what: Literal["table2", "figure3", "figure4", "figure5", "figure6", "all"],
    *,
    data: Path,
    out: Path = Path("paper"),
    page: Path | None = None,
    row: Several = None,
    way: Annotated[list[Way] | None, MANY] = None,
    seeds: int | None = None,
    trials: int | None = None,
    stand_in: bool = True,
    full_size: Annotated[bool, Parameter(negative="")] = False,
    workers: int = 1,
) -> None:
    """Measure the paper's Table 2 and Figures 3 to 6 again, beside the published numbers.

    Hours for everything; the same command goes on after a stop.

    Parameters
    ----------
    what
        The table, a figure, or all.
    data
        Folder with MovieLens-1M in the split of the paper's authors.
    out
        Folder of the experiment; it is made, or gone on with.
    page
        Markdown file to write; its data and plots go into a folder of the same name beside it.
    row
        Row of the table, such as "GMF IG"; all of them if left out.
    way
        How to repeat the rows; in all ways if left out.
    seeds
        Seeds of each row, if not 3 as printed and 5 otherwise.
    trials
        Trainings that the search of each tuned row may take, if not the plan's own number.
    stand_in
        Measure on simulated data in the place of Micro Video, which was never released.
    full_size
        Simulate them at full size; hours more.
    workers
        Processes that share the work.
    """
    from invlearn.cli import display, screen_experiments

    for option, given in (("--row", row), ("--way", way)):
        if given is not None and not given:
            raise ConfigError(f"{option} needs a value; leave it away for all of them")
    work = _reproduction("reproduce")
    asked = {"rows": tuple(row or ()), "seeds": seeds, "trials": trials, "full_size": full_size}
    asked |= {"stand_in": stand_in} | ({"ways": tuple(way)} if way else {})
    request = _reproduction("plans").Request(what, data, out, **asked)
    with display.progress_bars() as progress, interruptible() as should_stop:
        written = work.reproduce(
            request, page, workers=workers, progress=progress, should_stop=should_stop
        )
    screen_experiments.show_page(written, work.summary(written))


def _reproduction(module: str) -> Any:
    """Import a module of the checkout's `reproduction/`, which is not part of the library."""
    folder = Path(__file__).parents[3] / "reproduction"
    if not (folder / "reproduce.py").is_file():
        raise ConfigError(
            "reproduce needs a checkout of the repository, which holds the paper's published "
            "numbers and plans: clone the repository of invlearn and run pip install --editable . "
            "in it"
        )
    sys.path.insert(0, str(folder.parent))
    try:
        return import_module(f"reproduction.{module}")
    finally:
        sys.path.remove(str(folder.parent))


def _numbers(option: str, text: str | None) -> list[float] | None:
    """Numbers between commas."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"{option} takes numbers between commas, such as 0.01,0.05,1; found '{text}'"
        ) from None
