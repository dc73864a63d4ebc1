"""Ways to damage what a file holds: its bytes, its structure, its table. Seeded; for `fuzz.py`."""

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

TEXTS = (
    "", " ", "\x00", "\t", "\r\n", "\ufeff", "\u202e", "=1+1", "@SUM(A1)", "-2+3",
    "<script>alert(1)</script>",
    "</script>", '"', "'", "''", "`", "{{7*7}}", "%s%n", "../../etc/passwd", "/etc/passwd", "~",
    "nan", "inf",
    "-inf", "NaN", "1e999", "0x10", "1_000", "١٢٣", "²", "\U0001d7d9", "true", "null", "None",
    "2024-13-45", "007",
    "x" * 10_000, "os:system", "builtins:eval", "subprocess:Popen", "a:b", ":",
    "javascript:alert(1)", "\x1b[31m",
    "gmf", "ig", "row", "auc", "🙂" * 50, "e\u0301",
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 0.5, -0.0, 1e-320, 1e308, -1e308, 2**31, 2**31 - 1, -(2**31), 2**63,
    2**63 - 1, -(2**63),
    2**64, 10**30, 10**400, float("nan"), float("inf"), float("-inf"), 1e18, 100_000_000,
)  # fmt: skip


def hostile(draw: random.Random) -> Any:
    """A value that is hardly what was expected."""
    kind = draw.randrange(8)
    if kind < 2:
        return draw.choice(TEXTS)
    if kind < 5:
        return draw.choice(NUMBERS)
    if kind == 5:
        return draw.choice((None, True, False))
    if kind == 6:
        return draw.choice(([], {}, [[]], [None], {"": 0}, [1, "a"], {"a": {"b": []}}))
    deep: Any = draw.choice(([], {}))
    for _ in range(draw.choice((5, 60, 400))):
        deep = [deep] if draw.random() < 0.5 else {"a": deep}
    return deep


def of_structure(tree: Any, draw: random.Random) -> Any:
    """A tree of lists and mappings with some of its parts replaced, removed, renamed or added."""
    tree = json.loads(json.dumps(tree))
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        if not isinstance(tree, dict | list) or not tree or draw.random() < 0.02:
            return hostile(draw)
        inner = tree
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key = draw.choice(keys)
            if isinstance(inner[key], dict | list) and inner[key] and draw.random() < 0.8:
                inner = inner[key]
                continue
            break
        _change(inner, key, draw)
    return tree


def _change(inner: Any, key: Any, draw: random.Random) -> None:
    way = draw.randrange(8)
    if way == 0:
        del inner[key]
    elif way == 1 and isinstance(inner, dict):
        inner[str(draw.choice(TEXTS))] = inner.pop(key)
    elif way == 2 and isinstance(inner, dict):
        inner[str(draw.choice(TEXTS))] = hostile(draw)
    elif way == 2:
        inner.extend([inner[key]] * draw.choice((1, 3, 1000)))
    elif way == 3 and isinstance(inner[key], int | float):
        inner[key] = draw.choice((-inner[key], inner[key] + 1, inner[key] * 1000, str(inner[key])))
    elif way == 4:
        inner[key] = [inner[key]]
    else:
        inner[key] = hostile(draw)


