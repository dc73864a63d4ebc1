"""The command that writes a report."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from invlearn.cli.data import Overwrite


def report(
    run: list[Path],
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("report.html"),
    dataset: Path | None = None,
    draws: int = 1000,
    seed: int = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write one HTML file about runs: results, labels, learning curves, cost, how to do it again.

    It opens without a network.

    Parameters
    ----------
    run
        Run folders; the others are compared with the first, paired on the same users.
    out
        File to write.
    dataset
        Where the dataset is now, if it was moved.
    draws
        Bootstrap draws over users for the intervals; 0 for none.
    seed
        Of the draws.
    overwrite
        Replace a file of that name.
    """
    from invlearn.cli import display
    from invlearn.reporting.write import report as work

    with display.progress_bars() as progress:
        written = work(
            run,
            out,
            dataset=dataset,
            draws=draws,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    display.show_report(written)
