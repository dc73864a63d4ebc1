"""The learning-rate schedule: a pure function of the step."""

from math import cos, pi

from invlearn.config.schema import ScheduleConfig


def learning_rate(config: ScheduleConfig, lr: float, step: int, total_steps: int) -> float:
    """Return the learning rate of a step: linear warm-up, then decay.

    Args:
        config: Shape of the decay and length of the warm-up.
        lr: Peak learning rate.
        step: Number of the step, from 0.
        total_steps: Steps of the whole run.

    Example:
        >>> config = ScheduleConfig(name="linear", warmup_steps=2)
        >>> [round(learning_rate(config, 1.0, step, 6), 2) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < config.warmup_steps:
        return lr * (step + 1) / config.warmup_steps
    if config.name == "constant":
        return lr
    done = (step - config.warmup_steps) / max(total_steps - config.warmup_steps, 1)
    left = 1 - done if config.name == "linear" else (1 + cos(pi * done)) / 2
    return lr * (config.final_fraction + (1 - config.final_fraction) * left)
