"""A run in forms that other programs read: ONNX, safetensors, Parquet.

```
OUT/
  model.onnx              (user, item) -> logit; model.onnx.data beside it where tables are big
  embeddings.safetensors  a row an id: the factors, or the tables that a network looks up
  users.parquet           column `id`: original ids, row number = dense id; items.parquet likewise
  README.md               inputs, outputs, and an example
  export.json             which run, digests, and how far ONNX Runtime was from PyTorch
```
"""

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from invlearn.backbones.backbone import InnerProduct
from invlearn.data.parts import sha256
from invlearn.evaluation.scoring import score_pairs
from invlearn.inference.export.export_page import page
from invlearn.inference.export.onnx_file import (
    PACKAGES,
    FactorProduct,
    OnnxScorer,
    check_packages,
    write_onnx,
)
from invlearn.runtime import atomic
from invlearn.runtime.errors import RunError
from invlearn.runtime.progress import Progress, silent
from invlearn.runtime.random import stream
from invlearn.training.metrics_log import best_epoch
from invlearn.training.run import Run
from invlearn.training.run_folder import check_ids

FORMAT = 1
MARKER = "export.json"
"""What only an export holds: a `model.onnx` alone may be anybody's, and is never replaced."""
CHECKED_PAIRS = 100_000
TOLERANCE = 1e-5
"""How far a logit of ONNX Runtime may be from PyTorch's, in units of its size or of 1, whichever is
larger."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how well it agrees."""

    folder: Path
    form: str
    """What the model is in the file."""
    difference: float
    """Largest difference from PyTorch, in units of the tolerance's own."""
    n_pairs: int
    """Random pairs that were compared."""
    tables: dict[str, tuple[int, ...]]
    """Shapes of the tables in `embeddings.safetensors`; without any there is no such file."""
    files: dict[str, int]
    """Bytes of each file."""


def export(
    run: Run | str | Path, out: str | Path, *, overwrite: bool = False, progress: Progress = silent
) -> Exported:
    """Write a run as ONNX with its id maps, and its embeddings as safetensors.

    A backbone that is an inner product is written as its two tables of factors and a product, any
    other as it is. Before the folder gets its name, ONNX Runtime scores random pairs from it, and
    must agree with PyTorch to 1e-5 of the logit's size, or of 1 where that is larger.

    Args:
        run: The run, or its folder.
        out: Folder to make.
        overwrite: Replace an export of that name.
        progress: Told of the stages.

    Raises:
        ConfigError: The extra `onnx` is not installed, or ONNX cannot say the backbone.
        RunError: The run is damaged, or ONNX Runtime does not agree; nothing is written then.
        InvlearnError: `out` exists, or cannot be written.
    """
    check_packages()
    run, out = run if isinstance(run, Run) else Run.open(run), Path(out)
    check_ids(run.folder, run.card)
    with atomic.new_folder(out, overwrite=overwrite, marker=MARKER) as partial:
        progress("export", 0, 3)
        module = _as_it_is_written(run.module)
        opset = write_onnx(module, partial / "model.onnx", run.config.backbone)
        progress("export", 1, 3)
        difference = _difference(run, OnnxScorer(partial / "model.onnx"))
        _check(difference, run)
        progress("export", 2, 3)
        tables = embeddings(run.module)
        for name in ("users.parquet", "items.parquet"):
            shutil.copyfile(run.folder / name, partial / name)
        if tables:
            _save(partial / "embeddings.safetensors", tables)
            # Safetensors lets nobody but its writer read; an export is for other programs.
            shutil.copymode(partial / "users.parquet", partial / "embeddings.safetensors")
        digests = {file.name: sha256(file) for file in sorted(partial.iterdir())}
        card: dict[str, Any] = _card(run, module, difference, opset) | {"sha256": digests}
        atomic.write_json(partial / MARKER, card)
        text = page(card, {name: tuple(t.shape) for name, t in tables.items()})
        (partial / "README.md").write_text(text, encoding="utf-8")
        files = {file.name: file.stat().st_size for file in sorted(partial.iterdir())}
        progress("export", 3, 3)
    shapes = {name: tuple(table.shape) for name, table in tables.items()}
    return Exported(out, card["form"], difference, CHECKED_PAIRS, shapes, files)


def _save(file: Path, tables: dict[str, Tensor]) -> None:
    try:
        save_file(tables, file)
    except SafetensorError as error:  # its own error for a full disk
        raise atomic.cannot_write(file, OSError(str(error))) from error


def embeddings(module: nn.Module) -> dict[str, Tensor]:
    """Tables with a row an id: factors, or the weights that a backbone looks up by id.

    Returns:
        By name; `user_factors` and `item_factors` where their inner products are the logits.
    """
    product = _as_it_is_written(module)
    if isinstance(product, FactorProduct):
        return dict(product.named_buffers())
    known = getattr(module, "tables", {})
    weights = {n: w.detach().cpu() for n, w in module.named_parameters() if n in known}
    return {f"{known[name]}.{name}": weight.contiguous() for name, weight in weights.items()}


def _as_it_is_written(module: nn.Module) -> nn.Module:
    if isinstance(module, InnerProduct):
        with torch.no_grad():
            return FactorProduct(module.eval().as_factors())
    return module.cpu()


def _difference(run: Run, scorer: OnnxScorer) -> float:
    """Largest difference of logits of random pairs, all at once and alone."""
    rng = stream(0, "export")
    sizes = run.card.n_users, run.card.n_items
    columns = [rng.integers(n, size=CHECKED_PAIRS) for n in sizes]
    found: list[float] = []
    for size in (CHECKED_PAIRS, 1):
        users, items = (column[:size] for column in columns)
        wanted = score_pairs(run.module, users, items)
        differences = np.abs(scorer(users, items) - wanted) / np.maximum(1, np.abs(wanted))
        found.append(float(differences.max()))
    return float(np.max(found))  # NaN if there is one


def _check(difference: float, run: Run) -> None:
    if not difference <= TOLERANCE:  # NaN is no agreement either
        raise RunError(
            f"the ONNX file of {run.folder} differs from PyTorch by {difference:.1e} of a logit's "
            f"size, more than {TOLERANCE:.0e}, so it was not kept; score by `invlearn serve`"
        )


def _card(run: Run, module: nn.Module, difference: float, opset: int) -> dict[str, Any]:
    is_product = isinstance(module, FactorProduct)
    return {
        "format": FORMAT,
        "run": run.folder.resolve().name,
        "seed": run.config.seed,
        "epoch": best_epoch(run.epochs),
        "fingerprint": run.card.fingerprint,
        "n_users": run.card.n_users,
        "n_items": run.card.n_items,
        "backbone": run.config.backbone,
        "strategy": run.config.strategy,
        "form": "inner product of factors" if is_product else "the backbone itself",
        "opset": opset,
        "compared": {
            "pairs": CHECKED_PAIRS,
            "largest_difference": difference,
            "tolerance": TOLERANCE,
            "in_units_of": "the logit's size, or 1 where that is larger",
        },
        "versions": {name: version(name) for name in ("invlearn", "torch", *PACKAGES)},
    }
