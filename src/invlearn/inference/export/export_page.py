"""README of an exported model."""

from collections.abc import Mapping
from string import Template
from typing import Any

PAGE = """# $backbone, trained with $strategy

Run `$run`, seed $seed, $epoch; SHA-256 of `$weights`: `$digest`.

`model.onnx` gives the logit of (user, item) pairs: the higher, the likelier it is that the user
likes the item. Logits are not calibrated: no function of them is a probability before it was
fitted to labelled pairs, as `invlearn annotate` does. In the file: $form.

| | name | type | shape | what |
|---|---|---|---|---|
| input | `user` | int64 | `(pairs,)` | dense user ids, 0 to $last_user |
| input | `item` | int64 | `(pairs,)` | dense item ids, 0 to $last_item |
| output | `logit` | float32 | `(pairs,)` | |

Any number of pairs from 1. A dense id is the row number, counted from 0, of the original id in
`users.parquet` or `items.parquet`. An id that is not there has no logit: leave it out, and do not
pass -1, which ONNX reads as the last row.

```python
import numpy as np
import onnxruntime
import polars as pl

session = onnxruntime.InferenceSession("model.onnx")
users, items = (pl.read_parquet(f"{name}.parquet")["id"].to_list() for name in ("users", "items"))
user_row = {one: row for row, one in enumerate(users)}
item_row = {one: row for row, one in enumerate(items)}

pairs = [(users[0], items[0]), (users[0], items[-1])]
user = np.array([user_row[u] for u, _ in pairs], np.int64)
item = np.array([item_row[i] for _, i in pairs], np.int64)
(logit,) = session.run(["logit"], {"user": user, "item": item})
```
$embeddings
ONNX Runtime agrees with PyTorch on $pairs random pairs: the largest difference is
$difference of a logit's size, or of 1 where that is larger. `export.json` says from which run
and by which versions this was made, and has the SHA-256 of every file.
"""

FACTORS = """
`embeddings.safetensors` holds `user_factors` and `item_factors`, float32, a row for each dense id.
The inner product of a user's row and an item's is their logit, so an index of the rows of items
finds what a user likes best.
$shapes
```python
from safetensors.numpy import load_file

tables = load_file("embeddings.safetensors")
logit = (tables["user_factors"][user] * tables["item_factors"][item]).sum(axis=1)
```
"""

TABLES = """
`embeddings.safetensors` holds what the network looks up by id, float32, a row for each dense id of
the kind that a name begins with. Inner products of these rows are not logits.
$shapes"""


def page(card: Mapping[str, Any], tables: Mapping[str, tuple[int, ...]]) -> str:
    """Return a page in Markdown about the content and the use of an export.

    Args:
        card: Content of its `export.json`.
        tables: Shapes of its embeddings, by name.
    """
    shapes = "".join(f"\n* `{name}`: {' x '.join(map(str, s))}" for name, s in tables.items())
    form = FACTORS if "user_factors" in tables else TABLES if tables else ""
    weights = "model.onnx.data" if "model.onnx.data" in card["sha256"] else "model.onnx"
    compared = card["compared"]
    words = {
        "run": card["run"].replace("`", "'"),
        "epoch": f"best epoch {card['epoch']}" if card["epoch"] else "weights of no recorded epoch",
        "weights": weights,
        "digest": card["sha256"][weights],
        "pairs": f"{compared['pairs']:,}",
        "difference": f"{compared['largest_difference']:.1e}",
        "last_user": card["n_users"] - 1,
        "last_item": card["n_items"] - 1,
        "embeddings": Template(form).substitute(shapes=shapes + "\n"),
    }
    return Template(PAGE).substitute({**card, **words})
