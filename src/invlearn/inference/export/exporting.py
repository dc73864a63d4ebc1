"""Export of a run for other programs: ONNX, safetensors, Parquet.

```
OUT/
  model.onnx              (user, item) -> logit; large tables are in model.onnx.data
  embeddings.safetensors  one row per id: factors, or the tables of a network
  users.parquet           column `id`: original ids, row number = dense id; items.parquet likewise
  README.md               inputs, outputs, and an example
  export.json             run, digests, and the difference between ONNX Runtime and PyTorch
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
from invlearn.inference.export.onnx_file import PACKAGES, FactorProduct, OnnxScorer, write_onnx
from invlearn.runtime import atomic
from invlearn.runtime.environment import require_extra
from invlearn.runtime.errors import RunError
from invlearn.runtime.progress import Progress, silent
from invlearn.runtime.random import stream
from invlearn.training.metrics_log import best_epoch
from invlearn.training.run import Run
from invlearn.training.run_folder import check_ids

FORMAT = 1
MARKER = "export.json"
"""File that identifies an export: other folders with a `model.onnx` are never replaced."""
CHECKED_PAIRS = 100_000
TOLERANCE = 1e-5
"""Maximum difference of a logit between ONNX Runtime and PyTorch, relative to its size or to 1,
whichever is larger."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A written export."""

    folder: Path
    form: str
    """Form of the model in the file."""
    difference: float
    """Largest difference from PyTorch, relative as the tolerance is."""
    n_pairs: int
    """Random pairs compared."""
    tables: dict[str, tuple[int, ...]]
    """Shapes of the tables in `embeddings.safetensors`; without tables there is no file."""
    files: dict[str, int]
    """Size of each file in bytes."""


def export(
    run: Run | str | Path, out: str | Path, *, overwrite: bool = False, progress: Progress = silent
) -> Exported:
    """Write a run as ONNX with its id maps, and its embeddings as safetensors.

    A backbone that is an inner product is written as two tables of factors and a product, any
    other backbone as it is. Before the folder gets its name, ONNX Runtime scores random pairs, and
    must agree with PyTorch to 1e-5 of the logit's size, or of 1 if that is larger.

    Args:
        run: The run, or its folder.
        out: Folder to write.
        overwrite: Replace an existing export.
        progress: Called for each stage.

    Raises:
        ConfigError: The extra `onnx` is not installed, or ONNX lacks an operation of the
            backbone.
        RunError: The run is damaged, or ONNX Runtime does not agree; then nothing is written.
        InvlearnError: `out` exists, or cannot be written.
    """
    require_extra("onnx", PACKAGES, "an export")
    run, out = run if isinstance(run, Run) else Run.open(run), Path(out)
    check_ids(run.folder, run.card)
    with atomic.new_folder(out, overwrite=overwrite, marker=MARKER) as partial:
        progress("export", 0, 3)
        module = _exported_form(run.module)
        opset = write_onnx(module, partial / "model.onnx", run.config.backbone)
        progress("export", 1, 3)
        difference = _difference(run, OnnxScorer(partial / "model.onnx"))
        if not difference <= TOLERANCE:  # NaN is no agreement either
            raise RunError(
                f"the ONNX file of {run.folder} differs from PyTorch by {difference:.1e} of a "
                f"logit's size, more than {TOLERANCE:.0e}, so it was not kept; score by `invlearn "
                "serve`"
            )
        progress("export", 2, 3)
        tables = embeddings(run.module)
        for name in ("users.parquet", "items.parquet"):
            shutil.copyfile(run.folder / name, partial / name)
        if tables:
            file = partial / "embeddings.safetensors"
            try:
                save_file(tables, file)
            except SafetensorError as error:  # its own error for a full disk
                raise atomic.cannot_write(file, OSError(str(error))) from error
            # Safetensors makes the file private to its owner; an export is for other programs.
            shutil.copymode(partial / "users.parquet", file)
        digests = {file.name: sha256(file) for file in sorted(partial.iterdir())}
        card: dict[str, Any] = _card(run, module, difference, opset) | {"sha256": digests}
        atomic.write_json(partial / MARKER, card)
        shapes = {name: tuple(table.shape) for name, table in tables.items()}
        (partial / "README.md").write_text(page(card, shapes), encoding="utf-8")
        files = {file.name: file.stat().st_size for file in sorted(partial.iterdir())}
        progress("export", 3, 3)
    return Exported(out, card["form"], difference, CHECKED_PAIRS, shapes, files)


def embeddings(module: nn.Module) -> dict[str, Tensor]:
    """Return the tables with one row per id: factors, or the weights that a backbone looks up.

    Returns:
        Tables by name; `user_factors` and `item_factors` if their inner products are the logits.
    """
    product = _exported_form(module)
    if isinstance(product, FactorProduct):
        return dict(product.named_buffers())
    known = getattr(module, "tables", {})
    weights = {n: w.detach().cpu() for n, w in module.named_parameters() if n in known}
    return {f"{known[name]}.{name}": weight.contiguous() for name, weight in weights.items()}


def _exported_form(module: nn.Module) -> nn.Module:
    if isinstance(module, InnerProduct):
        with torch.no_grad():
            return FactorProduct(module.eval().as_factors())
    return module.cpu()


def _difference(run: Run, scorer: OnnxScorer) -> float:
    """Return the largest difference of logits of random pairs, in one batch and of one pair."""
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
