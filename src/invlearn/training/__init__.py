"""Training: the trainer, its steps, checkpoints and the run folder."""
