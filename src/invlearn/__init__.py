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
    from invlearn.annotation import Annotation as Annotation
    from invlearn.annotation import annotate as annotate
    from invlearn.assessment import Assessment as Assessment
    from invlearn.backbones import Backbone as Backbone
    from invlearn.comparison import compare_runs as compare_runs
    from invlearn.config import RunConfig as RunConfig
    from invlearn.data.audit import Audit as Audit
    from invlearn.data.catalogue import list_datasets as list_datasets
    from invlearn.data.catalogue import prepare_known as prepare_known
    from invlearn.data.dataset import Dataset as Dataset
    from invlearn.data.prepare import prepare as prepare
    from invlearn.data.simulate import simulate as simulate
    from invlearn.data.weaken import weaken as weaken
    from invlearn.errors import InvlearnError as InvlearnError
    from invlearn.evaluation import Evaluation as Evaluation
    from invlearn.evaluation import evaluate as evaluate
    from invlearn.evaluation import paired_difference as paired_difference
    from invlearn.experiments.advise import Advice as Advice
    from invlearn.experiments.advise import advise as advise
    from invlearn.experiments.compare import compare as compare
    from invlearn.experiments.results import Results as Results
    from invlearn.exporting import Exported as Exported
    from invlearn.exporting import export as export
    from invlearn.lists import Recommended as Recommended
    from invlearn.lists import recommend as recommend
    from invlearn.pairs import Batch as Batch
    from invlearn.pairs import Feed as Feed
    from invlearn.pairs import Pairs as Pairs
    from invlearn.pairs import Proposal as Proposal
    from invlearn.paper.reproduce import reproduce as reproduce
    from invlearn.reporting.write import Report as Report
    from invlearn.reporting.write import report as report
    from invlearn.run import Run as Run
    from invlearn.run import resume as resume
    from invlearn.run import train as train
    from invlearn.service import serve as serve
    from invlearn.serving import create_app as create_app
    from invlearn.strategies import LossStrategy as LossStrategy
    from invlearn.strategies import Strategy as Strategy
    from invlearn.strategies.slopes import slope_and_loss as slope_and_loss

__version__ = version("invlearn")

_HOMES = {
    "Advice": "experiments.advise",
    "Annotation": "annotation",
    "Assessment": "assessment",
    "Audit": "data.audit",
    "Backbone": "backbones",
    "Batch": "pairs",
    "Dataset": "data.dataset",
    "Evaluation": "evaluation",
    "Exported": "exporting",
    "Feed": "pairs",
    "InvlearnError": "errors",
    "LossStrategy": "strategies",
    "Pairs": "pairs",
    "Proposal": "pairs",
    "Recommended": "lists",
    "Report": "reporting.write",
    "Results": "experiments.results",
    "Run": "run",
    "RunConfig": "config",
    "Strategy": "strategies",
    "advise": "experiments.advise",
    "annotate": "annotation",
    "compare": "experiments.compare",
    "compare_runs": "comparison",
    "create_app": "serving",
    "evaluate": "evaluation",
    "export": "exporting",
    "list_datasets": "data.catalogue",
    "paired_difference": "evaluation",
    "prepare": "data.prepare",
    "prepare_known": "data.catalogue",
    "recommend": "lists",
    "report": "reporting.write",
    "reproduce": "paper.reproduce",
    "resume": "run",
    "serve": "service",
    "simulate": "data.simulate",
    "slope_and_loss": "strategies.slopes",
    "train": "run",
    "weaken": "data.weaken",
}

__all__ = [*_HOMES]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'invlearn' has no attribute '{name}'")
    return getattr(import_module(f"invlearn.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
