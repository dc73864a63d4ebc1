"""Micro Video was never released: a simulated feed of its shape stands in for it."""

from dataclasses import dataclass
from pathlib import Path

from invlearn.data.prepare.prepare import prepare
from invlearn.data.simulation.simulate import simulate
from invlearn.runtime import atomic
from invlearn.runtime.progress import Progress, silent

USERS, ITEMS, IMPRESSIONS = 37_692, 131_690, 14_850_000
"""Users and items of Table 1; so many simulated impressions have its 9.46 million labels."""
RULE = "play_time_ms / duration_ms >= 1, < 0.55"
"""Labels 64 % of simulated impressions, 52 % of those positive, as in Table 1."""
SHRUNK = 50
"""How many times smaller it is unless the full size is asked for."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """A simulated feed in the place of Micro Video."""

    divisor: int
    """How many times smaller than the original, in users, items and rows alike."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return "micro-video-stand-in" + ("" if self.divisor == 1 else f"-1-{self.divisor}")

    @property
    def sentence(self) -> str:
        """What it is, in words."""
        size = "of its size" if self.divisor == 1 else f"1/{self.divisor} of its size"
        rates = (
            ""
            if self.divisor == 1
            else f" Fixed learning rates are multiplied by {self.divisor}, so that rate times "
            "steps is what it is at full size."
        )
        return (
            f"Micro Video was never released; these numbers come from a simulated feed {size} "
            f"({USERS // self.divisor:,} users, {ITEMS // self.divisor:,} items) with its class "
            f"balance.{rates}"
        )

    def prepared(self, folder: Path, *, progress: Progress = silent) -> Path:
        """Simulate and prepare it, unless that was done; return the dataset folder."""
        out = folder / self.name
        atomic.recover(out)
        if (out / "data.json").exists():
            return out
        log = folder / f"{self.name}-log"
        simulate(
            log,
            users=USERS // self.divisor,
            items=ITEMS // self.divisor,
            rows=IMPRESSIONS // self.divisor,
            overwrite=True,
            progress=progress,
        )
        prepare(
            log,
            out,
            rule=RULE,
            user="user_id",
            item="video_id",
            time="timestamp",
            progress=progress,
        )
        return out
