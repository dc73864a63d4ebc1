"""Comparison of runs on the same rows, paired with the first run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from invlearn.config.schema import OtherLog
from invlearn.data.parts import PARTS
from invlearn.data.prepare.lookup import FoundRows, find_rows
from invlearn.evaluation.assessment import Assessment, PartName, assess, assess_catalogue
from invlearn.evaluation.baselines import ALL_BASELINES
from invlearn.evaluation.evaluation import Difference, Evaluation, paired_difference
from invlearn.runtime import atomic
from invlearn.runtime.errors import ConfigError, RunError, unknown
from invlearn.runtime.progress import Progress, silent
from invlearn.training.run import Run


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs measured on the same rows."""

    assessments: dict[str, Assessment]
    """By name of the run folder, in the order given."""
    differences: dict[str, dict[str, Difference]]
    """Metrics of every run but the first minus those of the first, paired by user."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Rows of another log that were left out, by reason."""
    n_seen: int = 0
    """Rows of another log whose pair the runs were trained or validated on."""
    unfinished: tuple[str, ...] = ()
    """Runs that have not finished; they are measured at their best epoch so far."""

    def write(self, file: Path) -> None:
        """Write everything as JSON; numbers that are not finite become null."""
        atomic.write_json(
            file,
            {
                "runs": {name: found.to_json() for name, found in self.assessments.items()},
                "unfinished": self.unfinished,
                "left_out": self.left_out,
                "seen": self.n_seen,
                "differences": {
                    name: {metric: difference.to_json() for metric, difference in found.items()}
                    for name, found in self.differences.items()
                },
            },
        )


def compare_runs(
    folders: Sequence[str | Path],
    *,
    part: PartName = "test",
    other: OtherLog | None = None,
    dataset: Path | None = None,
    catalogue: bool = False,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Measure runs of one dataset on the same rows.

    Args:
        folders: Run folders.
        part: Part of the dataset.
        other: Measure on the labelled rows of this log instead.
        dataset: Path of the dataset, if it was moved.
        catalogue: Also rank the whole catalogue, for 1,000 users.
        draws: Bootstrap draws over users; 0 for no intervals and no differences.
        seed: Seed of the draws.
        progress: Called for each set of scores.

    Raises:
        RunError: A folder is not a run, or the runs were trained on different datasets.
        DataError: The log is damaged, labels nothing, or names users or items unknown to the
            runs, or pairs that they were trained on.
        ConfigError: A folder is named twice, or a setting is not valid.
    """
    if catalogue and (other or part != "test"):
        raise ConfigError(
            "the catalogue is ranked by the positives of the test part; omit --catalogue "
            "with another part or a log"
        )
    if other and other.log is None:
        raise ConfigError("options of another log were given, but no log; name it with --log")
    paths = [Path(folder) for folder in folders]
    runs = {name: Run.open(path) for name, path in zip(run_names(paths), paths, strict=True)}
    fingerprints = {run.card.fingerprint for run in runs.values()}
    if len(fingerprints) > 1:
        raise RunError(
            f"{', '.join(runs)} were trained on {len(fingerprints)} different datasets; "
            "compare runs of one dataset only"
        )
    data = next(iter(runs.values())).dataset(dataset)
    if part not in PARTS[:3]:
        raise unknown("part", part, PARTS[:3])
    log = find_rows(other, data) if other else FoundRows(part, getattr(data, part), 0, {})
    options: Any = {"draws": draws, "seed": seed}
    baselines: Mapping[str, Evaluation] | Sequence[str] = ALL_BASELINES
    assessments: dict[str, Assessment] = {}
    for name, run in runs.items():
        given = {"part": log.name, "baselines": baselines, "progress": progress}
        found = assess(run.module, data, log.rows, **given, **options)
        baselines = found.baselines
        if catalogue:
            ranked = assess_catalogue(run.module, data, progress=progress, **options)
            found = replace(found, catalogue=ranked)
        assessments[name] = found
    reference, *others = [(name, found.backbone) for name, found in assessments.items()]
    return Comparison(
        assessments,
        {name: paired_difference(own, reference[1]) for name, own in others if draws},
        left_out=log.left_out,
        n_seen=log.n_seen,
        unfinished=tuple(name for name, run in runs.items() if not run.is_finished),
    )


def run_names(folders: Sequence[Path]) -> list[str]:
    """Return a name for each run: that of its folder, or its path if two runs share a name.

    Raises:
        ConfigError: A folder is named twice.

    Example:
        >>> run_names([Path("a/none"), Path("b/none"), Path("a/ig")])
        ['a/none', 'b/none', 'ig']
    """
    own = [folder.name or folder.resolve().name for folder in folders]
    names = [
        name if own.count(name) == 1 else str(folder)
        for name, folder in zip(own, folders, strict=True)
    ]
    if len(set(names)) < len(names):
        raise ConfigError("a run is named twice; name each once")
    return names
