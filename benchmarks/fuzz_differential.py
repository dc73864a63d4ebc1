"""Random small logs, prepared by invlearn and by a slow reference in pandas: is anything different?

    python benchmarks/fuzz_differential.py [--cases 100000] [--jobs 2] [--seed 0] [--only NUMBER]

Each case draws a table of rows, writes it as one or more files (CSV, TSV, Parquet) or keeps it in
memory, with the variety of real logs: types, missing words, spaces, quotes, blank lines, line ends,
byte-order marks, repeated rows, tied times, zones, single precision. The reference works on the
drawn values, not on the files. Every label, id, part and count must be equal, or the log refused.
A log without a fault must not be refused. Writes `benchmarks/fuzz_differential.json`.
"""

import argparse
import json
import random
import shutil
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from invlearn.data.dataset import Dataset
from invlearn.data.prepare.prepare import prepare
from invlearn.runtime.errors import InvlearnError

HERE = Path(__file__).parent
WORDS = ["", "NA", "nan", "null", "None", r"\N", "N/A"]
RULES = {
    "x >= 0.7, <= 0.1": ("x", lambda x: x >= 0.7, lambda x: x <= 0.1),
    "x > 0.5": ("x", lambda x: x > 0.5, lambda x: ~(x > 0.5)),
    "x / length >= 0.7, < 0.3": ("x", None, None),
    "events(hate=0, like=1)": ("like", None, None),
    "label(given)": ("given", lambda x: x == 1, lambda x: x == 0),
}
FAULTS = [
    "",
    "",
    "",
    "",
    "",
    "missing user",
    "short line",
    "long line",
    "stray word",
    "mixed times",
]
ONE_CLASS = ("both classes are needed", "is no usable", "would have", "has no rows", "is bad:")


@dataclass
class Case:
    """A drawn log."""

    frame: pd.DataFrame
    rule: str
    options: dict[str, Any]
    fault: str
    form: str


def main() -> None:
    """Run all cases, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if given.only is not None:
        print(json.dumps(one(given.seed, given.only), indent=1))
        return
    n_cases = given.cases // 100 if given.quick else given.cases
    blocks = [(given.seed, at, min(at + 500, n_cases)) for at in range(0, n_cases, 500)]
    tally: Counter[str] = Counter()
    found: list[dict[str, Any]] = []
    with ProcessPoolExecutor(given.jobs) as pool:
        for results in pool.map(several, blocks):
            for result in results:
                tally[result["end"]] += 1
                if result["end"].startswith("FOUND"):
                    found.append(result)
                    print(json.dumps(result), flush=True)
            print(dict(tally), flush=True)
    if not given.quick:
        content = {"cases": n_cases, "seed": given.seed, "ends": dict(tally), "found": found[:50]}
        (HERE / "fuzz_differential.json").write_text(json.dumps(content, indent=1) + "\n")


def several(block: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Run a block of cases in this process."""
    seed, first, end = block
    return [one(seed, number) for number in range(first, end)]


def one(seed: int, number: int) -> dict[str, Any]:
    """Run one case: prepare a log, and compare with the reference."""
    rng = random.Random(f"{seed} {number}")
    case = drawn(rng)
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    result: dict[str, Any] = {"case": number, "form": case.form, "fault": case.fault}
    try:
        with warnings.catch_warnings(action="ignore"):
            source = written(case, place / "log", rng)
            prepare(source, place / "data", rule=case.rule, **case.options)
    except InvlearnError as error:
        message = str(error)
        one_class = any(words in message for words in ONE_CLASS)
        expected = bool(case.fault) or one_class
        end = f"refused: {case.fault or 'one class'}" if expected else "FOUND: refused"
        return result | {"end": end, "message": message, "rule": case.rule}
    except Exception as error:
        return result | {"end": "FOUND: error", "message": repr(error)[:300]}
    else:
        why = different(case, Dataset.open(place / "data"))
        return result | {"end": f"FOUND: {why}" if why else "equal", "rule": case.rule}
    finally:
        shutil.rmtree(place, ignore_errors=True)


