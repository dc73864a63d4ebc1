"""What a person sees of an annotation: how far it can be believed, on one screen."""

from typing import TYPE_CHECKING, Any

from invlearn.cli.display import console, number_table
from invlearn.evaluation.thresholds import LEAST_ROWS
from invlearn.runtime.text import counted

if TYPE_CHECKING:
    from rich.table import Table

    from invlearn.inference.annotation.annotation import Annotation

MEASURES = {"auc": "AUC", "ece": "ECE", "brier": "Brier", "log_loss": "log loss"}
MARGIN = 0.02
"""By how much the truth may fall short of a promise before it is called broken."""
CLASSES = ("positive", "negative")


def show_annotation(done: "Annotation") -> None:
    """Print the counts, the calibration, and what was promised of the labels and kept."""
    said = done.summary
    counts, n_pairs = said["counts"], said["counts"]["pairs"]
    shares = (
        f"{counts[name]:,} {name} ({counts[name] / max(n_pairs, 1):.1%})"
        for name in ("positive", "negative", "unclear")
    )
    console.print(
        f"{counted(n_pairs, 'pair')} ({said['from']}), labelled at a precision of "
        f"{_percent(said['precision'])}%:\n"
        f"  {', '.join(shares)}"
    )
    console.print(_calibration_table(said))
    console.print(_reliability_table(said))
    console.print(_promises_table(said))
    _show_notes(said)
    console.print(f"Wrote {done.file}; all figures are in {done.file.with_suffix('.json')}.")


def _calibration_table(said: dict[str, Any]) -> "Table":
    done = said["calibration"]
    table = number_table("Calibration", "", ("rows", "positive", *MEASURES.values()))
    rows = {
        "validation, raw logits": done["raw"],
        f"validation, {done['chosen']}": done["calibrated"],
        "test": said["test"],
        "truth": said["truth"],
    }
    for name, facts in rows.items():
        if facts:
            numbers = (_four(facts[key]) for key in MEASURES)
            table.add_row(name, f"{facts['rows']:,}", f"{facts['positive_fraction']:.1%}", *numbers)
    return table


def _reliability_table(said: dict[str, Any]) -> "Table":
    """What was claimed and what came true, for each tenth of the probabilities."""
    names = {"validation": said["calibration"]["calibrated"], "truth": said["truth"]}
    known = {name: facts["table"] for name, facts in names.items() if facts}
    heads = (f"{name} {what}" for name in known for what in ("rows", "claimed", "true"))
    table = number_table("Reliability", "probability", [head.replace(" ", "\n") for head in heads])
    for low in sorted({part["low"] for parts in known.values() for part in parts}):
        cells: list[str] = []
        for parts in known.values():
            found = next((part for part in parts if part["low"] == low), None)
            cells += _reliability(found) if found else ["", "", ""]
        table.add_row(f"{low:.1f}-{low + 0.1:.1f}", *cells)
    return table


def _reliability(part: dict[str, Any]) -> list[str]:
    shares = (part["mean_probability"], part["positive_fraction"])
    return [f"{part['rows']:,}", *(f"{share:.1%}" for share in shares)]


def _promises_table(said: dict[str, Any]) -> "Table":
    """Who gets a label at each precision, and how often it was right."""
    measured = [name for name in ("test", "truth") if said[name]]
    names = ("threshold", "pairs", "share", "validation", *measured)
    table = number_table("Labels, and how often they are right", "promised", names)
    for promise in said["promises"]:
        for name in CLASSES:
            label = promise[name]
            head = f"{_percent(promise['precision'])} % {name}"
            if label["threshold"] is None:
                table.add_row(head, "none", "0", *([""] * (len(names) - 2)))
                continue
            rates = (label[known]["precision"] for known in ("validation", *measured))
            share = label["pairs"] / max(said["counts"]["pairs"], 1)
            table.add_row(
                head,
                f"{label['threshold']:.3f}",
                f"{label['pairs']:,}",
                f"{share:.1%}",
                *("-" if rate is None else f"{rate:.1%}" for rate in rates),
            )
    return table


