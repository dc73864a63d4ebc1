"""From run folders to one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from invlearn.reporting.blocks import Page, Section
from invlearn.reporting.charts import series_of
from invlearn.reporting.cost import cost_section
from invlearn.reporting.course import beliefs_section, curves_section, judges_section
from invlearn.reporting.findings import findings
from invlearn.reporting.measures import Results, measured
from invlearn.reporting.origin import audit_section, setup_section
from invlearn.reporting.page import rendered
from invlearn.reporting.plots import require
from invlearn.reporting.records import RunRecord, read_records
from invlearn.reporting.results import results_section
from invlearn.reporting.sweep import sweep_section
from invlearn.reporting.trust import reliability_section
from invlearn.runtime import atomic
from invlearn.runtime.environment import environment
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was written."""

    file: Path
    findings: tuple[str, ...]
    """The sentences at its top."""


def report(
    runs: Sequence[str | Path],
    out: str | Path = "report.html",
    *,
    dataset: str | Path | None = None,
    draws: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Report:
    """Write one HTML file about runs: what they reached, how they got there, what it cost.

    It opens without a network. Runs whose dataset is there are measured on its test part, paired
    with the first of them; of others the page shows what they recorded, and says so.

    Args:
        runs: Run folders, finished or not.
        out: The file to write.
        dataset: Where the dataset is now, if it was moved.
        draws: Bootstrap draws over users for the intervals; 0 for none.
        seed: Of the draws.
        overwrite: Replace a file of that name.
        progress: Told of each part of the work.

    Returns:
        Where it is, and its first sentences.

    Raises:
        RunError: A folder is no run, or is damaged.
        ConfigError: No run or one twice is given, or the extra `report` is not installed.
        InvlearnError: There is no folder for `out`, or it is there already.
    """
    out = Path(out)
    require()
    if not runs:
        raise ConfigError("a report needs at least one run; name run folders")
    atomic.need_folder(out)
    if draws < 0:
        raise ConfigError(f"draws must be 0 (no intervals) or more; found {draws}")
    atomic.need_absent(out, overwrite=overwrite)
    records = read_records(runs)
    found = measured(
        records,
        dataset=Path(dataset) if dataset else None,
        draws=draws,
        seed=seed,
        progress=progress,
    )
    progress("page", 0, 1)
    page = page_of(records, found)
    with atomic.new_file(out, overwrite=overwrite) as partial:
        partial.write_text(rendered(page), encoding="utf-8")
    progress("page", 1, 1)
    return Report(out, tuple(finding.words for finding in page.findings))


def page_of(records: Sequence[RunRecord], found: Sequence[Results]) -> Page:
    """All that the page says, in order.

    Args:
        records: Of the runs.
        found: What they reached, by dataset.
    """
    series = series_of(records)
    sections: tuple[Section | None, ...] = (
        results_section(found, series),
        sweep_section(records, found, series),
        audit_section(found),
        curves_section(records, series),
        beliefs_section(records),
        judges_section(records),
        reliability_section(records, found, series),
        cost_section(records, found, series),
        setup_section(records, found),
    )
    datasets = " and ".join(results.dataset for results in found)
    runs = f"{len(records)} runs" if len(records) > 1 else records[0].name
    return Page(
        title=f"{runs} on {datasets}",
        findings=findings(records, found),
        series=series,
        sections=tuple(section for section in sections if section),
        made_by=f"invlearn {environment()['versions']['invlearn']}",
    )
