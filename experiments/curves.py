"""What experiments found, small enough to commit: JSON, tables, and curves over label shares.

    python experiments/curves.py OUT/results.json [...] --out experiments/equal_terms [--keep]

For each dataset, whichever experiments it was in: `DATASET.json`, a row a method in a group (share
of labels x backbone); `DATASET.md`, tables of AUC and GAUC, differences and cost; and, if several
shares were measured, `DATASET-BACKBONE-METRIC.svg`. Needs the extra `report` for the curves. With
`--keep`, groups that an earlier call wrote and this one has not measured stay.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from statistics import fmean

import yaml

from invlearn.experiments.markdown import MARKS, METRICS, NO_LOSS
from invlearn.reporting.charts import Reading, save, share_chart

SHOWN = ("auc", "gauc")
DRAWN_BASELINES = ("item+user-rate", "exposure-factors")
SHAPE = ("label_share", "flip_positives", "flip_negatives")


def main() -> None:
    """Write what there is on every dataset of the experiments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    experiments = [json.loads(file.read_text()) for file in given.results]
    references = {found["reference"] for found in experiments}
    if len(references) > 1:
        parser.error(f"the experiments compare with different strategies: {sorted(references)}")
    (reference,) = references
    heads = [head_of(*pair) for pair in zip(experiments, given.results, strict=True)]
    groups = [(at, group) for at, found in enumerate(experiments) for group in found["groups"]]
    if len({place_of(group) for _, group in groups}) < len(groups):
        parser.error("two experiments measured the same share, dataset and backbone; leave one out")
    for name in dict.fromkeys(group["dataset"] for _, group in groups):
        own = [pair for pair in groups if pair[1]["dataset"] == name]
        head = {
            "dataset": name,
            "test": own[0][1]["counts"],
            "reference": reference,
            "experiments": {at: heads[at] for at, _ in own},
        }
        rows = [row for at, group in sorted(own, key=order) for row in rows_of(at, group)]
        if given.keep:
            head, rows = with_earlier(given.out / f"{name}.json", head, rows)
        write(given.out, head, rows)


def with_earlier(file: Path, head: dict, rows: list[dict]) -> tuple[dict, list[dict]]:
    """What a call found, and groups of an earlier one that it has not measured."""
    if not file.exists():
        return head, rows
    earlier = json.loads(file.read_text())
    if earlier["reference"] != head["reference"]:
        raise SystemExit(f"{file} compares with {earlier['reference']}; choose another --out")
    shape = (*SHAPE, "backbone")
    measured = {tuple(row[key] for key in shape) for row in rows}
    kept = [r for r in earlier["rows"] if tuple(r[key] for key in shape) not in measured]
    numbers = {
        int(at): max([*head["experiments"], -1]) + 1 + int(at) for at in earlier["experiments"]
    }
    used = {row["experiment"] for row in kept}
    more = {numbers[int(at)]: e for at, e in earlier["experiments"].items() if int(at) in used}
    kept = [row | {"experiment": numbers[row["experiment"]]} for row in kept]
    rows = sorted([*rows, *kept], key=lambda row: [row[key] for key in (*SHAPE[1:], SHAPE[0])])
    return head | {"experiments": head["experiments"] | more}, rows


def write(out: Path, head: dict, rows: list[dict]) -> None:
    """Write the files of a dataset."""
    file = out / f"{head['dataset']}.json"
    file.write_text(as_text(head, rows))
    file.with_suffix(".md").write_text(tables(head["dataset"], rows, head["reference"]))
    for chart, title in charts(head["dataset"], rows):
        save(chart, out / f"{head['dataset']}-{title}.svg")
    print(f"{file}: {len(rows)} rows, {file.stat().st_size / 1000:.0f} kB")


