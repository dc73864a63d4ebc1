"""Annotation of unlabelled pairs: calibrated probabilities, labels, and their measured quality."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from invlearn.data.engines.parquet import sink_parquet, write_parquet
from invlearn.data.prepare.queried_pairs import QueriedPairs, pairs_of, unlabelled_pairs
from invlearn.evaluation.thresholds import check_precision
from invlearn.inference.annotation.annotation_facts import Tally, facts
from invlearn.inference.annotation.annotator import WORDS, Annotator
from invlearn.inference.annotation.epoch_sides import OtherEpochs
from invlearn.runtime import atomic
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.progress import Progress, silent
from invlearn.training.run import Run


@dataclass(frozen=True, slots=True)
class Annotation:
    """A written annotation."""

    file: Path
    """The annotated pairs, as Parquet."""
    summary: dict[str, Any]
    """Content of the JSON file next to it (`docs/annotation.md`)."""


def annotate(
    run: Run | str | Path,
    out: str | Path,
    *,
    pairs: Any = None,
    format: str = "auto",  # noqa: A002  the word users know
    user: str | None = None,
    item: str | None = None,
    truth: str | None = None,
    precision: float = 0.9,
    dataset: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Annotation:
    """Estimate how likely each unlabelled pair is positive, and label the pairs that are certain.

    Probabilities are calibrated and thresholds set on validation rows alone. Memory holds the
    backbone, a block of pairs, and the predictions of pairs whose truth is known.

    Args:
        run: A run, or its folder.
        out: Parquet file to write; a JSON file of the same name is written next to it.
        pairs: Log files or a table of the pairs to annotate; default: all unlabelled pairs of the
            run's dataset.
        format: Format of the files.
        user: Column of user ids, if it is not named as in the dataset's log.
        item: Column of item ids, likewise.
        truth: Column of 1, 0 or null, or a label rule, used only to measure the annotation. The
            dataset's own pairs are measured by labels that `weaken` has hidden.
        precision: Fraction of the suggested labels of each class that must be right.
        dataset: Path of the run's dataset, if it was moved.
        seed: Seed of the calibration folds.
        overwrite: Replace existing files.
        progress: Called for each block of pairs.

    Raises:
        ConfigError: A setting does not exist or is not valid.
        DataError: The dataset or the pairs are missing or damaged, or there are too few
            validation rows.
        RunError: The run folder is missing or damaged, or the dataset is not the run's own.
        InvlearnError: `out` exists or cannot be written.
    """
    out = Path(out)
    check_precision(precision)
    _check_places(out, overwrite=overwrite)
    if pairs is None:
        _check_unused(truth, user=user, item=item, format=None if format == "auto" else format)
    run = run if isinstance(run, Run) else Run.open(run)
    data = run.dataset(dataset)
    annotator = Annotator(run, data, precision=precision, seed=seed)
    with atomic.scratch(out) as place:
        _check_places(out, overwrite=overwrite)  # another process may have written them
        columns = {"user": user, "item": item, "truth": truth}
        with (
            nullcontext(unlabelled_pairs(data))
            if pairs is None
            else pairs_of(pairs, data, place=place, format=format, **columns)
        ) as queried:
            summary = _write(annotator, queried, place, out, progress)
        atomic.write_json(_summary_file(out), summary)
    return Annotation(out, summary)


def _summary_file(out: Path) -> Path:
    return out.with_suffix(".json")


def _check_unused(truth: str | None, **options: str | None) -> None:
    """Check that without a file of pairs no option describes one."""
    if truth is not None:
        raise ConfigError(
            f"truth '{truth}' is a column of a file of pairs; name the file with --pairs, "
            "or leave --truth out to measure by labels that `invlearn weaken` has hidden"
        )
    for name, value in options.items():
        if value is not None:
            raise ConfigError(
                f"{name} '{value}' says how a file of pairs is read; name the file with --pairs, "
                f"or leave --{name} out to annotate the dataset's own unlabelled pairs"
            )


def _check_places(out: Path, *, overwrite: bool) -> None:
    if out.suffix != ".parquet":
        better = out.with_suffix(".parquet") if out.name else "annotation.parquet"
        raise ConfigError(f"an annotation is a Parquet file; give --out a name such as {better}")
    atomic.need_folder(out)
    for file in (out, _summary_file(out)):
        atomic.need_absent(file, overwrite=overwrite)


def _write(
    annotator: Annotator, queried: QueriedPairs, place: Path, out: Path, progress: Progress
) -> dict[str, Any]:
    """Write the pairs block by block, and return the summary."""
    others = OtherEpochs(annotator.run)
    n_others, n_pairs = len(others.numbers), queried.n_pairs

    def report(done: int) -> None:
        progress("annotate", done, (n_others + 1) * n_pairs)

    above = others.counts_above(queried, place, report)
    tally = Tally(annotator.promises, annotator.data)
    done, parts = 0, list[Path]()
    for number, block in enumerate(queried.blocks()):
        at = slice(done, done := done + len(block.users))
        found = annotator.predict(block, None if above is None else above[at] / n_others)
        tally.add(block, found)
        parts.append(place / f"annotated-{number:06d}.parquet")
        write_parquet(annotator.table(block, found), parts[-1])
        report(n_others * n_pairs + done)
    with atomic.new_file(out) as partial:
        sink_parquet(pl.scan_parquet(parts, glob=False), partial, compression="zstd")
        _summary_file(out).unlink(missing_ok=True)  # of the annotation that this one replaces
    return _summary(annotator, queried, tally, others)


def _summary(
    annotator: Annotator, queried: QueriedPairs, tally: Tally, others: OtherEpochs
) -> dict[str, Any]:
    """Return the content of the JSON file next to an annotation."""
    known, test = tally.known, annotator.scored(annotator.data.test)
    measured = {"test": test} | ({"truth": known} if len(known.labels) else {})
    influence = annotator.influence
    return {
        "run": annotator.run.folder.resolve().name,
        "fingerprint": annotator.data.fingerprint,
        "epoch": others.best,
        "from": queried.name,
        "precision": annotator.precision,
        "counts": {"pairs": queried.n_pairs}
        | {name: tally.counts[name] for name in (*WORDS, "unknown", "labelled_already")},
        "mean_probability": tally.probability / max(queried.n_pairs - tally.counts["unknown"], 1),
        "calibration": annotator.calibration,
        "promises": tally.promised(queried.n_pairs, measured),
        "test": facts(test),
        "truth": facts(known),
        "agreement": {
            "epochs": others.numbers,
            "truth": (others.numbers and tally.agreement_accuracy()) or None,
        },
        "influence": influence
        and {
            "labelled_rows": influence.n_rows,
            "below_0": tally.counts["influence below 0"],
            "truth_auc": tally.influence_auc(),
        },
    }
