"""Trivial baselines of the datasets of an experiment, measured once each and kept on disk."""

from pathlib import Path

from invlearn.data.dataset import Dataset
from invlearn.evaluation.assessment import measure_baselines
from invlearn.evaluation.baselines import ALL_BASELINES
from invlearn.evaluation.evaluation import Evaluation
from invlearn.experiments.cell import Cell, read_record
from invlearn.experiments.measured import Measured, read_evaluation, write_draws
from invlearn.runtime import atomic


class BaselineFolder:
    """The records of the baselines on the dataset of a cell."""

    def __init__(self, experiment: Path, cell: Cell) -> None:
        """Name the folder; `measure` fills it."""
        self.cell = cell
        name = f"{cell.dataset.name}-{cell.fingerprint[:12]}-draws-{cell.draws}"
        self.path = experiment / "baselines" / name

    @property
    def title(self) -> str:
        """Name of the dataset."""
        return self.cell.dataset.name

    def missing(self) -> list[str]:
        """Return the name of the work to do; none if every baseline is measured."""
        files = [self.path / f"{name}.json" for name in ALL_BASELINES]
        return [] if all(file.exists() for file in files) else ["baselines"]

    def measure(self, dataset: Dataset) -> None:
        """Measure all baselines on the test part."""
        found = measure_baselines(dataset, dataset.test, draws=self.cell.draws)
        for name, evaluation in found.items():
            write_draws(self.path / f"{name}.npz", evaluation)
            record = Measured.of(evaluation).model_dump(mode="json")
            atomic.write_json(self.path / f"{name}.json", record)

    def evaluations(self) -> dict[str, Evaluation]:
        """Return the test metrics by baseline."""
        return {
            name: read_evaluation(
                read_record(Measured, self.path / f"{name}.json"), self.path / f"{name}.npz"
            )
            for name in ALL_BASELINES
        }
