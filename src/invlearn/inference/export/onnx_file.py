"""A backbone as an ONNX file, and logits computed from it."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from invlearn.backbones.backbone import Factors
from invlearn.data.types import IntegerIds
from invlearn.evaluation.scoring import BLOCK_PAIRS
from invlearn.runtime.errors import ConfigError

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""Packages of the extra `onnx`."""
INPUTS, OUTPUT = ("user", "item"), "logit"
ONE_FILE_BYTES = 1 << 30
"""Weights above this size go into a second file; a file of ONNX is limited to 2 GB."""


class FactorProduct(nn.Module):
    """A backbone as the inner product of the rows of two tables."""

    def __init__(self, factors: Factors) -> None:
        super().__init__()
        self.user_factors = nn.Buffer(factors.users.detach().cpu().contiguous())
        self.item_factors = nn.Buffer(factors.items.detach().cpu().contiguous())

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return logits of shape `(pairs,)`."""
        return (self.user_factors[users] * self.item_factors[items]).sum(-1)


def write_onnx(module: nn.Module, file: Path, name: str) -> int:
    """Write a backbone for any number of pairs; the module is set to evaluation mode.

    Args:
        module: The backbone, on the CPU.
        file: File to write; large tables go into a second file with the suffix `.data`.
        name: Name of the backbone in error messages.

    Returns:
        The version of the ONNX operators.

    Raises:
        ConfigError: The backbone uses an operation that ONNX lacks.
    """
    module.eval()
    one = torch.zeros(2, dtype=torch.int64)
    pairs = torch.export.Dim("pairs", min=1)
    n_bytes = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    try:
        with _quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                module,
                (one, one.clone()),
                dynamo=True,
                verbose=False,
                input_names=INPUTS,
                output_names=[OUTPUT],
                dynamic_shapes=({0: pairs}, {0: pairs}),
            )
            program.save(file, external_data=n_bytes > ONE_FILE_BYTES)
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"{name} cannot be exported, since ONNX lacks an operation that it uses ({reason}); "
            "score its pairs by `invlearn serve`, or train another backbone"
        ) from error
    return int(program.model.opset_imports[""])


class OnnxScorer:
    """Computes logits of pairs with ONNX Runtime, as `scoring.score_pairs` does with PyTorch.

    Args:
        file: File of `write_onnx`.
    """

    def __init__(self, file: Path) -> None:
        runtime = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def __call__(self, users: IntegerIds, items: IntegerIds) -> npt.NDArray[np.float32]:
        """Return logits of pairs of dense ids, shape `(pairs,)`, computed block by block."""
        logits = np.empty(len(users), np.float32)
        for start in range(0, len(users), BLOCK_PAIRS):
            some = slice(start, start + BLOCK_PAIRS)
            columns = (column[some].astype(np.int64) for column in (users, items))
            feed = dict(zip(INPUTS, columns, strict=True))
            logits[some] = self._session.run([OUTPUT], feed)[0]
        return logits


@contextmanager
def _quiet() -> Generator[None]:
    """Suppress messages of the exporter about itself, for example that torchvision is missing."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
