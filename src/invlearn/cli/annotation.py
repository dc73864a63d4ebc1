"""The command that estimates labels of unlabelled pairs."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invlearn.cli.display import console, progress_bars, show_table
from invlearn.cli.options import MovedDataset, Overwrite
from invlearn.runtime.text import counted

if TYPE_CHECKING:
    from invlearn.inference.annotation.annotation import Annotation

Summary = Mapping[str, Any]
"""The JSON file of an annotation."""
MEASURES = {"auc": "AUC", "ece": "ECE", "brier": "Brier", "log_loss": "log loss"}
RELIABILITY = ("mean_probability", "positive_fraction")
MARGIN = 0.02
"""Shortfall of the measured precision from which a promise counts as broken."""
CLASSES = ("positive", "negative")


def annotate(
    run: Path,
    *,
    out: Path,
    pairs: Path | None = None,
    format: str = "auto",  # noqa: A002  the word users know
    user: str | None = None,
    item: str | None = None,
    truth: str | None = None,
    precision: float = 0.9,
    dataset: MovedDataset = None,
    seed: int = 0,
    overwrite: Overwrite = False,
) -> None:
    """Estimate how likely each unlabelled pair is positive, and label the pairs that are certain.

    Parameters
    ----------
    run
        Run folder.
    out
        Parquet file to write; a JSON file of the same name is written next to it.
    pairs
        Pairs to annotate instead of the dataset's unlabelled ones: a file, a folder, or a glob.
    format
        Format of --pairs, as in `invlearn prepare`; auto: by file suffix.
    user
        Column of --pairs with user ids, default: its name in the dataset's log.
    item
        Column of --pairs with item ids, default: its name in the dataset's log.
    truth
        Column of --pairs with 1, 0 or null, or a label rule, to measure the annotation with.
    precision
        Fraction of the suggested labels of each class that must be right.
    seed
        Seed of the calibration folds.
    """
    given = locals()
    from invlearn.inference.annotation.annotation import annotate as work

    with progress_bars() as progress:
        _show_annotation(work(**given, progress=progress))


def _show_annotation(done: "Annotation") -> None:
    """Print the counts, the calibration, and the promised and measured precision of the labels."""
    summary = done.summary
    counts, n_pairs = summary["counts"], summary["counts"]["pairs"]
    shares = (
        f"{counts[name]:,} {name} ({counts[name] / max(n_pairs, 1):.1%})"
        for name in (*CLASSES, "unclear")
    )
    console.print(
        f"{counted(n_pairs, 'pair')} ({summary['from']}), labelled at a precision of "
        f"{_percent(summary['precision'])}%:\n"
        f"  {', '.join(shares)}"
    )
    _show_calibration(summary)
    _show_reliability(summary)
    _show_promises(summary)
    for note in filter(None, _notes(summary)):
        console.print(f"  {note}")
    console.print(f"Wrote {done.file}; all figures are in {done.file.with_suffix('.json')}.")


def _show_calibration(summary: Summary) -> None:
    done = summary["calibration"]
    measured = {
        "validation, raw logits": done["raw"],
        f"validation, {done['chosen']}": done["calibrated"],
        "test": summary["test"],
        "truth": summary["truth"],
    }
    rows: list[tuple[str | int, ...]] = []
    for name, facts in measured.items():
        if facts:
            numbers = ("-" if facts[key] is None else f"{facts[key]:.4f}" for key in MEASURES)
            rows.append((name, facts["rows"], f"{facts['positive_fraction']:.1%}", *numbers))
    show_table("Calibration", "", ("rows", "positive", *MEASURES.values()), rows)


def _show_reliability(summary: Summary) -> None:
    """Print mean probability and positive fraction, for each tenth of the probabilities."""
    facts = {"validation": summary["calibration"]["calibrated"], "truth": summary["truth"]}
    known = {
        name: {bin_["low"]: bin_ for bin_ in one["table"]} for name, one in facts.items() if one
    }
    heads = [f"{name}\n{what}" for name in known for what in ("rows", "claimed", "true")]
    rows: list[tuple[str, ...]] = []
    for low in sorted({low for bins in known.values() for low in bins}):
        found = [bins.get(low) for bins in known.values()]
        cells = (
            [f"{b['rows']:,}", *(f"{b[k]:.1%}" for k in RELIABILITY)] if b else [""] * 3
            for b in found
        )
        rows.append((f"{low:.1f}-{low + 0.1:.1f}", *chain(*cells)))
    show_table("Reliability", "probability", heads, rows)


def _show_promises(summary: Summary) -> None:
    """Print, for each promised precision, the labelled pairs and the measured precision."""
    measured = ["validation", *(name for name in ("test", "truth") if summary[name])]
    n_pairs = max(summary["counts"]["pairs"], 1)

    def row(promise: Summary, name: str) -> list[str | int]:
        label, head = promise[name], f"{_percent(promise['precision'])} % {name}"
        if label["threshold"] is None:
            return [head, "none", "0"]
        rates = [label[known]["precision"] for known in measured]
        shown = ("-" if rate is None else f"{rate:.1%}" for rate in rates)
        share = f"{label['pairs'] / n_pairs:.1%}"
        return [head, f"{label['threshold']:.3f}", label["pairs"], share, *shown]

    rows = (row(promise, name) for promise in summary["promises"] for name in CLASSES)
    heads = ("threshold", "pairs", "share", *measured)
    show_table("Labels, and how often they are right", "promised", heads, rows)


def _notes(summary: Summary) -> list[str]:
    """Return what a user should know before using the labels; empty texts do not apply."""
    counts, influence = summary["counts"], summary["influence"] or {"truth_auc": None}
    unknown = counted(counts["unknown"], "pair has", "pairs have")
    labelled = counted(counts["labelled_already"], "pair is", "pairs are")
    valid = summary["calibration"]["calibrated"]["positive_fraction"]
    return [
        "none: no threshold keeps the promise on validation, so no pair gets the label"
        if any(p[name]["threshold"] is None for p in summary["promises"] for name in CLASSES)
        else "",
        _lower_precision(summary),
        _accuracy(summary),
        f"mean probability of the pairs {summary['mean_probability']:.1%}, positive validation "
        f"rows {valid:.1%}",
        _broken(summary),
        f"{unknown} a user or item unknown to the run" if counts["unknown"] else "",
        f"{labelled} labelled in the dataset, and not compared with the truth"
        if counts["labelled_already"]
        else "",
        _agreement(summary["agreement"]),
        f"AUC by truth of the influence, lowest first: {influence['truth_auc']:.4f}"
        if influence["truth_auc"] is not None
        else "",
    ]


def _lower_precision(summary: Summary) -> str:
    """Suggest a lower precision if the requested one labels no pair."""
    if summary["counts"]["positive"] + summary["counts"]["negative"]:
        return ""
    requested = summary["precision"]
    lower = [p for p in summary["promises"] if p["precision"] < requested and p["share"]]
    if not lower:
        rows = counted(summary["calibration"]["raw"]["rows"], "validation row")
        return f"nothing is labelled, and no lower precision would do: {rows} are too few"
    best = lower[-1]
    pairs = counted(sum(best[name]["pairs"] for name in CLASSES), "pair")
    return (
        f"nothing is labelled at {_percent(requested)}%; {_percent(best['precision'])}% would "
        f"label {pairs} (--precision {best['precision']:g})"
    )


def _accuracy(summary: Summary) -> str:
    """Compare the accuracy of the likelier label with that of the commoner class."""
    name = "truth" if summary["truth"] else "test"
    share = summary[name]["positive_fraction"]
    return (
        f"likelier label of every pair: right for {summary[name]['accuracy']:.1%} of {name}\n"
        f"  without a model: calling all pairs {CLASSES[share < 0.5]} is right for "
        f"{max(share, 1 - share):.1%} of {name}"
    )


def _broken(summary: Summary) -> str:
    """Name the promises that the truth contradicts."""
    from invlearn.evaluation.thresholds import LEAST_ROWS

    broken = [
        f"{_percent(promise['precision'])}% {name}"
        for promise in summary["promises"]
        for name in CLASSES
        if summary["truth"]
        and promise[name]["truth"]["rows"] >= LEAST_ROWS
        and promise[name]["truth"]["precision"] < promise["precision"] - MARGIN
    ]
    if not broken:
        return ""
    return (
        f"broken by truth: {', '.join(broken)}; these pairs are not like the validation rows, so "
        "do not use these labels"
    )


def _agreement(found: Summary) -> str:
    if not found["epochs"]:
        return "no agreement: the run kept no weights of other epochs (--keep-epochs)"
    if not found["truth"]:
        return ""
    cells = (f"{row['agreement']:.0%}: {row['accuracy']:.1%}" for row in found["truth"])
    return (
        "likelier label right by truth, by the share of other epochs that agree:\n"
        f"    {', '.join(cells)}"
    )


def _percent(precision: float) -> str:
    """Format a precision in percent, with all its digits."""
    return f"{100 * precision:.10g}"