def head_of(results: dict, file: Path) -> dict:
    """Commit, environment and grid, without the folders of datasets: those differ by machine."""
    plan = yaml.safe_load(file.with_name("experiment.yaml").read_text())
    plan["datasets"] = list(plan["datasets"])
    return {key: results.get(key) for key in ("commit", "environment")} | {"plan": plan}


def place_of(group: dict) -> tuple:
    """Where a group stands among all."""
    return tuple(group[key] for key in ("dataset", *SHAPE, "backbone"))


def order(pair: tuple[int, dict]) -> list[float]:
    """Groups by what was flipped, then by share."""
    _, group = pair
    return [group[key] for key in (*SHAPE[1:], SHAPE[0])]


def rows_of(experiment: int, group: dict) -> list[dict]:
    """What each method and each baseline of a group reached, a row each."""
    place = {"experiment": experiment} | {key: group[key] for key in (*SHAPE, "backbone")}
    return [
        place | {"method": name, "trivial": kind == "baselines"} | summary(name, found)
        for kind in ("methods", "baselines")
        for name, found in group[kind].items()
    ]


def summary(name: str, found: dict) -> dict:
    """Metrics with intervals; of a method that was trained also what it took."""
    row: dict = {
        metric: metric_of(found, metric)
        for metric in METRICS
        if found["means"].get(metric, {}).get("value") is not None
        and not (metric == "log_loss" and name in NO_LOSS)
    }
    if not found["seeds"]:
        return row
    effort = found["effort"] or {}
    return row | {
        "seeds": Counter(record["state"] for record in found["seeds"]),
        "trials": Counter(trial["state"] for trial in found["trials"]),
        "settings": {key: short(value) for key, value in found["settings"].items()},
        "effort": {key: short(value) for key, value in effort.items()},
    }


def metric_of(found: dict, metric: str) -> dict:
    """Mean, spread and interval; difference from the reference, its interval, and the outcome."""
    mean = found["means"][metric]
    value = {"mean" if key == "value" else key: short(x) for key, x in mean.items()}
    if metric in found["differences"]:
        difference = found["differences"][metric]
        value["difference"] = [short(difference[key]) for key in ("value", "low", "high")]
        value["outcome"] = found["outcomes"][metric]
    return value