def drawn(rng: random.Random) -> Case:
    """Draw a table of rows, a rule, options and a fault."""
    n, n_users, n_items = rng.randint(40, 160), rng.randint(3, 30), rng.randint(3, 30)
    kind = rng.choice(["int", "int", "negative", "name", "zeros", "code"])
    names = {
        "int": lambda k: k * 7,
        "negative": lambda k: k - 5,
        "name": lambda k: f"u {k}é",
        "zeros": lambda k: f"{k:04}",
        "code": lambda k: f"{k}E5",
    }
    users = [names[kind](rng.randrange(n_users)) for _ in range(n)]
    frame = pd.DataFrame(
        {"user": pd.Series(users), "item": [rng.randrange(n_items) for _ in users]}
    )
    x = [rng.choice([0.0, 0.1, 0.3, 0.5, 0.7, 0.70000005, 1.0, 2.5]) for _ in users]
    frame["x"] = pd.Series(x, dtype=rng.choice(["float32", "float64"]))
    frame["length"] = pd.Series(
        [rng.choice([1.0, 2.0, 0.3]) for _ in users], dtype=frame["x"].dtype
    )
    frame["hate"] = [rng.choice([0, 0, 0, 1]) for _ in users]
    frame["like"] = [rng.choice([0, 0, 1, 3]) for _ in users]
    frame["given"] = pd.Series([rng.choice([0, 1, None]) for _ in users], dtype="Int64")
    moments = [rng.randrange(40) * 86_399 for _ in users]
    frame["moment"] = moments
    frame["when"] = times(moments, rng)
    frame["part"] = [rng.choice(["train", "train", "valid", "test"]) for _ in users]
    if rng.random() < 0.5:  # rows that were logged several times
        again = frame.sample(rng.randint(1, 20), random_state=rng.randrange(2**31), replace=True)
        frame = pd.concat([frame, again], ignore_index=True)
    options: dict[str, Any] = {"repeats": rng.choice(["last", "first", "any-positive", "majority"])}
    options |= rng.choice([{}, {"time": "when"}, {"time": "when", "split": "temporal"}])
    if rng.random() < 0.3:
        options |= {"split": "column", "split_column": "part"}
    form = rng.choice(["csv", "csv", "tsv", "parquet", "pandas", "polars", "arrow"])
    fault = rng.choice(FAULTS) if form in ("csv", "tsv") else ""
    if fault == "missing user" and rng.random() < 0.5:
        options["bad_rows"], fault = "drop", "missing user dropped"
    if fault == "mixed times" and ("time" not in options or frame["when"].dtype != object):
        fault = ""
    return Case(frame, rng.choice([*RULES]), options, fault, form)


def times(moments: list[int], rng: random.Random) -> list[Any]:
    """Return times in one of the forms of logs."""
    start = datetime(2023, 11, 15, tzinfo=UTC)
    dates = [start + timedelta(seconds=moment) for moment in moments]
    match rng.choice(["number", "text", "zoned", "datetime"]):
        case "number":
            return moments
        case "text":
            return [
                date.strftime(rng.choice(["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"]))
                for date in dates
            ]
        case "zoned":
            zones = [timezone(timedelta(minutes=rng.choice([0, 480, -210]))) for _ in dates]
            return [
                date.astimezone(zone).isoformat() for date, zone in zip(dates, zones, strict=True)
            ]
        case _:
            return [date.replace(tzinfo=None) for date in dates]


