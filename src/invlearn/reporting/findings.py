"""The sentences at the top of a report: what was found, and what a reader should mind."""

from collections.abc import Iterator, Sequence

from invlearn.evaluation.baselines import ALL_BASELINES
from invlearn.reporting.blocks import Finding, decimals
from invlearn.reporting.measures import Results
from invlearn.reporting.records import RunRecord
from invlearn.reporting.results import outcome

MANY_GAPS = 0.05
"""Calibration error from which on a reader is warned."""


def findings(records: Sequence[RunRecord], found: Sequence[Results]) -> tuple[Finding, ...]:
    """What a reader should know first.

    Args:
        records: Of all runs.
        found: What they reached, by dataset.
    """
    several = len(found) > 1
    said = [
        finding._replace(words=f"{results.dataset}: {finding.words}") if several else finding
        for results in found
        for finding in (*_reached(results), *_minded(results))
    ]
    if several:
        words = (
            f"The runs were trained on {len(found)} different datasets: compare them within one, "
            "never across."
        )
        said.append(Finding(words, is_caution=True))
    return (*said, *_endings(records))


def _reached(results: Results) -> Iterator[Finding]:
    if not results.runs:
        return
    best = results.leader("auc")
    level = results.runs[best]["auc"]
    between = f" ({decimals(level.low)} to {decimals(level.high)})" if level.low is not None else ""
    place = "reaches an AUC of" if len(results.runs) == 1 else "is first by AUC:"
    yield Finding(f"{best} {place} {decimals(level.value)}{between}.")
    yield from _differences(results)
    ahead = {
        name: levels["auc"].value or 0.0
        for name, levels in results.baselines.items()
        if (levels["auc"].value or 0.0) > (level.value or 0.0)
    }
    for name, value in ahead.items():
        words = f"{name}, which trains no backbone, is ahead of every run: AUC {decimals(value)}."
        yield Finding(words, is_caution=True)
    if results.baselines and not ahead:
        strongest = max(results.baselines, key=lambda n: results.baselines[n]["auc"].value or 0.0)
        value = decimals(results.baselines[strongest]["auc"].value)
        of_them = (
            "trivial baseline of those measured" if _unmeasured(results) else "trivial baseline"
        )
        yield Finding(f"The strongest {of_them} is {strongest}: AUC {value}.")
    yield from _not_all(results)


def _unmeasured(results: Results) -> list[str]:
    """Baselines of which nothing is known; exposure factors take the dataset."""
    return [name for name in ALL_BASELINES if name not in results.baselines]


def _not_all(results: Results) -> Iterator[Finding]:
    """Which baselines were measured, where some were not."""
    if (absent := _unmeasured(results)) and results.baselines:
        verb = "was" if len(absent) == 1 else "were"
        words = (
            f"Of the trivial baselines {listed([*results.baselines])} were measured; "
            f"{listed(absent)} {verb} not, and may be ahead of all of these."
        )
        yield Finding(words, is_caution=True)


def _differences(results: Results) -> Iterator[Finding]:
    """How the others stand to the first run, by AUC."""
    words = {"good": "ahead of", "bad": "behind", "even": "not told apart from"}
    sides: dict[str, list[str]] = {}
    for name, found in results.differences.items():
        difference = found["auc"]
        told = f"{name} ({decimals(difference.value, sign=True)})"
        sides.setdefault(outcome("auc", difference), []).append(told)
    for tone, names in sides.items():
        verb = "is" if len(names) == 1 else "are"
        yield Finding(f"{listed(names)} {verb} {words[tone]} {results.reference} by AUC, paired.")


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _minded(results: Results) -> Iterator[Finding]:
    loose = [name for name, found in results.reliability.items() if found.ece > MANY_GAPS]
    if loose:
        words = (
            f"Logits of {listed(loose)}, read as probabilities, are off by more than "
            f"{MANY_GAPS:.0%} on average: calibrate them before use."
        )
        yield Finding(words, is_caution=True)
    if results.missing:
        words = f"Not measured again, so without paired differences: {results.missing}."
        yield Finding(words, is_caution=True)


def _endings(records: Sequence[RunRecord]) -> Iterator[Finding]:
    waiting = [record.name for record in records if record.test is None]
    if waiting:
        verb = "has" if len(waiting) == 1 else "have"
        words = f"{listed(waiting)} {verb} not finished; figures are of the best epoch so far."
        yield Finding(words, is_caution=True)
    late = [r.name for r in records if r.best_epoch == r.config.epochs]
    if late:
        words = f"The last epoch was the best one of {listed(late)}: more --epochs may do better."
        yield Finding(words, is_caution=True)
    yield from _seeds(records)


def _seeds(records: Sequence[RunRecord]) -> Iterator[Finding]:
    """Which settings rest on one seed; runs that differ in more than it are no repetitions."""
    seeds: dict[str, set[int]] = {}
    for record in records:
        rest = record.config.model_dump_json(exclude={"seed"}) + record.fingerprint
        seeds.setdefault(rest, set()).add(record.config.seed)
    alone = sum(len(found) == 1 for found in seeds.values())
    if alone and len(records) > 1:
        which = "One seed each" if alone == len(seeds) else f"One seed of {alone} of {len(seeds)}"
        words = (
            f"{which}: a difference between settings may be the seed's. invlearn compare trains "
            "with several."
        )
        yield Finding(words, is_caution=True)
