"""Train and judge recommenders on logs in which almost nobody says what they liked.

```python
import invlearn

invlearn.simulate("log")
invlearn.prepare("log", "data", rule="play_time_ms / duration_ms >= 1.5, < 0.3",
                 user="user_id", item="video_id")
run = invlearn.train("data", "run", backbone="gmf", strategy="ig")
print(run.test["auc"])
```
Names are imported when they are first used, so that `import invlearn` itself takes no time.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invlearn.backbones import Backbone as Backbone
    from invlearn.config.schema import RunConfig as RunConfig
    from invlearn.data.catalogue import list_datasets as list_datasets
    from invlearn.data.catalogue import prepare_known as prepare_known
    from invlearn.data.corrupt_labels import corrupt_labels as corrupt_labels
    from invlearn.data.dataset import Dataset as Dataset
    from invlearn.data.prepare.audit import Audit as Audit
    from invlearn.data.prepare.prepare import prepare as prepare
    from invlearn.data.simulation.simulate import simulate as simulate
    from invlearn.data.types import Batch as Batch
    from invlearn.data.types import Feed as Feed
    from invlearn.data.types import Pairs as Pairs
    from invlearn.data.types import Proposal as Proposal
    from invlearn.evaluation.assessment import Assessment as Assessment
    from invlearn.evaluation.evaluation import Evaluation as Evaluation
    from invlearn.evaluation.evaluation import evaluate as evaluate
    from invlearn.evaluation.evaluation import paired_difference as paired_difference
    from invlearn.experiments.advise import Advice as Advice
    from invlearn.experiments.advise import advise as advise
    from invlearn.experiments.compare import compare as compare
    from invlearn.experiments.results import Results as Results
    from invlearn.inference.annotation.annotation import Annotation as Annotation
    from invlearn.inference.annotation.annotation import annotate as annotate
    from invlearn.inference.comparison import compare_runs as compare_runs
    from invlearn.inference.export.exporting import Exported as Exported
    from invlearn.inference.export.exporting import export as export
    from invlearn.inference.recommend.lists import Recommended as Recommended
    from invlearn.inference.recommend.lists import recommend as recommend
    from invlearn.inference.serving.app import create_app as create_app
    from invlearn.inference.serving.server import serve as serve
    from invlearn.reporting.write import Report as Report
    from invlearn.reporting.write import report as report
    from invlearn.runtime.errors import InvlearnError as InvlearnError
    from invlearn.strategies import LossStrategy as LossStrategy
    from invlearn.strategies import Strategy as Strategy
    from invlearn.strategies.gradients import gradients_and_loss as gradients_and_loss
    from invlearn.training.run import Run as Run
    from invlearn.training.run import resume as resume
    from invlearn.training.run import train as train
    from invlearn.training.trainer import Trainer as Trainer

__version__ = version("invlearn")

_HOMES = {
    "Advice": "experiments.advise",
    "Annotation": "inference.annotation.annotation",
    "Assessment": "evaluation.assessment",
    "Audit": "data.prepare.audit",
    "Backbone": "backbones",
    "Batch": "data.types",
    "Dataset": "data.dataset",
    "Evaluation": "evaluation.evaluation",
    "Exported": "inference.export.exporting",
    "Feed": "data.types",
    "InvlearnError": "runtime.errors",
    "LossStrategy": "strategies",
    "Pairs": "data.types",
    "Proposal": "data.types",
    "Recommended": "inference.recommend.lists",
    "Report": "reporting.write",
    "Results": "experiments.results",
    "Run": "training.run",
    "RunConfig": "config.schema",
    "Strategy": "strategies",
    "Trainer": "training.trainer",
    "advise": "experiments.advise",
    "annotate": "inference.annotation.annotation",
    "compare": "experiments.compare",
    "compare_runs": "inference.comparison",
    "corrupt_labels": "data.corrupt_labels",
    "create_app": "inference.serving.app",
    "evaluate": "evaluation.evaluation",
    "export": "inference.export.exporting",
    "gradients_and_loss": "strategies.gradients",
    "list_datasets": "data.catalogue",
    "paired_difference": "evaluation.evaluation",
    "prepare": "data.prepare.prepare",
    "prepare_known": "data.catalogue",
    "recommend": "inference.recommend.lists",
    "report": "reporting.write",
    "resume": "training.run",
    "serve": "inference.serving.server",
    "simulate": "data.simulation.simulate",
    "train": "training.run",
}

__all__ = [*_HOMES]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'invlearn' has no attribute '{name}'")
    return getattr(import_module(f"invlearn.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
