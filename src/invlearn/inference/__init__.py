"""Uses of a trained run: annotate, recommend, export, serve."""