def written(case: Case, folder: Path, rng: random.Random) -> Any:
    """Write the log in its form, or return it as a table."""
    frame = case.frame.drop(columns="moment")
    match case.form:
        case "pandas":
            return frame
        case "polars" | "arrow":
            table = pl.from_pandas(frame)
            return table if case.form == "polars" else table.to_arrow()
        case _:
            folder.mkdir()
    cuts = sorted(rng.sample(range(1, len(frame)), rng.choice([0, 0, 1, 2])))
    faulty = rng.randrange(len(cuts) + 1)
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(frame)], strict=True)):
        part, file = frame.iloc[start:end], folder / f"{number}.{case.form}"
        if case.form == "parquet":
            table = pl.from_pandas(part)
            if table["item"].dtype == pl.Int64 and rng.random() < 0.3:
                table = table.with_columns(pl.col("item").cast(rng.choice([pl.Int32, pl.UInt16])))
            table.write_parquet(file)
            continue
        fault = case.fault if number == faulty else ""
        file.write_bytes(text_of(part, case.form, fault, rng).encode())
    return folder


def text_of(part: pd.DataFrame, form: str, fault: str, rng: random.Random) -> str:
    """Return the text of a file, with the freedom that such files have, and a fault."""
    sign = "," if form == "csv" else "\t"
    gap = rng.choice(["", "", "", " "]) if form == "csv" else ""
    missing, quote = rng.choice(WORDS), rng.random() < 0.3
    lines = [[*map(str, part.columns)]]
    for row in part.itertuples(index=False):
        fields = [missing if value is pd.NA or value is None else str(value) for value in row]
        # a quoted field may have no space before its quote
        lines.append(
            [
                f'"{field}"' if quote and not gap and rng.random() < 0.2 else field
                for field in fields
            ]
        )
    at = rng.randrange(1, len(lines))
    match fault:
        case "missing user" | "missing user dropped":
            lines[at][0] = rng.choice(WORDS)
        case "short line":
            lines[at] = lines[at][: rng.randint(1, len(lines[at]) - 1)]
        case "long line":
            lines[at] = [*lines[at], *["1"] * rng.randint(1, 3)]
        case "stray word":
            lines[at][2] = lines[at][3] = lines[at][5] = lines[at][6] = "unknown"
        case "mixed times":
            lines[at][7] = "2023-12-01"
        case _:
            pass
    texts = [(sign + gap).join(fields) for fields in lines]
    if rng.random() < 0.2:
        texts.insert(rng.randrange(1, len(texts)), "")
    end = rng.choice(["\n", "\n", "\r\n"])
    return rng.choice(["", "", "\ufeff"]) + end.join(texts) + rng.choice([end, "", end * 2])


def different(case: Case, data: Dataset) -> str:
    """Return what differs from the reference; empty if nothing does."""
    if case.fault and case.fault != "missing user dropped":
        return f"not refused: {case.fault}"
    if case.fault:
        return ""  # which row lost its user is known to the file alone
    expected = reference(case)
    ids = {kind: [str(one) for one in data.ids(kind)] for kind in ("user", "item")}
    found: dict[tuple[str, str], tuple[int | None, str]] = {}
    for name in ("train", "valid", "test", "unlabelled"):
        part = getattr(data, name)
        labels = [None] * len(part) if name == "unlabelled" else part.labels.tolist()
        for u, i, label in zip(part.users.tolist(), part.items.tolist(), labels, strict=True):
            found[ids["user"][u], ids["item"][i]] = (label, name)
    if {pair: label for pair, (label, _) in found.items()} != {
        pair: label for pair, (label, _) in expected.items()
    }:
        return "labels"
    split = case.options.get("split")
    if split and any(found[pair][1] != part for pair, (_, part) in expected.items() if part):
        return "parts"
    users = {user for user, _ in found}
    return "" if users == {*ids["user"]} else "users"


