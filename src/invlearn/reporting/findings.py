"""Sentences at the top of a report: the main results, and cautions."""

from collections.abc import Iterator, Sequence

from invlearn.evaluation.baselines import ALL_BASELINES
from invlearn.reporting.blocks import Finding, decimals
from invlearn.reporting.measures import Material, Results
from invlearn.reporting.records import RunRecord
from invlearn.reporting.results import interval, outcome

LARGE_ERROR = 0.05
"""Calibration error that gets a caution."""
STANDINGS = {"good": "ahead of", "bad": "behind", "even": "not clearly different from"}


def findings(material: Material) -> tuple[Finding, ...]:
    """Return what a reader should know first."""
    several = len(material.results) > 1
    main = [
        finding._replace(words=f"{results.dataset}: {finding.words}") if several else finding
        for results in material.results
        for finding in (*_levels(results), *_cautions(results))
    ]
    if several:
        main.append(
            _caution(
                f"The runs were trained on {len(material.results)} different datasets: compare "
                "them within one, never across."
            )
        )
    return (*main, *_run_cautions(material.records), *_seed_caution(material.records))


def _caution(words: str) -> Finding:
    return Finding(words, is_caution=True)


def _levels(results: Results) -> Iterator[Finding]:
    """Yield the best run, the differences from the first, and the baselines, by AUC."""
    if not results.runs:
        return
    areas = {name: levels["auc"].value or 0.0 for name, levels in results.runs.items()}
    best = max(areas, key=areas.__getitem__)
    level = results.runs[best]["auc"]
    ends = interval(level.low, level.high)
    verb = "reaches an AUC of" if len(areas) == 1 else "is first by AUC:"
    yield Finding(f"{best} {verb} {decimals(level.value)}{ends and f' ({ends})'}.")
    yield from _differences(results)
    trivial = {name: levels["auc"].value or 0.0 for name, levels in results.baselines.items()}
    ahead = [name for name, value in trivial.items() if value > areas[best]]
    for name in ahead:
        yield _caution(
            f"{name}, which trains no backbone, is ahead of every run: AUC "
            f"{decimals(trivial[name])}."
        )
    # `exposure-factors` can be measured only on the dataset.
    absent = [name for name in ALL_BASELINES if name not in trivial]
    if trivial and not ahead:
        strongest = max(trivial, key=trivial.__getitem__)
        measured = " of those measured" if absent else ""
        yield Finding(
            f"The strongest trivial baseline{measured} is {strongest}: AUC "
            f"{decimals(results.baselines[strongest]['auc'].value)}."
        )
    if trivial and absent:
        yield _caution(
            f"Of the trivial baselines {listed([*trivial])} were measured; {listed(absent)} "
            f"{'was' if len(absent) == 1 else 'were'} not, and may be ahead of all of these."
        )


def _differences(results: Results) -> Iterator[Finding]:
    """Yield how the other runs compare with the first, by AUC."""
    groups: dict[str, list[str]] = {}
    for name, differences in results.differences.items():
        difference = differences["auc"]
        text = f"{name} ({decimals(difference.value, sign=True)})"
        groups.setdefault(STANDINGS[outcome("auc", difference)], []).append(text)
    for standing, names in groups.items():
        verb = "is" if len(names) == 1 else "are"
        yield Finding(f"{listed(names)} {verb} {standing} {results.reference} by AUC, paired.")


def _cautions(results: Results) -> Iterator[Finding]:
    off = [name for name, found in results.reliability.items() if found.ece > LARGE_ERROR]
    if off:
        yield _caution(
            f"Logits of {listed(off)}, read as probabilities, are off by more than "
            f"{LARGE_ERROR:.0%} on average: calibrate them before use."
        )
    if results.missing:
        yield _caution(f"Not measured again, so without paired differences: {results.missing}.")


def _run_cautions(records: Sequence[RunRecord]) -> Iterator[Finding]:
    unfinished = [record.name for record in records if record.test is None]
    if unfinished:
        verb = "has" if len(unfinished) == 1 else "have"
        yield _caution(
            f"{listed(unfinished)} {verb} not finished; figures are of the best epoch so far."
        )
    late = [r.name for r in records if r.best_epoch == r.config.epochs]
    if late:
        yield _caution(
            f"The last epoch was the best one of {listed(late)}: more --epochs may do better."
        )


def _seed_caution(records: Sequence[RunRecord]) -> Iterator[Finding]:
    """Yield how many settings were trained with one seed; other settings are no repetitions."""
    seeds: dict[str, set[int]] = {}
    for record in records:
        rest = record.config.model_dump_json(exclude={"seed"}) + record.card.fingerprint
        seeds.setdefault(rest, set()).add(record.config.seed)
    alone = sum(len(own) == 1 for own in seeds.values())
    if alone and len(records) > 1:
        which = "One seed each" if alone == len(seeds) else f"One seed of {alone} of {len(seeds)}"
        yield _caution(
            f"{which}: a difference between settings may be the seed's. invlearn compare trains "
            "with several."
        )


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