def of_bytes(content: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, cut off, doubled, removed or put in."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        at, length = draw.randrange(len(data) + 1), draw.choice((1, 2, 8, 100))
        way = draw.randrange(7)
        if way < 3 and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif way == 3:
            del data[at : at + length]
        elif way == 4:
            data[at:at] = data[at : at + length]
        elif way == 5:
            data[at:at] = draw.choice((b"\0", b"\xff", b'"', b"\n", b"\r", b"{", b"\x80", b"'"))
        elif draw.random() < 0.3:
            del data[at:]
    return bytes(data)


def of_json(file: Path, draw: random.Random) -> None:
    """Damage a JSON or JSON-lines file, mostly by structure."""
    if draw.random() < 0.15:
        file.write_bytes(of_bytes(file.read_bytes(), draw))
        return
    if file.suffix == ".jsonl":
        lines = file.read_text().splitlines() or ["{}"]
        at = draw.randrange(len(lines))
        lines[at] = json.dumps(of_structure(json.loads(lines[at]), draw))
        file.write_text("\n".join(lines) + draw.choice(("\n", "\n", "", "\n\n", "\n[]\n")))
    else:
        file.write_text(json.dumps(of_structure(json.loads(file.read_text()), draw)))


def of_npy(file: Path, draw: random.Random) -> None:
    """Damage a NumPy file: its head, its type, its shape, its values."""
    values = np.load(file)
    way = draw.randrange(7)
    if way == 0:
        file.write_bytes(of_bytes(file.read_bytes(), draw))
    elif way == 1:
        head = repr(
            {
                "descr": draw.choice(("<i4", "|O", "<f8", "|S8", ">i4", "<U3", [("a",
                    "<i4")], "<c16", 3)),
                "fortran_order": draw.choice((False, True, 3)),
                "shape": draw.choice(((-1,), (2**62,), (len(values),), (1, 2, 3), (), ("a",), 7)),
            }
        )  # fmt: skip
        text = draw.choice((head, "(" * 9000, "[" * 500 + "]" * 500, head[:-1])).encode() + b"\n"
        length = len(text).to_bytes(2, "little", signed=False)
        file.write_bytes(b"\x93NUMPY\x01\x00" + length + text + values.tobytes())
    elif way == 2:
        np.save(file, values.astype(draw.choice(("f8", "i8", "U4", "?", "c16", "M8[s]", "V4"))))
    elif way == 3:
        np.save(file, values[: draw.randrange(len(values) + 1)])
    elif way == 4:
        np.save(
            file, np.asfortranarray(np.tile(values[:, None], 2)) if values.ndim == 1 else values
        )
    else:
        values = values.copy()
        for _ in range(draw.choice((1, 5))):
            if values.size:
                extreme = draw.choice((-1, 127, -128, 2, 2**31 - 1, -(2**31)))
                flat = values.reshape(-1)
                flat[draw.randrange(values.size)] = (
                    np.nan if values.dtype.kind == "f" else np.clip(extreme, *_ends(values.dtype))
                )
        np.save(file, values)


def _ends(dtype: np.dtype[Any]) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def of_parquet(file: Path, draw: random.Random) -> None:
    """Damage a Parquet file of ids: its bytes, its columns, its types, its length."""
    if draw.random() < 0.4:
        file.write_bytes(of_bytes(file.read_bytes(), draw))
        return
    table = pl.read_parquet(file, glob=False)
    first = table.columns[0]
    changes: tuple[Callable[[], pl.DataFrame], ...] = (
        lambda: table.head(draw.randrange(table.height + 1)),
        lambda: pl.concat([table, table]),
        lambda: table.rename({first: draw.choice(("ID", "", "user", "x" * 1000))}),
        lambda: table.with_columns(pl.lit(None).alias(first)),
        lambda: table.with_columns(pl.lit(7).alias(first)),
        lambda: table.with_columns(pl.col(first).cast(pl.Float64, strict=False)),
        lambda: table.with_columns(pl.col(first).cast(pl.String).cast(pl.Categorical)),
        lambda: table.with_columns(pl.concat_list(pl.col(first)).alias(first)),
        lambda: table.with_columns(pl.struct(pl.col(first)).alias(first)),
        lambda: table.with_columns(pl.col(first).cast(pl.String).cast(pl.Binary)),
        lambda: table.with_columns(pl.lit(draw.choice(TEXTS)).alias(first)),
        lambda: table.select(pl.lit(1).alias("other")),
        lambda: table.with_columns(pl.lit(0).cast(pl.Datetime("us", "Asia/Shanghai")).alias(first)),
    )
    draw.choice(changes)().write_parquet(file)


def of_safetensors(file: Path, draw: random.Random) -> None:
    """Damage a safetensors file: the length of its head, the head, its values."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    way = draw.randrange(4)
    if way == 0:
        huge = draw.choice((0, 1, 2**63, 2**64 - 1, 10**8, length - 1, length + 1))
        file.write_bytes(huge.to_bytes(8, "little") + data[8:])
    elif way == 1:
        head = json.dumps(of_structure(json.loads(data[8 : 8 + length]), draw)).encode()
        file.write_bytes(len(head).to_bytes(8, "little") + head + data[8 + length :])
    elif way == 2:
        body = np.frombuffer(data[8 + length :], np.uint8).copy()
        body[: draw.choice((4, len(body)))] = 0xFF  # NaN
        file.write_bytes(data[: 8 + length] + body.tobytes())
    else:
        file.write_bytes(of_bytes(data, draw))


def damage(file: Path, draw: random.Random) -> None:
    """Damage a file in the manner of its kind."""
    ways = {
        ".json": of_json,
        ".jsonl": of_json,
        ".npy": of_npy,
        ".parquet": of_parquet,
        ".safetensors": of_safetensors,
    }
    if draw.random() < 0.05:
        extreme = draw.randrange(3)
        file.unlink()
        if extreme == 0:
            file.mkdir()
        elif extreme == 1:
            file.write_bytes(b"")
        return
    before = file.read_bytes()
    try:
        ways[file.suffix](file, draw)
    except Exception:  # no file of its kind any more, or of another
        file.write_bytes(of_bytes(before, draw))


def parquet_bytes(table: pl.DataFrame) -> bytes:
    """A table as the bytes of a Parquet file."""
    stream = io.BytesIO()
    table.write_parquet(stream)
    return stream.getvalue()


def request_body(draw: random.Random) -> tuple[str, bytes]:
    """A path of the service, and a body for it."""
    path, body = draw.choice(
        (
            ("/score", {"pairs": [["u1", 3], ["u2", 4]]}),
            ("/recommend", {"users": ["u1", 2], "k": 3, "exclude_seen": True,
                "items": [1, 2], "exclude_items": [3]}),
        )
    )  # fmt: skip
    content = json.dumps(of_structure(body, draw)).encode()
    if draw.random() < 0.25:
        content = of_bytes(content, draw)
    if draw.random() < 0.05:
        content = draw.choice(
            (b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000, b"\xff" * 10, b"x" * 3_000_000)
        )
    return path, content