def reference(case: Case) -> dict[tuple[str, str], tuple[int | None, str]]:
    """Return label and part of each pair, by pandas; no part where a hash decides it."""
    frame = case.frame.copy()
    if case.form in ("csv", "tsv"):  # text has no single precision
        frame = frame.astype({"x": "float64", "length": "float64"})
    used = used_columns(case)
    timed = "time" in case.options
    if timed and case.options["repeats"] == "majority":
        frame = frame.drop_duplicates(["user", "item", "moment", *used], keep="first")
    frame["label"] = labels(case.rule, frame)
    frame["order"] = frame["moment"] if timed else 0
    frame = frame.sort_values("order", kind="stable")
    rows: dict[tuple[str, str], tuple[int | None, str, int]] = {}
    for pair, group in frame.groupby(["user", "item"], sort=False):
        row = chosen(group, case.options["repeats"])
        label = None if pd.isna(row["label"]) else int(row["label"])
        rows[str(pair[0]), str(pair[1])] = (label, row["part"], int(row["order"]))
    split = case.options.get("split")
    if split == "column":
        return by_column(rows)
    if split == "temporal":
        return by_time(rows, case)
    return {pair: (label, "") for pair, (label, _, _) in rows.items()}


def used_columns(case: Case) -> list[str]:
    """Return the columns whose values tell rows apart."""
    used = [name for name in ("x", "length", "hate", "like", "given") if name in case.rule]
    return [*used, "part"] if case.options.get("split") == "column" else used


def labels(rule: str, frame: pd.DataFrame) -> pd.Series:
    """Label all rows."""
    column, positive, negative = RULES[rule]
    if rule.startswith("events"):
        found = np.where(frame["hate"] != 0, 0, np.where(frame["like"] != 0, 1, np.nan))
        return pd.Series(found, index=frame.index)
    value = frame["x"] / frame["length"] if "/" in rule else frame[column]
    if "/" in rule:
        is_positive, is_negative = value >= 0.7, value < 0.3
    else:
        is_positive, is_negative = positive(value), negative(value)
    is_positive = is_positive.fillna(value=False).astype(bool)
    is_negative = is_negative.fillna(value=False).astype(bool)
    return pd.Series(np.where(is_positive, 1, np.where(is_negative, 0, np.nan)), index=frame.index)


def chosen(group: pd.DataFrame, policy: str) -> pd.Series:
    """Choose the row of a pair; the group is in order of time and row."""
    clear = group[group["label"].notna()]
    if policy == "any-positive" and len(clear):
        clear = clear[clear["label"] == clear["label"].max()]
    if policy == "majority" and len(clear):
        votes = clear["label"].value_counts()
        clear = clear[clear["label"].isin(votes[votes == votes.max()].index)]
    rows = clear if len(clear) else group
    return rows.iloc[0 if policy == "first" else -1]


Rows = dict[tuple[str, str], tuple[int | None, str, int]]


def by_column(rows: Rows) -> dict[tuple[str, str], tuple[int | None, str]]:
    """Split by the column: unlabelled rows of valid and test are dropped."""
    is_valid = any(part == "valid" for label, part, _ in rows.values() if label is not None)
    return {
        pair: (label, part if label is not None and is_valid else "")
        for pair, (label, part, _) in rows.items()
        if label is not None or part == "train"
    }


def by_time(rows: Rows, case: Case) -> dict[tuple[str, str], tuple[int | None, str]]:
    """Split by (time, user, item), ids in their own order; late unlabelled rows are dropped."""
    rank = {
        kind: {str(one): n for n, one in enumerate(sorted(case.frame[kind].unique(), key=_key))}
        for kind in ("user", "item")
    }
    order = sorted(
        (pair for pair in rows if rows[pair][0] is not None),
        key=lambda pair: (rows[pair][2], rank["user"][pair[0]], rank["item"][pair[1]]),
    )
    n = len(order)
    n_test, n_judged = round(n * 0.1), round(n * 0.2)
    parts = dict.fromkeys(order, "train")
    parts |= dict.fromkeys(order[n - n_judged :], "valid") if n_judged else {}
    parts |= dict.fromkeys(order[n - n_test :], "test") if n_test else {}
    last = rows[order[n - n_judged]][2] if n_judged else None
    return {
        pair: (label, parts.get(pair, ""))
        for pair, (label, _, moment) in rows.items()
        if label is not None or last is None or moment <= last
    }


def _key(one: Any) -> Any:
    return one.encode() if isinstance(one, str) else one


if __name__ == "__main__":
    main()
