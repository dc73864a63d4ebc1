"""Evaluations on disk: values in a JSON record, and the draws for paired intervals in a file."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from invlearn.config.schema import Settings
from invlearn.evaluation.evaluation import Evaluation
from invlearn.runtime import atomic
from invlearn.runtime.errors import RunError


class Measured(Settings):
    """The readable part of an evaluation."""

    values: dict[str, float | None]
    """Value of each metric; None if it is undefined."""
    intervals: dict[str, list[float | None]]
    """Ends of the 95 % interval of each metric over users."""
    counts: dict[str, int]
    """Numbers of rows and users."""
    basis: str
    """Fingerprint of the rows and of the draws."""

    @classmethod
    def of(cls, found: Evaluation) -> "Measured":
        """Convert an evaluation."""
        return cls(**found.to_json(), basis=found.basis)


def write_draws(file: Path, found: Evaluation) -> None:
    """Write each metric under each bootstrap draw, in single precision."""
    draws = {name: values.astype(np.float32) for name, values in found.draws.items()}
    with atomic.new_file(file) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **draws)  # pyright: ignore[reportArgumentType]


def read_evaluation(measured: Measured, file: Path) -> Evaluation:
    """Return the evaluation of a record and the file of its draws.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            draws = {name: stored[name].astype(np.float64) for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise RunError(
            f"{file} is missing or damaged ({error}); remove the record {file.stem}.json beside "
            "it as well, and it is measured again"
        ) from error
    return Evaluation(
        values={name: _float(value) for name, value in measured.values.items()},
        intervals={n: (_float(low), _float(up)) for n, (low, up) in measured.intervals.items()},
        counts=measured.counts,
        draws=draws,
        basis=measured.basis,
    )


def _float(value: float | None) -> float:
    return float("nan") if value is None else value
