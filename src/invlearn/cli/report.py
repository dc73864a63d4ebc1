"""The command that writes a report."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from invlearn.cli.display import console, progress_bars
from invlearn.cli.options import Draws, MovedDataset, Overwrite, Runs


def report(
    run: Runs,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("report.html"),
    dataset: MovedDataset = None,
    draws: Draws = 1000,
    seed: int = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write one HTML file about runs: results, labels, learning curves, cost, reproduction.

    The file opens without a network.

    Parameters
    ----------
    out
        File to write.
    seed
        Seed of the bootstrap.
    """
    given = locals()
    from invlearn.reporting.write import report as work

    with progress_bars() as progress:
        written = work(given.pop("run"), **given, progress=progress)
    for finding in written.findings:
        console.print(f"* {finding}", markup=False)
    size = written.file.stat().st_size / 1e6
    console.print(
        f"Wrote {written.file} ({size:.1f} MB); open it in a browser, no network is needed.",
        markup=False,
    )
