"""Logs of some hundred rows each, most of them broken in some way; for `fuzz.py`."""

import gzip
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from fuzz_damage import NUMBERS, TEXTS, of_bytes, parquet_bytes

RULES = (
    "rating > 2", "rating >= 4, < 2", "signed(rating) > 0",
    "percentile(rating by duration) >= 0.8, < 0.2",
    "rating / duration >= 1.5, < 0.2", "events(hate=0, liked=1)", "label(liked)",
    "percentile(rating by duration, bins=3) > 0.5",
)  # fmt: skip
COLUMNS = ("user", "item", "rating", "duration", "liked", "hate", "timestamp")
ENDS = ("\n", "\n", "\n", "\r\n", "\r", "\n\n")


class Case(NamedTuple):
    """One call of the command line."""

    words: list[str]
    rows: int = 0


def log_case(draw: random.Random, place: Path, n_rows: int) -> Case:
    """Write a log, and say how it is to be prepared."""
    kind = draw.choice(
        ("csv", "csv", "tsv", "inter", "dat", "data", "parquet", "parquet", "csv.gz")
    )
    file = place / f"log.{kind}"
    if kind == "parquet":
        content = parquet_bytes(_table(draw, n_rows))
        if draw.random() < 0.4:
            content = of_bytes(content, draw)
    else:
        content = _text(draw, kind.partition(".")[0], n_rows)
    if kind == "csv.gz":
        content = gzip.compress(content, 1)
        content = of_bytes(content, draw) if draw.random() < 0.3 else content
    if draw.random() < 0.02:
        content = draw.choice(
            (b"", b"\0" * 100, b"PAR1", b"PAR1" * 2, b"\x1f\x8b\x08", b"PK\x03\x04", b"\xff\xfe")
        )
    file.write_bytes(content)
    return Case(["prepare", str(file), *_options(draw, place)], n_rows)


def _options(draw: random.Random, place: Path) -> list[str]:
    words = ["--out", str(place / "data"), "--overwrite"]
    for rule in draw.sample(RULES, draw.choice((1, 1, 2))):
        words += ["--rule", rule]
    words += ["--time", "timestamp"] if draw.random() < 0.6 else []
    words += ["--bad-rows", "drop"] if draw.random() < 0.7 else []
    words += ["--split", draw.choice(("random", "per-user", "temporal"))]
    words += ["--repeats", draw.choice(("last", "first", "any-positive", "majority"))]
    words += ["--core", "2"] if draw.random() < 0.1 else []
    return words


def _value(draw: random.Random, column: str, oddness: float) -> str:
    if draw.random() < oddness:
        return str(draw.choice(TEXTS if draw.random() < 0.7 else NUMBERS[:-7]))
    match column:
        case "user":
            return f"u{draw.randrange(30)}"
        case "item":
            return str(draw.randrange(40))
        case "rating":
            return str(draw.randrange(1, 6))
        case "duration":
            return f"{draw.uniform(1, 9):.3f}"
        case "liked" | "hate":
            return draw.choice(("0", "1", "1", ""))
        case _:
            return str(1_700_000_000 + draw.randrange(10**6))


def _text(draw: random.Random, kind: str, n_rows: int) -> bytes:
    separator = {"csv": ",", "dat": "::"}.get(kind, "\t")
    columns = ["user", "item", "rating", "timestamp"] if kind in ("dat", "data") else [*COLUMNS]
    oddness = draw.choice((0, 0.001, 0.01, 0.3))
    lines = [separator.join(_heads(draw, kind, columns))] if kind not in ("dat", "data") else []
    lines += [
        separator.join(_value(draw, column, oddness) for column in columns) for _ in range(n_rows)
    ]
    for _ in range(draw.choice((0, 0, 0, 1, 3))):
        _break_line(lines, separator, draw)
    end = draw.choice(ENDS)
    text = end.join(lines) + draw.choice((end, end, "", "\x1a"))
    encoding = draw.choice(("utf-8",) * 12 + ("utf-8-sig", "utf-16", "latin-1", "gb18030", "utf-7"))
    content = text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")
    return of_bytes(content, draw) if draw.random() < 0.3 else content


