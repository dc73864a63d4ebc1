"""The HTTP service of a run."""