def short(value: object) -> object:
    """Seven digits of a number are enough."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def as_text(head: dict, rows: list[dict]) -> str:
    """JSON with a line a row, so that a change of one is one line of a diff."""
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    return f'{json.dumps(head, indent=1)[:-2]},\n "rows": [\n{lines}\n ]\n}}\n'


def charts(name: str, rows: list[dict]):
    """A curve for each backbone and metric, with the part of its file name."""
    clean = [row for row in rows if row["flip_positives"] == row["flip_negatives"] == 0]
    if len({row["label_share"] for row in clean}) < 2:
        return
    for backbone in dict.fromkeys(row["backbone"] for row in clean):
        for metric in SHOWN:
            found = [row for row in clean if row["backbone"] == backbone and metric in row]
            note = "Bands: 95 % intervals of the mean, for other users and other seeds."
            title = f"{name}, {backbone}: training labels hidden"
            chart = share_chart(readings(found, metric), title, f"test {metric.upper()}", note)
            yield chart, f"{backbone.replace(' ', '-')}-{metric}"


def readings(rows: list[dict], metric: str) -> list[Reading]:
    """Points of a curve."""
    return [
        Reading(
            row["method"],
            row["label_share"],
            row[metric]["mean"],
            row[metric]["low"],
            row[metric]["high"],
            row["trivial"],
        )
        for row in sorted(rows, key=lambda row: row["label_share"])
        if not row["trivial"] or row["method"] in DRAWN_BASELINES
    ]


def tables(name: str, rows: list[dict], reference: str) -> str:
    """Means with marks, differences with intervals, cost."""
    trained = [row for row in rows if not row["trivial"]]
    backbones = ", ".join(dict.fromkeys(row["backbone"] for row in rows))
    parts = [
        f"# {name}\n\nColumns: part of the training labels that is kept. {MARKS['win']} better, "
        f"{MARKS['loss']} worse than {reference} with the same backbone by the 95 % interval of "
        f"the paired difference, {MARKS['tie']} neither. ± is the standard deviation over seeds. A "
        f"trivial baseline has a mark for each backbone ({backbones})."
    ]
    parts += [table(metric.upper(), rows, metric, level) for metric in SHOWN]
    if others := [row for row in trained if row["method"] != reference]:
        title = f"difference from {reference}"
        parts += [table(f"{m.upper()}, {title}", others, m, difference) for m in SHOWN]
    return "\n\n".join([*parts, costs(trained)]) + "\n"


def table(title: str, rows: list[dict], metric: str, cell) -> str:
    """A line a method and backbone, a column a share."""
    shapes = sorted({shape_of(row) for row in rows}, key=lambda s: (s[1:], s[0]))
    lines: dict[tuple, dict[tuple, list[dict]]] = {}
    for row in rows:
        line = (row["method"], "" if row["trivial"] else row["backbone"])
        if metric in row:
            lines.setdefault(line, {}).setdefault(shape_of(row), []).append(row[metric])
    body = [
        " | ".join([*line, *(cell(found[s]) if s in found else "-" for s in shapes)])
        for line, found in sorted(lines.items(), key=lambda item: item[0][1] == "")
    ]
    head = " | ".join(["method", "backbone", *map(shape_name, shapes)])
    rule = f"|---|---|{'--:|' * len(shapes)}"
    return "\n".join([f"## {title}", "", f"| {head} |", rule, *(f"| {row} |" for row in body)])


def shape_of(row: dict) -> tuple:
    """Share of labels and fractions flipped."""
    return tuple(row[key] for key in SHAPE)


def shape_name(shape: tuple) -> str:
    """The same as the head of a column."""
    share, positives, negatives = shape
    words = [f"{share:.4g}"]
    words += [f"positives flipped {positives:.4g}"] if positives else []
    words += [f"negatives flipped {negatives:.4g}"] if negatives else []
    return ", ".join(words)


def level(found: list[dict]) -> str:
    """Mean, spread and a mark for each backbone."""
    spread = found[0]["spread"]
    marks = "".join(MARKS[value["outcome"]] for value in found if "outcome" in value)
    words = f"{found[0]['mean']:.4f}{'' if spread is None else f' ± {spread:.4f}'}"
    return f"{words} {marks}".strip()


def difference(found: list[dict]) -> str:
    """Difference with its interval, if there is one."""
    if None in found[0].get("difference", [None]):
        return "-"
    value, low, high = found[0]["difference"]
    return f"{value:+.4f} ({low:+.4f} to {high:+.4f}) {MARKS[found[0]['outcome']]}"


def costs(rows: list[dict]) -> str:
    """What methods took, over all columns."""
    lines = [
        "## Cost",
        "",
        "Trials and their seconds are sums over all columns, the rest means (memory: the most).",
        "",
        "| method | backbone | seconds a run | epochs | peak MiB "
        "| trials complete | given up | failed | search seconds |",
        f"|---|---|{'--:|' * 7}",
    ]
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["backbone"]), []).append(row)
    for key, found in groups.items():
        efforts = [row["effort"] for row in found if row["effort"]]
        trials = sum((Counter(row["trials"]) for row in found), Counter())
        states = [str(trials[state]) for state in ("complete", "pruned", "failed")]
        if efforts:
            peak = max(effort["peak_bytes"] or 0 for effort in efforts)
            seconds, epochs = (fmean(e[k] for e in efforts) for k in ("seconds", "epochs"))
            searched = sum(effort["search_seconds"] for effort in efforts)
            run = [f"{seconds:.1f}", f"{epochs:.1f}", f"{peak / 2**20:.0f}"]
            lines.append(f"| {' | '.join([*key, *run, *states, f'{searched:.0f}'])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
