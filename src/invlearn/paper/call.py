"""One call of `reproduce`: what was asked for, whether it can be done, and the command it was."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from invlearn.experiments.search import require as require_search
from invlearn.paper.plan import SEEDS, Request
from invlearn.paper.rows import Figure, figures
from invlearn.reporting.plots import require
from invlearn.runtime.errors import ConfigError

What = Literal["table2", "figure3", "figure4", "figure5", "figure6", "all"]


@dataclass(frozen=True, slots=True)
class Call:
    """What `reproduce` was asked for."""

    what: What
    data: Path
    """Folder with MovieLens-1M."""
    out: Path
    """Folder of the experiment."""
    request: Request
    full_size: bool
    stand_in: bool

    @property
    def is_tabled(self) -> bool:
        """Whether the table is wanted."""
        return self.what in ("table2", "all")

    @property
    def drawn(self) -> list[Figure]:
        """Figures that are wanted, with the panels whose data are."""
        wanted = [figure for figure in figures() if self.what in (figure.name, "all")]
        if self.stand_in:
            return wanted
        real = [(f, tuple(p for p in f.panels if p.dataset == "ml-1m")) for f in wanted]
        return [figure.model_copy(update={"panels": panels}) for figure, panels in real if panels]

    @property
    def command(self) -> str:
        """The command that makes the same, without folders that others do not have.

        Example:
            >>> request = Request.of(rows=["GMF IG"], seeds=2)
            >>> Call("all", Path("/a/ml-1m"), Path("/b/out"), request, True, True).command
            "invlearn reproduce all --data ml-1m --out out --row 'GMF IG' --seeds 2 --full-size"
        """
        asked, words = self.request, ["invlearn", "reproduce", self.what]
        words += ["--data", self.data.absolute().name, "--out", self.out.absolute().name]
        words += [word for name in asked.rows for word in ("--row", name)]
        if asked.ways != Request().ways:
            words += [word for way in asked.ways for word in ("--way", way)]
        if asked.seeds != SEEDS:
            words += ["--seeds", str(max(asked.seeds.values()))]
        words += ["--trials", str(asked.trials)] if asked.trials is not None else []
        words += ["--full-size"] * self.full_size + ["--no-stand-in"] * (not self.stand_in)
        return shlex.join(words)

    def check(self) -> None:
        """Make sure that there is something to do and nothing is missing, before hours of work.

        Raises:
            ConfigError: Nothing can be done, or an extra is not installed.
        """
        require()
        if self.full_size and not self.stand_in:
            raise ConfigError("--full-size is of the stand-in; leave it or --no-stand-in out")
        asked = self.request
        possible = [way for row in asked.wanted() for way in asked.ways if asked.has(row, way)]
        if self.is_tabled and not possible:
            raise ConfigError(
                "none of the rows asked for can be repeated in the ways asked for, since no such "
                "code was released; take --way printed or tuned"
            )
        if self.is_tabled and "tuned" in asked.ways:
            require_search()
        if not self.is_tabled and not self.drawn:
            raise ConfigError(
                f"{self.what} shows Micro Video, which was never released; leave --no-stand-in out"
            )
