"""Reports: from run folders to one HTML file."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from invlearn.reporting.blocks import Block, Page, Section
from invlearn.reporting.charts import require, series_of
from invlearn.reporting.course import beliefs_section, cost_section, curves_section, judges_section
from invlearn.reporting.findings import findings
from invlearn.reporting.measures import Material, Results, measured
from invlearn.reporting.origin import audit_section, setup_section
from invlearn.reporting.page import rendered
from invlearn.reporting.records import RunRecord, read_records
from invlearn.reporting.results import alpha_section, reliability_section, results_section
from invlearn.runtime import atomic
from invlearn.runtime.environment import environment
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.progress import Progress, silent

SECTIONS: dict[tuple[str, str], Callable[[Material], Iterator[Block]]] = {
    ("results", "Results on the test part"): results_section,
    ("alpha", "Length of the trial step"): alpha_section,
    ("labels", "From rows to labels"): audit_section,
    ("curves", "Learning curves"): curves_section,
    ("beliefs", "Belief in unlabelled pairs"): beliefs_section,
    ("judges", "What the judges chose"): judges_section,
    ("reliability", "Can logits be read as probabilities?"): reliability_section,
    ("cost", "Cost"): cost_section,
    ("setup", "Settings, and how to do it again"): setup_section,
}
"""Sections of the page by address and title; one without blocks is left out."""


@dataclass(frozen=True, slots=True)
class Report:
    """A written report."""

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
    """Write one HTML file about runs: results, labels, learning curves, cost, reproduction.

    The file opens without a network. Runs whose dataset exists are measured on its test part,
    paired with the first run; for others the page shows the recorded results, and says so.

    Args:
        runs: Run folders, finished or not.
        out: File to write.
        dataset: Path of the dataset, if it was moved.
        draws: Bootstrap draws over users for the intervals; 0 for none.
        seed: Seed of the draws.
        overwrite: Replace an existing file.
        progress: Called for each part of the work.

    Returns:
        The file, and its first sentences.

    Raises:
        RunError: A folder is not a run, or is damaged.
        ConfigError: No run or the same run twice is given, or the extra `report` is not installed.
        InvlearnError: The folder of `out` does not exist, or `out` does.
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
    moved = Path(dataset) if dataset else None
    results = measured(records, dataset=moved, draws=draws, seed=seed, progress=progress)
    progress("page", 0, 1)
    page = page_of(records, results)
    with atomic.new_file(out, overwrite=overwrite) as partial:
        partial.write_text(rendered(page), encoding="utf-8")
    progress("page", 1, 1)
    return Report(out, tuple(finding.words for finding in page.findings))


def page_of(records: Sequence[RunRecord], results: Sequence[Results]) -> Page:
    """Return the content of the page.

    Args:
        records: Records of the runs.
        results: Their results, by dataset.
    """
    material = Material(records, results, series_of(records))
    sections = (Section(*name, tuple(make(material))) for name, make in SECTIONS.items())
    datasets = " and ".join(one.dataset for one in results)
    runs = f"{len(records)} runs" if len(records) > 1 else records[0].name
    return Page(
        title=f"{runs} on {datasets}",
        findings=findings(material),
        series=material.series,
        sections=tuple(section for section in sections if section.blocks),
        made_by=f"invlearn {environment()['versions']['invlearn']}",
    )