def _heads(draw: random.Random, kind: str, columns: list[str]) -> list[str]:
    heads = [f"{column}:{draw.choice(('token', 'float'))}" for column in columns]
    heads = heads if kind == "inter" else list(columns)
    way = draw.randrange(12)
    at = draw.randrange(len(heads))
    if way == 0:
        heads[at] = draw.choice(TEXTS).replace("\n", "")
    elif way == 1:
        heads[at] = heads[at - 1]
    elif way == 2:
        heads.pop(at)
    elif way == 3:
        heads += [f"extra{n}" for n in range(draw.choice((1, 50, 2_000)))]
    elif way == 4:
        heads[at] = draw.choice(("__row__", "__bad__", "__label__", "__user__", "__rule_0__", "n"))
    return heads


def _break_line(lines: list[str], separator: str, draw: random.Random) -> None:
    at = draw.randrange(len(lines))
    lines[at] = draw.choice(
        (
            lines[at] + separator + "more",
            lines[at].partition(separator)[0],
            f'"{lines[at]}',
            lines[at].replace(separator, f'"{separator}', 1),
            "",
            "\0" + lines[at],
            lines[at] + "y" * 100_000,
            separator * 5_000,
            '"' * 7,
            lines[at] + "\ud800",
            "=cmd|' /C calc'!A0" + lines[at],
        )
    )


def _table(draw: random.Random, n_rows: int) -> pl.DataFrame:
    """A table whose columns are mostly right, and sometimes of the oddest types."""
    data: dict[str, Any] = {name: _column(draw, name, n_rows) for name in COLUMNS}
    table = pl.DataFrame(data)
    way, name = draw.randrange(6), draw.choice(COLUMNS)
    if way == 0:
        table = table.drop(name)
    elif way == 1:
        table = table.with_columns(_odd(draw, n_rows).alias(name))
    elif way == 2:
        table = table.rename({name: draw.choice(("", "__row__", "__label__", "a" * 5_000, "İ"))})
    return table


def _column(draw: random.Random, name: str, n_rows: int) -> pl.Series:
    values = pl.Series(name, [_value(draw, name, 0) for _ in range(n_rows)])
    kind = draw.randrange(5)
    if kind == 0 and name not in ("user",):
        return values.cast(pl.Float32, strict=False)
    return values if name == "user" else values.cast(pl.Float64, strict=False).cast(pl.Int64)


def _odd(draw: random.Random, n: int) -> pl.Series:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    makers = (
        lambda: pl.Series([Decimal("1.5")] * n),
        lambda: pl.Series([moment + timedelta(hours=k) for k in range(n)]),
        lambda: pl.Series([date(1, 1, 1)] * n),
        lambda: pl.Series([timedelta(seconds=k) for k in range(n)]),
        lambda: pl.Series([[k] for k in range(n)]),
        lambda: pl.Series([{"a": k} for k in range(n)]),
        lambda: pl.Series([b"\xff" * k for k in range(n)]),
        lambda: pl.Series([None] * n),
        lambda: pl.Series([float("nan")] * n),
        lambda: pl.Series([draw.choice((1e308, float("inf"), -1.0, 5e-324)) for _ in range(n)]),
        lambda: pl.Series([2**64 - 1 - k for k in range(n)], dtype=pl.UInt64),
        lambda: pl.Series([-(2**63)] * n, dtype=pl.Int64),
        lambda: pl.Series([2**100 + k for k in range(n)], dtype=pl.Int128),
        lambda: pl.Series([k % 2 == 0 for k in range(n)]),
        lambda: pl.Series([f"c{k % 3}" for k in range(n)], dtype=pl.Categorical),
        lambda: pl.Series(["a" if k % 2 else "b" for k in range(n)], dtype=pl.Enum(["a", "b"])),
        lambda: pl.Series([draw.choice(TEXTS) for _ in range(n)]),
        lambda: pl.Series(list(range(n)), dtype=pl.Time),
        lambda: pl.Series([[1.0, 2.0]] * n, dtype=pl.Array(pl.Float64, 2)),
    )
    return draw.choice(makers)()


def sample_of_log(seed: int) -> dict[str, list[Any]]:
    """Columns of a small log that is whole."""
    draw = np.random.default_rng(seed)
    n = 900
    return {
        "user": [f"u{k}" for k in draw.integers(0, 30, n)],
        "item": draw.integers(0, 40, n).tolist(),
        "rating": draw.integers(1, 6, n).tolist(),
        "duration": draw.uniform(1, 9, n).tolist(),
        "liked": draw.integers(0, 2, n).tolist(),
        "hate": draw.integers(0, 2, n).tolist(),
        "timestamp": (1_700_000_000 + draw.integers(0, 10**6, n)).tolist(),
    }
