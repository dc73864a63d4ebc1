"""From a dataset and settings to a run: the trainer, its steps, checkpoints and the run folder."""
