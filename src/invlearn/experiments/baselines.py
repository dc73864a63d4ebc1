"""The trivial baselines of an experiment's datasets, measured once each and kept on disk."""

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
        """Look at the folder; it need not exist yet."""
        self.cell = cell
        name = f"{cell.dataset.name}-{cell.fingerprint[:12]}-draws-{cell.draws}"
        self.path = experiment / "baselines" / name

    @property
    def title(self) -> str:
        """What it is about, in words."""
        return self.cell.dataset.name

    def prepared(self) -> Path:
        """Make the folder if need be."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self.path

    @property
    def is_measured(self) -> bool:
        """Whether all of them are measured."""
        return all((self.path / f"{name}.json").exists() for name in ALL_BASELINES)

    def measure(self, dataset: Dataset) -> None:
        """Measure all of them on the test part."""
        found = measure_baselines(dataset, dataset.test, draws=self.cell.draws)
        for name, evaluation in found.items():
            write_draws(self.path / f"{name}.npz", evaluation)
            record = Measured.of(evaluation).model_dump(mode="json")
            atomic.write_json(self.path / f"{name}.json", record)

    def evaluations(self) -> dict[str, Evaluation]:
        """Test metrics by baseline."""
        return {
            name: read_evaluation(
                read_record(Measured, self.path / f"{name}.json"), self.path / f"{name}.npz"
            )
            for name in ALL_BASELINES
        }
