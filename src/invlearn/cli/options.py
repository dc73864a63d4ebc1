"""Options that several commands share, declared once with their help."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

FLAG = Parameter(negative="")
SEVERAL = Parameter(negative="", consume_multiple=True)
"""An option that takes several values: `--seeds 0 1 2`."""

Overwrite = Annotated[bool, Parameter(negative="", help="Replace existing output of this kind.")]
MovedDataset = Annotated[
    Path | None, Parameter(help="Path of the run's dataset, if the dataset was moved.")
]
Runs = Annotated[
    list[Path],
    Parameter(help="Run folders; the first is the reference, compared on the same users."),
]
Draws = Annotated[int, Parameter(help="Bootstrap draws over users for intervals; 0 for none.")]
Workers = Annotated[
    int, Parameter(help="Worker processes; the results do not depend on their number.")
]
BadRows = Literal["error", "drop"]
LeaveOut = Annotated[
    Literal["labelled", "shown", "all", "nothing"],
    Parameter(
        help="Pairs to leave out: labelled in training, shown in training, all pairs of the "
        "dataset, or none."
    ),
]
Fallback = Literal["item-rate", "popularity", "none"]
