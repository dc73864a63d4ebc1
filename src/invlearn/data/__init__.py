"""Data pipeline: logs of impressions, preparation, datasets, batches of pairs."""