def _show_notes(said: dict[str, Any]) -> None:
    notes = [
        "none: no threshold keeps the promise on validation, so nobody gets the label"
        if any(p[name]["threshold"] is None for p in said["promises"] for name in CLASSES)
        else "",
        _reachable(said),
        _without_model(said),
        _likeness(said),
        _broken(said),
        _count(said, "unknown", ("pair has", "pairs have"), " a user or item unknown to the run"),
        _count(
            said,
            "labelled_already",
            ("pair is", "pairs are"),
            " labelled in the dataset, and not held against truth",
        ),
        *_agreement(said["agreement"]),
        _influence(said["influence"]),
    ]
    for note in filter(None, notes):
        console.print(f"  {note}")


def _reachable(said: dict[str, Any]) -> str:
    """What a lower precision would label, where the one asked for labels nobody."""
    if said["counts"]["positive"] + said["counts"]["negative"]:
        return ""
    asked = said["precision"]
    lower = [p for p in said["promises"] if p["precision"] < asked and p["share"]]
    if not lower:
        rows = counted(said["calibration"]["raw"]["rows"], "validation row")
        return f"nothing is labelled, and no lower precision would do: {rows} prove too little"
    best = lower[-1]
    pairs = counted(sum(best[name]["pairs"] for name in CLASSES), "pair")
    return (
        f"nothing is labelled at {_percent(asked)}%; {_percent(best['precision'])}% would label "
        f"{pairs} (--precision {best['precision']:g})"
    )


def _without_model(said: dict[str, Any]) -> str:
    """How often the likelier label is right, and what the commoner class alone would get."""
    name = "truth" if said["truth"] else "test"
    share = said[name]["positive_fraction"]
    word = CLASSES[share < 0.5]
    right = max(share, 1 - share)
    return (
        f"likelier label of every pair: right for {said[name]['accuracy']:.1%} of {name}\n"
        f"  without a model: calling all pairs {word} is right for {right:.1%} of {name}"
    )


def _likeness(said: dict[str, Any]) -> str:
    """What hints, without any truth, that the pairs are not like the validation rows."""
    valid = said["calibration"]["calibrated"]["positive_fraction"]
    return (
        f"mean probability of the pairs {said['mean_probability']:.1%}, positive validation rows "
        f"{valid:.1%}"
    )


def _broken(said: dict[str, Any]) -> str:
    """Whether the truth falls short of a promise."""
    short = [
        f"{_percent(promise['precision'])}% {name}"
        for promise in said["promises"]
        for name in CLASSES
        if said["truth"]
        and promise[name]["truth"]["rows"] >= LEAST_ROWS
        and promise[name]["truth"]["precision"] < promise["precision"] - MARGIN
    ]
    if not short:
        return ""
    return (
        f"broken by truth: {', '.join(short)}; these pairs are not like the validation rows, so "
        "do not use these labels"
    )


def _count(said: dict[str, Any], name: str, what: tuple[str, str], rest: str) -> str:
    n = said["counts"][name]
    return f"{counted(n, *what)}{rest}" if n else ""


def _agreement(found: dict[str, Any]) -> list[str]:
    if not found["epochs"]:
        return ["no agreement: the run kept no weights of other epochs (--keep-epochs)"]
    if not found["truth"]:
        return []
    cells = (f"{row['agreement']:.0%}: {row['accuracy']:.1%}" for row in found["truth"])
    return [
        "likelier label right by truth, by the share of other epochs that agree:",
        "  " + ", ".join(cells),
    ]


def _influence(found: dict[str, Any] | None) -> str:
    if not found or found["truth_auc"] is None:
        return ""
    return f"AUC by truth of the influence, lowest first: {found['truth_auc']:.4f}"


def _percent(precision: float) -> str:
    """A precision in percent, as exact as it was asked for."""
    return f"{100 * precision:.10g}"


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
