"""Made-up measurements of the paper, as the page and what merges them read them."""

from reproduction.plans import published_rows
from reproduction.results import METRICS


def variants(found):
    return [name for name in ("printed", "released", "ablated") if getattr(found, name) is not None]


def level(value):
    return {"mean": value, "sd": 0.0009, "low": value - 0.004, "high": value + 0.004}


def source(commit="abc1234", command="invlearn reproduce all", date="2026-01-01"):
    return {
        "commits": [commit] if commit else [],
        "dates": [date],
        "machines": ["2 cores"],
        "commands": [command],
    }


def measured(values, **changes):
    """A row in one way, with the given mean of each metric."""
    return {
        "metrics": {name: level(value) for name, value in values.items()},
        "n_seeds": 5,
        "n_planned": 5,
        "seconds": 30.0,
        "best_epochs": [9, 10, 8, 7, 10],
        "epoch_cap": 10,
        "provenance": source(),
    } | changes


def table(dataset, stand_in=None):
    rows = []
    for found in published_rows():
        published = found.published[dataset]
        values = {name: getattr(published, name.split("@")[0]) + 0.001 for name in METRICS}
        rows.append(
            {
                "backbone": found.name.split()[0],
                "method": found.method,
                "published": published.model_dump(),
                "ways": {variant: measured(values) for variant in variants(found)},
            }
        )
    return {"dataset": dataset, "stand_in": stand_in, "fingerprint": "f0", "rows": rows}


def difference(of, less, gap, dataset="ml-1m", **gaps):
    """A comparison with one interval for every metric but those that have their own."""
    ends = dict.fromkeys(METRICS, gap) | {name.replace("_", "@"): g for name, g in gaps.items()}
    return {
        "dataset": dataset,
        "backbone": "GMF",
        "of": dict(zip(("method", "way"), of.split(), strict=True)),
        "less": dict(zip(("method", "way"), less.split(), strict=True)),
        "n_seeds": 5,
        "metrics": {
            name: {"mean": (low + high) / 2, "low": low, "high": high}
            for name, (low, high) in ends.items()
        },
    }


def tree(*differences, tables=None):
    tables = [table("ml-1m")] if tables is None else tables
    return {"tables": tables, "differences": list(differences)}


def ways_of(made, name):
    """Everything measured of a row such as `GMF IG`, to change it."""
    rows = made["tables"][0]["rows"]
    return next(r["ways"] for r in rows if f"{r['backbone']} {r['method']}" == name)


def plot(title, **changes):
    found = {"title": title, "file": "figure.svg", "caption": "Read so.", "provenance": source()}
    return found | changes
