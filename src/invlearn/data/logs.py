"""Open a log of impressions, whatever it is stored in, as one lazy table."""

from dataclasses import dataclass

import narwhals.stable.v2 as nw

ROW = "__row__"
"""Name of the column that counts the rows of a log from 0, in the order they are stored."""


@dataclass(frozen=True, slots=True)
class Log:
    """A log, opened but not read."""

    rows: nw.LazyFrame
    """The log's own columns and `ROW`."""
    name: str
    """What to call the log in messages and in the dataset card; file names, never full paths."""
    sha256: str
    """Checksum of the log's content."""
