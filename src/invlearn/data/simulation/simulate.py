"""Write the log of a simulated video feed with known true preferences.

Each row depends only on the sizes, the seed and the row number, so rows do not depend on the chunk
size, and no array of the size of the log is held in memory.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from invlearn.data.engines.parquet import write_parquet
from invlearn.data.simulation.exposure import gather
from invlearn.data.simulation.reaction import fit_feedback_model
from invlearn.runtime import atomic
from invlearn.runtime.errors import ConfigError
from invlearn.runtime.progress import Progress, silent

_START_MS, _SPAN_MS = 1_704_067_200_000, 28 * 24 * 3_600_000  # four weeks from 1 January 2024


@dataclass(frozen=True, slots=True)
class Simulated:
    """Folder and counts of a log written by `simulate`."""

    folder: Path
    n_users: int
    n_items: int
    n_rows: int
    n_files: int
    true_positive_fraction: float
    """Fraction of the rows whose `true_label` is 1."""


def simulate(
    out: str | Path,
    *,
    users: int = 3_000,
    items: int = 2_000,
    rows: int = 300_000,
    seed: int = 0,
    chunk_rows: int = 500_000,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Simulated:
    """Write a video-feed log with hidden truth, as a folder of Parquet files in time order.

    Columns, one row per impression:

    - `user_id` (string, such as `u0000042`), `video_id` (integer from 0), `timestamp` (ms);
    - `duration_ms`, `play_time_ms`, `is_like`, `is_hate`: the columns of a real log;
    - `true_preference` (probability that the user likes the item) and `true_label` (whether they
      do): the truth, for evaluation only, never for training.

    Liking depends on user, item and taste. Watch ratios are a noisy measure of liking: they also
    depend on the duration, on accidental skips and on chance, and are distributed as in KuaiRec.
    Each pair occurs once, except that one row in a hundred replays an item.

    Args:
        out: The folder to write.
        users: Users in the log; each has at least one row.
        items: Items in the catalogue; a short log does not show all of them.
        rows: Impressions, between `users` and half of `users * items`.
        seed: Same sizes, seed and `chunk_rows` give the same bytes; the rows do not depend on
            `chunk_rows`.
        chunk_rows: Rows per file.
        overwrite: Replace `out` if it exists.
        progress: Called after each file.

    Raises:
        ConfigError: The sizes are inconsistent.
        InvlearnError: `out` exists or is not writable.
    """
    _check_sizes(users, items, rows, seed, chunk_rows)
    out = Path(out)
    n_positive = 0
    starts = range(0, rows, chunk_rows)
    with atomic.new_folder(out, overwrite=overwrite, marker="part-00000.parquet") as folder:
        audience = gather(users, items, rows, seed=seed)
        feedback = fit_feedback_model(audience)
        names = pl.Series([f"u{number:07d}" for number in range(users)])
        for number, start in enumerate(starts):
            chunk = np.arange(start, min(start + chunk_rows, rows))
            shown = audience.exposures(chunk)
            reactions = feedback.react(chunk, shown)
            columns: dict[str, Any] = {
                "user_id": names.gather(shown.users),
                "video_id": shown.items,
            }
            columns["timestamp"] = _START_MS + chunk * _SPAN_MS // rows
            frame = pl.DataFrame(columns | reactions)
            write_parquet(frame, folder / f"part-{number:05d}.parquet")
            n_positive += int(reactions["true_label"].sum())
            progress("simulate", number + 1, len(starts))
    return Simulated(out, users, items, rows, len(starts), n_positive / rows)


def _check_sizes(users: int, items: int, rows: int, seed: int, chunk_rows: int) -> None:
    for name, size in {"users": users, "items": items, "chunk_rows": chunk_rows}.items():
        if size < 1:
            raise ConfigError(f"{name} must be at least 1; found {size}")
    if seed < 0:
        raise ConfigError(f"seed must not be negative; found {seed}")
    if rows < users:
        raise ConfigError(
            f"{rows} rows are too few for {users} users, each of whom has one at least; "
            "ask for more rows or fewer users"
        )
    if rows > users * items // 2:
        raise ConfigError(
            f"{rows} rows are more than half of the {users * items} pairs of {users} users and "
            f"{items} items; ask for at most {users * items // 2} rows, or for more items"
        )
